import io
import json
import re
import sys

import pandas as pd
import pytest

from clapstack.scoring.tables import PairTable, result_format


def table_of(path, content, **settings):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return PairTable(path, **settings)


@pytest.fixture
def csv_file(tmp_path):
    return tmp_path / "t.csv"


def test_cells_remain_texts(csv_file):
    table = table_of(csv_file, 'text,audio\n"NA, or 007","a b.wav"\n,1.wav\n')
    rows = list(table.rows())
    assert [(row.number, row.text) for row in rows] == [(0, "NA, or 007"), (1, "")]
    assert [row.audio for row in rows] == ["a b.wav", "1.wav"]


def test_byte_order_marks_and_blank_lines_are_skipped(csv_file):
    table = table_of(csv_file, b"\xef\xbb\xbfaudio,text\r\n\r\na.wav,rain\r\n\r\n")
    assert [row.text for row in table.rows()] == ["rain"]
    assert table.count() == 1


def test_relative_clips_start_from_the_table_or_the_given_folder(csv_file):
    content = "audio,text\na.wav,x\n/b.wav,y\n"
    paths = [row.path for row in table_of(csv_file, content).rows()]
    assert paths == [str(csv_file.parent / "a.wav"), "/b.wav"]
    other = table_of(csv_file, content, audio_folder=csv_file.parent / "wav")
    assert next(other.rows()).path == str(csv_file.parent / "wav" / "a.wav")


def test_names_of_the_challenge_are_known(csv_file):
    content = "wav_file_name,text,average_score\n0.wav,rain,3.5\n"
    table = table_of(csv_file, content, roles=("audio", "text", "score"))
    (row,) = table.rows()
    assert (row.audio, row.text, row.cells) == ("0.wav", "rain", {"score": "3.5"})


@pytest.mark.parametrize(
    ("content", "names", "message"),
    [
        ("clip,text\na,b\n", {}, "no audio column ('audio', 'wav_file_name'"),
        ("audio,wav_file_name,text\na,b,c\n", {}, "more than one audio column"),
        ("clip,text\na,b\n", {"audio": "wave"}, "('wave'); it has ['clip', 'text']"),
        ("audio,text,text\na,b,c\n", {}, "more than one column 'text'"),
        ("", {}, "is empty. Add a header and rows"),
        ("audio,text\na,b\na,b,c\n", {}, "line 3 has 3 cells, but the header has 2"),
        ('audio,text\na,"b\n', {}, "line 2: unexpected end of data"),
    ],
)
def test_an_unreadable_table_is_named_by_column_or_line(
    csv_file, content, names, message
):
    with pytest.raises(ValueError, match=re.escape(message)):
        list(table_of(csv_file, content, names=names).rows())


def test_a_kept_column_must_exist(csv_file):
    table = table_of(csv_file, "audio,text\na,b\n", others=["id"])
    with pytest.raises(ValueError, match="no column 'id'"):
        table.check()


def test_a_caption_column_is_used_if_there_is_no_text_column(csv_file):
    (row,) = table_of(csv_file, "file_name,caption\na.wav,rain\n").rows()
    assert (row.audio, row.text) == ("a.wav", "rain")
    (row,) = table_of(csv_file, "audio,caption,text\na.wav,rain,hail\n").rows()
    assert row.text == "hail"
    with pytest.raises(ValueError, match="more than one text column"):
        table_of(csv_file, "audio,caption,prompt\na.wav,rain,hail\n").check()


def test_a_kept_column_does_not_replace_the_clips(csv_file):
    content = "audio,wave,text\na.wav,b.wav,x\n"
    table = table_of(csv_file, content, names={"audio": "wave"}, others=["audio"])
    with pytest.raises(ValueError, match="the audio is read from the column 'wave'"):
        table.check()
    (row,) = table_of(
        csv_file, content, names={"audio": "audio"}, others=["text"]
    ).rows()
    assert (row.text, row.cells) == ("x", {"text": "x"})


def test_bytes_that_are_no_utf8_belong_to_their_row_alone(csv_file):
    rows = list(table_of(csv_file, b"audio,text\na.wav,rain\xe9\nb.wav,ok\n").rows())
    assert rows[1].text == "ok"
    assert rows[0].text.encode("utf-8", "surrogateescape") == b"rain\xe9"


def test_json_lines_keep_their_types(tmp_path):
    lines = [{"text": "x", "audio": "a.wav", "n": 3}, {"audio": None, "text": 5}]
    content = "\n".join(map(json.dumps, lines)) + "\n"
    rows = list(table_of(tmp_path / "t.jsonl", content, others=["n"]).rows())
    assert rows[0].cells == {"n": 3}
    assert (rows[1].audio, rows[1].path, rows[1].text) == (None, None, 5)


@pytest.mark.parametrize("line", ['{"audio": ', "[1]"])
def test_a_line_that_is_no_object_is_named(tmp_path, line):
    content = '{"audio": "a", "text": "b"}\n' + line + "\n"
    with pytest.raises(ValueError, match="line 2"):
        list(table_of(tmp_path / "t.jsonl", content).rows())


def test_parquet_is_read(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"text": ["x", None], "n": [1, 2], "audio": ["a", "b"]})
    frame.to_parquet(path)
    rows = list(PairTable(path, others=["n"]).rows())
    assert [row.text for row in rows] == ["x", None]
    assert [row.cells["n"] for row in rows] == [1, 2]


def test_home_and_urls_are_not_relative_to_the_table(csv_file, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    names = ["~/a.wav", "https://x.org/a.wav", "s3://x/a.wav", "~a.wav"]
    table = table_of(csv_file, "audio,text\n" + "".join(f"{n},x\n" for n in names))
    paths = [row.path for row in table.rows()]
    assert paths == ["/home/ann/a.wav", *names[1:3], str(csv_file.parent / "~a.wav")]


def test_standard_input_is_relative_to_the_current_folder(monkeypatch):
    content = io.TextIOWrapper(io.BytesIO(b"audio,text\na.wav,rain\n"))
    monkeypatch.setattr(sys, "stdin", content)
    (row,) = PairTable("-").rows()
    assert (row.path, row.text) == ("a.wav", "rain")


def test_the_name_of_a_result_gives_its_format(tmp_path):
    assert result_format(tmp_path / "a.CSV") == "csv"
    for name in ("a.txt", "a.tsv", "a.csv.gz"):  # these would hold plain CSV
        with pytest.raises(ValueError, match=r"must end in \.csv, \.jsonl"):
            result_format(tmp_path / name)
