"""Captions split into what sounds, and the order that they claim."""

from clapstack.captions._split import Clauses, split_clauses

__all__ = ["Clauses", "split_clauses"]
