"""Splitting of captions into clauses, with the order of events that they claim."""

from clapstack.captions._split import Clauses, split_clauses

__all__ = ["Clauses", "split_clauses"]
