"""Tuning of CLAP projections on cached embeddings and human scores."""

from clapstack.tuning._transformer import ProjectionTuning

__all__ = ["ProjectionTuning"]
