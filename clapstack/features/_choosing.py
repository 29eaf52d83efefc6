"""Choice of the transformer for a checkpoint."""

from __future__ import annotations

import os
from typing import Any

from clapstack.features import _audio, _clap, _ctc

__all__ = ["features_for"]

_ALL = [getattr(m, name) for m in (_audio, _clap, _ctc) for name in m.__all__]
_CLASSES = {features._kind: features for features in _ALL}
_CLASSES["beats"] = _audio.BeatsFeatures  # `output` selects one of its two kinds


def features_for(checkpoint: str | os.PathLike[str], **settings: Any) -> Any:
    """Return the transformer for a checkpoint, detected from its files.

    Parameters
    ----------
    checkpoint : str or path-like
        A folder, a file, a hub id or the name of a bundled checkpoint. For a hub id,
        only configuration files are downloaded to detect the kind.
    **settings
        Further parameters of the transformer, such as `device` or `cache`.

    Returns
    -------
    transformer : estimator
        The unfitted transformer.

    Raises
    ------
    CheckpointError
        If the checkpoint does not exist or its kind is unknown.

    Examples
    --------
    >>> from clapstack.features import features_for
    >>> features_for("bundled:msclap", cache=None)
    MsClapPairFeatures(cache=None, checkpoint='bundled:msclap')
    """
    from clapstack.encoders import kind_of  # imported late: loads torch

    return _CLASSES[kind_of(checkpoint)](checkpoint, **settings)
