"""Stacking of feature families, and the regressors that it uses."""

from clapstack._numerics.ranks import rank_target
from clapstack.stacking._ablation import family_ablation
from clapstack.stacking._axes import model_of_axis
from clapstack.stacking._kernel import KernelRegressor
from clapstack.stacking._preferences import PreferenceRegressor
from clapstack.stacking._regressor import ClapStackingRegressor
from clapstack.stacking.ridge import StandardizedRidge

__all__ = [
    "ClapStackingRegressor",
    "KernelRegressor",
    "PreferenceRegressor",
    "StandardizedRidge",
    "family_ablation",
    "model_of_axis",
    "rank_target",
]
