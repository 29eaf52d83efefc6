import io
import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest

from clapstack.exceptions import BadPair, BadPairsError
from clapstack.scoring.tables import (
    PairTable,
    TableScorer,
    part_file,
    score_to_file,
    score_to_stream,
)

# A separate process that has already imported everything.
FORK = multiprocessing.get_context("fork")
N_ROWS = 60


class ToyScorer(TableScorer):
    """The length of the text; a text that contains "bad" is unusable."""

    names = ("score",)
    waits = False

    def __init__(self, identity="toy", pause=0.0):
        self.identity = {"model": identity}
        self.pause = pause
        self.asked = []

    def values(self, pairs):
        texts = list(pairs["text"])
        self.asked.append(texts)
        time.sleep(self.pause)
        bad = [
            BadPair(i, pairs.index[i], "text", f"row {pairs.index[i]} is bad")
            for i, text in enumerate(texts)
            if "bad" in text
        ]
        if bad:
            raise BadPairsError(bad, len(texts))
        return np.array([[len(text) / 7] for text in texts])

    def finish(self, values):
        return list


def score_slowly(table, out):
    score_to_file(
        PairTable(table),
        ToyScorer(pause=0.01),
        out,
        "csv",
        chunk_size=2,
        verbose=False,
        remark=print,
    )


def text_of(row):
    return f"bad {row}" if row % 10 == 3 else "x" * row


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    lines = ["id,audio,text", *(f"{i},{i}.wav,{text_of(i)}" for i in range(N_ROWS))]
    lines[1] = "0,0.wav,start"
    path.write_text("\n".join(lines) + "\n")
    return path


def to_file(table, out, scorer=None, fmt="csv", remarks=None, **settings):
    return score_to_file(
        PairTable(table, **settings),
        scorer or ToyScorer(),
        out,
        fmt,
        chunk_size=8,
        verbose=False,
        remark=(remarks if remarks is not None else []).append,
    )


def check_complete(rows):
    """Check that every row occurs once, in order, with its score or its reason."""
    assert [int(row["row"]) for row in rows] == list(range(N_ROWS))
    for number, row in enumerate(rows):
        if number % 10 == 3:
            assert row["error"] == f"row {number} is bad"
            assert not row["score"]
        else:
            assert not row["error"]
            assert float(row["score"]) == len(row["text"]) / 7


def test_good_rows_are_scored_and_bad_rows_get_a_reason(table, tmp_path, read_csv):
    scored = to_file(table, tmp_path / "out.csv")
    check_complete(read_csv(tmp_path / "out.csv"))
    assert scored == (N_ROWS, 6, 0, {})
    assert not part_file(tmp_path / "out.csv").exists()


