"""Folders, prompts, Kaldi lists and saved Datasets as tables."""

import json
import os
import re
import time

import pandas as pd
import pytest

from clapstack import Scorer
from clapstack.cli._options import name_bad
from clapstack.exceptions import BadPairsError, TableError
from clapstack.pairs import Fault
from clapstack.scoring import score_table
from clapstack.scoring.tables import PairTable, pairs_of

TEXTS = ["a dog barks", "rain on a roof", "a synth bass", "a bell"]


@pytest.fixture
def folder(tmp_path, clips):
    """Return a folder of four clips, one of them in a subfolder."""
    place = tmp_path / "made"
    (place / "late").mkdir(parents=True)
    for number in range(4):
        inner = "late" if number == 3 else "."
        (place / inner / f"{number}.wav").symlink_to(clips / f"{number}.wav")
    return place


def rows_of(*source, **settings):
    return list(PairTable(*source, **settings).rows())


def reason(cell):
    assert isinstance(cell, Fault)
    return cell.reason


def test_texts_lie_beside_their_clips(folder):
    (folder / "0.txt").write_text("\ufeffa dog barks\n", encoding="utf-8")
    (folder / "1.json").write_text(json.dumps({"caption": "rain", "seed": 7}))
    (folder / "2.json").write_text(json.dumps({"prompt": "a bass", "seed": 8}))
    (folder / "late" / "3.txt").write_text("a bell")
    (folder / "._0.wav").write_text("what macOS leaves")
    (folder / "README.txt").write_text("no text of a clip")
    rows = rows_of(folder)
    assert [row.audio for row in rows] == ["0.wav", "1.wav", "2.wav", "late/3.wav"]
    assert [row.text for row in rows] == ["a dog barks", "rain", "a bass", "a bell"]
    assert rows[3].path == str(folder / "late" / "3.wav")
    kept = rows_of(folder, others=["seed"], names={"text": "prompt"})
    assert kept[2].cells == {"seed": 8}


def test_a_clip_without_a_clear_text_is_named(folder):
    (folder / "0.txt").write_text("rain")
    (folder / "0.json").write_text('{"text": "a dog"}')
    (folder / "1.txt").write_bytes(b"rain\xff")
    (folder / "2.json").write_text('{"text": ')
    first, second, third, last = (row.text for row in rows_of(folder))
    assert "more than one text: 0.json: text, 0.txt" in reason(first)
    assert re.search(r"1\.txt is not UTF-8", reason(second))
    assert re.search(r"2\.json is not JSON", reason(third))
    assert "no 3.txt, and no 3.json with a text" in reason(last)
    asked = rows_of(folder, names={"text": "text"})
    assert asked[0].text == "a dog"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_text_that_never_ends_is_not_read(folder):
    os.mkfifo(folder / "0.txt")
    with open(folder / "1.txt", "wb") as file:
        file.truncate(1 << 40)  # sparse
    first, second, *_ = (row.text for row in rows_of(folder))
    assert "0.txt is not a text file of at most" in reason(first)
    assert "1.txt is not a text file of at most" in reason(second)


def test_links_to_folders_elsewhere_are_named(folder, tmp_path):
    (folder / "all").symlink_to(tmp_path)
    (folder / "newest").symlink_to(folder / "late")  # its clips are there already
    linked = rows_of(folder)[0]
    assert linked.audio == "all"
    assert reason(linked.text).endswith(
        "all is a link to a folder outside. Score that folder separately."
    )
    assert [row.audio for row in rows_of(folder)].count("late/3.wav") == 1
    assert len(rows_of(folder)) == 5


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(TableError, match="contains no clips"):
        rows_of(tmp_path)


PROMPTS = {"0": TEXTS[0], "1.wav": TEXTS[1], "late/3": TEXTS[3]}


def write_prompts(path):
    frame = pd.DataFrame({"id": list(PROMPTS), "prompt": list(PROMPTS.values())})
    if ".json" in path.suffixes:
        path.write_text(json.dumps(PROMPTS))
    elif ".jsonl" in path.suffixes:
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, sep="\t" if ".tsv" in path.suffixes else ",", index=False)
    return path


