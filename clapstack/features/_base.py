"""Base classes for transformers of (audio, text) pairs."""

from __future__ import annotations

import os
from abc import ABCMeta, abstractmethod
from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, StrOptions, _fit_context
from clapstack.exceptions import FingerprintMismatchError
from clapstack.features._docstring import documented
from clapstack.features._embedding import embed_pairs
from clapstack.features._noted_encoder import load_when_needed
from clapstack.features._pair_feature import (
    check_blocks,
    pair_feature_names,
    pair_features,
)
from clapstack.pairs import check_pairs


class _BaseFeatures(TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """Features of pairs from the frozen encoder that `_load_encoder` returns."""

    _parameter_constraints: dict = {
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "cache": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    crop = None  # a custom encoder crops as it sees fit

    @_fit_context(prefer_skip_nested_validation=True)
    @documented()
    def fit(self, X, y=None):
        """Load the encoder and record its fingerprint; nothing is encoded yet.

        Parameters
        ----------
        {X_of_fit}

        Returns
        -------
        self : object
            The fitted transformer.
        """
        check_pairs(self, X, reset=True)
        self._check_parameters()
        encoder = self._load_encoder()
        self._record_widths(encoder)
        self.sample_rate_ = encoder.sample_rate
        self.fingerprint_ = encoder.fingerprint
        return self

    def transform(self, X):
        """Compute the features of every row.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, 2)
            As for `fit`. A clip is a path, ``(samples, rate)`` or a mapping with
            ``"array"`` and ``"sampling_rate"``.

        Returns
        -------
        features : ndarray of shape (n_pairs, n_features)
            float32.

        Raises
        ------
        BadPairsError
            If some rows are unusable. The error lists all of them, including rows whose
            text is unusable even if this transformer ignores texts. The other rows are
            encoded and stored first.
        FingerprintMismatchError
            If the loaded weights differ from the fitted ones.
        """
        check_is_fitted(self)
        return self._features(check_pairs(self, X, reset=False))

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the result.

        Parameters
        ----------
        input_features : None
            Ignored: the names follow from the encoder.

        Returns
        -------
        names : ndarray of str
            A one-column block has the block's name, such as ``cosine``; the columns of
            wider blocks are numbered: ``audio0``, ….
        """
        check_is_fitted(self)
        return np.asarray(self._names(), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _fitted_encoder(self):
        """Load the encoder; reject weights other than the fitted ones."""
        encoder = self._load_encoder()
        if encoder.fingerprint != self.fingerprint_:
            msg = (
                f"{self!r} was fitted with the weights {self.fingerprint_}, but the "
                f"loaded weights are {encoder.fingerprint}. Load the original weights "
                "or fit again."
            )
            raise FingerprintMismatchError(msg)
        return encoder

    def _check_parameters(self):
        """Validate parameters before the encoder is loaded."""

    @abstractmethod
    def _record_widths(self, encoder):
        """Set the fitted attribute that determines the column names."""

    @abstractmethod
    def _features(self, pairs):
        """Return the features of validated pairs."""

    @abstractmethod
    def _names(self):
        """Return the column names."""


class _BasePairFeatures(_BaseFeatures):
    """Pair features (equation 1) of an encoder with two towers."""

    _parameter_constraints: dict = {
        **_BaseFeatures._parameter_constraints,
        "blocks": [tuple, list],
    }

    def _check_parameters(self):
        check_blocks(self.blocks)

    def _record_widths(self, encoder):
        self.projection_dim_ = encoder.projection_dim

    def _features(self, pairs):
        audio, text = self._embed(pairs)
        return pair_features(audio, text, self.blocks)

    def _names(self):
        return pair_feature_names(self.projection_dim_, self.blocks)

    def _embed(self, pairs):
        return self._embed_by(embed_pairs, pairs)

    def _embed_by(self, embed, pairs):
        return embed(
            pairs,
            self._fitted_encoder(),
            crop=self.crop,
            batch_size=self.batch_size,
            cache=self.cache,
            verbose=self.verbose,
        )


class _OfCheckpoint:
    """Parameters of a transformer whose encoder is a published checkpoint."""

    _checkpoint_constraints: dict = {
        "checkpoint": [str, os.PathLike],
        "revision": [str, None],
        "crop": [StrOptions({"windows", "center", "start"})],
        "device": [str, None],
        "dtype": [StrOptions({"float32", "bfloat16"})],
    }

    _kind: str  # as for `load_encoder`

    def __init__(
        self, checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
    ):
        self.checkpoint = checkpoint
        self.revision = revision
        self.crop = crop
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    def _load_encoder(self):
        backend = getattr(self, "backend", "clapstack")
        path = Path(self.checkpoint).expanduser()
        request = (
            self._kind,
            str(path.absolute()) if path.exists() else os.fspath(self.checkpoint),
            self.revision,
            self.device,
            self.dtype,
            backend,
        )
        return load_when_needed(_load_encoder, request, self.cache)


def _load_encoder(kind, checkpoint, revision, device, dtype, backend):
    from clapstack.encoders import load_encoder  # imported late: loads torch

    return load_encoder(
        kind,
        checkpoint,
        revision=revision,
        device=device,
        dtype=dtype,
        backend=backend,
    )
