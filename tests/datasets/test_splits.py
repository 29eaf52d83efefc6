import shutil

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.datasets import find_overlaps, load_xacle, probe_split


@pytest.fixture
def splits(challenge_folder):
    names = ("train", "validation", "test")
    return {name: load_xacle(challenge_folder, name) for name in names}


def test_clips_of_one_name_and_other_sound_do_not_overlap(splits):
    assert splits["train"].ids[0] == splits["test"].ids[0]
    assert find_overlaps(splits).empty


def test_clip_that_stands_in_two_splits_is_named(splits, tmp_path):
    train, test = splits["train"], splits["test"]
    copy = tmp_path / "another_name.wav"
    shutil.copy(train.X["audio"][5], copy)
    test.X.loc[1, "audio"] = str(copy)
    test.X.loc[2, ["audio", "text"]] = train.X.loc[7, ["audio", "text"]]
    overlaps = find_overlaps(splits)
    rows = overlaps[["split", "id", "other_split", "other_id", "same_text"]]
    assert rows.to_numpy().tolist() == [
        ["test", "00001.wav", "train", "00005.wav", False],
        ["test", "00002.wav", "train", "00007.wav", True],
    ]


def test_a_text_with_other_blanks_is_the_same(splits):
    train, test = splits["train"], splits["test"]
    test.X.loc[2, "audio"] = train.X.loc[7, "audio"]
    test.X.loc[2, "text"] = f" {train.X.loc[7, 'text']} "
    assert find_overlaps(splits)["same_text"].tolist() == [True]


def test_probe_draws_two_parts_that_share_no_pair(splits):
    train, held_out = probe_split(splits["train"], n_train=32, n_validation=16)
    assert len(train.X) == 32
    assert sorted([*train.ids, *held_out.ids]) == sorted(splits["train"].ids)


def test_probe_repeats_with_its_seed(splits):
    sizes = {"n_train": 8, "n_validation": 4}
    first, again = (probe_split(splits["train"], **sizes) for _ in range(2))
    other = probe_split(splits["train"], **sizes, random_state=1)
    assert_array_equal(first[0].ids, again[0].ids)
    assert list(first[0].ids) != list(other[0].ids)


def test_smaller_probe_is_the_beginning_of_a_larger_one(splits):
    small = probe_split(splits["train"], n_train=4, n_validation=2)
    large = probe_split(splits["train"], n_train=8, n_validation=4)
    for few, many in zip(small, large, strict=True):
        assert_array_equal(few.ids, many.ids[: len(few.ids)])


def test_probe_takes_scores_and_ratings_along(splits):
    train, _ = probe_split(splits["train"], n_train=5, n_validation=2)
    means = train.ratings.groupby("pair")["score"].mean()
    assert_array_equal(means.index, np.arange(5))
    assert_allclose(means, train.y)
    row = list(splits["train"].ids).index(train.ids[3])
    assert train.X["text"][3] == splits["train"].X["text"][row]


def test_probe_may_draw_from_the_validation_split(splits):
    _, held_out = probe_split(
        splits["train"], splits["validation"], n_train=8, n_validation=2
    )
    assert set(held_out.X["audio"]) <= set(splits["validation"].X["audio"])


def test_probe_larger_than_the_data_is_refused(splits):
    message = "needs 640 pairs for train and validation.* there are 48"
    with pytest.raises(ValueError, match=message):
        probe_split(splits["train"])