@pytest.mark.parametrize("name", ["p.json", "p.csv", "p.tsv.gz", "p.jsonl.gz"])
def test_prompts_find_clips_by_name(folder, tmp_path, name):
    rows = rows_of(folder, write_prompts(tmp_path / name))
    assert [row.audio for row in rows] == ["0.wav", "1.wav", "late/3.wav"]
    assert [row.text for row in rows] == list(PROMPTS.values())


def test_prompts_reach_no_clip_outside_the_folder(folder, tmp_path, clips):
    (folder / "0.flac").write_bytes(b"")
    outside = [str(clips / "0.wav"), "../made/1.wav", "0", "none"]
    (tmp_path / "p.json").write_text(json.dumps(dict.fromkeys(outside, "rain")))
    rows = rows_of(folder, tmp_path / "p.json")
    for row in (*rows[:2], rows[3]):
        assert f"no clip named {row.audio!r}" in reason(row.path)
    assert "matches 0.flac and 0.wav in" in reason(rows[2].path)


def test_prompts_need_a_folder(tmp_path):
    (tmp_path / "t.csv").write_text("audio,text\na.wav,b\n")
    with pytest.raises(TableError, match=r"prompts apply to a folder .*t\.csv is not"):
        PairTable(tmp_path / "t.csv", tmp_path / "p.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a"]', "must be an object"),
        ('{"a": "b", "a": "c"}', "'a' occurs twice"),
        ('{"a": ' * 100_000, "is not JSON"),
        ("{}", "has no rows"),
    ],
)
def test_json_that_is_no_table_is_named(tmp_path, content, message):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(TableError, match=rf"t\.json.*{message}"):
        rows_of(tmp_path / "t.json")


@pytest.fixture
def kaldi(tmp_path, clips):
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [f"u{i} {clips / f'{i}.wav'}" for i in range(4)]
    (folder / "wav.scp").write_text("\n".join(lines) + "\n")
    texts = [f"u{i} {text}" for i, text in enumerate(TEXTS)]
    (folder / "text").write_text("\n".join(texts) + "\n")
    return folder


@pytest.mark.parametrize("part", ["", "wav.scp"])
def test_lists_of_kaldi_are_read(kaldi, clips, part):
    rows = rows_of(kaldi / part, others=["id"])
    assert [row.path for row in rows] == [str(clips / f"{i}.wav") for i in range(4)]
    assert [row.text for row in rows] == TEXTS
    assert rows[2].cells == {"id": "u2"}


def test_texts_of_kaldi_may_lie_elsewhere(kaldi, tmp_path):
    (kaldi / "text").rename(tmp_path / "prompts")
    rows = rows_of(kaldi / "wav.scp", tmp_path / "prompts")
    assert [row.text for row in rows] == TEXTS


def test_texts_of_kaldi_are_no_table(kaldi, tmp_path):
    (tmp_path / "prompts.json").write_text('{"u0": "a dog barks"}')
    with pytest.raises(TableError, match=r"prompts.json is a table.*'dog a dog barks'"):
        rows_of(kaldi, tmp_path / "prompts.json")


def test_entries_of_kaldi_run_nothing(kaldi, tmp_path):
    made = tmp_path / "made"
    entries = [f"touch {made} |", "|cat", "/x/raw.ark:123", "a.ark:5[0:9]", ""]
    with open(kaldi / "wav.scp", "a") as file:
        file.writelines(f"x{i} {entry}\n" for i, entry in enumerate(entries))
        file.write("u0 again.wav\n")
    with open(kaldi / "text", "a") as file:
        file.write("u1 another\nghost rain\n")
        file.writelines(f"x{i} rain\n" for i in range(4))
    rows = rows_of(kaldi)
    assert all(
        "is a command, which clapstack does not run" in reason(r.path)
        for r in rows[4:6]
    )
    assert all("is a place in an archive" in reason(r.path) for r in rows[6:8])
    assert "has no text for x4" in reason(rows[8].text)
    assert "already has an entry u0" in reason(rows[9].path)
    assert "has two texts for u1" in reason(rows[1].text)
    assert "has no clip for ghost" in reason(rows[10].path)
    assert not made.exists()


