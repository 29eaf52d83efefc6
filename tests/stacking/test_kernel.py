"""The Gaussian process over all families."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack import load_model, save_model
from clapstack.features import pair_feature_names, pair_features
from clapstack.stacking import ClapStackingRegressor, KernelRegressor, rank_target
from clapstack.stacking._kernel_weights import Prior, lower_triangle, unlikelihood


@parametrize_with_checks([KernelRegressor()])
def test_sklearn_check(estimator, check):
    check(estimator)


def make_pairs(n_pairs, seed=0, dim=8, noise=0.5):
    """Return (X, y): two families, and a score from one cosine and one product."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_pairs, 1)) * np.ones(dim)
    tables = []
    for family in ("laion", "msclap"):
        a, b = rng.normal(size=(2, n_pairs, dim)).astype(np.float32)
        b = (b + shared * a).astype(np.float32)
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b /= np.linalg.norm(b, axis=1, keepdims=True)
        names = [f"{family}__{name}" for name in pair_feature_names(dim)]
        tables.append(pd.DataFrame(pair_features(a, b), columns=names))
    X = pd.concat(tables, axis=1)
    X["beats__mean0"] = rng.normal(size=n_pairs)
    score = 5 + 3 * X["laion__cosine"] + 4 * X["msclap__audio0"] * X["msclap__audio1"]
    return X, (score + noise * rng.normal(size=n_pairs)).to_numpy()


@pytest.fixture(scope="module")
def data():
    return make_pairs(120)


@pytest.fixture(scope="module")
def fitted(data):
    return KernelRegressor().fit(*data)


def test_blocks_are_read_from_the_names(data, fitted):
    X, _ = data
    kinds = ["audio", "text", "product", "absdiff", "cosine"]
    expected = [f"{family}__{k}" for family in ("laion", "msclap") for k in kinds]
    assert list(fitted.blocks_) == [*expected, "beats"]
    for label, columns in fitted.blocks_.items():
        assert all(name.startswith(label) for name in X.columns[columns])
    used = np.concatenate(list(fitted.blocks_.values()))
    left_out = X.columns.delete(used)
    assert len(used) == len(set(used))
    assert all("sqdiff" in name for name in left_out)


def test_an_array_without_names_is_one_block(data):
    X, y = data
    kernel = KernelRegressor().fit(X.to_numpy(), y)
    assert list(kernel.blocks_) == ["features"]
    by_name = KernelRegressor().fit(X, y)
    named = KernelRegressor(blocks=by_name.blocks_).fit(X.to_numpy(), y)
    assert_array_equal(named.predict(X.to_numpy()), by_name.predict(X))


@pytest.mark.parametrize("columns", [[0, 0], [-1], [999], [0.5], []])
def test_blocks_of_columns_that_are_not_there_are_refused(data, columns):
    message = "must be a dict of column numbers from 0 to 82, .* none repeated"
    with pytest.raises(ValueError, match=message):
        KernelRegressor(blocks={"a": columns}).fit(*data)


@pytest.mark.parametrize(
    "blocks", [{"a": [[0, 1]]}, {"a": 0}, {"a": [True, False]}, {3: [0]}]
)
def test_blocks_of_anything_but_columns_are_refused(data, blocks):
    with pytest.raises(ValueError, match="must be a dict of column numbers"):
        KernelRegressor(blocks=blocks).fit(*data)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_finite_differences(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(5, 20, 3)) / np.sqrt(3)
    grams = [lower_triangle(block @ block.T) for block in rows]
    grams = np.stack([*grams, grams[1] * grams[2]])
    target, weight = rng.normal(size=20), rng.uniform(0.5, 3, 20)
    prior = Prior(["a__cosine", "a__audio", "a__text", "b__cosine", "beats"], ["a"])
    place = rng.normal(size=prior.size)
    data = grams, target, weight, prior
    _, gradient = unlikelihood(place, *data)
    steps = 1e-5 * np.eye(prior.size)
    slopes = [
        (unlikelihood(place + s, *data)[0] - unlikelihood(place - s, *data)[0]) / 2e-5
        for s in steps
    ]
    assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("weight", [1e3, 1e7, 1e9])
