"""Scoring of clips and tables, the plain CLAP score, best of n, and probes."""

from clapstack.scoring._candidates import (
    Candidates,
    candidates_by_prompt,
    rank_candidates,
)
from clapstack.scoring._checkpoint import clap_score, protocol
from clapstack.scoring._probe import probe
from clapstack.scoring._scorer import Scorer, score_table
from clapstack.scoring.tables import EDITS

__all__ = [
    "EDITS",
    "Candidates",
    "Scorer",
    "candidates_by_prompt",
    "clap_score",
    "probe",
    "protocol",
    "rank_candidates",
    "score_table",
]
