import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clapstack.cli.challenge import (
    prediction_table,
    read_predictions,
    write_predictions,
)
from clapstack.cli.tables import read_by_key

NAMES = ["2.wav", "0.wav", "1.wav"]


def written(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


def numbers(path, role="prediction"):
    """Return numbers by name, in the order of the table."""
    read = read_by_key(prediction_table(path, role), role, ("audio",), once=True)
    return {name: number for (name,), number in read.items()}


def test_submission_keeps_every_digit(tmp_path):
    scores = np.array([1 / 3, 5.0, np.nextafter(7.1, 8)])
    write_predictions(tmp_path / "out.csv", NAMES, scores)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "wav_file_name,pred_score"
    assert lines[2] == "0.wav,5.0"
    assert_array_equal(read_predictions(tmp_path / "out.csv", NAMES), scores)
    assert list(numbers(tmp_path / "out.csv")) == NAMES


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
    again = read_predictions(tmp_path / "out.csv", NAMES_TO_QUOTE)
    assert_array_equal(again, scores)


def test_predictions_from_excel_are_read(tmp_path):
    path = tmp_path / "p.csv"
    text = "sep=;\r\nwav_file_name;pred_score;\r\n00000;7.5;\r\n"
    path.write_bytes(text.encode("utf-16"))
    assert numbers(path) == {"00000": 7.5}
    path.write_text("wav_file_name;pred_score\n00000;7,5\n")
    with pytest.raises(ValueError, match=r"in row 0 \('7,5'\).* in line 2"):
        numbers(path)


def test_prediction_without_a_name_is_named(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,2\n ,3\n")
    with pytest.raises(ValueError, match=r"key is empty in row 1 \(' '\).* line 3"):
        numbers(path)


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
    assert numbers(path) == {"1.wav": 3.25, "0.wav": 4.0}


@pytest.mark.parametrize(
    "header",
    [
        "wav_file_name,text,average_score",
        "wave_file_name,text,average_semantic_alignement_score",
    ],
)
def test_truth_is_read_in_either_spelling(tmp_path, header):
    path = written(tmp_path, f"{header}\n1.wav,rain,3.25\n")
    assert numbers(path, "score") == {"1.wav": 3.25}


@pytest.mark.parametrize("score", ["nan", "", "high", "inf"])
def test_score_that_the_official_script_would_drop_is_named(tmp_path, score):
    path = written(tmp_path, f"wav_file_name,pred_score\n1.wav,2\n0.wav,{score}\n")
    with pytest.raises(ValueError, match=r"not a finite number in row 1 .* in line 3"):
        numbers(path)


def test_clip_that_is_there_twice_is_named(tmp_path):
    message = r"for the same key in row 1 \(1\.wav\).* line 3"
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,2\n1.wav,2\n")
    with pytest.raises(ValueError, match=f"a second prediction {message}"):
        numbers(path)
    path = written(tmp_path, "wav_file_name,average_score\n1.wav,2\n1.wav,4\n")
    with pytest.raises(ValueError, match=f"a second score {message}"):
        numbers(path, "score")


@pytest.mark.parametrize(
    ("header", "role"),
    [("name,pred_score", "audio"), ("wav_file_name,score", "prediction")],
)
def test_unknown_columns_are_named(tmp_path, header, role):
    path = written(tmp_path, f"{header}\n1.wav,2\n")
    with pytest.raises(
        ValueError, match=rf"no {role} column .*it has \['.*Rename the intended column"
    ):
        numbers(path)


def test_two_columns_of_scores_are_refused(tmp_path):
    header = "wav_file_name,pred_score,prediction_score"
    path = written(tmp_path, f"{header}\n1.wav,2,3\n")
    with pytest.raises(
        ValueError, match=r"more than one prediction column \('pred_score'"
    ):
        numbers(path)


def test_empty_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no rows"):
        numbers(written(tmp_path, "wav_file_name,pred_score\n"))


def test_scores_are_matched_by_name_not_by_order(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,1\n2.wav,2\n0.wav,0\n")
    assert_array_equal(read_predictions(path, NAMES), [2.0, 0.0, 1.0])


def test_rows_that_the_official_script_would_leave_out_are_named(tmp_path):
    path = written(tmp_path, "wav_file_name,pred_score\n1.wav,1\n2.wav,2\n9.wav,0\n")
    message = (
        r"table\.csv has no prediction for 0\.wav \(1 of 3\), and the split has no row "
        r"for 9\.wav \(1 of 3\)"
    )
    with pytest.raises(ValueError, match=message):
        read_predictions(path, NAMES)
