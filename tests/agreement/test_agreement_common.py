import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack.agreement import CrossAgreement

battery = parametrize_with_checks([CrossAgreement()])


# The checks pass arrays without names, which is one family.
@pytest.mark.filterwarnings("ignore:CrossAgreement got:UserWarning")
@battery
def test_sklearn_check(estimator, check):
    check(estimator)


def test_the_battery_is_not_vacuous():
    def probe(estimator, check):
        pass

    (mark,) = parametrize_with_checks([CrossAgreement()])(probe).pytestmark
    assert len(list(mark.args[1])) > 40
