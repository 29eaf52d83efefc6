"""The clips, pairs and model of the tests of the command line serve here too."""

from tests.cli.conftest import _store, clips, model_file, pairs

__all__ = ["_store", "clips", "model_file", "pairs"]
