"""Pair features of published CLAP checkpoints."""

from __future__ import annotations

import os

from clapstack._compat import StrOptions
from clapstack.features._base import _BasePairFeatures, load_encoder_of
from clapstack.features._pair_feature import PAIR_BLOCKS

__all__ = ["LaionClapPairFeatures", "MsClapPairFeatures"]

CHECKPOINT_CONSTRAINTS: dict = {
    **_BasePairFeatures._parameter_constraints,
    "checkpoint": [str, os.PathLike],
    "revision": [str, None],
    "crop": [StrOptions({"windows", "center", "start"})],
    "device": [str, None],
    "dtype": [StrOptions({"float32", "bfloat16"})],
}


class LaionClapPairFeatures(_BasePairFeatures):
    r"""Pair features of a LAION CLAP checkpoint.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_. The estimator holds no weights: a
    process loads a checkpoint once and shares it among clones.

    Parameters
    ----------
    checkpoint : str or path-like, default="laion/clap-htsat-unfused"
        In transformers' format, a hub id or a local folder. In the authors' own, a
        ``.pt`` file such as ``"630k-audioset-best.pt"`` with roberta-base's tokenizer
        beside it, in ``tokenizer/`` beside it or on the hub; or such a file on the
        hub, ``"lukewys/laion_clap/630k-audioset-best.pt"``. Its kind (unfused or
        fused) and size are read from it. Or the name of a bundled checkpoint:
        ``"bundled:laion-unfused"``, ``"bundled:laion-fused"``.
    revision : str or None, default=None
        Commit of a hub id; None is its newest.
    crop : {"windows", "center", "start"}, default="windows"
        What is heard of a clip longer than the encoder's window. ``"windows"``
        averages the embeddings of evenly spaced windows that cover it; the others
        take one window. Never a random one.
    blocks : tuple or list of str, default=all
        Which parts of equation 1 to build, from ``"audio"``, ``"text"``,
        ``"product"``, ``"absdiff"``, ``"sqdiff"`` and ``"cosine"``.
    device : str or None, default=None
        Such as ``"cpu"`` or ``"cuda:0"``. None takes CUDA, else MPS, else the CPU.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the towers. The result is float32.
    backend : {"clapstack", "laion_clap"}, default="clapstack"
        Whose model classes run: clapstack's, or those of the authors' package, to
        compare with; that takes float32 and ``pip install "clapstack[reference]"``.
        What is heard of a clip is the same, see :ref:`the guide <reference>`.
    batch_size : int, default=32
        Clips or texts per forward pass.
    cache : str, path-like or None, default="auto"
        Folder of the embedding store. ``"auto"`` is ``$CLAPSTACK_CACHE`` or the
        user's cache folder; None stores nothing, and every call encodes again.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    projection_dim_ : int
        Width of an embedding.
    sample_rate_ : int
        Rate at which clips are heard, in Hz.
    fingerprint_ : str
        Fingerprint of the weights; `transform` refuses others.
    n_features_in_ : int
        Number of columns seen during :term:`fit`, 2.
    feature_names_in_ : ndarray of shape (2,)
        ``audio`` and ``text``.

    See Also
    --------
    MsClapPairFeatures : The same for MS-CLAP.
    PairFeatures : The same for an encoder of one's own.
    PrecomputedPairFeatures : The same from embeddings that exist already.

    Notes
    -----
    Embeddings are stored under the content of the clip or text, the weights and the
    settings, never under a path alone: changed audio is encoded again, and nothing
    else is, in whichever fold, candidate, process or run it comes back.

    References
    ----------
    .. [1] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", 2026.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import LaionClapPairFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> features = LaionClapPairFeatures("bundled:laion-unfused")
    >>> features.fit_transform(X)  # doctest: +SKIP
    """

    _parameter_constraints: dict = {
        **CHECKPOINT_CONSTRAINTS,
        "backend": [StrOptions({"clapstack", "laion_clap"})],
    }

    def __init__(
        self,
        checkpoint="laion/clap-htsat-unfused",
        *,
        revision=None,
        crop="windows",
        blocks=PAIR_BLOCKS,
        device=None,
        dtype="float32",
        backend="clapstack",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        self.checkpoint = checkpoint
        self.revision = revision
        self.crop = crop
        self.blocks = blocks
        self.device = device
        self.dtype = dtype
        self.backend = backend
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    def _load_encoder(self):
        return load_encoder_of(self, "laion")


class MsClapPairFeatures(_BasePairFeatures):
    r"""Pair features of an MS-CLAP checkpoint.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_. MS-CLAP's own embeddings are not of
    unit norm; they are normalised. The estimator holds no weights: a process loads a
    checkpoint once and shares it among clones.

    Parameters
    ----------
    checkpoint : str or path-like, default="microsoft/msclap"
        A hub id, a local folder or file in the official format, or the name of the
        bundled checkpoint, ``"bundled:msclap"``. A hub id means the version of 2023;
        that of 2022 is ``"microsoft/msclap/CLAP_weights_2022.pth"``, or a local file.
    revision : str or None, default=None
        Commit of a hub id; None is its newest.
    crop : {"windows", "center", "start"}, default="windows"
        What is heard of a clip longer than the encoder's window. ``"windows"``
        averages the embeddings of evenly spaced windows that cover it; the others
        take one window. Never a random one.
    blocks : tuple or list of str, default=all
        Which parts of equation 1 to build, from ``"audio"``, ``"text"``,
        ``"product"``, ``"absdiff"``, ``"sqdiff"`` and ``"cosine"``.
    device : str or None, default=None
        Such as ``"cpu"`` or ``"cuda:0"``. None takes CUDA, else MPS, else the CPU.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the towers. The result is float32.
    backend : {"clapstack", "msclap"}, default="clapstack"
        Whose model classes run: clapstack's, or those of the authors' package, to
        compare with; that takes float32 and ``pip install "clapstack[reference]"``.
        What is heard of a clip is the same, see :ref:`the guide <reference>`.
    batch_size : int, default=32
        Clips or texts per forward pass.
    cache : str, path-like or None, default="auto"
        Folder of the embedding store. ``"auto"`` is ``$CLAPSTACK_CACHE`` or the
        user's cache folder; None stores nothing, and every call encodes again.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    projection_dim_ : int
        Width of an embedding.
    sample_rate_ : int
        Rate at which clips are heard, in Hz.
    fingerprint_ : str
        Fingerprint of the weights; `transform` refuses others.
    n_features_in_ : int
        Number of columns seen during :term:`fit`, 2.
    feature_names_in_ : ndarray of shape (2,)
        ``audio`` and ``text``.

    See Also
    --------
    LaionClapPairFeatures : The same for LAION CLAP; its notes hold here too.

    References
    ----------
    .. [1] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", 2026.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import MsClapPairFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> features = MsClapPairFeatures("bundled:msclap")
    >>> features.fit_transform(X)  # doctest: +SKIP
    """

    _parameter_constraints: dict = {
        **CHECKPOINT_CONSTRAINTS,
        "backend": [StrOptions({"clapstack", "msclap"})],
    }

    def __init__(
        self,
        checkpoint="microsoft/msclap",
        *,
        revision=None,
        crop="windows",
        blocks=PAIR_BLOCKS,
        device=None,
        dtype="float32",
        backend="clapstack",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        self.checkpoint = checkpoint
        self.revision = revision
        self.crop = crop
        self.blocks = blocks
        self.device = device
        self.dtype = dtype
        self.backend = backend
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    def _load_encoder(self):
        return load_encoder_of(self, "msclap")
