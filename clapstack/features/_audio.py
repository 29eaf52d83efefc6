"""What the transformers over audio-only encoders share."""

from __future__ import annotations

import os
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, StrOptions, _fit_context
from clapstack.exceptions import BadPairsError
from clapstack.features._base import check_same_weights, load_encoder_of
from clapstack.features._embedding import embed_clips, one_bad_pair_per_row
from clapstack.pairs import bad_texts, check_pairs


class _BaseAudioFeatures(TransformerMixin, BaseEstimator):
    """Features of the clips of pairs; a subclass names the kind of its encoder.

    Every subclass has the parameters of `_parameter_constraints`, each assigned in
    its own ``__init__``.
    """

    _parameter_constraints: dict = {
        "checkpoint": [str, os.PathLike],
        "revision": [str, None],
        "crop": [StrOptions({"windows", "center", "start"})],
        "device": [str, None],
        "dtype": [StrOptions({"float32", "bfloat16"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "cache": [str, os.PathLike, None],
        "verbose": ["verbose"],
    }

    _kind: str  # of `load_encoder`

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
        encoder = load_encoder_of(self, self._kind)
        self.blocks_ = dict(encoder.blocks)
        self.sample_rate_ = encoder.sample_rate
        self.fingerprint_ = encoder.fingerprint
        return self

    def transform(self, X):
        """Compute the features of the clip of every row.

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
            If rows cannot be used. Every one is named, for its text too, as by the
            transformers that read it; the others are encoded and stored by then.
        FingerprintMismatchError
            If the encoder is not the one that was fitted.
        """
        check_is_fitted(self)
        pairs = check_pairs(self, X, reset=False)
        return self._features(self._embed(pairs), pairs["text"])

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the result.

        Parameters
        ----------
        input_features : None
            Ignored: the names follow from the encoder.

        Returns
        -------
        names : ndarray of str
            A block of one column bears its name; others number theirs: ``mean0``, ….
        """
        check_is_fitted(self)
        return np.asarray(block_names(self.blocks_), dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _embed(self, pairs):
        encoder = load_encoder_of(self, self._kind)
        check_same_weights(self, encoder)
        embeddings, bad = embed_clips(
            pairs["audio"].tolist(),
            encoder,
            crop=self.crop,
            batch_size=self.batch_size,
            cache=self.cache,
            verbose=self.verbose,
        )
        bad = [row._replace(index=pairs.index[row.position]) for row in bad]
        bad = one_bad_pair_per_row([*bad, *bad_texts(pairs)])
        if bad:
            raise BadPairsError(bad, len(pairs))
        return embeddings

    def _features(self, embeddings, texts):
        """Return the features, given what the encoder made and the texts."""
        return embeddings


def block_names(blocks):
    """Name the columns of blocks.

    Parameters
    ----------
    blocks : dict of str to int
        Name and width of each.

    Returns
    -------
    names : list of str

    Examples
    --------
    >>> from clapstack.features._audio import block_names
    >>> block_names({"mean": 2, "blank_ratio": 1})
    ['mean0', 'mean1', 'blank_ratio']
    """
    return [
        name if width == 1 else f"{name}{i}"
        for name, width in blocks.items()
        for i in range(width)
    ]
