"""The report of a fitted model: one page of metrics, pictures and fingerprints."""

from clapstack.cli.report._data import read_data
from clapstack.cli.report._model import Data, ModelFile, read_model
from clapstack.cli.report._page import make_report

__all__ = ["Data", "ModelFile", "make_report", "read_data", "read_model"]
