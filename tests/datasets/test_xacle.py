import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from numpy.testing import assert_allclose

from clapstack.datasets import load_xacle, load_xacle_ranking
from clapstack.exceptions import BadRowsError


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


def test_challenge_folder_loads_like_the_real_one(challenge_folder):
    data = load_xacle(challenge_folder, "train")
    assert list(data.X.columns) == ["audio", "text"]
    assert data.y.shape == (48,)
    assert list(data.ids) == [f"{i:05d}.wav" for i in range(48)]
    means = data.ratings.groupby("pair")["score"].mean()
    assert_allclose(means, data.y)


def test_loaded_pairs_print_a_line_per_entry(challenge_folder):
    data = load_xacle(challenge_folder)
    lines = repr(data).splitlines()
    n_pairs = len(data.X)
    assert lines[0] == f"X          DataFrame, {n_pairs} rows: audio, text"
    assert lines[1].endswith(f"{n_pairs} of float64: mean {data.y.mean():.2f}")
    assert "00000.wav, 00001.wav" in lines[3]
    assert f"and {n_pairs - 5} more" in lines[3]
    assert [line.split()[0] for line in lines] == list(data)


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


@pytest.mark.parametrize("texts", [["007", "1.50", "1e5"], ["NA", "null", "TRUE"]])
def test_text_stays_text(folder, texts):
    rewrite(folder, lambda table: table.assign(text=texts))
    assert list(load_xacle(folder).X["text"]) == texts


def test_names_stay_names(folder):
    wav = folder / "wav" / "train"
    for path in wav.iterdir():
        path.rename(wav / path.stem)
    rewrite(folder, lambda t: t.assign(wav_file_name=t["wav_file_name"].str[:-4]))
    assert list(load_xacle(folder).ids) == ["00002", "00000", "00001"]


@pytest.mark.parametrize("score", ["7_5", "٣", "7,5", "0x7", "1e400", "nan"])
def test_score_that_is_no_plain_number_is_named(folder, score):
    table = folder / "meta_data" / "train_average.csv"
    rows = f'00002.wav,a,1\n00000.wav,b,"{score}"\n'
    table.write_text(f"wav_file_name,text,average_score\n{rows}")
    with pytest.raises(BadRowsError, match=r"0 to 10 in line 3 \(00000\.wav\)"):
        load_xacle(folder)


def test_lines_are_right_after_line_breaks_in_texts(folder):
    rewrite(folder, lambda table: table.assign(text=["c\nd\ne", "", "b"]))
    with pytest.raises(BadRowsError, match=r"text is empty in line 5 \(00000\.wav\)"):
        load_xacle(folder)


def test_a_table_from_excel_is_read(folder):
    before = load_xacle(folder)
    path = folder / "meta_data" / "train_average.csv"
    lines = [line.replace(",", ";") + ";" for line in path.read_text().splitlines()]
    path.write_bytes("\r\n".join([*lines, ""]).encode("utf-8-sig"))
    assert_allclose(load_xacle(folder).y, before.y)


def test_text_that_is_not_utf8_is_named(folder):
    rewrite(folder, lambda table: table.assign(text=["c", "café", "b"]))
    path = folder / "meta_data" / "train_average.csv"
    path.write_bytes(path.read_text().encode("latin-1"))
    with pytest.raises(BadRowsError, match=r"not UTF-8 in line 3 .* Save the table as"):
        load_xacle(folder)


def test_a_name_is_found_in_the_unicode_form_of_the_disk(folder):
    wav = folder / "wav" / "train"
    (wav / "00000.wav").rename(wav / "cafe\u0301.wav")
    rewrite(
        folder, lambda t: t.replace({"wav_file_name": {"00000.wav": "caf\u00e9.wav"}})
    )
    assert load_xacle(folder).X["audio"][1] == str(wav / "cafe\u0301.wav")


def test_a_listener_without_a_name_is_named(folder):
    pairs = pd.read_csv(folder / "meta_data" / "train_average.csv", dtype=str)
    ratings = pairs.assign(score="4", listener_id=["007", "", "008"])
    ratings.to_csv(folder / "meta_data" / "train.csv", index=False)
    message = r"listener_id is empty in line 3 \(00000\.wav\)\. Fill it in"
    with pytest.raises(BadRowsError, match=message):
        load_xacle(folder)
    rewrite(folder, lambda t: t.drop(columns="listener_id"), "train.csv")
    assert "listener_id" not in load_xacle(folder).ratings


def test_ratings_of_one_clip_by_two_names_are_of_one_pair(folder):
    path = folder / "meta_data" / "train_average.csv"
    path.unlink()
    (folder / "meta_data" / "train.csv").write_text(
        "wav_file_name,text,score\n00000.wav,a dog,4\n./00000.wav,a  dog,8\n"
    )
    data = load_xacle(folder)
    assert_allclose(data.y, [6])
    assert data.ratings["pair"].to_list() == [0, 0]


def test_clip_listed_twice_by_two_names_is_named(folder):
    names = ["00002.wav", "00000.wav", "./00000.wav"]
    rewrite(folder, lambda table: table.assign(wav_file_name=names))
    with pytest.raises(BadRowsError, match=r"more than once in line 4 \(\./00000"):
        load_xacle(folder)


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
    with pytest.raises(FileNotFoundError, match="has 'meta_data' and 'wav'"):
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
    with pytest.raises(
        ValueError, match=r"differs from the one .* line 3 \(00000\.wav\)"
    ):
        load_xacle(folder)


def test_real_and_simulated_folders_are_distinguished(folder, challenge_folder):
    assert not load_xacle(folder).simulated
    assert load_xacle(challenge_folder).simulated


def test_ranking_is_sorted_and_complete():
    ranking = load_xacle_ranking()
    assert ranking["srcc"].is_monotonic_decreasing
    official = ranking[ranking["kind"] == "official"]
    assert official["rank"].to_list() == list(range(1, 11))
    assert ranking[["srcc", "lcc", "ktau", "mse"]].notna().all(axis=None)
