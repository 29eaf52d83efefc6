"""Features of the events that a prompt names: their presence and their order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import FeatureUnion
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import HasMethods, Interval, StrOptions, _fit_context
from clapstack.captions import Clauses, split_clauses
from clapstack.features._base import _BasePairFeatures
from clapstack.features._clap import (
    LaionClapPairFeatures,
    M2dClapPairFeatures,
    MsClapPairFeatures,
)
from clapstack.features._docstring import documented
from clapstack.features._embedding import (
    embed_pairs,
    embed_texts,
    opened_store,
)
from clapstack.features._windows import embed_windows
from clapstack.pairs import check_pairs

__all__ = ["EventFeatures", "EventScores"]

#: Columns of one encoder, by block.
_COLUMNS = {
    "cosine": ("cosine",),
    "presence": ("weakest", "mean", "lag"),
    "order": ("margin", "inversion", "centroids", "weakest_ordered"),
    "explained": ("explained",),
}
_SHARED = ("n_clauses", "claims_order")
#: Prefix of the columns that are means over several encoders.
_ALL = "all"
# Temperature of the softmax that weights windows by their cosines. Like the next two
# values, it was chosen on training pairs of the simulated challenge with the bundled
# checkpoints.
_TEMPERATURE = 0.1
# Windows more than this many dB below the loudest may stay unexplained.
_ACTIVE = 17.0
# Quantile over the other windows: low, so that the worst-explained ones decide.
_QUANTILE = 0.15
# Patterns in the names of checkpoints that are not LAION CLAP.
_KINDS = {
    r"ms-?clap|CLAP_weights": MsClapPairFeatures,
    r"m2d_?clap": M2dClapPairFeatures,
}


@dataclass(frozen=True)
class EventScores:
    """Cosines between the clauses of a prompt and the windows of a clip.

    Attributes
    ----------
    clauses : Clauses
        The clauses of the prompt and their claimed order.
    cosines : dict of str to ndarray of shape (n_clauses, n_windows)
        Cosines of clauses and windows, by encoder.
    whole : dict of str to float
        Cosine of the whole prompt and the whole clip, by encoder.
    starts, stops : ndarray of shape (n_windows,)
        Start and end of each window in seconds; the last stop is the end of the clip.
    power : ndarray of shape (n_windows,)
        Mean square of the samples of each window.
    """

    clauses: Clauses
    cosines: Mapping[str, np.ndarray]
    whole: Mapping[str, float]
    starts: np.ndarray
    stops: np.ndarray
    power: np.ndarray

    @property
    def is_active(self) -> np.ndarray:
        """Mask of the windows loud enough to need an explanation."""
        return self.power >= self.power.max() * 10 ** (-_ACTIVE / 10)

    def order_margin(self, claim: tuple[int, int]) -> float:
        """Return by how much a claimed order fits better than its reverse.

        Parameters
        ----------
        claim : tuple of (int, int)
            Indices of the clause that is claimed to sound first and of the other.

        Returns
        -------
        margin : float
            Difference in cosine, averaged over encoders; 0 for a clip of one window.
        """
        first, second = claim
        margins = [order_margin(s[first], s[second]) for s in self.cosines.values()]
        return float(np.mean(margins))


@documented()
class EventFeatures(TransformerMixin, BaseEstimator):
    r"""Features of the events that a prompt names.

    A prompt is split into clauses and a clip into short windows. Their cosines reveal
    what the cosine of the whole pair does not: a named sound that is absent, an unnamed
    sound that is present, or a wrong order. Read more in the
    :ref:`User Guide <events>`.

    {no_weights}

    Parameters
    ----------
    encoders : str, list of str, transformer or FeatureUnion
        CLAP models to use: checkpoints, or transformers of pair features such as
        :class:`LaionClapPairFeatures`, whose settings apply here too. A checkpoint with
        ``msclap`` or ``CLAP_weights`` in its name is loaded as MS-CLAP, one with
        ``m2d_clap`` as M2D-CLAP, and any other as LAION CLAP. Pass several transformers
        in a :class:`~sklearn.pipeline.FeatureUnion`, which names them.
    length : float, default=2.0
        Length of a window in seconds; at most the window of each encoder.
    hop : float, default=1.0
        Maximum time between the starts of consecutive windows in seconds; from 0.01 to
        `length`.
    windows : {"auto", "dense", "tiled"}, default="auto"
        How windows are embedded. ``"dense"`` runs the audio tower once on the whole
        clip and pools its states within each window: as fast as embedding the clip.
        ``"tiled"`` encodes each window as a separate clip, cut from one spectrogram and
        repeated: one pass of the tower per window. ``"auto"`` uses ``"dense"`` for
        encoders with such states, that is HTS-AT towers (LAION CLAP, MS-CLAP 2023), and
        ``"tiled"`` for others.
    blocks : tuple or list of str, default=all
        Columns to build: ``"cosine"``, ``"presence"``, ``"order"``, ``"explained"``.

    Attributes
    ----------
    encoders_ : list of (str, transformer)
        The fitted transformers, by the names used in the columns. Like
        :class:`~sklearn.pipeline.FeatureUnion`, `fit` fits the transformers in
        `encoders` themselves, not clones.
    {seen_}

    See Also
    --------
    clapstack.captions.split_clauses : Splits a prompt.
    clapstack.inspection.explain_events : Explains in words what these features measure.
    LaionClapPairFeatures : Features of the whole pair.

    Notes
    -----
    Let :math:`S_{it}` be the cosine of clause i and window t, and
    :math:`s_i = \sum_t S_{it} p_{it}` its mean over windows with weights
    :math:`p_{it} \propto \exp(S_{it} / 0.1)`. The columns of each encoder are

    - ``cosine``: cosine of the whole prompt and the whole clip;
    - ``weakest``, ``mean``: minimum and mean of :math:`s_i` over clauses;
      ``lag``: their difference;
    - ``margin``: for a claim that i sounds before j, the maximum of
      :math:`S_{it} + S_{ju}` over t < u minus its maximum over t > u; the minimum
      over all claims, or 0 without claims. ``inversion`` is min(0, ``margin``),
      ``centroids`` the smallest difference between the centroids of :math:`p_j` and
      :math:`p_i` as a fraction of the clip, ``weakest_ordered`` the minimum of
      :math:`s_i` over the clauses with a claimed order;
    - ``explained``: 15 % quantile, over windows within 17 dB of the loudest, of
      :math:`\max_i S_{it} + \max_i (S_{it} - \max_u S_{iu})`: low if a sound is
      present that no clause names.

    Column names start with the name of the encoder. With several encoders, their means
    are added under the name ``all``. The last two columns are the number of clauses,
    ``n_clauses``, and whether they claim an order, ``claims_order``. By these two,
    :class:`~clapstack.ClapStackingRegressor` recognises the family and fits separate
    models to it.

    Like embeddings of whole clips, window embeddings are stored. Changing the weights,
    `length`, `hop` or `windows` encodes every clip again.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import EventFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks, then rain"]})
    >>> features = EventFeatures(["bundled:laion-unfused", "bundled:msclap"])
    >>> features.fit_transform(X).shape  # doctest: +SKIP
    (1, 29)
    """

    _parameter_constraints: dict = {
        "encoders": [str, os.PathLike, list, HasMethods(["fit", "transform"])],
        "length": [Interval(Real, 0, None, closed="neither")],
        "hop": [Interval(Real, 0.01, None, closed="left")],  # else too many windows
        "windows": [StrOptions({"auto", "dense", "tiled"})],
        "blocks": [tuple, list],
    }

    def __init__(
        self,
        encoders,
        *,
        length=2.0,
        hop=1.0,
        windows="auto",
        blocks=tuple(_COLUMNS),
    ):
        self.encoders = encoders
        self.length = length
        self.hop = hop
        self.windows = windows
        self.blocks = blocks

    @_fit_context(prefer_skip_nested_validation=True)
    @documented()
    def fit(self, X, y=None):
        """Load the encoders and record their fingerprints; nothing is encoded yet.

        Parameters
        ----------
        {X_of_fit}

        Returns
        -------
        self : object
            The fitted transformer.
        """
        check_pairs(self, X, reset=True)
        if self.hop > self.length:
            msg = (
                f"hop must be at most length, so that windows cover the clip; got "
                f"hop={self.hop} and length={self.length}."
            )
            raise ValueError(msg)
        unknown = [block for block in self.blocks if block not in _COLUMNS]
        if unknown or not self.blocks or len(set(self.blocks)) < len(self.blocks):
            msg = (
                f"blocks must be distinct names from {tuple(_COLUMNS)}; got "
                f"{self.blocks!r}."
            )
            raise ValueError(msg)
        named = _named_transformers(self.encoders)
        for _, transformer in named:
            transformer.fit(X)
        self.encoders_ = named
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
            If some rows are unusable. The error lists all of them; the other rows are
            encoded and stored first.
        FingerprintMismatchError
            If the loaded weights of an encoder differ from the fitted ones.
        ValueError
            If `length` exceeds an encoder's window, or an encoder has no states for
            dense windows.
        """
        return np.array(
            [_columns(scores, self._blocks()) for scores in self.score_clauses(X)],
            dtype=np.float32,
        )

    def score_clauses(self, X):
        """Return the cosines from which the features are computed.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, 2)
            As for `transform`.

        Returns
        -------
        scores : list of EventScores
            One per row.

        Raises
        ------
        BadPairsError, FingerprintMismatchError, ValueError
            As for `transform`.
        """
        check_is_fitted(self)
        pairs = check_pairs(self, X, reset=False)
        split: list[Clauses] = []
        clips: list[Any] = []
        cosines: list[dict[str, np.ndarray]] = [{} for _ in range(len(pairs))]
        whole: list[dict[str, float]] = [{} for _ in range(len(pairs))]
        for name, transformer in self.encoders_:
            encoder = transformer._fitted_encoder()
            settings = {
                "batch_size": transformer.batch_size,
                "cache": transformer.cache,
                "verbose": transformer.verbose,
            }
            windows: list[Any] = embed_windows(
                pairs["audio"].tolist(),
                encoder,
                length=float(self.length),
                hop=float(self.hop),
                method=self._method(encoder),
                **settings,
            )
            # Raises for unusable rows; the windows of the others are stored by now.
            audio, text = embed_pairs(pairs, encoder, crop=transformer.crop, **settings)
            split = split or [split_clauses(one) for one in pairs["text"]]
            clips = clips or windows
            said = [text for clauses in split for text in clauses.texts]
            with opened_store(transformer.cache, encoder) as store:
                units = embed_texts(
                    said, encoder, store, settings["batch_size"], settings["verbose"]
                )
            first = 0
            for row, (clauses, clip) in enumerate(zip(split, windows, strict=True)):
                stop = first + len(clauses.texts)
                cosines[row][name] = units[first:stop] @ clip.embeddings.T
                whole[row][name] = float(audio[row] @ text[row])
                first = stop
        return [
            EventScores(clauses, of_row, of_pair, clip.starts, clip.stops, clip.power)
            for clauses, of_row, of_pair, clip in zip(
                split, cosines, whole, clips, strict=True
            )
        ]

    def get_feature_names_out(self, input_features=None):
        """Name the columns of the result.

        Parameters
        ----------
        input_features : None
            Ignored: the names follow from the encoders.

        Returns
        -------
        names : ndarray of str
            Such as ``msclap_weakest``; ``n_clauses`` and ``claims_order`` come last.
        """
        check_is_fitted(self)
        names = [name for name, _ in self.encoders_]
        prefixes = [*names, *[_ALL] * (len(names) > 1)]
        columns = [c for block in self._blocks() for c in _COLUMNS[block]]
        named = [f"{prefix}_{column}" for prefix in prefixes for column in columns]
        return np.asarray([*named, *_SHARED], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def _blocks(self):
        return [block for block in _COLUMNS if block in self.blocks]

    def _method(self, encoder):
        if self.windows != "auto":
            return self.windows
        return "dense" if getattr(encoder, "has_dense_windows", False) else "tiled"


def _named_transformers(encoders):
    """Return (name, transformer) pairs for any accepted value of `encoders`."""
    if isinstance(encoders, FeatureUnion):
        named = [
            (name, transformer)
            for name, transformer in encoders.transformer_list
            if transformer != "drop"
        ]
    else:
        listed = encoders if isinstance(encoders, list) else [encoders]
        named = [
            (_name_of(one), _of_checkpoint(one))
            if isinstance(one, (str, os.PathLike))
            else (_name_of(getattr(one, "checkpoint", type(one).__name__)), one)
            for one in listed
        ]
    names = [name for name, _ in named]
    if not names or len(set(names)) < len(names) or _ALL in names:
        msg = (
            f"encoders must be one or more encoders with distinct names other than "
            f"{_ALL!r}; got {names}. Name them with "
            "FeatureUnion([(name, transformer), ...])."
        )
        raise ValueError(msg)
    for name, transformer in named:
        if not hasattr(transformer, "_load_encoder") or not isinstance(
            transformer, _BasePairFeatures
        ):
            msg = (
                f"encoders must be checkpoints or transformers of pair features that "
                f"have an encoder, such as LaionClapPairFeatures; {name!r} is "
                f"{type(transformer).__name__}."
            )
            raise ValueError(msg)
    return named


def _name_of(checkpoint):
    """Return a checkpoint's name in a form suitable for column names."""
    name = re.split(r"[/\\:]", os.fspath(checkpoint))[-1]
    return re.sub(r"\W+|_+", "_", name.rpartition(".")[0] or name).strip("_")


def _of_checkpoint(checkpoint):
    for pattern, transformer in _KINDS.items():
        if re.search(pattern, os.fspath(checkpoint)):
            return transformer(checkpoint)
    return LaionClapPairFeatures(checkpoint)


def _columns(scores, blocks):
    """Return the features of one pair; `blocks` must be in column order."""
    rows = []
    for name, cosines in scores.cosines.items():
        row = []
        for block in blocks:
            if block == "cosine":
                row.append(scores.whole[name])
            elif block == "presence":
                row.extend(presence_columns(cosines))
            elif block == "order":
                row.extend(order_columns(cosines, scores.clauses.order))
            else:
                row.append(explained_quantile(cosines, scores.is_active))
        rows.append(row)
    if len(rows) > 1:
        rows.append(np.mean(rows, axis=0))
    shared = [len(scores.clauses.texts), bool(scores.clauses.order)]
    return np.concatenate([*rows, shared])


def window_weights(cosines):
    """Return the weight of each window for each clause, in the shape of `cosines`."""
    return softmax(cosines / _TEMPERATURE, axis=1)


def presence_of(cosines):
    """Return the presence of each clause: a softmax-weighted mean over windows."""
    return (window_weights(cosines) * cosines).sum(axis=1)


def presence_columns(cosines):
    """Return the columns of ``presence``."""
    presence = presence_of(cosines)
    weakest, mean = presence.min(), presence.mean()
    return [weakest, mean, weakest - mean]


def order_columns(cosines, order):
    """Return the columns of ``order``, zeros where no order is claimed."""
    if not order:
        return [0.0] * len(_COLUMNS["order"])
    presence, centroids = presence_of(cosines), centroids_of(cosines)
    margin = min(order_margin(cosines[i], cosines[j]) for i, j in order)
    apart = min(centroids[j] - centroids[i] for i, j in order)
    weakest = min(presence[i] for claim in order for i in claim)
    return [margin, min(0.0, margin), apart, weakest]


def order_margin(first, second):
    """Return by how much `first` before `second` fits better than the reverse.

    Both are cosines over the windows of a clip; 0 for a clip of one window.
    """
    if len(first) < 2:
        return 0.0
    ahead = (np.maximum.accumulate(first)[:-1] + second[1:]).max()
    behind = (np.maximum.accumulate(second)[:-1] + first[1:]).max()
    return float(ahead - behind)


def centroids_of(cosines):
    """Return the position of each clause in the clip, from 0 to 1."""
    n_windows = cosines.shape[1]
    return window_weights(cosines) @ (np.arange(n_windows) / max(1, n_windows - 1))


def explained_by_window(cosines):
    """Return how well the best clause explains each window."""
    from_peak = cosines - cosines.max(axis=1, keepdims=True)
    return cosines.max(axis=0) + from_peak.max(axis=0)


def explained_quantile(cosines, is_active):
    """Return the column ``explained``."""
    return np.quantile(explained_by_window(cosines)[is_active], _QUANTILE)
