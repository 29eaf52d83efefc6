"""Running systems on the challenge: predictions, figures, submissions, tables."""

from clapstack.cli.challenge._checkpoints import MissingCheckpointsError
from clapstack.cli.challenge._predictions import (
    match_predictions,
    read_predictions,
    read_truth,
    write_predictions,
)
from clapstack.cli.challenge._report import place_in_ranking, read_results, results_text
from clapstack.cli.challenge._run import check_challenge, run_systems

__all__ = [
    "MissingCheckpointsError",
    "check_challenge",
    "match_predictions",
    "place_in_ranking",
    "read_predictions",
    "read_results",
    "read_truth",
    "results_text",
    "run_systems",
    "write_predictions",
]
