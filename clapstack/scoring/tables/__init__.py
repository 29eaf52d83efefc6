"""Scoring of tables of pairs: reading, scoring in chunks, resuming, and writing."""

from clapstack.scoring.tables._edits import EDITS
from clapstack.scoring.tables._folders import CLIP_SUFFIXES
from clapstack.scoring.tables._mean import GroupedMean, Mean
from clapstack.scoring.tables._probe import probe_table
from clapstack.scoring.tables._read import (
    FrameTable,
    PairTable,
    Row,
    in_chunks,
    keep_keys,
    on_usable_files,
    pairs_of,
    result_format,
)
from clapstack.scoring.tables._score import (
    Scored,
    part_file,
    score_to_file,
    score_to_frame,
    score_to_stream,
)
from clapstack.scoring.tables._scorers import (
    CosineScorer,
    EventScorer,
    ModelScorer,
    TableScorer,
)
from clapstack.scoring.tables._write import ERRORS, write_lines, write_table

__all__ = [
    "CLIP_SUFFIXES",
    "EDITS",
    "ERRORS",
    "CosineScorer",
    "EventScorer",
    "FrameTable",
    "GroupedMean",
    "Mean",
    "ModelScorer",
    "PairTable",
    "Row",
    "Scored",
    "TableScorer",
    "in_chunks",
    "keep_keys",
    "on_usable_files",
    "pairs_of",
    "part_file",
    "probe_table",
    "result_format",
    "score_to_file",
    "score_to_frame",
    "score_to_stream",
    "write_lines",
    "write_table",
]
