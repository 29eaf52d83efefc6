import os
import subprocess
import sys

import pytest
import sklearn
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

from clapstack.stacking import ClapStackingRegressor, StandardizedRidge
from clapstack.stacking._final import EqualWeights
from clapstack.stacking._trees import BoostedTrees

# The default trees, fewer of them for time.
FEW_TREES = BoostedTrees(max_iter=5)
ESTIMATORS = [
    ClapStackingRegressor(boosting=FEW_TREES),
    ClapStackingRegressor(boosting=False, final_target="score"),
    StandardizedRidge(),
    EqualWeights(),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    check(estimator)


def test_array_api_dispatch_changes_nothing():
    """Run the check skipped above, which needs a variable set before SciPy loads."""
    code = (
        "from sklearn.utils.estimator_checks import estimator_checks_generator\n"
        "from clapstack import ClapStackingRegressor, CrossAgreement\n"
        "from clapstack.stacking import StandardizedRidge\n"
        "from clapstack.stacking._final import EqualWeights\n"
        "stack = ClapStackingRegressor(boosting=False)\n"
        "for e in (stack, CrossAgreement(), StandardizedRidge(), EqualWeights()):\n"
        "    for estimator, check in estimator_checks_generator(e):\n"
        "        if 'array_api' in check.func.__name__:\n"
        "            check(estimator)\n"
        "            print(type(e).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )
    if not done.stdout and parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("this scikit-learn has no such check")
    assert len(set(done.stdout.split())) == 4


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_battery_is_not_vacuous(estimator):
    def probe(estimator, check):
        pass

    (mark,) = parametrize_with_checks([estimator])(probe).pytestmark
    assert len(list(mark.args[1])) > 40
