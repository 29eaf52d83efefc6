"""Pictures of predictions, errors and calibration."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from clapstack.inspection import (
    CalibrationCurveDisplay,
    PredictionDisplay,
    ResidualsDisplay,
)
from clapstack.inspection._prediction import smooth_band

ALL = [PredictionDisplay, ResidualsDisplay, CalibrationCurveDisplay]


@pytest.fixture
def scores():
    """Return (y_true, y_pred, interval) of 300 pairs whose errors are known."""
    rng = np.random.default_rng(1)
    y_pred = rng.uniform(1, 9, size=300)
    y_true = y_pred + rng.uniform(-1, 1, size=300)
    return y_true, y_pred, np.column_stack([y_pred - 0.9, y_pred + 0.9])


@pytest.mark.parametrize("display_class", ALL)
def test_estimator_and_its_predictions_give_one_picture(display_class, model, features):
    X, y = (part[80:] for part in features)
    by_model = display_class.from_estimator(model, X, y)
    by_scores = display_class.from_predictions(y, model.predict(X))
    assert_array_equal(by_model.y_pred, by_scores.y_pred)
    assert_array_equal(by_model.y_true, y)


@pytest.mark.parametrize("display_class", ALL)
def test_given_axes_are_drawn_on_and_kept(display_class, scores, pyplot):
    figure, ax = pyplot.subplots()
    display = display_class.from_predictions(*scores[:2], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert pyplot.get_fignums() == [figure.number]


@pytest.mark.parametrize("display_class", ALL)
def test_figure_of_its_own_is_a_column_wide_and_labelled(display_class, scores):
    display = display_class.from_predictions(*scores[:2])
    assert display.figure_.get_figwidth() == pytest.approx(3.35)
    assert "predicted score" in display.ax_.get_xlabel()
    assert "human" in display.ax_.get_ylabel()
    display.figure_.savefig("/dev/null", format="svg")


@pytest.mark.parametrize("display_class", ALL)
def test_style_of_the_session_is_left_alone(display_class, scores, pyplot):
    before = dict(pyplot.rcParams)
    display_class.from_predictions(*scores[:2])
    assert dict(pyplot.rcParams) == before


@pytest.mark.parametrize("display_class", ALL)
def test_nan_is_refused_and_its_row_named(display_class, scores):
    y_pred = scores[1].copy()
    y_pred[7] = np.nan
    with pytest.raises(ValueError, match=r"y_pred has NaN.*rows 7"):
        display_class.from_predictions(scores[0], y_pred)


def test_points_are_the_pairs(scores):
    display = PredictionDisplay.from_predictions(*scores[:2])
    drawn = display.scatter_.get_offsets()
    assert_allclose(drawn, np.column_stack([scores[1], scores[0]]))
    assert display.band_ is None
    assert display.ax_.get_xlim() == display.ax_.get_ylim()


def test_a_stack_draws_a_band_with_its_share(model, features):
    X, y = (part[80:] for part in features)
    display = PredictionDisplay.from_estimator(model, X, y, coverage=0.8)
    low, high = display.interval.T
    assert display.band_ is not None
    assert display.share_inside == np.mean((low <= y) & (y <= high))
    assert "band: 80 % prediction interval" in display.ax_.get_title(loc="left")


def test_model_without_intervals_has_no_band(features):
    X, y = features
    ridge = Ridge().fit(X, y)
    assert PredictionDisplay.from_estimator(ridge, X, y).band_ is None


def test_best_model_of_a_search_is_drawn(features):
    X, y = features
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 10.0]}, cv=2).fit(X, y)
    display = ResidualsDisplay.from_estimator(search, X, y)
    assert_array_equal(display.y_pred, search.predict(X))


def test_band_of_constant_width_stays_so(scores):
    _, y_pred, interval = scores
    grid, low, high = smooth_band(y_pred, interval)
    inner = (grid > 2) & (grid < 8)
    assert_allclose(low[inner], grid[inner] - 0.9)
    assert_allclose(high[inner], grid[inner] + 0.9)
    assert low.min() >= interval[:, 0].min()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ends: ends[:-1], r"shape \(300, 2\), .* got shape \(299, 2\)"),
        (lambda ends: ends + np.inf, "too few training pairs for this coverage"),
        (lambda ends: ends * np.nan, "interval has NaN"),
        (lambda ends: ends[:, ::-1], "low end above its high end in row 0"),
    ],
)
def test_bad_interval_is_refused(spoil, message, scores):
    with pytest.raises(ValueError, match=message):
        PredictionDisplay.from_predictions(*scores[:2], interval=spoil(scores[2]))


def test_description_gives_the_numbers(scores):
    y_true, y_pred, interval = scores
    display = PredictionDisplay(
        y_true=y_true, y_pred=y_pred, interval=interval, coverage=0.9
    )
    inside = 100 * np.mean(np.abs(y_true - y_pred) <= 0.9)
    assert f"90 % prediction interval contains {inside:.3g} %" in display.describe()


def test_many_points_become_pixels(scores):
    many = [np.tile(part, 6) for part in scores[:2]]
    few = PredictionDisplay.from_predictions(*scores[:2])
    assert not few.scatter_.get_rasterized()
    assert PredictionDisplay.from_predictions(*many).scatter_.get_rasterized()


def test_residual_lines_follow_a_known_bias():
    y_pred = np.linspace(0, 10, 400)
    display = ResidualsDisplay.from_predictions(y_pred + 0.5, y_pred)
    mean, low, high = display.lines_
    for line in (mean, low, high):
        assert_allclose(line.get_ydata(), 0.5)
    assert_allclose(display.scatter_.get_offsets()[:, 1], 0.5)


def test_calibrated_predictions_lie_on_the_diagonal():
    y = np.linspace(0, 10, 100)
    display = CalibrationCurveDisplay.from_predictions(y, y, n_bins=4)
    assert_allclose(display.line_.get_xdata(), display.line_.get_ydata())
    expected = [1.212121, 3.737374, 6.262626, 8.787879]
    assert_allclose(display.mean_human, expected, rtol=1e-6)


def test_bars_are_the_standard_error_of_the_mean():
    y_true = np.array([0.0, 2, 4, 6])
    display = CalibrationCurveDisplay(y_true=y_true, y_pred=y_true, n_bins=2)
    assert_allclose(display.half_width, 1.96)  # sd √2, of two


@pytest.mark.parametrize("n_bins", [0, 3, 1.5, "2"])
def test_bins_of_less_than_two_pairs_are_refused(n_bins):
    with pytest.raises(ValueError, match=r"from 1 to 2, .* of the 5 pairs; got"):
        CalibrationCurveDisplay(y_true=range(5), y_pred=range(5), n_bins=n_bins)
