"""Out-of-fold stacking of feature families."""

from clapstack.stacking._ablation import family_ablation
from clapstack.stacking._blend import BlendRidge
from clapstack.stacking._rbf_svr import RbfSvr
from clapstack.stacking._regressor import ClapStackingRegressor
from clapstack.stacking._targets import rank_target
from clapstack.stacking.ridge._estimator import StandardizedRidge

__all__ = [
    "BlendRidge",
    "ClapStackingRegressor",
    "RbfSvr",
    "StandardizedRidge",
    "family_ablation",
    "rank_target",
]
