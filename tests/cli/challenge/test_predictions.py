import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clapstack.cli.challenge import (
    match_predictions,
    read_predictions,
    read_truth,
    write_predictions,
)

NAMES = ["2.wav", "0.wav", "1.wav"]


def written(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


def test_submission_keeps_every_digit(tmp_path):
    scores = np.array([1 / 3, 5.0, np.nextafter(7.1, 8)])
    write_predictions(tmp_path / "out.csv", NAMES, scores)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "wav_file_name,pred_score"
    assert lines[2] == "0.wav,5.0"
    again = read_predictions(tmp_path / "out.csv")
    assert_array_equal(again.to_numpy(), scores)
    assert list(again.index) == NAMES


NAMES_TO_QUOTE = ["a,b.wav", 'say "hi".wav', "two\nlines", "cr\rhere", " blank ", "a;b"]
NAMES_TO_QUOTE += [
    "caf\udce9.wav",
    "'x'",
    "=1+1.wav",
    "\u2028.wav",
    '"',
    "00000",
    "tab\tname",
]


def test_any_name_comes_back(tmp_path):
    scores = np.arange(len(NAMES_TO_QUOTE)) / 7
    write_predictions(tmp_path / "out.csv", NAMES_TO_QUOTE, scores)
    again = read_predictions(tmp_path / "out.csv")
    assert list(again.index) == NAMES_TO_QUOTE
    assert_array_equal(again.to_numpy(), scores)


def test_predictions_from_excel_are_read(tmp_path):
    path = tmp_path / "p.csv"
    text = "sep=;\r\nwav_file_name;pred_score;\r\n00000;7.5;\r\n"
    path.write_bytes(text.encode("utf-16"))
    assert read_predictions(path).to_dict() == {"00000": 7.5}
    path.write_text("wav_file_name;pred_score\n00000;7,5\n")
    with pytest.raises(ValueError, match=r"in line 2 \(00000\)\. Write it like 7\.5"):
        read_predictions(path)


def test_prediction_without_a_name_is_named(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,2\n ,3\n")
    with pytest.raises(ValueError, match="name is empty in line 3"):
        read_predictions(path)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = written(tmp_path, "precious")
    with pytest.raises(TypeError):
        write_predictions(path, NAMES, np.array([1.0, None, 2.0]))
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["wav_file_name", "wave_file_name"])
@pytest.mark.parametrize("score", ["pred_score", "prediction_score"])
def test_predictions_are_read_in_either_spelling(tmp_path, name, score):
    path = written(tmp_path, f"{name},{score}\n1.wav,3.25\n0.wav,4\n")
    assert read_predictions(path).to_dict() == {"1.wav": 3.25, "0.wav": 4.0}


@pytest.mark.parametrize(
    "header",
    [
        "wav_file_name,text,average_score",
        "wave_file_name,text,average_semantic_alignement_score",
    ],
)
def test_truth_is_read_in_either_spelling(tmp_path, header):
    path = written(tmp_path, f"{header}\n1.wav,rain,3.25\n")
    assert read_truth(path).to_dict() == {"1.wav": 3.25}


@pytest.mark.parametrize("score", ["nan", "", "high", "inf"])
def test_score_that_the_official_script_would_drop_is_named(tmp_path, score):
    path = written(tmp_path, f"wav_file_name,pred_score\n1.wav,2\n0.wav,{score}\n")
    with pytest.raises(ValueError, match=r"no.* finite number in line 3 \(0\.wav\)"):
        read_predictions(path)


def test_clip_predicted_twice_is_named(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,2\n1.wav,2\n")
    with pytest.raises(ValueError, match=r"stands there before in line 3 \(1\.wav\)"):
        read_predictions(path)


@pytest.mark.parametrize("header", ["name,pred_score", "wav_file_name,score"])
def test_unknown_columns_are_named(tmp_path, header):
    path = written(tmp_path, f"{header}\n1.wav,2\n")
    with pytest.raises(ValueError, match=r"must have one column.*it has \['"):
        read_predictions(path)


def test_two_columns_of_scores_are_refused(tmp_path):
    header = "wav_file_name,pred_score,prediction_score"
    path = written(tmp_path, f"{header}\n1.wav,2,3\n")
    with pytest.raises(ValueError, match="must have one column 'pred_score'"):
        read_predictions(path)


def test_empty_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no rows"):
        read_predictions(written(tmp_path, "wav_file_name,pred_score\n"))


def test_scores_are_matched_by_name_not_by_order(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,1\n2.wav,2\n0.wav,0\n")
    matched = match_predictions(read_predictions(path), NAMES, "here")
    assert_array_equal(matched, [2.0, 0.0, 1.0])


def test_rows_that_the_official_script_would_leave_out_are_named(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,1\n2.wav,2\n9.wav,0\n")
    message = r"lacks 1 of 3 clips \(0\.wav\) and has 1 unknown clips \(9\.wav\)"
    with pytest.raises(ValueError, match=message):
        match_predictions(read_predictions(path), NAMES, "here")
