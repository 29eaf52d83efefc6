"""Reading of tables: unchanged cells, or an error that names the place."""

import gzip
import json
import re
import tracemalloc

import pandas as pd
import pytest

from clapstack.exceptions import BadRowsError, TableError
from clapstack.tables import (
    find_column,
    format_of,
    read_frame,
    read_rows,
    refuse_rows,
    to_number,
)


def zipped(content):
    return gzip.compress(content, mtime=0)


def shown(value):
    """Return the beginning of the content as the id of a test."""
    return repr(value)[:40]


COLUMNS = {"audio": ["audio"], "text": ["text"]}


@pytest.fixture
def read(tmp_path):
    """Return a function that reads audio and text from a table of given content."""

    def read(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_frame(path, COLUMNS)

    return read


def refusal(read, content, name="t.csv"):
    with pytest.raises(TableError) as caught:
        read(content, name)
    assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["007", "1.50", "NA", "null", "None", "TRUE", "1e5", "2026-11-27", "nan", "-", "٣"],
)
def test_text_stays_text(read, text):
    assert read(f"audio,text\n00000,{text}\n").to_numpy().tolist() == [["00000", text]]


@pytest.mark.parametrize(
    "content",
    [
        "audio,text\na.wav,rain\n".encode("utf-8-sig"),
        "audio,text\na.wav,rain\n".encode("utf-16"),
        b"\xfe\xff" + "audio,text\na.wav,rain\n".encode("utf-16-be"),
        "audio,text\na.wav,rain\n".encode("utf-32"),
        "audio\ttext\r\na.wav\train\r\n".encode("utf-16"),
        zipped(b"audio,text\na.wav,rain\n"),
        zipped("audio;text\na.wav;rain\n".encode("utf-16")),
        "audio;text\na.wav;rain\n",
        '"audio";"text"\n"a.wav";"rain"\n',
        "sep=;\naudio;text\na.wav;rain\n",
        "audio\ttext\na.wav\train\n",
        "audio,text\ra.wav,rain\r",
        "audio,text\r\na.wav,rain",
        "\n\naudio,text\n\na.wav,rain\n\n",
        " Audio , TEXT\na.wav,rain\n",
        "audio,text,\na.wav,rain,\n",
        "audio,text,,\na.wav,rain,, \n",
        ",audio,text\n0,a.wav,rain\n",
        "audio,text,other\na.wav,rain,x\n",
    ],
    ids=shown,
)
def test_an_unambiguous_table_is_read(read, content):
    assert read(content).to_numpy().tolist() == [["a.wav", "rain"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty. Add a header and rows"),
        ("\n \n", "is empty. Add a header and rows"),
        ("audio,text\n", "has no rows. Add at least one"),
        ("audio,text\n\n\n", "has no rows"),
        ("audio,text,text\na,b,c\n", "more than one column 'text'. Rename one"),
        ("Text,audio,TEXT\na,b,c\n", "must have exactly one column 'text'; it has"),
        ("a.wav,rain\nb.wav,hail\n", "The first line must name the columns"),
        ("audio|text\na.wav|rain\n", "it has ['audio|text']"),
        ("audio;left\tright\na;b\tc\n", "must have exactly one column 'audio'"),
        ("audio,text\na.wav\n", "line 2 has 1 cells, but the header has 2"),
        ("audio,text\na.wav,rain,\n", "line 2 has 3 cells, but the header has 2"),
        ("audio,text,\na.wav,rain\n", "line 2 has 2 cells, but the header has 3"),
        ("audio,text,\na.wav,rain, hail\n", "line 2 has ' hail' in a column"),
        ("audio,,text\na,b.wav,rain\n", "line 2 has 'b.wav' in a column"),
        ('audio,text\na,"x\ny"\n\nb\n', "line 5 has 1 cells"),
        ('audio,text\na,"x\rz\r\ny"\n\n\nb\n', "line 7 has 1 cells"),
        (
            'audio,text\na,x\nb,"y\nc,z\n',
            "line 3: unexpected end of data. Look there for a",
        ),
        ('audio,text\na,"x\nb,y\nc,"z"\n', "line 2: ',' expected after"),
        ('audio,text\na,"a \\"dog\\""\n', "line 2: ',' expected after"),
        (
            "audio,text\na,x\naudio,text\nb,y\n",
            "line 3 repeats the header. Remove",
        ),
        ("audio,text\na,x\n\ufeffAudio, text\n", "line 3 repeats"),
        ("audio,text\na,x\0y\n", "line 2 has a NUL byte"),
        ("audio,text\na,x\n".encode("utf-16-le"), "line 1 has a NUL byte"),
        ("audio,text\na,x\n".encode("utf-16")[:-1], "not valid utf-16"),
        (
            zipped(b"audio,text\n" + b"a,x\n" * 999)[:-9],
            "cannot be decompressed",
        ),
        (b"\x1f\x8bno gzip", "cannot be decompressed"),
        (b"PAR1...", "is a Parquet file"),
        (b"PK\x03\x04...", "is an Excel workbook or a zip archive. Save the sheet"),
        (b"\xfd7zXZ\0", "is compressed with xz. Decompress it"),
    ],
    ids=shown,
)
def test_what_is_wrong_with_a_table_is_named_with_its_line(read, content, message):
    assert message in refusal(read, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"audio": "a", "text": "b"}\n{"audio": \n', "line 2 is not JSON"),
        ('\n{"audio": "a", "text": "b", "text": "c"}', "line 2: 'text' occurs twice"),
        ('[{"audio": "a", "text": "b"}]', "line 1 must be an object"),
        ("[" * 100_000, "line 1 is not JSON"),
        ('{"audio": "a", "n": ' + "1" * 5000 + "}", "line 1 is not JSON"),
        ("", "has no rows"),
        ('{"audio": "a"}', "must have exactly one column 'text'; it has ['audio']"),
    ],
    ids=shown,
)
def test_what_is_wrong_with_json_lines_is_named(read, content, message):
    assert message in refusal(read, content, "t.jsonl")


