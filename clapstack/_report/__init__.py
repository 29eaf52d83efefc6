"""The report of a fitted model: one page of metrics, pictures and fingerprints."""

from clapstack._report._data import read_data
from clapstack._report._model import Data, ModelFile, read_model
from clapstack._report._page import make_report

__all__ = ["Data", "ModelFile", "make_report", "read_data", "read_model"]
