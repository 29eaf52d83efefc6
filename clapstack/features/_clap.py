"""Pair features of published CLAP checkpoints."""

from __future__ import annotations

import numpy as np

from clapstack._compat import StrOptions
from clapstack.families import PAIR_BLOCKS
from clapstack.features._base import _BasePairFeatures, _OfCheckpoint
from clapstack.features._docstring import documented
from clapstack.features._embedding import embed_together

__all__ = [
    "LaionClapPairFeatures",
    "M2dClapPairFeatures",
    "MgaClapPairFeatures",
    "MsClapPairFeatures",
    "PeAudioPairFeatures",
    "SentenceTransformerPairFeatures",
]


_CONSTRAINTS: dict = {
    **_BasePairFeatures._parameter_constraints,
    **_OfCheckpoint._checkpoint_constraints,
}


@documented(rows="embeddings", package="laion_clap", paper="1")
class LaionClapPairFeatures(_OfCheckpoint, _BasePairFeatures):
    r"""Pair features of a LAION CLAP checkpoint.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`,
    where :math:`a` and :math:`b` are its unit-norm embeddings (equation 1 of [1]_).

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="laion/clap-htsat-unfused"
        One of

        - a hub id or a local folder in transformers' format;
        - a ``.pt`` file of the authors, such as ``"630k-audioset-best.pt"``, with
          roberta-base's tokenizer next to it, in ``tokenizer/`` next to it or on the
          hub. Kind (unfused or fused) and size are read from the file;
        - such a file on the hub: ``"lukewys/laion_clap/630k-audioset-best.pt"``;
        - a bundled checkpoint: ``"bundled:laion-unfused"`` or
          ``"bundled:laion-fused"``.
    {revision, crop, blocks, device, dtype, backend, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    MsClapPairFeatures : Pair features of MS-CLAP.
    PairFeatures : Pair features of a custom encoder.
    PrecomputedPairFeatures : Pair features of precomputed embeddings.

    Notes
    -----
    The store identifies an embedding by the content of the clip or text, the weights
    and the settings, never by a path alone. Changed audio is therefore encoded again;
    everything else is encoded once across folds, candidates, processes and runs.

    References
    ----------
    {paper}

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import LaionClapPairFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> features = LaionClapPairFeatures("bundled:laion-unfused")
    >>> features.fit_transform(X)  # doctest: +SKIP
    """

    _kind = "laion"

    _parameter_constraints: dict = {
        **_CONSTRAINTS,
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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
        self.blocks = blocks
        self.backend = backend


@documented(rows="embeddings", package="msclap", paper="1")
class MsClapPairFeatures(_OfCheckpoint, _BasePairFeatures):
    r"""Pair features of an MS-CLAP checkpoint.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`,
    where :math:`a` and :math:`b` are its unit-norm embeddings (equation 1 of [1]_).
    MS-CLAP's raw embeddings do not have unit norm; they are normalised.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="microsoft/msclap"
        A hub id, a local folder or file in the official format, or the name of the
        bundled checkpoint, ``"bundled:msclap"``. A hub id selects the 2023 version; for
        the 2022 version, use ``"microsoft/msclap/CLAP_weights_2022.pth"`` or a local
        file.
    {revision, crop, blocks, device, dtype, backend, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : Pair features of LAION CLAP; its notes apply here too.

    References
    ----------
    {paper}

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import MsClapPairFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> features = MsClapPairFeatures("bundled:msclap")
    >>> features.fit_transform(X)  # doctest: +SKIP
    """

    _kind = "msclap"

    _parameter_constraints: dict = {
        **_CONSTRAINTS,
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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
        self.blocks = blocks
        self.backend = backend


@documented(longest="10 s", rows="embeddings", paper="1")
class M2dClapPairFeatures(_OfCheckpoint, _BasePairFeatures):
    r"""Pair features of M2D-CLAP.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    where :math:`a` and :math:`b` are its unit-norm embeddings (equation 1 of [1]_). The
    embeddings of M2D-CLAP 2025 [2]_ yield 3,841 columns.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like
        Path of the authors' file, by default
        ``"m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025/checkpoint-30.pth"`` in the
        working directory. Release 0.5.0 of NTT's project m2d provides it under its own
        licence, which you must accept; clapstack does not download it. Put the
        tokenizer of ``google-bert/bert-base-uncased`` (``tokenizer.json`` or
        ``vocab.txt``) next to it, or in ``tokenizer/`` next to it.
    {no_revision, crop, blocks, device, dtype, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : Pair features of LAION CLAP; its notes apply here too.
    MsClapPairFeatures : Pair features of MS-CLAP.

    Notes
    -----
    A clip shorter than 10 s is padded with silence, as in the authors' example. For a
    longer clip, their code passes all windows to the last layer together; clapstack
    embeds each window separately and averages the embeddings.

    References
    ----------
    {paper}
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

    _kind = "m2d-clap"

    _parameter_constraints: dict = {
        **_CONSTRAINTS,
        "revision": [None],
    }

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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
        self.blocks = blocks


class _NamedCheckpoint(_OfCheckpoint, _BasePairFeatures):
    """Pair features of a published model without a default checkpoint."""

    _parameter_constraints: dict = _CONSTRAINTS

    def __init__(
        self,
        checkpoint,
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
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
        self.blocks = blocks


@documented(longest="10 s", rows="embeddings", paper="1")
class MgaClapPairFeatures(_NamedCheckpoint):
    r"""Pair features of MGA-CLAP, used by the best two systems of XACLE 2026.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    where :math:`a` and :math:`b` are its unit-norm embeddings (equation 1 of [1]_). The
    embeddings of MGA-CLAP [2]_ yield 5,121 columns.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like
        Path of the authors' ``model.pt``. Their project ``Ming-er/MGA-CLAP`` links to
        it; clapstack does not download it. Put the tokenizer of
        ``google-bert/bert-base-uncased`` (``tokenizer.json`` or ``vocab.txt``) next to
        it, or in ``tokenizer/`` next to it.
    {no_revision, crop, blocks, device, dtype, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : Pair features of LAION CLAP; its notes apply here too.

    Notes
    -----
    A clip shorter than 10 s is padded with silence and a text is truncated to 30
    tokens, as in the authors' evaluations. The training captions had no punctuation;
    texts are nevertheless encoded unchanged, as in the authors' example.

    References
    ----------
    {paper}
    .. [2] Y. Li et al., "Advancing Multi-grained Alignment for Contrastive
       Language-Audio Pre-training", ACM Multimedia, 2024.

    Examples
    --------
    >>> from clapstack import MgaClapPairFeatures
    >>> features = MgaClapPairFeatures("model.pt", device="cpu")
    """

    _kind = "mga-clap"

    _parameter_constraints: dict = {**_CONSTRAINTS, "revision": [None]}


@documented(longest="30 s", rows="embeddings", paper="1")
class PeAudioPairFeatures(_NamedCheckpoint):
    r"""Pair features of PE-A-Frame, or of PE-AV without video.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    where :math:`a` and :math:`b` are its unit-norm embeddings (equation 1 of [1]_). The
    embeddings of these models [2]_ yield 5,121 columns. transformers 5.0 or later is
    required.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like
        A hub id, such as ``"facebook/pe-a-frame-base"`` (``-small``, ``-large``) or
        ``"facebook/pe-av-base"``, or a local folder in transformers' format.
    {revision, crop, blocks, device, dtype, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : Pair features of LAION CLAP; its notes apply here too.

    Notes
    -----
    PE-A-Frame compares texts with frames of 40 ms; a clip's embedding is the mean of
    its frames, scaled to unit norm. :ref:`The encoder <frames>` returns the frames
    themselves.

    Texts are embedded as in the authors' code and in transformers 5.0. Later versions
    of transformers apply one more normalisation, with the weights of another layer, so
    the text embeddings of their own model differ.

    References
    ----------
    {paper}
    .. [2] A. Vyas et al., "Pushing the Frontier of Audiovisual Perception with
       Large-Scale Multimodal Correspondence Learning", 2025.

    Examples
    --------
    >>> from clapstack import PeAudioPairFeatures
    >>> features = PeAudioPairFeatures("facebook/pe-a-frame-base", device="cpu")
    """

    _kind = "pe-audio"


@documented(longest="the model's input", rows="embeddings", paper="1")
class SentenceTransformerPairFeatures(_OfCheckpoint, _BasePairFeatures):
    r"""Pair features of any audio-text model of sentence-transformers.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`,
    where :math:`a` and :math:`b` are its unit-norm embeddings (equation 1 of [1]_). The
    library sentence-transformers loads and runs the model; install it with
    ``pip install "clapstack[sentence-transformers]"``.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="google/embeddinggemma-2"
        A hub id or a local folder in the format of sentence-transformers. A model in
        transformers' format also works if the library can embed audio and text with it,
        as it can with every ``ClapModel``.
    {revision, crop}
    joint : {"separate", "both"}, default="separate"
        ``"both"`` also embeds audio and text together, if the model supports it. This
        adds `projection_dim_` columns, ``joint0``, …, and encodes a clip again for each
        of its texts.
    {blocks, device, dtype, clips_alone, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : Pair features of LAION CLAP, several times as fast.
    PairFeatures : Pair features of a custom encoder.

    Notes
    -----
    Up to the longest input of the model's front end (30 s if it has no limit), an
    embedding equals that of ``SentenceTransformer.encode``. For a longer clip, the
    library uses the beginning or a random part; clapstack averages the embeddings of
    windows. Clips shorter than 25 ms are padded with silence.

    No code from a folder is run: a model that needs its own code, or names classes from
    outside the library, is rejected before anything is computed.

    References
    ----------
    {paper}

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import SentenceTransformerPairFeatures
    >>> X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog barks"]})
    >>> features = SentenceTransformerPairFeatures("google/embeddinggemma-2")
    >>> features.fit_transform(X).shape  # doctest: +SKIP
    (1, 3841)
    """

    _kind = "sentence-transformer"

    _parameter_constraints: dict = {
        **_CONSTRAINTS,
        "joint": [StrOptions({"separate", "both"})],
    }

    def __init__(
        self,
        checkpoint="google/embeddinggemma-2",
        *,
        revision=None,
        crop="windows",
        joint="separate",
        blocks=PAIR_BLOCKS,
        device=None,
        dtype="float32",
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        super().__init__(
            checkpoint, revision, crop, device, dtype, batch_size, cache, verbose
        )
        self.joint = joint
        self.blocks = blocks

    def _record_widths(self, encoder):
        super()._record_widths(encoder)
        if self.joint == "both":
            silence = np.zeros(encoder.sample_rate, np.float32)
            encoder.encode_pairs([silence], ["a sound"])

    def _features(self, pairs):
        features = super()._features(pairs)
        if self.joint == "separate":
            return features
        return np.hstack([features, self._embed_by(embed_together, pairs)])

    def _names(self):
        width = self.projection_dim_ if self.joint == "both" else 0
        return [*super()._names(), *(f"joint{i}" for i in range(width))]
