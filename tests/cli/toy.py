"""A scorer without encoders, and a process that uses it and can be killed."""

import sys
import time
from pathlib import Path

import numpy as np

from clapstack._tabular import PairTable, score_to_file
from clapstack._tabular._scorers import Scorer
from clapstack.exceptions import BadPair, BadPairsError


class ToyScorer(Scorer):
    """The length of the text; a text with "bad" in it cannot be used."""

    names = ("score",)
    waits = False

    def __init__(self, identity="toy", pause=0.0):
        self.identity = {"model": identity}
        self.pause = pause
        self.asked = []

    def values(self, pairs):
        texts = list(pairs["text"])
        self.asked.append(texts)
        time.sleep(self.pause)
        bad = [
            BadPair(i, pairs.index[i], "text", f"row {pairs.index[i]} is bad")
            for i, text in enumerate(texts)
            if "bad" in text
        ]
        if bad:
            raise BadPairsError(bad, len(texts))
        return np.array([[len(text) / 7] for text in texts])

    def finish(self, values):
        return list


def score_slowly(table, out):
    score_to_file(
        PairTable(table),
        ToyScorer(pause=0.01),
        Path(out),
        "csv",
        chunk_size=2,
        verbose=False,
        tell=print,
    )


if __name__ == "__main__":
    score_slowly(*sys.argv[1:])
