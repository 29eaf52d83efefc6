"""Tables of pairs in files: reading ratings, fitting, evaluation, extraction."""

from clapstack.cli.tables._evaluate import (
    Evaluation,
    by_axis,
    doubt,
    evaluate,
    evaluate_model,
    evaluate_predictions,
    fit_and_evaluate,
    reading_line,
    report_lines,
)
from clapstack.cli.tables._extract import extract
from clapstack.cli.tables._models import open_model
from clapstack.cli.tables._rated import (
    Rated,
    check_ratings_differ,
    few_pairs,
    join_by_key,
    read_by_key,
    read_rated,
    remarks,
)

__all__ = [
    "Evaluation",
    "Rated",
    "by_axis",
    "check_ratings_differ",
    "doubt",
    "evaluate",
    "evaluate_model",
    "evaluate_predictions",
    "extract",
    "few_pairs",
    "fit_and_evaluate",
    "join_by_key",
    "open_model",
    "read_by_key",
    "read_rated",
    "reading_line",
    "remarks",
    "report_lines",
]
