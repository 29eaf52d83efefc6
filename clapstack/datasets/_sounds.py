"""The bundled recordings and the taxonomy of sound classes."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile as sf
from numpy.typing import NDArray

from clapstack.datasets._synthesis import SYNTHESISED

__all__ = ["SoundClass", "load_bundled_sounds", "sound_classes"]


class SoundClass(NamedTuple):
    """A class of sounds in simulated scenes.

    Attributes
    ----------
    name : str
        Identifier.
    group : str
        Simulated listeners treat the classes of one group as near-synonyms.
    words : tuple of str
        Wordings of the class in captions.
    """

    name: str
    group: str
    words: tuple[str, ...]


def load_bundled_sounds() -> pd.DataFrame:
    """Load the table of the bundled recordings.

    There are 175 short recordings, CC0 or CC BY 3.0, mono, 16 kHz, of at most four
    seconds.

    Returns
    -------
    sounds : DataFrame
        One row per recording: ``file``, ``class``, ``group``, ``words``,
        ``held_out`` (bool: not used to train the bundled checkpoints), ``origin``,
        ``author``, ``licence``, ``source``, and ``path`` (of the FLAC file).

    Examples
    --------
    >>> from clapstack.datasets import load_bundled_sounds
    >>> sounds = load_bundled_sounds()
    >>> sorted(sounds["licence"].unique())
    ['CC-BY-3.0', 'CC0-1.0']
    """
    folder = Path(str(files("clapstack") / "bundled" / "sounds"))
    sounds = pd.read_csv(folder / "sounds.csv", keep_default_na=False)
    sounds["held_out"] = sounds["held_out"].astype(bool)
    sounds["path"] = [str(folder / name) for name in sounds["file"]]
    return sounds


@lru_cache(maxsize=1)
def sound_classes() -> dict[str, SoundClass]:
    """Return every sound class by name: recorded ones first, then synthesised."""
    classes = {}
    for row in load_bundled_sounds().drop_duplicates("class").itertuples():
        name, group, words = str(row[2]), str(row[3]), str(row[4])
        classes[name] = SoundClass(name, group, tuple(words.split(" | ")))
    for made in SYNTHESISED:
        classes[made.name] = SoundClass(made.name, made.group, made.words)
    return classes


@lru_cache(maxsize=1)
def recordings() -> dict[str, dict[bool, tuple[NDArray[np.float32], ...]]]:
    """Return the samples of every recorded class, by ``held_out``."""
    samples: dict[str, dict[bool, tuple[NDArray[np.float32], ...]]] = {}
    sounds = load_bundled_sounds()
    for (name, held_out), rows in sounds.groupby(["class", "held_out"], sort=False):
        read = [sf.read(path, dtype="float32")[0] for path in rows["path"]]
        samples.setdefault(str(name), {})[bool(held_out)] = tuple(read)
    return samples
