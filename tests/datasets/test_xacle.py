import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from numpy.testing import assert_allclose

from clapstack.datasets import load_xacle, load_xacle_ranking


@pytest.fixture
def folder(tmp_path):
    """Return a challenge folder of three clips, with the official code's columns."""
    root = tmp_path / "XACLE_dataset"
    (root / "wav" / "train").mkdir(parents=True)
    (root / "meta_data").mkdir()
    names = ["00002.wav", "00000.wav", "00001.wav"]
    for name in names:
        sf.write(root / "wav" / "train" / name, np.full(160, 0.1), 16_000)
    average = pd.DataFrame(
        {"wav_file_name": names, "text": ["c", "a", "b"], "average_score": [2, 0, 10]}
    )
    average.to_csv(root / "meta_data" / "train_average.csv", index=False)
    return root


def rewrite(folder, change, name="train_average.csv"):
    path = folder / "meta_data" / name
    change(pd.read_csv(path)).to_csv(path, index=False)


def test_simulated_folder_loads_like_the_real_one(simulated_folder):
    data = load_xacle(simulated_folder, "train")
    assert list(data.X.columns) == ["audio", "text"]
    assert data.y.shape == (12,)
    assert list(data.ids) == [f"{i:05d}.wav" for i in range(12)]
    means = data.ratings.groupby("pair")["score"].mean()
    assert_allclose(means, data.y)


def test_parent_folder_is_accepted(folder):
    assert len(load_xacle(folder.parent).X) == 3


def test_audio_is_paired_with_text_by_name_not_by_directory_order(folder):
    data = load_xacle(folder)
    expected = [("00002.wav", "c"), ("00000.wav", "a"), ("00001.wav", "b")]
    files = [path.rpartition("/")[2] for path in data.X["audio"]]
    assert list(zip(files, data.X["text"], strict=True)) == expected


def test_readme_spelling_of_columns_is_accepted(folder):
    before = load_xacle(folder)
    names = {
        "wav_file_name": "wave_file_name",
        "average_score": "average_semantic_alignement_score",
    }
    rewrite(folder, lambda table: table.rename(columns=names))
    after = load_xacle(folder)
    assert_allclose(before.y, after.y)
    assert list(before.ids) == list(after.ids)


def test_mean_is_taken_where_only_ratings_are_there(folder):
    path = folder / "meta_data" / "train_average.csv"
    pairs = pd.read_csv(path).drop(columns="average_score")
    ratings = pd.concat([pairs.assign(score=4), pairs.assign(score=7)])
    ratings.to_csv(folder / "meta_data" / "train.csv", index=False)
    path.unlink()
    data = load_xacle(folder)
    assert_allclose(data.y, 5.5)
    assert len(data.ratings) == 6


def test_unlabelled_test_split_has_no_y(folder):
    (folder / "wav" / "train").rename(folder / "wav" / "test")
    table = pd.read_csv(folder / "meta_data" / "train_average.csv")
    table.drop(columns="average_score").to_csv(
        folder / "meta_data" / "test.csv", index=False
    )
    data = load_xacle(folder, "test")
    assert data.y is None
    assert data.ratings is None
    assert len(data.X) == 3


def test_missing_clip_is_named(folder):
    (folder / "wav" / "train" / "00000.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 WAV files.*00000\.wav"):
        load_xacle(folder)


def test_unknown_columns_are_named(folder):
    rewrite(folder, lambda table: table.rename(columns={"average_score": "mos"}))
    with pytest.raises(ValueError, match=r"it has \['wav_file_name', 'text', 'mos'\]"):
        load_xacle(folder)


@pytest.mark.parametrize("score", [11, -1, "high", ""])
def test_score_off_the_scale_is_named(folder, score):
    def change(table):
        return table.astype({"average_score": object}).assign(
            average_score=[1, score, 2]
        )

    rewrite(folder, change)
    with pytest.raises(ValueError, match=r"0 to 10 in line 3 \(00000\.wav\)"):
        load_xacle(folder)


def test_empty_text_is_named(folder):
    rewrite(folder, lambda table: table.assign(text=["c", " ", "b"]))
    with pytest.raises(ValueError, match=r"text is empty in line 3 \(00000\.wav\)"):
        load_xacle(folder)


def test_text_that_reads_as_missing_is_kept(folder):
    rewrite(folder, lambda table: table.assign(text=["c", "None", "b"]))
    assert load_xacle(folder).X["text"][1] == "None"


def test_clip_listed_twice_is_named(folder):
    rewrite(folder, lambda table: table.assign(wav_file_name="00000.wav"))
    with pytest.raises(ValueError, match="more than once in line 3"):
        load_xacle(folder)


def test_rating_of_an_unknown_clip_is_named(folder):
    ratings = pd.DataFrame(
        {"wav_file_name": ["00000.wav", "9.wav"], "text": "a", "score": 3}
    )
    ratings.to_csv(folder / "meta_data" / "train.csv", index=False)
    with pytest.raises(ValueError, match=r"line 3 \(9\.wav\)"):
        load_xacle(folder)


def test_missing_folder_says_what_to_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds 'meta_data' and 'wav'"):
        load_xacle(tmp_path)


def test_missing_split_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"neither 'validation_average\.csv'"):
        load_xacle(folder, "validation")


def test_unknown_split_is_refused(folder):
    with pytest.raises(ValueError, match="split must be one of"):
        load_xacle(folder, "dev")


def test_test_data_may_be_a_folder_of_its_own(folder):
    other = folder.with_name("XACLE_test_data")
    (other / "meta_data").mkdir(parents=True)
    (folder / "wav" / "train").rename(other / "wav")
    (other / "wav").rename(other / "test")
    (other / "wav").mkdir()
    (other / "test").rename(other / "wav" / "test")
    table = pd.read_csv(folder / "meta_data" / "train_average.csv")
    table = table.rename(
        columns={
            "wav_file_name": "wave_file_name",
            "average_score": "11-point semantic-alignment score",
        }
    ).assign(listener_id=["7", "7", "8"])
    table.to_csv(other / "meta_data" / "test.csv", index=False)
    data = load_xacle(folder.parent, "test")
    assert_allclose(data.y, [2, 0, 10])
    assert data.ratings["listener_id"].to_list() == ["7", "7", "8"]


def test_rating_of_another_text_is_named(folder):
    pairs = pd.read_csv(folder / "meta_data" / "train_average.csv")
    ratings = pairs.assign(score=4, text=["c", "another", "b"])
    ratings.to_csv(folder / "meta_data" / "train.csv", index=False)
    with pytest.raises(ValueError, match=r"another one than .* line 3 \(00000\.wav\)"):
        load_xacle(folder)


def test_real_folder_is_told_from_a_simulated_one(folder, simulated_folder):
    assert not load_xacle(folder).simulated
    assert load_xacle(simulated_folder).simulated


def test_ranking_is_sorted_and_complete():
    ranking = load_xacle_ranking()
    assert ranking["srcc"].is_monotonic_decreasing
    official = ranking[ranking["kind"] == "official"]
    assert official["rank"].to_list() == list(range(1, 11))
    assert ranking[["srcc", "lcc", "ktau", "mse"]].notna().all(axis=None)
