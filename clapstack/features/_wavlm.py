"""Features of WavLM."""

from __future__ import annotations

from clapstack.features._audio import _BaseAudioFeatures

__all__ = ["WavLmFeatures"]


class WavLmFeatures(_BaseAudioFeatures):
    """States of WavLM, pooled over time.

    Mean, standard deviation and maximum over time of each channel of the final
    states: 3,072 columns for WavLM Large [1]_ (paper [2]_, section 3.2). The text is
    not read: this is an auxiliary family, to stand beside contrastive ones. The
    estimator holds no weights: a process loads a checkpoint once and shares it among
    clones.

    Parameters
    ----------
    checkpoint : str or path-like, default="microsoft/wavlm-large"
        A hub id, or a local folder in transformers' format: ``config.json``,
        ``preprocessor_config.json`` and ``model.safetensors`` or
        ``pytorch_model.bin``.
    revision : str or None, default=None
        Commit of a hub id; None is its newest.
    crop : {"windows", "center", "start"}, default="windows"
        What is heard of a clip longer than half a minute. ``"windows"`` averages the
        features of consecutive pieces of equal length that cover it; the others take
        one window. Never a random one.
    device : str or None, default=None
        Such as ``"cpu"`` or ``"cuda:0"``. None takes CUDA, else MPS, else the CPU.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the model. The result is float32.
    batch_size : int, default=32
        Clips per forward pass, at most; only clips
        of equal length share one. On a CPU one is taken.
    cache : str, path-like or None, default="auto"
        Folder of the embedding store. ``"auto"`` is ``$CLAPSTACK_CACHE`` or the
        user's cache folder; None stores nothing, and every call encodes again.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    blocks_ : dict of str to int
        Name and width of each block of features.
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
    WhisperFeatures : States of a model trained on transcripts.
    CtcFeatures : States and transcript of wav2vec 2.0.
    LaionClapPairFeatures : A contrastive family; its notes on the store hold here.

    Notes
    -----
    Columns are ``mean0``, …, ``std0``, …, ``max0``, …. The clip is scaled to zero mean
    and unit variance first if the checkpoint's extractor says so (WavLM Large does).
    Clips are never padded, except that one shorter than a frame, 25 ms, gets zeros.

    References
    ----------
    .. [1] S. Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full
       Stack Speech Processing", IEEE J. Sel. Top. Signal Process., 2022.
    .. [2] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", 2026, section 3.2.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import WavLmFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> WavLmFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 3072)
    """

    _kind = "wavlm"

    def __init__(
        self,
        checkpoint="microsoft/wavlm-large",
        *,
        revision=None,
        crop="windows",
        device=None,
        dtype="float32",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        self.checkpoint = checkpoint
        self.revision = revision
        self.crop = crop
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose
