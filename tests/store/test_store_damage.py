"""One case of every kind of damage; ``tests/bench/fuzz_store.py`` has hundreds."""

import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from clapstack.store import EmbeddingStore, text_key
from tests.bench import fuzz_store
from tests.store.damage import DAMAGES


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound") / "store"
    fuzz_store.make_store(folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_store_serves_no_wrong_row_and_says_what_is_wrong(
    sound, tmp_path, damage
):
    shutil.copytree(sound, tmp_path / "store")
    damage(tmp_path / "store", np.random.default_rng(0))
    assert fuzz_store.judged(tmp_path / "store") in fuzz_store.OUTCOMES


@pytest.mark.parametrize(
    "forged",
    [
        "ALTER TABLE files RENAME TO moved; CREATE VIEW files AS WITH RECURSIVE "
        "c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n AS path, "
        "1 AS state, 1 AS content_key, 0 AS stored FROM c",
        "CREATE TRIGGER t AFTER INSERT ON blocks BEGIN DELETE FROM blocks; END",
    ],
    ids=["endless view", "trigger"],
)
def test_views_and_triggers_in_a_store_are_refused(tmp_path, forged):
    store = EmbeddingStore(tmp_path)
    store.put("encoder", [text_key("rain")], [[0.6, 0.8]])
    store.close()
    with closing(sqlite3.connect(tmp_path / "embeddings.sqlite3")) as connection:
        connection.executescript(forged)
    with pytest.raises(OSError, match=r"views, triggers or virtual tables.* Move it"):
        EmbeddingStore(tmp_path).stats()
