import json
import sqlite3

import pytest
from typer.testing import CliRunner

from clapstack.cli._cache import cache_app
from clapstack.store import EmbeddingStore, text_key
from tests.store.rows import put


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


def run(*arguments):
    return CliRunner().invoke(cache_app, [str(argument) for argument in arguments])


def fill(root, n_rows, width=512, first=0):
    store = EmbeddingStore(root)
    for number in range(first, n_rows):
        put(store, [number], width)
    store.close()


def spoil(root, number):
    with sqlite3.connect(root / "embeddings.sqlite3") as connection:
        key = bytes.fromhex(text_key(str(number)))
        connection.execute("UPDATE blocks SET checksum = 0 WHERE keys = ?", (key,))
    connection.close()


def test_path_is_the_folder_of_the_variable(root):
    assert run("path").stdout == f"{root}\n"


def test_results_are_there_for_programs(root):
    fill(root, 3)
    facts = json.loads(run("info", "--json").stdout)
    assert (facts["folder"], facts["n_entries"]) == (str(root), 3)
    assert facts["widths"] == {"512": 3}
    spoil(root, 1)
    done = run("verify", "--json", "--quiet")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"n_checked": 3, "dropped": [text_key("1")]}


def test_path_makes_nothing(root):
    run("path")
    assert not root.exists()


def test_an_option_chooses_another_folder(tmp_path):
    assert run("path", "--folder", tmp_path / "b").stdout == f"{tmp_path / 'b'}\n"


def test_info_shows_entries_by_width(root):
    fill(root, 3, width=512)
    fill(root, 5, width=1_024, first=3)
    done = run("info")
    assert done.exit_code == 0
    words = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert words[0] == ["folder", str(root)]
    assert words[1][0] == "on"
    assert words[2:5] == [
        ["entries", "5"],
        ["3", "of width 512"],
        ["2", "of width 1024"],
    ]


def test_info_about_no_store_shows_an_empty_one(root):
    done = run("info")
    assert "entries  0" in done.stdout
    assert not root.exists()


def test_verify_of_a_sound_store(root):
    fill(root, 3)
    done = run("verify")
    assert (done.exit_code, done.stdout) == (0, "3 checked, 0 deleted\n")


def test_verify_names_what_it_drops_and_fails(root):
    fill(root, 3)
    spoil(root, 1)
    done = run("verify", "--quiet")
    expected = f"3 checked, 1 deleted\n  {text_key(str(1))}\n"
    assert (done.exit_code, done.stdout) == (1, expected)


def test_prune_to_a_size(root):
    fill(root, 1_000)
    done = run("prune", "--max-size", "1MB", "--quiet")
    assert done.exit_code == 0
    assert (root / "embeddings.sqlite3").stat().st_size <= 1_000_000
    assert "deleted" in done.stdout


def test_prune_by_age(root):
    fill(root, 3)
    done = run("prune", "--older-than", "30", "--quiet")
    assert done.stdout.startswith("0 deleted, 3 left, ")


def test_prune_without_a_limit_is_a_wrong_call():
    done = run("prune")
    assert done.exit_code == 2
    assert "--max-size" in done.output


@pytest.mark.parametrize("size", ["many", "20 apples", "-1MB", "10"])
def test_a_size_that_is_none_is_a_wrong_call(size):
    done = run("prune", f"--max-size={size}")
    assert done.exit_code == 2
    assert "500MB or 20GB" in " ".join(done.output.replace("│", " ").split())


def test_merge_adds_another_store(root, tmp_path):
    fill(root, 2)
    fill(tmp_path / "other", 5)
    done = run("merge", tmp_path / "other", "--quiet")
    assert done.stdout == "3 added, 2 already there, 0 damaged and left out\n"
    assert done.exit_code == 0


def test_merge_with_damage_in_the_other_store_fails(tmp_path):
    fill(tmp_path / "other", 5)
    spoil(tmp_path / "other", 3)
    done = run("merge", tmp_path / "other", "--quiet")
    assert done.exit_code == 1
    assert "4 added, 0 already there, 1 damaged" in done.stdout


def test_merge_with_a_folder_without_a_store_is_an_error(tmp_path):
    done = run("merge", tmp_path / "nothing")
    assert done.exit_code == 3
    assert "clapstack cache merge: there is no embedding store in" in done.stderr


def test_a_file_that_is_no_database_is_an_error(root):
    root.mkdir()
    (root / "embeddings.sqlite3").write_bytes(b"not a database " * 100)
    done = run("info")
    assert done.exit_code == 3
    assert "clapstack cache info: the embedding store" in done.stderr


@pytest.mark.parametrize("command", ["info", "merge", "path", "prune", "verify"])
def test_every_command_explains_itself(command):
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "--folder" in done.output


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_500_000, "2.5 MB")],
)
def test_sizes_are_written_in_decimal_units(n_bytes, words):
    from clapstack.cli._cache import _size

    assert _size(n_bytes) == words
