"""Tables of pairs in files: read, judged, scored, extracted and written."""

from clapstack.cli.tables._extract import extract
from clapstack.cli.tables._judge import (
    Judged,
    doubt,
    fit_and_judge,
    judge,
    judge_model,
    judge_predictions,
    report_lines,
)
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
from clapstack.cli.tables._scorers import CosineScorer, ModelScorer
from clapstack.cli.tables._write import ERRORS

__all__ = [
    "ERRORS",
    "CosineScorer",
    "Judged",
    "ModelScorer",
    "PairTable",
    "Rated",
    "doubt",
    "extract",
    "fit_and_judge",
    "join_by_key",
    "judge",
    "judge_model",
    "judge_predictions",
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
