"""Partitioned scores and features equal those of one machine."""

import os
from collections import Counter

import dask.dataframe as dd
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline

from clapstack import PairFeatures
from clapstack.distributed import extract_partitions, score_partitions
from tests.distributed.conftest import cut, make_stack
from tests.distributed.encoders import BandsEncoder, FailingEncoder, MortalEncoder


def test_scores_are_those_of_one_machine_in_order(cluster, pipeline, pairs):
    scores = score_partitions(pipeline, cut(pairs), keep=["id"]).compute()
    assert scores.columns.tolist() == ["id", "score", "error"]
    assert_array_equal(scores.index, pairs.index)
    assert_array_equal(scores["id"], pairs["id"])
    assert_array_equal(scores["score"], pipeline.predict(pairs))
    assert scores["error"].isna().all()


def test_scores_of_a_table_in_parquet_are_written_to_parquet(
    cluster, pipeline, pairs, tmp_path
):
    cut(pairs).to_parquet(tmp_path / "pairs")
    table = dd.read_parquet(tmp_path / "pairs")
    score_partitions(pipeline, table).to_parquet(tmp_path / "scores")
    scores = dd.read_parquet(tmp_path / "scores").compute()
    assert_array_equal(scores["score"], pipeline.predict(pairs))
    assert_array_equal(scores.index, pairs.index)


def test_several_axes_have_columns_each(pairs, cache):
    ratings = np.column_stack([pairs["score"], pairs["score"][::-1]])
    model = make_stack(BandsEncoder(), cache).fit(pairs, ratings)
    scores = score_partitions(model, cut(pairs), coverage=0.8)
    scores = scores.compute(scheduler="synchronous")
    names = [f"axis{n}{end}" for n in range(2) for end in ("", "_low", "_high")]
    assert scores.columns.tolist() == [*names, "error"]
    assert_array_equal(scores[["axis0", "axis1"]], model.predict(pairs))
    alone = score_partitions(model, cut(pairs)).compute(scheduler="synchronous")
    assert alone.columns.tolist() == ["axis0", "axis1", "error"]


def test_bad_rows_are_named_and_leave_the_others_alone(cluster, pipeline, bad_pairs):
    scores = score_partitions(pipeline, cut(bad_pairs)).compute()
    bad = ["row 3", "row 30", "row 31"]
    assert scores.index[scores["error"].notna()].tolist() == bad
    assert scores.index[scores["score"].isna()].tolist() == bad
    assert "nowhere.wav: " in scores.loc["row 3", "error"]
    assert "text ' ': the text is empty" in scores.loc["row 30", "error"]
    assert "text ' ' and nowhere.wav: " in scores.loc["row 31", "error"]
    good = bad_pairs.drop(index=bad)
    assert_array_equal(scores["score"].dropna(), pipeline.predict(good))


@pytest.mark.parametrize("n_bad", [1, 8])
def test_a_partition_may_be_empty_or_all_bad(pipeline, pairs, n_bad):
    bad = pairs[:8].assign(text=[" "] * n_bad + [*pairs["text"][n_bad:8]])
    table = cut(bad, npartitions=2)
    table = table[table["id"] < 4]  # the second has no rows
    scores = score_partitions(pipeline, table).compute(scheduler="synchronous")
    assert scores.shape == (4, 2)
    assert scores["error"].notna().sum() == min(n_bad, 4)
    assert scores.dtypes.tolist() == score_partitions(pipeline, table).dtypes.tolist()


def test_labels_of_rows_may_repeat(pipeline, bad_pairs):
    table = cut(bad_pairs.set_axis(["a", "b"] * 24))
    scores = score_partitions(pipeline, table, keep=["id"])
    scores = scores.compute(scheduler="synchronous")
    assert scores.index.tolist() == ["a", "b"] * 24
    assert scores.loc[scores["error"].notna(), "id"].tolist() == [3, 30, 31]


