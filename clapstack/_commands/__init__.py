"""The commands over tables of pairs: fit, score, evaluate, extract, report."""

from clapstack._commands import _evaluate, _extract, _fit, _report, _score

__all__ = ["COMMANDS"]

# Function and epilog, in the order in which --help shows them.
COMMANDS = (
    (_fit.fit, _fit.EPILOG),
    (_score.score, _score.EPILOG),
    (_evaluate.evaluate, _evaluate.EPILOG),
    (_extract.extract, _extract.EPILOG),
    (_report.report, _report.EPILOG),
)