def test_weights_of_any_size_leave_a_process(weight):
    X = np.linspace(0, 1, 400)[:, np.newaxis]
    y = np.sin(6 * X[:, 0])
    kernel = KernelRegressor().fit(X, y, np.where(X[:, 0] < 0.5, weight, 1.0))
    assert_allclose(kernel.predict(X)[:200], y[:200], atol=0.01)


@pytest.mark.parametrize("weight", [1e3, 1e12, 1e300])
def test_targets_without_noise_may_weigh_much(weight):
    X = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    y = np.sin(3.0 * X[:, 0])
    kernel = KernelRegressor().fit(X, y, np.full(300, weight))
    assert_allclose(kernel.predict(X), y, atol=0.2)


@pytest.mark.filterwarnings("error")
def test_weights_may_be_as_small_as_numbers_are():
    X = np.linspace(0, 1, 40)[:, np.newaxis]
    kernel = KernelRegressor().fit(X, X[:, 0], np.full(40, 1e-300))
    assert_allclose(kernel.predict(X), 0.5, atol=1e-6)


def test_pairs_that_are_all_the_same_leave_the_spread_of_their_scores():
    y = np.arange(20.0)
    mean, std = (
        KernelRegressor()
        .fit(np.ones((20, 3)), y)
        .predict(np.ones((1, 3)), return_std=True)
    )
    assert_allclose(mean, y.mean())
    assert y.std() / 3 < std[0] < 3 * y.std()


def exact_process(kernel, X, y, weight, new):
    """Return the mean and deviation of scores at new pairs, from the definition."""
    X, new = X.to_numpy(np.float64), new.to_numpy(np.float64)
    center = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - center) ** 2, axis=0, weights=weight))
    rows = np.concatenate([(X - center) / scale, (new - center) / scale])
    distance, products = np.zeros((2, len(rows), len(rows)))
    gram = {}
    for label, columns in kernel.blocks_.items():
        block = rows[:, columns] / np.sqrt(len(columns))
        gram[label] = block @ block.T
        apart = np.sum((block[:, None] - block[None]) ** 2, axis=2)
        distance += kernel.radial_weights_[label] * apart
        products += kernel.linear_weights_[label] * gram[label]
    for family, own in kernel.bilinear_weights_.items():
        products += own * gram[f"{family}__audio"] * gram[f"{family}__text"]
    covariance = kernel.amplitude_ / (1 + distance) + products
    n = len(X)
    noisy = covariance[:n, :n] + np.diag(kernel.noise_ / weight)
    mean = np.average(y, weights=weight)
    spread = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=weight))
    solved = np.linalg.solve(noisy, covariance[:n, n:])
    less = np.einsum("ij,ij->j", covariance[:n, n:], solved)
    std = np.sqrt(np.diag(covariance)[n:] - less + kernel.noise_)
    return mean + solved.T @ (y - mean), std * spread


@pytest.mark.parametrize("weighted", [False, True])
def test_predictions_are_those_of_the_documented_process(data, weighted):
    X, y = data
    new, _ = make_pairs(30, seed=1)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    kernel = KernelRegressor().fit(X, y, weight)
    weight = np.ones(len(y)) if weight is None else weight
    expected = exact_process(kernel, X, y, weight, new)
    for found, exact in zip(
        kernel.predict(new, return_std=True), expected, strict=True
    ):
        # Coordinates and training pairs are kept in half precision.
        assert_allclose(found, exact, rtol=3e-3)


def test_weights_show_which_blocks_matter():
    X, y = make_pairs(200, noise=0.2)
    kernel = KernelRegressor().fit(X, y)
    linear = kernel.linear_weights_
    assert linear["laion__cosine"] > 2 * linear["msclap__cosine"]


