"""Simulated listeners, and a folder of simulated scenes in the XACLE layout.

A substitute for a human-rated challenge. Nothing here is a human rating; everything
exported from this module has `simulate` in its name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
from numpy.typing import NDArray

from clapstack._optional import progress
from clapstack.datasets._scenes import (
    render_simulated_scene,
    simulate_caption,
    simulate_scene,
    simulated_alignment,
)
from clapstack.datasets._synthesis import SAMPLE_RATE

__all__ = ["make_simulated_xacle", "simulate_ratings"]

N_LISTENERS = 4  # per pair
RATINGS_PER_LISTENER = 13
# Standard deviations of a listener's bias, and of a rating around the listener's mean.
# They make simulated mean ratings as reliable as human ones (.756 for four listeners).
LISTENER_BIAS = 1.2
RATING_NOISE = 4.4
# Expected rating, before rounding and clipping, for no and for full alignment.
NO_ALIGNMENT, FULL_ALIGNMENT = -0.5, 11.0
_TRUTH_COLUMNS = ("split", "wav_file_name", "text", "alignment", "edit", "sounds")


def simulate_ratings(
    alignments: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw four simulated listeners' ratings of each pair.

    Parameters
    ----------
    alignments : ndarray of shape (n_pairs,)
        True alignment in [0, 1].
    rng : Generator
        Source of randomness.

    Returns
    -------
    ratings : ndarray of shape (n_pairs, 4), int64
        Whole numbers from 0 to 10.
    listeners : ndarray of shape (n_pairs, 4), int64
        Listener numbers, starting from zero; each has about 13 ratings.
    """
    n_pairs = len(alignments)
    n_listeners = max(N_LISTENERS, round(n_pairs * N_LISTENERS / RATINGS_PER_LISTENER))
    bias = rng.normal(0, LISTENER_BIAS, n_listeners)
    first = rng.permutation(np.arange(n_pairs * N_LISTENERS) % n_listeners)
    listeners = first.reshape(n_pairs, N_LISTENERS)
    for row in listeners:  # four different listeners for every pair
        if len(set(row)) < N_LISTENERS:
            row[:] = rng.choice(n_listeners, N_LISTENERS, replace=False)
    expected = NO_ALIGNMENT + (FULL_ALIGNMENT - NO_ALIGNMENT) * alignments
    noise = rng.normal(0, RATING_NOISE, listeners.shape)
    ratings = np.rint(expected[:, None] + bias[listeners] + noise)
    return np.clip(ratings, 0, 10).astype(np.int64), listeners.astype(np.int64)


def make_simulated_xacle(
    root: str | Path,
    *,
    n_train: int = 600,
    n_validation: int = 150,
    n_test: int = 300,
    random_state: int = 0,
    held_out: bool | None = None,
    verbose: bool = False,
) -> Path:
    """Write a simulated challenge folder in the layout of XACLE.

    Scenes have one to three bundled or synthesised sounds, captions are correct or
    edited, and each pair is rated by four simulated listeners, as unreliable as human
    ones (the mean of four has a reliability near .76). Splits share no listeners. These
    are not human ratings.

    Parameters
    ----------
    root : path
        Folder to write. It is created if missing, and must be empty.
    n_train, n_validation, n_test : int
        Number of pairs in each split.
    random_state : int, default=0
        Seed. Pair i of a split depends only on the seed.
    held_out : bool or None, default=None
        Bundled recordings to use: those held out from the training of the bundled
        checkpoints, for classes that have some (True), the others (False), or any
        (None).
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    root : Path
        The folder, for :func:`load_xacle`.

    Raises
    ------
    FileExistsError
        If `root` is not empty.

    Notes
    -----
    Layout: ``wav/{split}/NNNNN.wav`` (10 s, mono, 16-bit, 16 kHz);
    ``meta_data/{split}_average.csv`` (``wav_file_name, text, average_score``);
    ``meta_data/{split}.csv``, one row per rating (``wav_file_name, text, score,
    listener_id``); ``simulated_truth.csv``, the values behind the simulated ratings.

    Examples
    --------
    >>> import tempfile
    >>> from clapstack.datasets import load_xacle, make_simulated_xacle
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_simulated_xacle(folder, n_train=2, n_validation=1, n_test=1)
    ...     load_xacle(root, split="train").X.shape
    (2, 2)
    """
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        msg = (
            f"make_simulated_xacle needs an empty folder; {str(root)!r} is not empty. "
            "Choose a new folder, or remove that one."
        )
        raise FileExistsError(msg)
    sizes = {"train": n_train, "validation": n_validation, "test": n_test}
    (root / "meta_data").mkdir(parents=True)
    truth: list[dict[str, object]] = []
    n_listeners = 0
    bar = progress(
        total=sum(sizes.values()), desc="simulating", unit="scene", verbose=verbose
    )
    for number, (split, n_pairs) in enumerate(sizes.items()):
        folder = root / "wav" / split
        folder.mkdir(parents=True)
        rows = []
        for i in range(n_pairs):
            rng = np.random.default_rng([random_state, number, i])
            scene = simulate_scene(rng)
            caption = simulate_caption(scene, rng)
            name = f"{i:05d}.wav"
            samples = render_simulated_scene(scene, rng, held_out=held_out)
            sf.write(folder / name, samples, SAMPLE_RATE, "PCM_16")
            rows.append(
                {
                    "split": split,
                    "wav_file_name": name,
                    "text": caption.text,
                    "alignment": simulated_alignment(scene, caption),
                    "edit": caption.edit,
                    "sounds": " ".join(event.name for event in scene.events),
                }
            )
            bar.update()
        table = pd.DataFrame(rows, columns=[*_TRUTH_COLUMNS])
        rng = np.random.default_rng([random_state, 3, number])
        ratings, listeners = simulate_ratings(table["alignment"].to_numpy(float), rng)
        pairs = table[["wav_file_name", "text"]]
        average = pairs.assign(average_score=ratings.mean(axis=1))
        average.to_csv(root / "meta_data" / f"{split}_average.csv", index=False)
        each = pairs.loc[pairs.index.repeat(N_LISTENERS)].assign(
            score=ratings.ravel(),
            listener_id=[f"S{n_listeners + k:04d}" for k in listeners.ravel()],
        )
        each.to_csv(root / "meta_data" / f"{split}.csv", index=False)
        n_listeners += int(listeners.max(initial=-1)) + 1
        truth.extend(rows)
    bar.close()
    table = pd.DataFrame(truth, columns=[*_TRUTH_COLUMNS])
    table.to_csv(root / "simulated_truth.csv", index=False)
    return root
