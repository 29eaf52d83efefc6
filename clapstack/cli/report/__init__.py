"""The report of a fitted model: one page of metrics, pictures and fingerprints."""

from clapstack.cli.report._page import make_report
from clapstack.cli.report._sources import Data, ModelFile, read_data, read_model

__all__ = ["Data", "ModelFile", "make_report", "read_data", "read_model"]
