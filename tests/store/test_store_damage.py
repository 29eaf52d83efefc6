"""Every kind of damage once; ``tests/bench/fuzz_store.py`` tries hundreds."""

import shutil

import numpy as np
import pytest

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