def test_json_lines_keep_their_types(read):
    table = read('{"text": null, "audio": 7}\n\n{"audio": "None"}\n', "t.jsonl")
    assert table.to_numpy().tolist() == [[7, None], ["None", None]]
    assert table.index.tolist() == [1, 3]


def test_json_lines_may_be_compressed(read):
    line = json.dumps({"audio": "a.wav", "text": "rain"}).encode()
    assert read(zipped(line), "t.JSONL.gz")["text"].item() == "rain"


def test_parquet_that_is_none_is_named(read):
    pytest.importorskip("pyarrow")
    assert "cannot be read as Parquet" in refusal(read, "audio,text\n", "t.parquet")
    assert "is empty" in refusal(read, "", "t.parquet")


def test_parquet_keeps_its_types(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"text": ["007", None], "n": [1, 2], "audio": ["a", "b"]})
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_frame(tmp_path / "t.parquet", {"text": ["Text"], "n": ["n"]})
    assert table.to_numpy().tolist() == [["007", 1], [None, 2]]


def test_bytes_that_are_no_utf8_stay_in_their_cell(read):
    table = read(b"audio,text\na\xe9.wav,rain\nb.wav,hail\n")
    assert table["audio"].iloc[0].encode("utf-8", "surrogateescape") == b"a\xe9.wav"
    assert table["text"].tolist() == ["rain", "hail"]


def test_a_line_without_end_does_not_fill_the_memory(read):
    content = b"audio,text\na," + b"x" * ((1 << 24) + 1)
    assert "line 2 has more than 16,777,216 characters" in refusal(read, content)


def test_a_quote_that_swallows_the_file_does_not_fill_the_memory(read):
    rows = b"b.wav,rain on a roof\n" * (1 << 20)
    message = refusal(read, b'audio,text\na.wav,"rain\n' + rows)
    assert "line 2: field larger than field limit" in message


def test_rows_come_one_by_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("audio,text\na,x\nb,y\nc\n")
    rows = read_rows(path, None, lambda header: {"a": "audio"})
    assert next(rows) == (0, 2, {"a": "a"})
    assert next(rows) == (1, 3, {"a": "b"})
    with pytest.raises(TableError, match="line 4 has 1 cells"):
        next(rows)


