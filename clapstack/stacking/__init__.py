"""Out-of-fold stacking of feature families."""

from clapstack._numerics.ranks import rank_target
from clapstack.stacking._ablation import family_ablation
from clapstack.stacking._kernel import KernelRegressor
from clapstack.stacking._regressor import ClapStackingRegressor
from clapstack.stacking.ridge import StandardizedRidge

__all__ = [
    "ClapStackingRegressor",
    "KernelRegressor",
    "StandardizedRidge",
    "family_ablation",
    "rank_target",
]