def test_bad_rows_cost_one_more_call_per_chunk(table, tmp_path):
    scorer = ToyScorer()
    to_file(table, tmp_path / "out.csv", scorer)
    n_chunks = -(-N_ROWS // 8)
    assert len(scorer.asked) == n_chunks + 6  # a bad row in six of the chunks


def test_every_format_has_the_same_content(table, tmp_path, read_csv, read_lines):
    pytest.importorskip("pyarrow")
    for fmt in ("csv", "jsonl", "parquet"):
        to_file(table, tmp_path / f"out.{fmt}", fmt=fmt, others=["id"])
    lines = read_lines(tmp_path / "out.jsonl")
    assert list(lines[0]) == ["row", "audio", "text", "id", "score", "error"]
    cells = [
        {name: "" if cell is None else str(cell) for name, cell in line.items()}
        for line in lines
    ]
    assert cells == read_csv(tmp_path / "out.csv")
    frame = pd.read_parquet(tmp_path / "out.parquet").astype(object)
    assert frame.where(frame.notna(), None).to_dict("records") == lines


def test_an_interrupted_run_repeats_no_row_and_loses_none(table, tmp_path, read_csv):
    out = tmp_path / "out.csv"
    part = part_file(out)
    process = FORK.Process(target=score_slowly, args=(table, out))
    process.start()
    while not part.exists() or part.stat().st_size < 1000:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()
    remarks = []
    scored = to_file(table, out, remarks=remarks)
    check_complete(read_csv(out))
    assert 0 < scored.n_resumed < N_ROWS - 6
    assert remarks == [f"resuming: {part} has {scored.n_resumed} scored rows"]


def test_an_interrupted_run_of_another_model_is_not_resumed(table, tmp_path):
    out = tmp_path / "out.csv"
    interrupted(table, out)
    remarks = []
    scored = to_file(table, out, ToyScorer("another"), remarks=remarks)
    assert scored.n_resumed == 0
    assert remarks == [
        f"{part_file(out)} belongs to another model or other settings; starting again"
    ]


def test_changed_rows_are_scored_again(table, tmp_path, read_csv):
    out = tmp_path / "out.csv"
    interrupted(table, out)
    content = table.read_text().replace("1,1.wav,x\n", "1,1.wav,changed\n")
    table.write_text(content)
    (tmp_path / "2.wav").write_bytes(b"another file")
    scorer = ToyScorer()
    scored = to_file(table, out, scorer)
    assert scored.n_resumed == 14 - 2
    assert read_csv(out)[1]["score"] == str(len("changed") / 7)
    assert {"changed", "xx"} <= set(scorer.asked[0])


def test_a_changed_kept_cell_is_updated(tmp_path, read_csv):
    table, out = tmp_path / "table.csv", tmp_path / "out.csv"
    for cell in ("old", "new"):
        table.write_text(f"audio,text,id\na.wav,x,{cell}\nb.wav,bad,{cell}\n")
        pairs = PairTable(table, others=["id"])
        running = {"chunk_size": 1, "verbose": False, "remark": print}
        with pytest.MonkeyPatch.context() as patch:
            if cell == "old":
                patch.setattr(ToyScorer, "finish", lambda self, values: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    score_to_file(pairs, ToyScorer(), out, "csv", **running)
            else:
                score_to_file(pairs, ToyScorer(), out, "csv", **running)
    assert [row["id"] for row in read_csv(out)] == ["new", "new"]


@pytest.mark.skipif(os.name == "nt", reason="no time of change there")
@pytest.mark.parametrize("is_settled", [True, False])
def test_a_changed_clip_of_equal_size_and_time_is_scored_again(
    table, tmp_path, monkeypatch, is_settled
):
    clip = tmp_path / "2.wav"
    clip.write_bytes(b"one sound")
    if is_settled:
        later = time.time_ns() + 3600 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: later)
    interrupted(table, tmp_path / "out.csv")
    before = clip.stat()
    time.sleep(0.05)  # more than a tick of the file system's clock
    clip.write_bytes(b"other one")
    os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert clip.stat().st_size == before.st_size
    assert to_file(table, tmp_path / "out.csv").n_resumed == 14 - 1


def test_rows_missing_from_a_shorter_table_are_dropped(table, tmp_path):
    out = tmp_path / "out.csv"
    interrupted(table, out)
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:6]))
    assert to_file(table, out) == (5, 1, 4, {})


def interrupted(table, out):
    """Leave the files of a run interrupted after two chunks: 14 scores, two faults."""

    class Interrupted(ToyScorer):
        def values(self, pairs):
            if 20 in pairs.index:
                raise KeyboardInterrupt
            return super().values(pairs)

    with pytest.raises(KeyboardInterrupt):
        to_file(table, out, Interrupted())
    assert not out.exists()


def test_an_existing_result_is_complete_at_every_moment(table, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("the result of before")
    interrupted_after = part_file(out)
    with pytest.raises(ValueError, match="'error' of the table cannot be kept"):
        to_file(table, out, others=["error"])
    assert out.read_text() == "the result of before"
    assert not interrupted_after.exists()


def test_a_stream_gets_the_same_rows(table, tmp_path, read_csv):
    to_file(table, tmp_path / "out.csv")
    stream = io.StringIO()
    settings = {"chunk_size": 8, "verbose": False}
    scored = score_to_stream(PairTable(table), ToyScorer(), stream, "csv", **settings)
    assert stream.getvalue() == (tmp_path / "out.csv").read_text()
    assert scored == (N_ROWS, 6, 0, {})


@pytest.mark.parametrize("fmt", ["csv", "jsonl", "parquet"])
def test_numbers_that_a_format_lacks_are_left_empty(tmp_path, fmt):
    pytest.importorskip("pyarrow")

    class Endless(ToyScorer):
        names = ("score", "low", "high")

        def values(self, pairs):
            return np.tile([1.5, np.nan, np.inf], (len(pairs), 1))

    table = tmp_path / "t.csv"
    table.write_bytes(b"audio,text\na.wav,rain\xe9\n")
    out = tmp_path / f"out.{fmt}"
    to_file(table, out, Endless(), fmt)
    if fmt == "csv":
        assert out.read_bytes().endswith(b"0,a.wav,rain\xe9,1.5,,inf,\n")
    elif fmt == "jsonl":
        expected = rb'"text": "rain\udce9", "score": 1.5, "low": null, "high": null'
        assert expected in out.read_bytes()
    else:
        row = pd.read_parquet(out).iloc[0]
        assert np.isnan(row["low"])
        assert np.isinf(row["high"])
