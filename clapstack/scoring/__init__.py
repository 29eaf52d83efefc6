"""Scores for users of a model: clips, tables, the plain CLAP score, best of n."""

from clapstack.scoring._candidates import (
    Candidates,
    candidates_by_prompt,
    rank_candidates,
)
from clapstack.scoring._checkpoint import clap_score, protocol
from clapstack.scoring._edits import EDITS
from clapstack.scoring._probe import probe, probe_rows
from clapstack.scoring._scorer import Scorer, score_table

__all__ = [
    "EDITS",
    "Candidates",
    "Scorer",
    "candidates_by_prompt",
    "clap_score",
    "probe",
    "probe_rows",
    "protocol",
    "rank_candidates",
    "score_table",
]
