"""A thousand audio files of all formats: read whole, refused, or read in part.

Whole files, files written one after the other, wrong counts, cut ends, tags behind the
end and the lengths of pipes are mixed, each with a known number of samples. Prints a
table by format and damage. Fails if a file is read in part, or if a whole one is
refused. From the folder of the repository:

    python -m tests.bench.fuzz_audio
    python -m tests.bench.fuzz_audio --n-files 5000 --seed 7
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict

import numpy as np

from clapstack.audio import read_audio
from clapstack.exceptions import AudioError
from tests.audio import files

FORMATS = [*files.SOUNDFILE, *files.PYAV]
DAMAGES = ("whole", "joined", "count", "cut", "tag", "pipe")
# Files of one chunk of samples: a second one behind them is refused, not read.
MONO = ("wav-gsm", "aifc-gsm", "wav-g721", "wav-nms")
CHUNKS = ("wav", "rf64", "w64", "aif", "au-", "caf", "m4a", "mkv", "webm", "wma")


def draw(
    rng: np.random.Generator, name: str, damage: str
) -> tuple[files.Made, bool] | None:
    """Return a file and whether it must be read; None where the damage cannot be."""
    n_frames = int(rng.integers(8_000, 24_000))
    n_channels = 1 if name in MONO else int(rng.integers(1, 3))
    made = files.make(name, rng, n_frames, n_channels)
    chunked = name.startswith(CHUNKS)
    if damage == "joined":
        other = files.make(name, rng, int(rng.integers(8_000, 24_000)), n_channels)
        # Of two files of Opus, libsndfile may decode one and FFmpeg the other, at
        # another rate; these are refused.
        return files.joined(made, other), not chunked and name != "ogg-opus"
    if damage == "count":
        counted = files.with_count(made, name, float(rng.choice([0, 0.5, 0.8, 1.3])))
        return counted and (counted, False)
    if damage == "cut":
        return files.cut(made, rng), False
    if damage == "tag":
        return files.tagged(made, str(rng.choice(list(files.TAGS)))), True
    if damage == "pipe":
        piped = files.with_length(made, int(rng.choice(files.UNKNOWN)))
        return piped and (piped, True)
    return made, True


def outcome(made: files.Made) -> tuple[str, str]:
    """Return how reading a file ends, and the words of a refusal."""
    try:
        n_samples = len(read_audio(made.content, files.RATE))
    except AudioError as error:
        return "refused", str(error)
    rounding = 2  # of containers whose own rate is another one
    if n_samples < made.least - rounding:
        return "in part", f"{n_samples} of {made.least}"
    if n_samples > made.most + rounding:
        return "too much", f"{n_samples}, at most {made.most}"
    return "whole", ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-files", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    wrong = []
    n_files = 0
    while n_files < options.n_files:
        name = FORMATS[n_files % len(FORMATS)]
        damage = DAMAGES[int(rng.integers(len(DAMAGES)))]
        drawn = draw(rng, name, damage)
        if drawn is None:
            continue
        made, must_be_read = drawn
        end, words = outcome(made)
        table[name, damage][end] += 1
        if end in ("in part", "too much") or (must_be_read and end == "refused"):
            wrong.append(f"file {n_files}, {name}, {damage}: {end} ({words})")
        n_files += 1
    print(f"{'':12}" + "".join(f"{damage:>16}" for damage in DAMAGES))
    for name in FORMATS:
        ends = (table[name, damage] for damage in DAMAGES)
        cells = (f"{n['whole']}/{n['refused']}/{n['in part']}" for n in ends)
        print(f"{name:12}" + "".join(f"{cell:>16}" for cell in cells))
    print("Cells: read whole / refused / read in part")
    total = sum(table.values(), Counter())
    print(f"{n_files} files: " + ", ".join(f"{n} {end}" for end, n in total.items()))
    print("\n".join(wrong) or "None was read in part, and no whole one refused.")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
