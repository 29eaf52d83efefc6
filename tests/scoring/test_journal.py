import json

import pytest

from clapstack.scoring.tables._journal import Journal

IDENTITY = {"model": "abc"}


def record(row, key=7, error=None, values=(0.5,)):
    return {"row": row, "key": key, "error": error, "values": list(values)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.csv.part"


def values_of(journal, n_rows):
    return [each["values"] for each in journal.records(n_rows)]


def test_a_row_is_known_by_its_number_and_key(path):
    with Journal(path, IDENTITY) as journal:
        journal.add([record(0), record(1, key=8)])
        assert journal.has(0, 7)
        assert not journal.has(1, 7)
        assert not journal.has(2, 7)


def test_a_failed_row_is_tried_again(path):
    with Journal(path, IDENTITY) as journal:
        journal.add([record(0, error="no such file")])
        assert not journal.has(0, 7)
        assert next(journal.records(1))["error"] == "no such file"


def test_the_last_record_of_a_row_counts(path):
    with Journal(path, IDENTITY) as journal:
        journal.add([record(1, values=[1]), record(0, values=[2])])
        journal.add([record(1, values=[3])])
        assert values_of(journal, 2) == [[2], [3]]


def test_complete_lines_survive_an_interruption_anywhere(path):
    with Journal(path, IDENTITY) as journal:
        journal.add([record(row, values=[row / 3]) for row in range(3)])
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(0, len(whole), 5):
        path.write_bytes(whole[:cut])
        n_kept = max(0, sum(end <= cut for end in ends) - 1)
        with Journal(path, IDENTITY) as journal:
            assert journal.n_found == n_kept
            assert not journal.is_other
            journal.add([record(row, values=[row / 3]) for row in range(n_kept, 3)])
            assert values_of(journal, 3) == [[0.0], [1 / 3], [2 / 3]]
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        b"\0\0\0\n",
        b"12\n",
        b'{"row": 1}\n',
        b'{"row": -1, "key": 7, "error": null}\n',
        b'{"row": "1", "key": 7, "error": null}\n',
        b'{"row": 99999999999999, "key": 7, "error": null}\n',
        b'{"row": 1, "key": -7, "error": null}\n',
    ],
)
def test_lines_after_a_damaged_one_are_dropped(path, damage):
    with Journal(path, IDENTITY) as journal:
        journal.add([record(0)])
    with open(path, "ab") as file:
        file.write(damage + json.dumps(record(2)).encode() + b"\n")
    with Journal(path, IDENTITY) as journal:
        assert journal.n_found == 1
        assert not journal.has(2, 7)


def test_results_of_another_model_are_not_used(path):
    with Journal(path, IDENTITY) as journal:
        journal.add([record(0)])
    with Journal(path, {"model": "other"}) as journal:
        assert journal.is_other
        assert not journal.has(0, 7)
    with Journal(path, {"model": "other"}) as journal:
        assert not journal.is_other
        assert journal.n_found == 0


def test_a_deleted_journal_is_gone(path):
    journal = Journal(path, IDENTITY)
    journal.delete()
    assert not path.exists()


def test_a_second_run_on_the_same_file_is_refused(path):
    pytest.importorskip("fcntl")
    with Journal(path, IDENTITY) as journal:
        journal.add([record(0)])
        with pytest.raises(ValueError, match="another run is writing"):
            Journal(path, IDENTITY)
    with Journal(path, IDENTITY) as journal:
        assert journal.n_found == 1


@pytest.mark.parametrize(
    "content",
    [
        b"mine\n",
        b"mine",
        b"[1]\n",
        b'{"other": 1}\n',
        b"\xff\0" * 9,
        b'"my journal"\n',
        b'["journal"]\n',
        b'{"journal": "Nature", "model": "Ford"}\n',
        b'{"audio": "a.wav", "journal": 12}\n',
    ],
)
def test_a_file_of_another_kind_is_refused_and_kept(path, content):
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"unfinished results are kept in .*part, but .* Move"
    ):
        Journal(path, IDENTITY)
    assert path.read_bytes() == content


def test_a_folder_or_a_pipe_is_refused(path):
    path.mkdir()
    with pytest.raises(ValueError, match="it exists and is another kind of file"):
        Journal(path, IDENTITY)
