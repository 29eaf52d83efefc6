"""What the transformers over (audio, text) pairs share."""

from __future__ import annotations

import os
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context
from clapstack.exceptions import FingerprintMismatchError
from clapstack.features._embedding import embed_pairs
from clapstack.features._pair_feature import (
    check_blocks,
    pair_feature_names,
    pair_features,
)
from clapstack.pairs import check_pairs


class _BasePairFeatures(TransformerMixin, BaseEstimator):
    """Pair features of one encoder; a subclass loads the encoder."""

    _parameter_constraints: dict = {
        "blocks": [tuple, list],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "cache": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    crop = None  # an encoder of one's own decides itself

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Load the encoder and record which one it is; nothing is encoded yet.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, 2)
            Columns ``audio`` and ``text``; other columns are ignored. Or rows of
            ``(audio, text)``. Only the columns are looked at.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        check_pairs(self, X, reset=True)
        check_blocks(self.blocks)
        encoder = self._load_encoder()
        self.projection_dim_ = encoder.projection_dim
        self.sample_rate_ = encoder.sample_rate
        self.fingerprint_ = encoder.fingerprint
        return self

    def transform(self, X):
        """Build the pair features of every row.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, 2)
            As for `fit`. A clip is a path, ``(samples, rate)`` or a mapping with
            ``"array"`` and ``"sampling_rate"``.

        Returns
        -------
        features : ndarray of shape (n_pairs, n_features)
            float32, equation 1.

        Raises
        ------
        BadPairsError
            If rows cannot be used. Every one is named; the others are encoded and
            stored by then.
        FingerprintMismatchError
            If the encoder is not the one that was fitted.
        """
        check_is_fitted(self)
        pairs = check_pairs(self, X, reset=False)
        audio, text = self._embed(pairs)
        return pair_features(audio, text, self.blocks)

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the result.

        Parameters
        ----------
        input_features : None
            Ignored: the names follow from the encoder.

        Returns
        -------
        names : ndarray of str
            ``audio0``, …, ``text0``, …, ``product0``, …, ``absdiff0``, …,
            ``sqdiff0``, …, ``cosine``, as far as `blocks` has them.
        """
        check_is_fitted(self)
        names = pair_feature_names(self.projection_dim_, self.blocks)
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _embed(self, pairs):
        encoder = self._load_encoder()
        check_same_weights(self, encoder)
        return embed_pairs(
            pairs,
            encoder,
            crop=self.crop,
            batch_size=self.batch_size,
            cache=self.cache,
            verbose=self.verbose,
        )


def load_encoder_of(estimator, kind):
    """Load the encoder that an estimator's parameters name."""
    from clapstack.encoders import load_encoder  # torch is loaded here, not at import

    return load_encoder(
        kind,
        estimator.checkpoint,
        revision=estimator.revision,
        device=estimator.device,
        dtype=estimator.dtype,
        backend=getattr(estimator, "backend", "clapstack"),
    )


def check_same_weights(estimator, encoder):
    """Refuse an encoder that is not the one that was fitted."""
    if encoder.fingerprint != estimator.fingerprint_:
        msg = (
            f"{estimator!r} was fitted with the weights {estimator.fingerprint_}, and "
            f"the weights {encoder.fingerprint} are loaded now. Load the weights of "
            "that time, or fit again."
        )
        raise FingerprintMismatchError(msg)