def test_few_pairs_fall_back_to_the_order_of_the_cosine():
    X, y = make_pairs(1000, dim=64, noise=2.0)
    y = y - 4 * X["msclap__audio0"] * X["msclap__audio1"]
    few, rest = slice(12), slice(12, None)
    score = KernelRegressor().fit(X.iloc[few], y[few]).predict(X.iloc[rest])
    cosines = X[["laion__cosine", "msclap__cosine"]].iloc[rest].mean(axis=1)
    assert spearmanr(score, cosines).statistic > 0.8


def test_it_learns_which_audio_goes_with_which_text():
    rng = np.random.default_rng(0)
    audio, text = rng.normal(size=(2, 600, 6))
    y = np.einsum("ij,jk,ik->i", audio, rng.normal(size=(6, 6)), text)
    names = [f"clap__{side}{i}" for side in ("audio", "text") for i in range(6)]
    X = pd.DataFrame(np.hstack([audio, text]), columns=names)
    kernel = KernelRegressor().fit(X[:500], y[:500])
    assert np.corrcoef(kernel.predict(X[500:]), y[500:])[0, 1] > 0.99
    assert kernel.bilinear_weights_["clap"] > kernel.amplitude_


def test_redundant_columns_are_not_used(data, fitted):
    X, y = data
    repeated = X.filter(like="sqdiff").columns
    repeats = X.assign(cross__cosine=X["laion__cosine"])
    found = KernelRegressor().fit(repeats, y).predict(repeats)
    without = X.drop(columns=repeated)
    expected = KernelRegressor().fit(without, y).predict(without)
    assert_allclose(found, expected, rtol=0.01)
    assert not any("sqdiff" in label for label in fitted.blocks_)


def test_columns_of_any_scale_serve(data):
    X, y = data
    scales = 10.0 ** np.random.default_rng(0).integers(-12, 12, X.shape[1])
    expected = KernelRegressor().fit(X, y).predict(X)
    found = KernelRegressor().fit(X * scales, y).predict(X * scales)
    assert_allclose(found, expected, rtol=0.02)


def test_novelty_is_least_for_pairs_like_those_of_fit():
    X, y = make_pairs(300)
    new, _ = make_pairs(100, seed=1)
    kernel = KernelRegressor(n_tuning=100).fit(X, y)
    own, other, far = (kernel.novelty(rows) for rows in (X, new, new * 4))
    assert own.mean() < other.mean() < far.min()
    assert_array_equal(other[:1], kernel.novelty(new[:1]))


def test_it_bends_where_a_ridge_cannot():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 1))
    score = KernelRegressor().fit(X, X[:, 0] ** 2).predict([[0.0], [0.5], [-0.9]])
    assert_allclose(score, [0, 0.25, 0.81], atol=0.03)


@pytest.mark.parametrize("n_inducing", [5000, 60])
def test_deviation_grows_away_from_the_pairs_and_holds_noise(data, n_inducing):
    X, y = data
    kernel = KernelRegressor(n_inducing=n_inducing).fit(X, y)
    near = kernel.predict(X, return_std=True)[1]
    far = kernel.predict(X + 5, return_std=True)[1]
    assert far.min() > 1.2 * near.max()
    assert near.min() > np.sqrt(kernel.noise_) * y.std()


def test_deviation_covers_new_scores():
    X, y = make_pairs(900)
    train, test = slice(300), slice(300, None)
    kernel = KernelRegressor().fit(X.iloc[train], y[train])
    score, std = kernel.predict(X.iloc[test], return_std=True)
    assert 0.85 < np.mean(np.abs(y[test] - score) < 1.645 * std) < 0.95


def test_inducing_pairs_are_exact_if_they_are_all_and_near_if_fewer():
    X, y = make_pairs(300)
    new, _ = make_pairs(100, seed=1)
    exact, std = KernelRegressor(n_tuning=100).fit(X, y).predict(new, return_std=True)
    for n_inducing, least in ((299, 0.999), (150, 0.98), (80, 0.95)):
        kernel = KernelRegressor(n_tuning=100, n_inducing=n_inducing).fit(X, y)
        score, fewer = kernel.predict(new, return_std=True)
        assert len(kernel.dual_coef_) == n_inducing
        assert np.corrcoef(score, exact)[0, 1] > least
        assert_allclose(fewer, std, rtol=0.15)


