"""Runs of systems on the challenge: predictions, submissions and result tables."""

from clapstack.cli.challenge._checkpoints import MissingCheckpointsError, broken_rules
from clapstack.cli.challenge._human import bench_human, format_human, present_encoders
from clapstack.cli.challenge._predictions import (
    prediction_table,
    read_predictions,
    write_predictions,
)
from clapstack.cli.challenge._report import place_in_ranking, read_results, results_text
from clapstack.cli.challenge._run import check_challenge, run_systems

__all__ = [
    "MissingCheckpointsError",
    "bench_human",
    "broken_rules",
    "check_challenge",
    "format_human",
    "place_in_ranking",
    "prediction_table",
    "present_encoders",
    "read_predictions",
    "read_results",
    "results_text",
    "run_systems",
    "write_predictions",
]
