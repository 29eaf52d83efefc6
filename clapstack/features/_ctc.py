"""Features of a CTC speech recogniser and its transcript's overlap with the prompt."""

from __future__ import annotations

import re

import numpy as np
from sklearn.utils.validation import check_is_fitted

from clapstack.features._audio import _BaseAudioFeatures, block_names
from clapstack.features._docstring import documented
from clapstack.pairs import check_pairs

__all__ = ["CtcFeatures"]

_WORD = re.compile(r"\w+(?:'\w+)*")


@documented(
    longest="30 s",
    pieces="consecutive pieces of equal length",
    joined=" and joins their transcripts",
)
class CtcFeatures(_BaseAudioFeatures):
    """States, confidence and transcript of a CTC speech recogniser.

    The features are pooled final states of wav2vec 2.0 [1]_, the recogniser's
    confidence, the length of its transcript, and the overlap of the transcript with the
    prompt, as in section 3.2 of the paper [2]_. This is an auxiliary family, meant to
    complement contrastive ones.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="facebook/wav2vec2-base-960h"
        A hub id, or a local folder in transformers' format: ``config.json``,
        ``preprocessor_config.json``, ``vocab.json``, ``tokenizer_config.json`` and
        ``model.safetensors`` or ``pytorch_model.bin``.
    {revision, crop, device, dtype, equal_clips_at_once, cache, verbose}

    Attributes
    ----------
    blocks_ : dict of str to int
        Name and width of each block that the encoder returns: the features up to
        ``transcript_length``, and the transcript as code points.
    {sample_rate_, fingerprint_, seen_}

    See Also
    --------
    WhisperFeatures : States of a model trained on many languages.
    WavLmFeatures : States of a self-supervised model.
    LaionClapPairFeatures : Contrastive family; its notes on the store apply here too.

    Notes
    -----
    Columns, in this order:

    - ``mean0``, …, ``std0``, …, ``max0``, …: statistics over time of each channel of
      the final states;
    - ``confidence_mean``, ``confidence_variance``: over time, of the probability of
      each frame's most probable token;
    - ``blank_ratio``: share of frames whose most probable token is the blank;
    - ``transcript_length``: characters of the greedy transcript, spaces included;
    - ``overlap``: share of the prompt's distinct words that occur in the transcript;
    - ``jaccard``: number of words in both over number of words in either.

    Words are runs of letters and digits, with apostrophes inside; case is ignored. Both
    overlaps are 0 if the prompt or the transcript has no words. They use the first
    1,024 characters of a transcript, a minute of fast speech. On clips without speech
    the transcript is empty or a fragment, as the paper reports for most of XACLE.

    References
    ----------
    .. [1] A. Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of
       Speech Representations", NeurIPS 2020.
    {paper}

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import CtcFeatures
    >>> X = pd.DataFrame({"audio": ["talk.wav"], "text": ["a man says hello"]})
    >>> CtcFeatures().fit_transform(X).shape  # doctest: +SKIP
    (1, 2310)
    """

    _kind = "ctc"

    def __init__(
        self,
        checkpoint="facebook/wav2vec2-base-960h",
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

    def transcribe(self, X):
        """Return the greedy transcript of each row's clip.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, 2)
            As for `transform`.

        Returns
        -------
        transcripts : list of str
            At most 1,024 characters each; empty if nothing was recognised.

        Raises
        ------
        BadPairsError
            As for `transform`.
        FingerprintMismatchError
            As for `transform`.
        """
        check_is_fitted(self)
        return self._transcripts(self._embed(check_pairs(self, X, reset=False)))

    def _names(self):
        blocks = {k: v for k, v in self.blocks_.items() if k != "transcript"}
        return [*block_names(blocks), "overlap", "jaccard"]

    def _features(self, pairs):
        embeddings = self._embed(pairs)
        transcripts = self._transcripts(embeddings)
        overlaps = [
            lexical_overlap(prompt, transcript)
            for prompt, transcript in zip(pairs["text"], transcripts, strict=True)
        ]
        numbers = embeddings[:, : -self.blocks_["transcript"]]
        return np.hstack([numbers, np.asarray(overlaps, dtype=np.float32)])

    def _transcripts(self, embeddings):
        codes = embeddings[:, -self.blocks_["transcript"] :].astype(int)
        return ["".join(map(chr, row[row > 0])) for row in codes]


def lexical_overlap(prompt, transcript):
    """Compare the words of a prompt and a transcript.

    Parameters
    ----------
    prompt, transcript : str
        Texts; case and punctuation do not matter.

    Returns
    -------
    overlap : float
        Share of the prompt's distinct words that occur in the transcript.
    jaccard : float
        Number of words in both over number of words in either. Both are 0 if a text has
        no words.

    Examples
    --------
    >>> from clapstack.features._ctc import lexical_overlap
    >>> lexical_overlap("A man says: hello!", "HELLO MAN")
    (0.5, 0.5)
    """
    wanted = set(_WORD.findall(prompt.casefold()))
    heard = set(_WORD.findall(transcript.casefold()))
    n_common = len(wanted & heard)
    if not n_common:
        return 0.0, 0.0
    return n_common / len(wanted), n_common / len(wanted | heard)
