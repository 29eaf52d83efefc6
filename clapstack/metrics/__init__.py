"""Metrics of the challenge, with intervals, scorers and the noise ceiling."""

from clapstack.metrics._bootstrap import (
    Difference,
    Interval,
    bootstrap_interval,
    compare_report,
    paired_bootstrap,
    score_report,
)
from clapstack.metrics._ceiling import NoiseCeiling, noise_ceiling
from clapstack.metrics._preferences import PairAccuracy, pair_accuracy
from clapstack.metrics._scores import (
    ktau,
    ktau_scorer,
    lcc,
    lcc_scorer,
    mse,
    mse_scorer,
    srcc,
    srcc_scorer,
)
from clapstack.metrics._systems import SystemComparison, compare_systems

__all__ = [
    "Difference",
    "Interval",
    "NoiseCeiling",
    "PairAccuracy",
    "SystemComparison",
    "bootstrap_interval",
    "compare_report",
    "compare_systems",
    "ktau",
    "ktau_scorer",
    "lcc",
    "lcc_scorer",
    "mse",
    "mse_scorer",
    "noise_ceiling",
    "pair_accuracy",
    "paired_bootstrap",
    "score_report",
    "srcc",
    "srcc_scorer",
]
