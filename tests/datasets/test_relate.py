import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from numpy.testing import assert_allclose

from clapstack.datasets import load_relate

# wavname, text, score, listener_id, audio type, anchor label, split, in AudioCaps
ROWS = [
    ("/tango/train/2.wav", "rain", 8, "0007", "tango", False, "train", "train"),
    ("/audiocaps/train/1.wav", "a dog", 2, "0007", "natural", False, "train", "train"),
    ("/tango/train/2.wav", "rain", 5, "0001", "tango", False, "train", "train"),
    ("/audiocaps/train/1.wav", "a cat", 0, "0001", "natural", True, "train", ""),
    ("/tango/test/3.wav", "None", 10, "0002", "tango", False, "validation", "test"),
    ("/tango/test/4.wav", "wind", 9, "0003", "tango", False, "test", "test"),
    ("/tango/test/4.wav", "wind", 1, "0004", "tango", False, "excluded", "test"),
]
COLUMNS = ["wavname", "text", "score", "listener_id", "audio type", "anchor label"]
COLUMNS += ["in RELATE dataset", "in AudioCaps"]


@pytest.fixture
def relate(tmp_path):
    """Return (audio, scores): a made-up RELATE of four clips."""
    for name in {row[0] for row in ROWS}:
        path = tmp_path / "RELATE_wave" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.full(160, 0.1), 16_000)
    scores = tmp_path / "scores"
    scores.mkdir()
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    table.to_csv(scores / "REL.csv", index=False)
    for name in ("IS", "OS"):
        table.drop(columns="in RELATE dataset").to_csv(
            scores / f"{name}.csv", index=False
        )
    return tmp_path / "RELATE_wave", scores


def rewrite(scores, change, name="REL.csv"):
    table = pd.read_csv(scores / name, dtype=str, keep_default_na=False)
    change(table).to_csv(scores / name, index=False)


def test_ratings_are_averaged_over_the_listeners_of_a_pair(relate):
    data = load_relate(*relate)
    assert list(data.ids) == ["/tango/train/2.wav", "/audiocaps/train/1.wav"]
    assert list(data.X["text"]) == ["rain", "a dog"]
    assert_allclose(data.y, [6.5, 2.0])


def test_every_rating_keeps_its_pair_and_listener(relate):
    ratings = load_relate(*relate).ratings
    assert ratings["pair"].to_list() == [0, 1, 0]
    assert ratings["listener_id"].to_list() == ["0007", "0007", "0001"]
    assert ratings["score"].to_list() == [8, 2, 5]


def test_anchors_are_left_out_or_flagged(relate):
    assert not load_relate(*relate).anchor.any()
    data = load_relate(*relate, anchors=True)
    assert list(zip(data.X["text"], data.anchor, strict=True)) == [
        ("rain", False),
        ("a dog", False),
        ("a cat", True),
    ]


def test_screened_ratings_are_in_no_split(relate):
    data = load_relate(*relate, split="test")
    assert len(data.ratings) == 1
    assert_allclose(data.y, 9.0)


def test_text_that_reads_as_missing_is_kept(relate):
    assert load_relate(*relate, split="validation").X["text"].to_list() == ["None"]


def test_several_scores_are_axes_of_the_pairs_that_have_any(relate):
    rewrite(relate[1], lambda table: table.drop(index=[0, 2]), "OS.csv")
    data = load_relate(*relate, score=("REL", "OS"))
    assert list(data.X["text"]) == ["rain", "a dog"]
    assert list(data.y.columns) == ["REL", "OS"]
    assert_allclose(data.y, [[6.5, np.nan], [2.0, 2.0]])
    assert data.ratings["axis"].to_list() == ["REL", "REL", "REL", "OS"]
    assert data.ratings["pair"].to_list() == [0, 1, 0, 1]
    # Screened ratings stay out where AudioCaps' split says nothing of them.
    test = load_relate(*relate, split="test", score=["REL"])
    assert test.y["REL"].to_list() == [10, 9]


def test_scores_that_do_not_exist_are_refused(relate):
    for score in (["REL", "XX"], []):
        with pytest.raises(ValueError, match=r"score must be one of .*, or several"):
            load_relate(*relate, score=score)
    with pytest.raises(ValueError, match="split must be one of"):
        load_relate(*relate, split="validation", score=["REL", "IS"])


@pytest.mark.parametrize("score", ["IS", "OS"])
def test_inclusion_and_order_are_split_as_audiocaps_is(relate, score):
    data = load_relate(*relate, split="test", score=score)
    assert list(data.X["text"]) == ["None", "wind"]
    assert_allclose(data.y, [10.0, 5.0])


def test_inclusion_has_no_validation_split(relate):
    with pytest.raises(ValueError, match=r"one of \('train', 'test'\) for score='IS'"):
        load_relate(*relate, split="validation", score="IS")


def test_unknown_score_is_refused(relate):
    with pytest.raises(ValueError, match="score must be one of"):
        load_relate(*relate, score="MOS")


def test_every_pair_names_the_system_of_its_clip(relate):
    audio, scores = relate
    (audio / "tango").rename(audio / "tango2")  # "audio type" still says tango
    rewrite(
        scores, lambda t: t.assign(wavname=t["wavname"].str.replace("tango", "tango2"))
    )
    assert load_relate(audio, scores).systems.tolist() == ["tango2", "audiocaps"]


def test_a_clip_without_a_folder_is_named(relate):
    rewrite(relate[1], lambda t: t.assign(wavname=["/2.wav", *t["wavname"][1:]]))
    with pytest.raises(
        ValueError, match=r"lacks the folder of its system in line 2 \(/2\.wav\)"
    ):
        load_relate(*relate)


def test_a_listener_without_a_name_is_named(relate):
    rewrite(
        relate[1], lambda t: t.assign(listener_id=["7", " ", *t["listener_id"][2:]])
    )
    with pytest.raises(ValueError, match=r"listener_id is empty in line 3"):
        load_relate(*relate)


def test_ratings_of_texts_that_look_alike_are_of_one_pair(relate):
    rewrite(relate[1], lambda t: t.assign(text=["rain ", *t["text"][1:]]))
    assert_allclose(load_relate(*relate).y, [6.5, 2.0])


def test_missing_clips_are_named(relate):
    audio, scores = relate
    (audio / "tango" / "train" / "2.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 clips.*/tango/train/2\.wav"):
        load_relate(audio, scores)


def test_score_off_the_scale_is_named(relate):
    rewrite(relate[1], lambda t: t.assign(score=["11", *t["score"][1:]]))
    with pytest.raises(ValueError, match=r"line 2 \(/tango/train/2\.wav\)"):
        load_relate(*relate)


def test_listener_who_rated_a_pair_twice_is_named(relate):
    rewrite(relate[1], lambda t: pd.concat([t, t[:1]]))
    with pytest.raises(ValueError, match=r"rated the pair again in line 9"):
        load_relate(*relate)


def test_missing_columns_are_named(relate):
    rewrite(relate[1], lambda t: t.drop(columns="anchor label"))
    with pytest.raises(ValueError, match="one column 'anchor label'; it has"):
        load_relate(*relate)


def test_split_without_rows_is_named(relate):
    rewrite(relate[1], lambda t: t[t["in RELATE dataset"] != "train"])
    with pytest.raises(ValueError, match="no rows whose 'in RELATE dataset'"):
        load_relate(*relate)