def test_a_missing_file_is_an_error_of_the_system(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.csv"):
        read_frame(tmp_path / "gone.csv", COLUMNS)


def test_an_exact_column_name_is_preferred():
    assert find_column(["Text", "text", " TEXT"], ["text"]) == ["text"]
    assert find_column(["Text ", "audio"], ["text"]) == ["Text "]
    assert find_column(["Text", "TEXT"], ["text"]) == ["Text", "TEXT"]


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("-0.25", -0.25),
        ("+.5", 0.5),
        ("7.", 7),
        ("1e-3", 0.001),
        (7, 7),
        (2.5, 2.5),
    ],
)
def test_numbers_are_read(cell, number):
    assert to_number(cell) == number


NO_NUMBERS = ["7_5", "\u0663", "\uff17", "7,5", "0x7", "7/10", "1 2", "1e", ".", "TRUE"]
NO_NUMBERS += ["nan", "inf", "-Infinity", "1e400", "", " ", "7\n", "\u00a07"]
NO_NUMBERS += [True, None, [7], b"7", 10**400, float("nan"), float("inf")]


@pytest.mark.parametrize("cell", NO_NUMBERS, ids=shown)
def test_texts_that_other_programs_read_differently_are_no_numbers(cell):
    value = to_number(cell)
    assert value != value


def test_bad_rows_are_named_by_their_line():
    table = pd.DataFrame({"id": ["a", "b", "c"]}, index=[2, 5, 9])
    message = re.escape("'t.csv': it is bad in line 5 (b), line 9 (c). Mend it.")
    with pytest.raises(BadRowsError, match=message):
        refuse_rows([False, True, True], table, "id", "t.csv", "it is bad|Mend it.")
    refuse_rows([False] * 3, table, "id", "t.csv", "it is bad|Mend it.")


def test_a_name_must_give_the_format(tmp_path):
    formats = {"a.CSV": "csv", "a.tsv": "csv", "a.jsonl.gz": "jsonl"}
    assert {name: format_of(tmp_path / name) for name in formats} == formats
    for name in ("a.txt", "a.gz", "a"):
        with pytest.raises(TableError, match=r"must end in \.csv"):
            format_of(tmp_path / name)


def test_memory_does_not_grow_with_a_table_of_clips(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = {"audio": [{"bytes": bytes([i]) * 100_000} for i in range(200)]}
    table = pa.table({**cells, "text": ["rain"] * 200})
    parquet.write_table(
        table, tmp_path / "t.parquet", row_group_size=10, compression="none"
    )
    del table
    before = pa.total_allocated_bytes()
    held = [
        pa.total_allocated_bytes() - before
        for _ in read_rows(
            tmp_path / "t.parquet", None, lambda header: dict.fromkeys(header, "audio")
        )
    ]
    assert len(held) == 200
    assert max(held) < 8e6  # a few of the 20 groups


def read_whole(path):
    """Return the number of rows, and the peak of traced memory in bytes."""
    tracemalloc.start()
    n_rows = sum(1 for _ in read_rows(path, None, lambda _: {"text": "text"}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return n_rows, peak


def test_a_small_parquet_of_long_equal_cells_takes_bounded_memory(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({"text": pa.array(["x" * (2 << 20)] * 300).dictionary_encode()})
    parquet.write_table(table, tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    n_rows, peak = read_whole(tmp_path / "t.parquet")
    assert n_rows == 300
    assert peak < 300 << 20  # of 600 MB that all cells would take


@pytest.mark.parametrize("kind", ["dictionary", "run"])
def test_a_small_arrow_file_of_equal_cells_takes_bounded_memory(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    cells = pa.array(["x" * (24 << 20)])
    if kind == "dictionary":
        cells = pa.DictionaryArray.from_arrays(pa.array([0] * 60, pa.int32()), cells)
    else:
        cells = pa.RunEndEncodedArray.from_arrays(pa.array([60], pa.int32()), cells)
    batch = pa.record_batch({"text": cells})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(tmp_path / "t.arrow", batch.schema, options=options) as file:
        file.write_batch(batch)
    n_rows, peak = read_whole(tmp_path / "t.arrow")
    assert n_rows == 60
    assert peak < 400 << 20  # of 1.4 GB that all cells would take