@pytest.mark.parametrize("n_inducing", [5000, 50])
def test_weights_are_equivalent_to_repetition(data, n_inducing):
    X, y = data
    times = np.random.default_rng(1).integers(0, 4, len(y))
    kernel = KernelRegressor(n_inducing=n_inducing)
    weighted = clone(kernel).fit(X, y, sample_weight=times)
    often = np.repeat(np.arange(len(y)), times)
    repeated = clone(kernel).fit(X.iloc[often], y[often])
    for found, expected in zip(
        weighted.predict(X, return_std=True),
        repeated.predict(X, return_std=True),
        strict=True,
    ):
        assert_allclose(found, expected, rtol=1e-8)
    assert np.abs(weighted.predict(X) - clone(kernel).fit(X, y).predict(X)).max() > 0.05


def test_order_and_scale_change_nothing(data, fitted):
    X, y = data
    expected, std = fitted.predict(X, return_std=True)
    order = np.random.default_rng(0).permutation(len(y))
    moved = KernelRegressor().fit(X.iloc[order], 100 * y[order] + 9)
    found, found_std = moved.predict(X, return_std=True)
    assert_allclose(found, 100 * expected + 9, rtol=1e-5)
    assert_allclose(found_std, 100 * std, rtol=1e-5)
    scales = np.random.default_rng(1).uniform(0.1, 10, X.shape[1])
    scaled = KernelRegressor().fit(X * scales + 3, y).predict(X * scales + 3)
    assert np.corrcoef(scaled, expected)[0, 1] > 0.999


def test_targets_that_share_weights_are_fitted_as_if_alone(data):
    X, y = data
    first, second = KernelRegressor().fit_targets(
        X, np.column_stack([y, rank_target(y)])
    )
    alone = KernelRegressor().fit(X, y)
    assert_allclose(first.predict(X), alone.predict(X), rtol=1e-9)
    together = first.predict_targets([first, second], X)
    assert_array_equal(together.T, [first.predict(X), second.predict(X)])
    assert first.noise_ == second.noise_
    assert list(second.feature_names_in_) == list(X.columns)
    assert spearmanr(first.predict(X), second.predict(X)).statistic > 0.98


def test_constant_targets_and_columns_are_borne(data):
    X, y = data
    score, std = KernelRegressor().fit(X, np.full(120, 3.0)).predict(X, return_std=True)
    assert_allclose(score, 3.0)
    assert_allclose(std, 0.0)
    padded = X.assign(beats__mean1=0.1, muq__mean0=1.0)
    expected = KernelRegressor().fit(X, y).predict(X)
    found = KernelRegressor().fit(padded, y).predict(padded)
    assert np.corrcoef(found, expected)[0, 1] > 0.999


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_inducing", [5000, 50])
def test_prediction_does_not_depend_on_its_neighbours(data, n_inducing, order):
    X, y = data
    values = np.asarray(X.to_numpy(), order=order)
    kernel = KernelRegressor(n_inducing=n_inducing).fit(values, y)
    alone = [kernel.predict(values[[row]])[0] for row in range(10)]
    assert_array_equal(alone, kernel.predict(values)[:10])


def test_refit_and_pickle_give_the_same_bits(data, fitted):
    X, y = data
    expected, std = fitted.predict(X, return_std=True)
    assert_array_equal(clone(fitted).fit(X, y).predict(X), expected)
    found, found_std = pickle.loads(pickle.dumps(fitted)).predict(X, return_std=True)
    assert_array_equal(found, expected)
    assert_array_equal(found_std, std)


@pytest.mark.parametrize("n_inducing", [5000, 50])
def test_model_file_gives_the_same_bits(data, n_inducing, tmp_path):
    X, y = data
    kernel = KernelRegressor(n_inducing=n_inducing).fit(X, y)
    save_model(kernel, tmp_path / "kernel.clapstack")
    loaded = load_model(tmp_path / "kernel.clapstack")
    for found, expected in zip(
        loaded.predict(X, return_std=True),
        kernel.predict(X, return_std=True),
        strict=True,
    ):
        assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def stack():
    return ClapStackingRegressor(boosting=False, kernel=True)


