"""Pair features of M2D-CLAP."""

from __future__ import annotations

from clapstack.features._base import _BasePairFeatures, load_encoder_of
from clapstack.features._clap import CHECKPOINT_CONSTRAINTS
from clapstack.features._pair_feature import PAIR_BLOCKS

__all__ = ["M2dClapPairFeatures"]


class M2dClapPairFeatures(_BasePairFeatures):
    r"""Pair features of M2D-CLAP.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_, in the space of M2D-CLAP 2025 [2]_:
    3,841 columns. The estimator holds no weights: a process loads a checkpoint once
    and shares it among clones.

    Parameters
    ----------
    checkpoint : str or path-like
        Path of the authors' file, by default
        ``"m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025/checkpoint-30.pth"`` below the
        working directory. NTT's project m2d has it in its release 0.5.0, under a
        licence of its own, which you must accept: it is not fetched. Put the tokenizer
        of ``google-bert/bert-base-uncased`` (``tokenizer.json`` or ``vocab.txt``)
        beside it, or into ``tokenizer/`` beside it.
    revision : None
        Has no meaning for a local file; here for the sake of the other encoders.
    crop : {"windows", "center", "start"}, default="windows"
        What is heard of a clip longer than 10 s. ``"windows"`` averages the
        embeddings of evenly spaced windows that cover it; the others take one window.
        Never a random one.
    blocks : tuple or list of str, default=all
        Which parts of equation 1 to build, from ``"audio"``, ``"text"``,
        ``"product"``, ``"absdiff"``, ``"sqdiff"`` and ``"cosine"``.
    device : str or None, default=None
        Such as ``"cpu"`` or ``"cuda:0"``. None takes CUDA, else MPS, else the CPU.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the towers. The result is float32.
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
    MsClapPairFeatures : The same for MS-CLAP.

    Notes
    -----
    A clip shorter than 10 s is filled up with silence, as in the authors' example. Of a
    longer one their code shows all windows to the last layer at once; here each
    window is embedded by itself and the embeddings are averaged.

    References
    ----------
    .. [1] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", 2026.
    .. [2] D. Niizumi et al., "M2D-CLAP: Exploring General-purpose Audio-Language
       Representations Beyond CLAP", IEEE Access, 2025.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import M2dClapPairFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> M2dClapPairFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 3841)
    """

    _parameter_constraints: dict = CHECKPOINT_CONSTRAINTS

    def __init__(
        self,
        checkpoint="m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025/checkpoint-30.pth",
        *,
        revision=None,
        crop="windows",
        blocks=PAIR_BLOCKS,
        device=None,
        dtype="float32",
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
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    def _load_encoder(self):
        return load_encoder_of(self, "m2d-clap")
