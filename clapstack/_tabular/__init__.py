"""What the command line does with tables of pairs in files."""

from clapstack._tabular._models import open_model, predict_with_interval, set_up
from clapstack._tabular._read import PairTable, format_of
from clapstack._tabular._score import part_file, score_to_file, score_to_stream
from clapstack._tabular._scorers import CosineScorer, ModelScorer

__all__ = [
    "CosineScorer",
    "ModelScorer",
    "PairTable",
    "format_of",
    "open_model",
    "part_file",
    "predict_with_interval",
    "score_to_file",
    "score_to_stream",
    "set_up",
]
