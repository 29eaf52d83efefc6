"""Tables of pairs in files: read, evaluated, scored, extracted and written."""

from clapstack.cli.tables._evaluate import (
    Evaluation,
    by_axis,
    doubt,
    evaluate,
    evaluate_model,
    evaluate_predictions,
    fit_and_evaluate,
    report_lines,
)
from clapstack.cli.tables._extract import extract
from clapstack.cli.tables._models import keep_keys, open_model
from clapstack.cli.tables._rated import (
    Rated,
    join_by_key,
    read_by_key,
    read_rated,
    remarks,
)
from clapstack.cli.tables._read import PairTable, result_format
from clapstack.cli.tables._score import part_file, score_to_file, score_to_stream
from clapstack.cli.tables._scorers import CosineScorer, EventScorer, ModelScorer
from clapstack.cli.tables._write import ERRORS

__all__ = [
    "ERRORS",
    "CosineScorer",
    "Evaluation",
    "EventScorer",
    "ModelScorer",
    "PairTable",
    "Rated",
    "by_axis",
    "doubt",
    "evaluate",
    "evaluate_model",
    "evaluate_predictions",
    "extract",
    "fit_and_evaluate",
    "join_by_key",
    "keep_keys",
    "open_model",
    "part_file",
    "read_by_key",
    "read_rated",
    "remarks",
    "report_lines",
    "result_format",
    "score_to_file",
    "score_to_stream",
]
