"""Features of EAT."""

from __future__ import annotations

from clapstack.features._audio import _BaseAudioFeatures

__all__ = ["EatFeatures"]


class EatFeatures(_BaseAudioFeatures):
    """Class token of EAT, and statistics of its other tokens.

    The final state of the class token, and mean, standard deviation and maximum of each
    channel over the tokens of all patches: 3,072 columns for the base size [1]_ (paper
    [2]_, section 3.2). The text is not read: this is an auxiliary family, to stand
    beside contrastive ones. The estimator holds no weights: a process loads a
    checkpoint once and shares it among clones.

    Parameters
    ----------
    checkpoint : str or path-like, default="worstchan/EAT-base_epoch30_pretrain"
        A hub id, or a local folder that holds ``config.json`` and
        ``model.safetensors``; ``"worstchan/EAT-base_epoch30_finetune_AS2M"`` and the
        large ones serve too, without their classifier. The code that those folders
        come with is neither fetched nor run. Or a ``.pt`` file of the authors.
    revision : str or None, default=None
        Commit of a hub id; None is its newest.
    crop : {"windows", "center", "start"}, default="windows"
        What is heard of a clip longer than 10.26 s. ``"windows"`` averages the
        features of evenly spaced windows that cover it; the others take one window.
        Never a random one.
    device : str or None, default=None
        Such as ``"cpu"`` or ``"cuda:0"``. None takes CUDA, else MPS, else the CPU.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the model. The result is float32.
    batch_size : int, default=32
        Clips per forward pass, at most. On a CPU one is taken.
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
    BeatsFeatures : Sound-event logits.
    AudioMaeFeatures : Token map of another audio transformer.
    LaionClapPairFeatures : A contrastive family; its notes on the store hold here.

    Notes
    -----
    Columns are ``cls0``, …, ``mean0``, …, ``std0``, …, ``max0``, …. The model sees
    1,024 frames: a shorter clip is filled up as in training, and the tokens of the
    filling are pooled too. The class token is not.

    References
    ----------
    .. [1] W. Chen et al., "EAT: Self-Supervised Pre-Training with Efficient Audio
       Transformer", IJCAI 2024.
    .. [2] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", 2026, section 3.2.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import EatFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> EatFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 3072)
    """

    _kind = "eat"

    def __init__(
        self,
        checkpoint="worstchan/EAT-base_epoch30_pretrain",
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