def test_a_row_without_a_clip_has_no_empty_place_in_messages(kaldi, capsys):
    with open(kaldi / "text", "a") as file:
        file.write("ghost rain\n")
    table = PairTable(kaldi)
    usable = table.on_usable(len, pairs_of(list(table.rows())))
    message = str(BadPairsError(usable.bad, 5))
    assert re.search(r"row 4 \(index 4\): .*has no clip for ghost", message)
    name_bad(usable.bad, "score")
    assert "row 4: " in capsys.readouterr().err


def test_segments_of_kaldi_are_refused(kaldi):
    (kaldi / "segments").write_text("u0-1 u0 0.0 1.0\n")
    with pytest.raises(TableError, match="has a segments file"):
        rows_of(kaldi)


def test_entries_are_found_from_the_list_or_the_current_folder(
    kaldi, clips, monkeypatch
):
    (kaldi / "wav.scp").write_text("u0 0.wav\nu1 here.wav\n")
    (kaldi / "here.wav").symlink_to(clips / "1.wav")
    monkeypatch.chdir(clips)
    first, second, *_ = rows_of(kaldi)
    assert first.path == str(clips / "0.wav")
    assert second.path == str(kaldi / "here.wav")


@pytest.fixture
def dataset(clips):
    datasets = pytest.importorskip("datasets")
    content = [{"bytes": (clips / f"{i}.wav").read_bytes()} for i in range(4)]
    features = datasets.Features(
        {"sound": datasets.Audio(decode=False), "caption": datasets.Value("string")}
    )
    cells = {"sound": content, "caption": TEXTS}
    return datasets.Dataset.from_dict(cells, features=features)


NAMES = {"audio_column": "sound", "text_column": "caption"}


def test_a_dataset_is_scored_from_memory_folder_and_file(
    dataset, tmp_path, clips, model_file
):
    dataset.save_to_disk(tmp_path / "saved", num_shards=2)
    dataset.to_parquet(tmp_path / "t.parquet")
    scorer = Scorer(model_file)
    expected = scorer.score([clips / f"{i}.wav" for i in range(4)], TEXTS)
    for table in (dataset, tmp_path / "saved", tmp_path / "t.parquet"):
        scored = scorer.score_table(table, **NAMES)
        assert scored["error"].isna().all()
        assert list(scored["caption"]) == TEXTS
        assert scored["score"].to_numpy() == pytest.approx(expected, abs=1e-6)
        assert scored["sound"].str.fullmatch(r"bytes of \d+ bytes").all()


