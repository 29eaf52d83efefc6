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

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="laion/clap-htsat-unfused"
        In transformers' format, a hub id or a local folder. In the authors' own, a
        ``.pt`` file such as ``"630k-audioset-best.pt"`` with roberta-base's tokenizer
        beside it, in ``tokenizer/`` beside it or on the hub; or such a file on the
        hub, ``"lukewys/laion_clap/630k-audioset-best.pt"``. Its kind (unfused or
        fused) and size are read from it. Or the name of a bundled checkpoint:
        ``"bundled:laion-unfused"``, ``"bundled:laion-fused"``.
    {revision, crop, blocks, device, dtype, backend, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

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

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_. MS-CLAP's own embeddings are not of
    unit norm; they are normalised.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="microsoft/msclap"
        A hub id, a local folder or file in the official format, or the name of the
        bundled checkpoint, ``"bundled:msclap"``. A hub id means the version of 2023;
        that of 2022 is ``"microsoft/msclap/CLAP_weights_2022.pth"``, or a local file.
    {revision, crop, blocks, device, dtype, backend, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : The same for LAION CLAP; its notes hold here too.

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
    of its unit embeddings, equation 1 of [1]_, in the space of M2D-CLAP 2025 [2]_:
    3,841 columns.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like
        Path of the authors' file, by default
        ``"m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025/checkpoint-30.pth"`` below the
        working directory. NTT's project m2d has it in its release 0.5.0, under a
        licence of its own, which you must accept: it is not fetched. Put the tokenizer
        of ``google-bert/bert-base-uncased`` (``tokenizer.json`` or ``vocab.txt``)
        beside it, or into ``tokenizer/`` beside it.
    {no_revision, crop, blocks, device, dtype, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

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
    """Pair features of a checkpoint that must be named."""

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
    r"""Pair features of MGA-CLAP, which the best two systems of XACLE 2026 had.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_, in the space of [2]_: 5,121 columns.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like
        Path of the authors' ``model.pt``, to which the page of their project
        ``Ming-er/MGA-CLAP`` links; it is not fetched. Put the tokenizer of
        ``google-bert/bert-base-uncased`` (``tokenizer.json`` or ``vocab.txt``) beside
        it, or into ``tokenizer/`` beside it.
    {no_revision, crop, blocks, device, dtype, pairs_at_once, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : The same for LAION CLAP; its notes hold here too.

    Notes
    -----
    A clip shorter than 10 s is filled up with silence and a text is cut at 30 tokens,
    as in the authors' evaluations. They trained on captions without punctuation; texts
    are encoded as they are, as in their example.

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
    r"""Pair features of PE-A-Frame, or of PE-AV without its video.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_, in a space of [2]_: 5,121 columns.
    transformers 5.0 or later has the models.

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
    LaionClapPairFeatures : The same for LAION CLAP; its notes hold here too.

    Notes
    -----
    PE-A-Frame compares texts with frames of 40 ms; a clip is their mean, scaled to unit
    norm. :ref:`The encoder <frames>` gives the frames themselves.

    Texts are embedded as by the authors and by transformers 5.0. From 5.1 on,
    transformers normalises them once more, with weights that belong to another layer:
    what its own model returns for a text differs.

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


@documented(longest="what the model takes", rows="embeddings", paper="1")
class SentenceTransformerPairFeatures(_OfCheckpoint, _BasePairFeatures):
    r"""Pair features of any audio-text model of sentence-transformers.

    A pair (audio, text) becomes :math:`[a, b, a\odot b, |a-b|, (a-b)^2, a^\top b]`
    of its unit embeddings, equation 1 of [1]_. The library sentence-transformers loads
    and runs the model, and must be installed:
    ``pip install "clapstack[sentence-transformers]"``.

    {no_weights}

    Parameters
    ----------
    checkpoint : str or path-like, default="google/embeddinggemma-2"
        A hub id or a local folder in the format of sentence-transformers, or in that of
        transformers if the library embeds audio and text with it, as it does with every
        ``ClapModel``.
    {revision, crop}
    joint : {"separate", "both"}, default="separate"
        ``"both"`` also embeds audio and text together, with a model that can:
        `projection_dim_` more columns, ``joint0``, …. A clip is encoded again for
        each of its texts.
    {blocks, device, dtype, clips_alone, cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_, fingerprint_, seen_}

    See Also
    --------
    LaionClapPairFeatures : The same for LAION CLAP, several times as fast.
    PairFeatures : The same for an encoder of one's own.

    Notes
    -----
    Up to the length that the model's front end takes at once (30 s if it has no limit),
    an embedding is that of ``SentenceTransformer.encode``. Of a longer clip the library
    takes the beginning or a random part; here its windows are embedded and averaged.
    Clips shorter than 25 ms are filled up with silence.

    Nothing of a folder is run: one that needs code of its own, or names classes that
    are not the library's, is refused before anything is computed.

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