def test_stack_takes_it_beside_the_families(data, stack):
    X, y = data
    stack = clone(stack).fit(X, y)
    assert stack.first_level_names_[-2:] == ["kernel__score", "kernel__rank"]
    member = stack.estimators_["kernel"]["score"][0]
    assert set(member.blocks_) == set(KernelRegressor().fit(X, y).blocks_)
    parts = stack.explain(X)
    total = parts.drop(columns="prediction").sum(axis=1)
    assert_allclose(total, stack.predict(X), rtol=1e-9)
    assert parts["kernel"].std() > 0


def test_out_of_fold_row_ignores_its_own_score(data, stack):
    X, y = data
    moved = y.copy()
    moved[7] += 5
    before = clone(stack).fit(X, y).oof_predictions_[:, -2:]
    after = clone(stack).fit(X, moved).oof_predictions_[:, -2:]
    assert_array_equal(before[7], after[7])
    assert not np.array_equal(before, after)


def test_stack_does_not_depend_on_the_order_of_families(data, stack):
    X, y = data
    turned = X[
        sorted(X.columns, key=lambda name: (name[0] != "m", X.columns.get_loc(name)))
    ]
    expected = clone(stack).fit(X, y).oof_predictions_[:, -2:]
    found = clone(stack).fit(turned, y).oof_predictions_[:, -2:]
    assert_allclose(found, expected, rtol=1e-6)


def test_a_family_of_its_name_is_refused(data, stack):
    X, y = data
    with pytest.raises(
        ValueError, match="has a family named 'kernel', which is reserved"
    ):
        clone(stack).fit(X.assign(kernel__mean0=1.0), y)


def test_pairs_like_those_of_fit_are_in_the_domain_and_others_are_not(stack):
    X, y = make_pairs(400)
    new, _ = make_pairs(300, seed=1)
    fitted = stack.fit(X, y)
    assert 0.95 < fitted.in_domain(new).mean() < 1
    assert 0.8 < fitted.in_domain(new, level=0.1).mean() < 0.97
    assert not fitted.in_domain(new * 4).any()
    assert_array_equal(fitted.in_domain(new[:20]), fitted.in_domain(new)[:20])
    for level in (1.5, "0.1"):
        with pytest.raises(ValueError, match="level must be a number between 0 and 1"):
            fitted.in_domain(new, level=level)


def test_few_pairs_flag_nothing(stack):
    X, y = make_pairs(60)
    assert stack.fit(X, y).in_domain(X * 4).all()


def test_domain_needs_a_kernel(data):
    X, y = data
    stack = ClapStackingRegressor(boosting=False).fit(X, y)
    with pytest.raises(TypeError, match="in_domain needs a kernel model"):
        stack.in_domain(X)


def test_weight_of_zero_leaves_a_pair_out_of_the_domain(stack):
    X, y = make_pairs(300)
    odd = pd.concat([X, X[:100] * 4], ignore_index=True)
    weight = np.repeat([1.0, 0.0], [300, 100])
    fitted = clone(stack).fit(odd, np.append(y, y[:100]), sample_weight=weight)
    assert not fitted.in_domain(odd[300:]).any()


def test_domain_survives_a_model_file(data, stack, tmp_path):
    X, y = data
    fitted = stack.fit(X, y)
    again = load_model(save_model(fitted, tmp_path / "stack.clapstack"))
    assert_array_equal(again.in_domain(X * 2, 0.1), fitted.in_domain(X * 2, 0.1))


def test_a_pair_is_in_the_domain_of_several_axes_if_it_is_in_that_of_each(stack):
    X, y = make_pairs(300)
    ratings = pd.DataFrame({"relevance": y, "order": np.where(y > 5, y, np.nan)})
    fitted = clone(stack).fit(X, ratings)
    each = [one.in_domain(X * 2) for one in fitted.estimators_by_axis_.values()]
    assert_array_equal(fitted.in_domain(X * 2), each[0] & each[1])
