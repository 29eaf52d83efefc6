import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack.stacking import ClapStackingRegressor, StandardizedRidge
from clapstack.stacking._boosting import make_boosting

# The default trees, fewer of them for time.
FEW_TREES = make_boosting().set_params(max_iter=5)
ESTIMATORS = [
    ClapStackingRegressor(boosting=FEW_TREES),
    ClapStackingRegressor(boosting=False, final_target="score"),
    StandardizedRidge(),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_battery_is_not_vacuous(estimator):
    def probe(estimator, check):
        pass

    (mark,) = parametrize_with_checks([estimator])(probe).pytestmark
    assert len(list(mark.args[1])) > 40