def test_a_saved_dataset_names_its_own_files_alone(dataset, tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict(train=dataset).save_to_disk(tmp_path / "both")
    with pytest.raises(TableError, match=r"contains the splits \['train'\]"):
        rows_of(tmp_path / "both")
    state = tmp_path / "both" / "train" / "state.json"
    state.write_text('{"_data_files": [{"filename": "../elsewhere.arrow"}]}')
    with pytest.raises(TableError, match="which is outside the folder"):
        rows_of(state.parent, names={"audio": "sound", "text": "caption"})


def test_a_saved_dataset_that_is_no_text_is_named(tmp_path):
    for name in ("state.json", "dataset_dict.json"):
        (tmp_path / name[:3]).mkdir()
        (tmp_path / name[:3] / name).write_bytes(b"\xff{")
        with pytest.raises(TableError, match=name):
            rows_of(tmp_path / name[:3])


def test_damaged_arrow_is_named(tmp_path, dataset):
    dataset.save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    content = file.read_bytes()
    names = {"audio": "sound", "text": "caption"}
    for damaged in (content[:200], b"junk" * 50, content[:-999], b""):
        (tmp_path / "t.arrow").write_bytes(damaged)
        with pytest.raises(TableError, match=r"t\.arrow cannot be read as Arrow"):
            rows_of(tmp_path / "t.arrow", names=names)


def write_table(kind, folder, clips, tmp_path, dataset):
    """Write pairs as one kind of table, the third of them bad; return the arguments."""
    names = [f"{i % 4}.wav" for i in range(8)]
    texts = ["" if i == 2 else TEXTS[i % 4] for i in range(8)]
    place = tmp_path / kind
    if kind == "arrow":
        cells = {
            "sound": [{"path": str(clips / name)} for name in names],
            "caption": texts,
        }
        dataset.from_dict(cells, features=dataset.features).save_to_disk(place)
        return {"table": place, **NAMES}
    if kind == "kaldi":
        place.mkdir()
        lines = [f"u{i} {clips / name}\n" for i, name in enumerate(names)]
        (place / "wav.scp").write_text("".join(lines))
        (place / "text").write_text(
            "".join(f"u{i} {text}\n" for i, text in enumerate(texts))
        )
        return {"table": place}
    if kind in ("sidecars", "prompts"):
        place.mkdir()
        for i, name in enumerate(names):
            (place / f"c{i}.wav").symlink_to(clips / name)
            if kind == "sidecars":
                (place / f"c{i}.txt").write_text(texts[i])
        if kind == "sidecars":
            return {"table": place}
        prompts = {f"c{i}": text for i, text in enumerate(texts)}
        (tmp_path / "p.json").write_text(json.dumps(prompts))
        return {"table": place, "prompts": tmp_path / "p.json"}
    frame = pd.DataFrame({"audio": [str(clips / name) for name in names]})
    frame["text"] = texts
    table = tmp_path / f"t.{kind}"
    if "json" in kind:
        frame.to_json(table, orient="records", lines=True)
    elif kind == "parquet":
        frame.to_parquet(table)
    else:
        frame.to_csv(table, sep="\t" if "tsv" in kind else ",", index=False)
    return {"table": table}


KINDS = ["csv.gz", "tsv", "tsv.gz", "jsonl.gz", "parquet"]
KINDS += ["sidecars", "prompts", "kaldi", "arrow"]


@pytest.mark.parametrize("kind", KINDS)
def test_good_rows_of_every_kind_are_scored_and_a_rerun_resumes(
    kind, folder, clips, tmp_path, dataset, model_file, monkeypatch
):
    given = write_table(kind, folder, clips, tmp_path, dataset)
    # An hour later: clips that may still change are known by content in one run, and by
    # their times in the next.
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    out = tmp_path / "out.csv"
    scorer = Scorer(model_file)
    with monkeypatch.context() as patch:
        patch.setattr("clapstack.scoring.tables._score.write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score_table(scorer, out=out, **given)
    done = score_table(scorer, out=out, **given)
    assert (done.n_rows, done.n_failed, done.n_resumed) == (8, 1, 7)
    written = pd.read_csv(out)
    assert written.index[written["error"].notna()].tolist() == [2]
    expected = scorer.score(str(clips / "1.wav"), TEXTS[1])[0]
    assert written["score"][1] == pytest.approx(expected, abs=1e-6)


def test_the_columns_keep_their_names(tmp_path, clips, model_file):
    table = tmp_path / "t.csv"
    table.write_text(f"clip,wish\n{clips / '0.wav'},rain\n")
    names = {"audio_column": "clip", "text_column": "wish"}
    score_table(model_file, table, tmp_path / "out.csv", **names)
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written) == ["row", "clip", "wish", "score", "low", "high", "error"]


def test_clips_in_cells_are_worked_on_few_at_a_time(monkeypatch):
    from clapstack.scoring.tables import Row, in_chunks

    def rows(clips, text="a"):
        return [Row(i, clip, clip, text, {}, None) for i, clip in enumerate(clips)]

    monkeypatch.setattr("clapstack.scoring.tables._read._CHUNK_BYTES", 10)
    clips = [{"bytes": b"123456"}, {"bytes": b"123456"}, "a.wav", "b.wav", "c.wav"]
    sizes = [len(chunk) for chunk in in_chunks(rows(clips), 2, lambda row: row)]
    assert sizes == [2, 2, 1]
    (alone,) = in_chunks(rows([{"bytes": b"x" * 99}]), 2, lambda row: row)
    assert len(alone) == 1
    long = in_chunks(rows(["a.wav"] * 3, "a dog barks"), 3, lambda row: row)
    assert [len(chunk) for chunk in long] == [1, 1, 1]
