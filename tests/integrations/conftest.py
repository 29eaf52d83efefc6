"""Clips, pairs and model shared with the command-line tests."""

from tests.cli.conftest import _store, clips, model_file, pairs

__all__ = ["_store", "clips", "model_file", "pairs"]
