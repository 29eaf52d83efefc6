"""Damaged stores, and what becomes of them.

Run it as ``python tests/bench/fuzz_store.py``. A store is damaged in one way after
another; a process of its own then looks rows up, stores others, and runs what
``clapstack cache`` runs. Right is: only rows that were stored come back, what is wrong
is named in a warning or an OSError, and nothing takes 20 s or 1 GB. The table counts
stores by kind of damage and outcome; the exit code is 1 if any went wrong.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from clapstack.audio import FileState
from clapstack.store import EmbeddingStore, VerifyReport, text_key
from tests.store.damage import DAMAGES, FILE

N_ROWS, BLOCK, WIDTH = 1_200, 24, 256
LIMIT_S, LIMIT_BYTES = 20, 1 << 30
OUTCOMES = ("all rows", "some rows, named", "some rows, silent", "no rows, named")
SCOPES = ("one encoder\ntext", "another encoder\ntext")
FILES = {
    FileState(f"/clips/{i}.wav", 1, i, 2, 3, 4): text_key(str(i)) for i in range(9)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stores", type=int, default=360)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        sound = Path(name) / "sound"
        make_store(sound)
        for number in range(options.stores):
            damage = DAMAGES[number % len(DAMAGES)]
            folder = Path(name) / str(number)
            shutil.copytree(sound, folder)
            damage(folder, np.random.default_rng([options.seed, number]))
            outcome = judged(folder)
            if outcome not in OUTCOMES:
                print(f"{damage.__name__}, store {number}: {outcome}", flush=True)
                outcome = "WRONG"
            counts[damage.__name__, outcome] += 1
            for path in Path(name).glob(f"{number}*"):
                shutil.rmtree(path)
    columns = (*OUTCOMES, "WRONG")
    print(f"{'':24}{''.join(f'{column:>20}' for column in columns)}")
    for damage in DAMAGES:
        cells = [counts[damage.__name__, column] for column in columns]
        print(f"{damage.__name__:24}{''.join(f'{cell:20}' for cell in cells)}")
    wrong = sum(n for (_, outcome), n in counts.items() if outcome == "WRONG")
    print(f"{options.stores} damaged stores, {wrong} went wrong")
    sys.exit(bool(wrong))


def make_store(folder: Path) -> None:
    store = EmbeddingStore(folder)
    for first in range(0, N_ROWS, BLOCK):
        for scope in SCOPES:
            some = range(first, first + BLOCK)
            store.put(scope, keys_of(some), rows_of(some, scope))
    store.remember_files(FILES)
    store.close()


def judged(folder: Path) -> str:
    """Return the outcome of one store, or what went wrong."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=report, args=(folder, theirs))
    child.start()
    theirs.close()
    try:
        outcome = ours.recv() if ours.poll(LIMIT_S) else f"took {LIMIT_S} s"
    except EOFError:
        outcome = "crashed"
    child.kill()
    child.join()
    return outcome


def report(folder: Path, pipe: multiprocessing.connection.Connection) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    try:
        outcome = used(folder)
    except BaseException:
        outcome = traceback.format_exc()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > LIMIT_BYTES:
        outcome = f"took {grown / 1e9:.1f} GB"
    if time.monotonic() - started > LIMIT_S:
        outcome = f"took {LIMIT_S} s"
    pipe.send(outcome)


def used(folder: Path) -> str:
    """Use a store in every way; raise where that is wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = EmbeddingStore(folder)
        n_found = sum(look_up(store, range(N_ROWS), scope) for scope in SCOPES)
        new = range(N_ROWS, N_ROWS + 50)
        store.put(SCOPES[0], keys_of(new), rows_of(new, SCOPES[0]))
        is_stored = look_up(store, new, SCOPES[0]) == len(new)
        if not is_stored and not caught:
            msg = "not stored, and nothing says so"
            raise AssertionError(msg)
        for state, key in store.recall_files(FILES).items():
            assert key == FILES[state]
        store.close()
    named = [str(warning.message) for warning in caught]
    for care in (
        EmbeddingStore.stats,
        lambda store: EmbeddingStore(folder.with_name(f"{folder.name}-new")).merge(
            store
        ),
        EmbeddingStore.verify,
        lambda store: store.prune(max_bytes=1_000_000),
        EmbeddingStore.stats,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = EmbeddingStore(folder)
            try:
                done = care(store)
                if isinstance(done, VerifyReport) and done.dropped:
                    named.append(f"verify names {len(done.dropped)} rows")
            except FileNotFoundError:
                assert not (folder / FILE).exists()
            except OSError as error:
                named.append(str(error))
            store.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = EmbeddingStore(folder.with_name(f"{folder.name}-new"))
        n_saved = sum(look_up(saved, range(N_ROWS), scope) for scope in SCOPES)
    assert n_saved >= n_found or not saved.stats().n_entries or named
    assert all(FILE in words or "rows" in words for words in named)
    assert not any("delete" in words.lower() for words in named)
    if n_found == 2 * N_ROWS:
        return "all rows"
    if not n_found:
        assert named, "no row comes back, and nothing says why"
        return "no rows, named"
    return "some rows, named" if named else "some rows, silent"


def look_up(store: EmbeddingStore, some: range, scope: str) -> int:
    found, rows = store.get(scope, keys_of(some), WIDTH)
    assert (rows[found] == rows_of(some, scope)[found]).all(), "a wrong row"
    return int(found.sum())


def keys_of(some: range) -> list[str]:
    return [text_key(str(number)) for number in some]


def rows_of(some: range, scope: str) -> np.ndarray:
    """Return rows that hold their number and their scope's."""
    rows = np.full((len(some), WIDTH), SCOPES.index(scope), np.float32)
    rows[:, 0] = some
    return rows


if __name__ == "__main__":
    main()
