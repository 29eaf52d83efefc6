"""Out-of-fold stacking of feature families."""

from clapstack.stacking._ablation import family_ablation
from clapstack.stacking._blend import BlendRidge
from clapstack.stacking._kernel import KernelRegressor
from clapstack.stacking._rbf_svr import RbfSvr
from clapstack.stacking._regressor import ClapStackingRegressor
from clapstack.stacking._ridge import StandardizedRidge
from clapstack.stacking._targets import rank_target

__all__ = [
    "BlendRidge",
    "ClapStackingRegressor",
    "KernelRegressor",
    "RbfSvr",
    "StandardizedRidge",
    "family_ablation",
    "rank_target",
]
