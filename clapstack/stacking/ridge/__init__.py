"""The ridge members of a family, in all folds."""

from clapstack.stacking.ridge._estimator import StandardizedRidge
from clapstack.stacking.ridge._fit import check_alphas, fit_family_ridges
from clapstack.stacking.ridge._fold_product import HELD_BYTES, FoldProduct
from clapstack.stacking.ridge._fold_sums import (
    FoldWeights,
    columns_of_folds,
    hold_out_once,
)
from clapstack.stacking.ridge._krylov import NotConvergedError

__all__ = [
    "HELD_BYTES",
    "FoldProduct",
    "FoldWeights",
    "NotConvergedError",
    "StandardizedRidge",
    "check_alphas",
    "columns_of_folds",
    "fit_family_ridges",
    "hold_out_once",
]