def test_intervals_are_those_of_the_stack(pipeline, pairs):
    scores = score_partitions(pipeline, cut(pairs), coverage=0.8)
    scores = scores.compute(scheduler="synchronous")
    features = pipeline[:-1].transform(pairs)
    expected = pipeline[-1].predict_interval(features, coverage=0.8)
    assert_array_equal(scores[["low", "high"]], expected)
    assert_array_equal(scores["score"], pipeline.predict(pairs))


def test_features_are_those_of_one_machine(cluster, pipeline, bad_pairs):
    union = pipeline["features"]
    features = extract_partitions(union, cut(bad_pairs), keep=["score"]).compute()
    names = union.get_feature_names_out()
    assert features.columns.tolist() == ["score", *names, "error"]
    good = features[features["error"].isna()]
    assert len(good) == len(bad_pairs) - 3
    expected = union.transform(bad_pairs.loc[good.index])
    assert set(features[names].dtypes) == {np.dtype(np.float32)}
    assert_array_equal(good[names], expected)


def test_a_worker_killed_in_mid_run_changes_no_bit_and_costs_no_stored_clip(
    cluster, pairs, tmp_path
):
    tomb, log, cache = (tmp_path / name for name in ("tomb", "log", "store"))
    # It dies in the second batch of the fourth partition.
    encoder = MortalEncoder(str(tomb), n_samples=1_100, log=str(log))
    model = make_stack(encoder, None).fit(pairs, pairs["score"])
    model.set_params(features__bands__cache=str(cache))
    log.unlink()
    tomb.touch()
    table = cut(pairs)
    before = pids(cluster)
    scores = score_partitions(model, table).compute()
    assert not tomb.exists()
    cluster.wait_for_workers(2, timeout=60)
    assert len(pids(cluster) - before) == 1
    lengths = Counter(map(int, log.read_text().split()))
    once = Counter(800 + 10 * i for i in range(len(pairs)))
    assert lengths >= once
    # Each of three processes tries its encoder on one clip, twice, before it is used.
    assert (lengths - once).total() <= 6
    model.set_params(features__bands__cache=None)
    one_machine = score_partitions(model, table).compute(scheduler="synchronous")
    assert_frame_equal(scores, one_machine)
    assert_array_equal(scores.index, pairs.index)
    assert_array_equal(scores["score"], model.predict(pairs))


def pids(client):
    return set(client.run(os.getpid).values())


@pytest.mark.parametrize("retries", [0, 1])
def test_a_partition_that_failed_is_tried_again_if_asked(
    cluster, pairs, tmp_path, retries
):
    tomb = tmp_path / "tomb"
    model = make_stack(FailingEncoder(str(tomb)), None).fit(pairs, pairs["score"])
    scores = score_partitions(model, cut(pairs))
    tomb.touch()
    options = {"retries": retries, "resources": {"GPU": 1}}
    if retries:
        result = scores.compute(**options)
        assert_array_equal(result["score"], model.predict(pairs))
    else:
        with pytest.raises(OSError, match="the disk is away"):
            scores.compute(**options)
    assert not tomb.exists()


def test_invalid_arguments_are_named(pipeline, pairs):
    with pytest.raises(TypeError, match="must be a dask DataFrame; got DataFrame"):
        score_partitions(pipeline, pairs)
    table = cut(pairs)
    with pytest.raises(ValueError, match=r"lacks the columns \['text'\]"):
        score_partitions(pipeline, table[["audio"]])
    with pytest.raises(ValueError, match=r"columns \['split'\]; it has \['audio'"):
        score_partitions(pipeline, table, keep=["split"])
    with pytest.raises(
        ValueError, match=r"keep has \['score'\], which would be duplicated"
    ):
        score_partitions(pipeline, table, keep=["score"])
    union = FeatureUnion([("bands", PairFeatures(BandsEncoder(), cache=None))])
    with pytest.raises(NotFittedError):
        extract_partitions(union, table)
    model = make_pipeline(union, Ridge()).fit(pairs, pairs["score"])
    with pytest.raises(ValueError, match="Ridge has none"):
        score_partitions(model, table, coverage=0.9)
