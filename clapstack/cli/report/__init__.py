"""Reports of a fitted model, or of scores, as a single HTML file."""

from clapstack.cli.report._page import make_report
from clapstack.cli.report._scores_page import make_scores_report
from clapstack.cli.report._sources import (
    Data,
    ModelFile,
    Scores,
    read_data,
    read_model,
    read_scores,
    score_pairs,
)

__all__ = [
    "Data",
    "ModelFile",
    "Scores",
    "make_report",
    "make_scores_report",
    "read_data",
    "read_model",
    "read_scores",
    "score_pairs",
]
