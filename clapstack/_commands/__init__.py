"""The commands over tables of pairs: fit, score, evaluate, extract."""

from clapstack._commands._score import score

__all__ = ["score"]
