"""Features of audio-only encoders: AudioMAE, BEATs, EAT, WavLM, Whisper."""

from __future__ import annotations

from clapstack._compat import StrOptions
from clapstack.features._base import _BaseFeatures, _OfCheckpoint
from clapstack.features._docstring import documented
from clapstack.features._embedding import embed_clips

__all__ = [
    "AudioMaeFeatures",
    "BeatsFeatures",
    "EatFeatures",
    "WavLmFeatures",
    "WhisperFeatures",
]


class _BaseAudioFeatures(_OfCheckpoint, _BaseFeatures):
    """Features of each pair's clip."""

    _parameter_constraints: dict = {
        **_BaseFeatures._parameter_constraints,
        **_OfCheckpoint._checkpoint_constraints,
    }

    def _record_widths(self, encoder):
        self.blocks_ = dict(encoder.blocks)

    def _features(self, pairs):
        return self._embed(pairs)

    def _names(self):
        return block_names(self.blocks_)

    def _embed(self, pairs):
        return embed_clips(
            pairs,
            self._fitted_encoder(),
            crop=self.crop,
            batch_size=self.batch_size,
            cache=self.cache,
            verbose=self.verbose,
        )


def block_names(blocks):
    """Name the columns of blocks, given the name and width of each.

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


@documented(longest="10.26 s")
class AudioMaeFeatures(_BaseAudioFeatures):
    """Token map of AudioMAE, pooled per channel.

    Mean, standard deviation and maximum of each channel over the time-frequency map of
    tokens: 2,304 columns for the published size [1]_ (paper [2]_, section 3.2).

    {auxiliary}

    Parameters
    ----------
    checkpoint : str or path-like
        By default ``"gaunernst/vit_base_patch16_1024_128.audiomae_as2m"``. A hub id,
        or a local folder in timm's format: ``config.json`` and ``model.safetensors``
        or ``pytorch_model.bin``. The model fine-tuned on AudioSet,
        ``"gaunernst/vit_base_patch16_1024_128.audiomae_as2m_ft_as20k"``, also works;
        its classifier is not used.
    {revision, crop, device, dtype, clips_at_once, cache, verbose}

    Attributes
    ----------
    {blocks_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    WavLmFeatures : States of a self-supervised speech model.
    LaionClapPairFeatures : Contrastive family; its notes on the store apply here too.

    Notes
    -----
    Columns are ``mean0``, …, ``std0``, …, ``max0``, …. The paper does not specify how
    it pools each channel over the map; the three statistics are the ones it uses for
    its other models. The model's input has 1,024 frames: a shorter clip is padded as in
    training, and the padding's tokens are pooled too. The class token is not.

    The published weights are licensed CC BY-NC 4.0.

    References
    ----------
    .. [1] P.-Y. Huang et al., "Masked Autoencoders that Listen", NeurIPS 2022.
    {paper}

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import AudioMaeFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> AudioMaeFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 2304)
    """

    _kind = "audiomae"

    def __init__(
        self,
        checkpoint="gaunernst/vit_base_patch16_1024_128.audiomae_as2m",
        *,
        revision=None,
        crop="windows",
        device=None,
        dtype="float32",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )


@documented(longest="10 s", pieces="the fewest consecutive pieces of equal length")
class BeatsFeatures(_BaseAudioFeatures):
    """Sound-event logits of BEATs.

    Logits of AudioSet's 527 sound classes, before the sigmoid, averaged over time [1]_
    (paper [2]_, section 3.1).

    {auxiliary}

    Parameters
    ----------
    checkpoint : str or path-like
        Path of one of the authors' ``.pt`` files, by default
        ``"BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"`` in the working directory.
        Microsoft's project unilm links to the files in its folder ``beats``; clapstack
        does not download them. Logits require a fine-tuned checkpoint.
    output : {"logits", "embedding"}, default="logits"
        ``"embedding"`` returns mean, standard deviation and maximum over time of each
        channel of the final states instead: 2,304 columns, from any of the files.
    {no_revision, crop, device, dtype, clips_at_once, cache, verbose}

    Attributes
    ----------
    {blocks_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    EatFeatures : Tokens of another audio transformer.
    LaionClapPairFeatures : Contrastive family; its notes on the store apply here too.

    Notes
    -----
    Columns are ``logit0``, …, ``logit526`` in the order of the checkpoint's class
    table, or ``mean0``, …, ``std0``, …, ``max0``, …. A clip of up to 10 s is encoded
    without padding, except that one shorter than 0.175 s, which the authors' code
    rejects, is padded with silence.

    References
    ----------
    .. [1] S. Chen et al., "BEATs: Audio Pre-Training with Acoustic Tokenizers",
       ICML 2023.
    {paper}

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
        "revision": [None],
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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
        self.output = output

    @property
    def _kind(self):  # type: ignore[override]
        return "beats" if self.output == "logits" else "beats-states"


@documented(longest="10.26 s")
class EatFeatures(_BaseAudioFeatures):
    """Class token of EAT and statistics of its patch tokens.

    The final state of the class token, and mean, standard deviation and maximum of each
    channel over the tokens of all patches: 3,072 columns for the base size [1]_ (paper
    [2]_, section 3.2).

    {auxiliary}

    Parameters
    ----------
    checkpoint : str or path-like, default="worstchan/EAT-base_epoch30_pretrain"
        A hub id, a local folder with ``config.json`` and ``model.safetensors``, or one
        of the authors' ``.pt`` files.
        ``"worstchan/EAT-base_epoch30_finetune_AS2M"`` and the large models also work,
        without their classifier. Code in these folders is neither downloaded nor run.
    {revision, crop, device, dtype, clips_at_once, cache, verbose}

    Attributes
    ----------
    {blocks_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    BeatsFeatures : Sound-event logits.
    AudioMaeFeatures : Token map of another audio transformer.
    LaionClapPairFeatures : Contrastive family; its notes on the store apply here too.

    Notes
    -----
    Columns are ``cls0``, …, ``mean0``, …, ``std0``, …, ``max0``, …. The model's input
    has 1,024 frames: a shorter clip is padded as in training, and the padding's tokens
    are pooled too. The class token is not.

    References
    ----------
    .. [1] W. Chen et al., "EAT: Self-Supervised Pre-Training with Efficient Audio
       Transformer", IJCAI 2024.
    {paper}

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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )


@documented(longest="30 s", pieces="consecutive pieces of equal length")
class WavLmFeatures(_BaseAudioFeatures):
    """Final states of WavLM, pooled over time.

    Mean, standard deviation and maximum over time of each channel of the final
    states: 3,072 columns for WavLM Large [1]_ (paper [2]_, section 3.2).

    {auxiliary}

    Parameters
    ----------
    checkpoint : str or path-like, default="microsoft/wavlm-large"
        A hub id, or a local folder in transformers' format: ``config.json``,
        ``preprocessor_config.json`` and ``model.safetensors`` or
        ``pytorch_model.bin``.
    {revision, crop, device, dtype, equal_clips_at_once, cache, verbose}

    Attributes
    ----------
    {blocks_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    WhisperFeatures : States of a model trained on transcripts.
    CtcFeatures : States and transcript of wav2vec 2.0.
    LaionClapPairFeatures : Contrastive family; its notes on the store apply here too.

    Notes
    -----
    Columns are ``mean0``, …, ``std0``, …, ``max0``, …. The clip is first scaled to zero
    mean and unit variance if the checkpoint's feature extractor is configured to do so
    (WavLM Large's is). Clips are not padded, except that one shorter than a frame
    (25 ms) is padded with zeros.

    References
    ----------
    .. [1] S. Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full
       Stack Speech Processing", IEEE J. Sel. Top. Signal Process., 2022.
    {paper}

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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )


@documented(longest="30 s")
class WhisperFeatures(_BaseAudioFeatures):
    """Final states of Whisper's encoder, pooled over time.

    Mean, standard deviation and maximum over time of each channel of the encoder's
    final states: 1,536 columns for Whisper base [1]_ (paper [2]_, section 3.2).

    {auxiliary}

    Parameters
    ----------
    checkpoint : str or path-like, default="openai/whisper-base"
        A hub id, or a local folder in transformers' format: ``config.json``,
        ``preprocessor_config.json`` and ``model.safetensors`` or
        ``pytorch_model.bin``.
    {revision, crop, device, dtype, clips_at_once, cache, verbose}

    Attributes
    ----------
    {blocks_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    CtcFeatures : States and transcript of wav2vec 2.0.
    WavLmFeatures : States of a self-supervised model.
    LaionClapPairFeatures : Contrastive family; its notes on the store apply here too.

    Notes
    -----
    Columns are ``mean0``, …, ``std0``, …, ``max0``, …. Whisper's input is 30 s long; a
    shorter clip is padded with silence, as in training. Only the states of the clip
    itself, one per 20 ms, are pooled; otherwise two thirds of the states of a 10 s clip
    would be silence. The decoder is not loaded.

    References
    ----------
    .. [1] A. Radford et al., "Robust Speech Recognition via Large-Scale Weak
       Supervision", ICML 2023.
    {paper}

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import WhisperFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> WhisperFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 1536)
    """

    _kind = "whisper"

    def __init__(
        self,
        checkpoint="openai/whisper-base",
        *,
        revision=None,
        crop="windows",
        device=None,
        dtype="float32",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
