"""The CLAP score of one checkpoint, and a line that makes it reproducible."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from clapstack._compat import file_digest
from clapstack.scoring._pairs import is_one_clip

__all__ = ["clap_score", "protocol", "transformer_of"]


def clap_score(
    audio: Any,
    text: Any,
    checkpoint: Any = "laion/clap-htsat-unfused",
    *,
    sampling_rate: Any = None,
    channels_first: bool = False,
    device: str | None = None,
) -> float | np.ndarray:
    """Return the CLAP score: the cosine between the embeddings of a clip and a text.

    It needs no ratings and no fitted model. Quote the line from
    :func:`clapstack.scoring.protocol` to make a published score reproducible. The
    encoder stays loaded, and nothing is written to disk.

    Parameters
    ----------
    audio, text : object
        Clips and texts, as for :meth:`Scorer.score <clapstack.Scorer.score>`.
    checkpoint : str, path-like or transformer, default="laion/clap-htsat-unfused"
        A checkpoint of LAION CLAP, MS-CLAP or M2D-CLAP, recognised by its name. Or an
        unfitted transformer, such as ``LaionClapPairFeatures(path, crop="center")``.
    sampling_rate, channels_first : object
        As for :meth:`Scorer.score <clapstack.Scorer.score>`.
    device : str, default=None
        Device for the encoder. None uses a GPU if there is one.

    Returns
    -------
    score : float, or ndarray of shape (n,)
        Cosine in [-1, 1]; a float for one clip and one text.

    Raises
    ------
    BadPairsError
        If some pairs are unusable; its attribute ``rows`` lists them.
    CheckpointError
        If the checkpoint cannot be found or read.
    ValueError
        If the numbers of clips and texts differ, or a sampling rate is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack import clap_score
    >>> noise = np.random.default_rng(0).normal(0, 0.1, 48000)
    >>> score = clap_score(noise, "rain", "bundled:msclap", sampling_rate=48000)
    >>> -1 <= score <= 1
    True
    """
    from clapstack.scoring._scorer import Scorer

    scorer = Scorer.unsupervised([checkpoint], device=device)
    scores = scorer.score(
        audio, text, sampling_rate=sampling_rate, channels_first=channels_first
    )
    is_one_pair = is_one_clip(audio) and isinstance(text, str)
    return float(scores[0]) if is_one_pair else scores


def protocol(checkpoint: Any = "laion/clap-htsat-unfused") -> str:
    """Describe how a CLAP score was measured, in one line for a paper.

    Parameters
    ----------
    checkpoint : str, path-like or transformer, default="laion/clap-htsat-unfused"
        As for :func:`~clapstack.clap_score`.

    Returns
    -------
    line : str
        Checkpoint with the SHA-256 of its weights, sampling rate, resampler, treatment
        of long clips, and versions.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be found or read.

    Examples
    --------
    >>> from clapstack.scoring import protocol
    >>> protocol("bundled:laion-unfused")
    'CLAP score: cosine of audio and text embeddings of bundled:laion-unfused ...'
    """
    import soxr

    from clapstack import __version__

    transformer = transformer_of(checkpoint)
    if not hasattr(transformer, "checkpoint"):
        msg = (
            f"{type(transformer).__name__} has no checkpoint to name. Pass the name of "
            "a checkpoint, or a transformer such as LaionClapPairFeatures(path)."
        )
        raise TypeError(msg)
    encoder = transformer._load_encoder()
    seconds = encoder.window / encoder.sample_rate
    crops = {
        "windows": f"longer clips by evenly spaced windows of {seconds:g} s, unit "
        "embeddings averaged (fused models: in one pass)",
        "center": f"the central {seconds:g} s of longer clips",
        "start": f"the first {seconds:g} s of longer clips",
    }
    weights = Path(encoder.source)
    revision = f" at {transformer.revision}" if transformer.revision else ""
    return (
        "CLAP score: cosine of audio and text embeddings of "
        f"{os.fspath(transformer.checkpoint)}{revision} ({weights.name}, SHA-256 "
        f"{file_digest(weights)}); mono, {encoder.sample_rate} Hz, resampled by soxr "
        f"{soxr.__version__} HQ; {crops[transformer.crop]}; {transformer.dtype}; "
        f"clapstack {__version__}."
    )


def transformer_of(checkpoint: Any) -> Any:
    """Return an unfitted transformer that computes the cosine of a checkpoint."""
    if isinstance(checkpoint, BaseEstimator):
        transformer = clone(checkpoint)
        if "blocks" not in transformer.get_params(deep=False):
            msg = (
                f"{type(checkpoint).__name__} does not compute a cosine. Pass pair "
                "features of a model with an audio and a text tower, such as "
                "LaionClapPairFeatures."
            )
            raise TypeError(msg)
        return transformer.set_params(blocks=("cosine",))
    from clapstack.systems import FAMILIES

    name = os.fspath(checkpoint)
    return FAMILIES[_family(name)].make(name, blocks=("cosine",))


def _family(name: str) -> str:
    """Return the family of a checkpoint, from its name.

    A checkpoint of another kind is refused later, when it is loaded.
    """
    path = Path(name).expanduser()
    if "m2d_clap" in name or path.name == "checkpoint-30.pth":
        return "m2d_clap"
    is_msclap = "msclap" in name.lower() or path.suffix == ".pth"
    if is_msclap or (path.is_dir() and any(path.glob("CLAP_weights*.pth"))):
        return "msclap"
    return "laion_unfused"
