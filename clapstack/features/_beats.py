"""Features of BEATs."""

from __future__ import annotations

from clapstack._compat import StrOptions
from clapstack.features._audio import _BaseAudioFeatures

__all__ = ["BeatsFeatures"]


class BeatsFeatures(_BaseAudioFeatures):
    """Sound-event logits of BEATs.

    How surely each of AudioSet's 527 classes of sounds is heard, before the sigmoid and
    averaged over time [1]_ (paper [2]_, section 3.1). The text is not read: this is an
    auxiliary family, which the stack joins to the contrastive ones. The estimator holds
    no weights: a process loads a checkpoint once and shares it among clones.

    Parameters
    ----------
    checkpoint : str or path-like
        Path of a ``.pt`` file of the authors, by default
        ``"BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"`` in the working directory.
        The folder ``beats`` of Microsoft's project unilm links to them; they are not
        fetched. Logits need a fine-tuned one.
    output : {"logits", "embedding"}, default="logits"
        ``"embedding"`` gives mean, standard deviation and maximum over time of each
        channel of the final states instead: 2,304 columns, of any of the files.
    revision : None
        Has no meaning for a local file; here for the sake of the other encoders.
    crop : {"windows", "center", "start"}, default="windows"
        What is heard of a clip longer than 10 s. ``"windows"`` averages the features
        of the fewest consecutive pieces of equal length that cover it; the others take
        one window. Never a random one.
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
    EatFeatures : Tokens of another audio transformer.
    LaionClapPairFeatures : A contrastive family; its notes on the store hold here.

    Notes
    -----
    Columns are ``logit0``, …, ``logit526`` in the order of AudioSet's classes in the
    file's own table, or ``mean0``, …, ``std0``, …, ``max0``, …. A clip of up to 10 s is
    heard as it is, without padding, but one shorter than 0.175 s is filled up with
    silence: the authors' code refuses it.

    References
    ----------
    .. [1] S. Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers",
       ICML 2023.
    .. [2] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", 2026, section 3.1.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import BeatsFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> BeatsFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 527)
    """

    _parameter_constraints: dict = {
        **_BaseAudioFeatures._parameter_constraints,
        "output": [StrOptions({"logits", "embedding"})],
    }

    def __init__(
        self,
        checkpoint="BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
        *,
        output="logits",
        revision=None,
        crop="windows",
        device=None,
        dtype="float32",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        self.checkpoint = checkpoint
        self.output = output
        self.revision = revision
        self.crop = crop
        self.device = device
        self.dtype = dtype
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    @property
    def _kind(self):  # type: ignore[override]
        return "beats" if self.output == "logits" else "beats-states"
