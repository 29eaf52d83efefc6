"""Pair features of encoders and embeddings that the user brings."""

from __future__ import annotations

import copy
import os
import reprlib
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from clapstack._compat import HasMethods, _fit_context
from clapstack._numerics.collapse import warn_if_collapsed
from clapstack._optional import import_optional
from clapstack.exceptions import BadPair, BadPairsError
from clapstack.features._base import _BasePairFeatures
from clapstack.features._docstring import documented
from clapstack.features._embedding import one_bad_pair_per_row
from clapstack.features._pair_feature import PAIR_BLOCKS, check_blocks
from clapstack.pairs import check_pairs

__all__ = ["PairFeatures", "PrecomputedPairFeatures"]

_FORMS = (
    "Give a .npz with the arrays 'keys' and 'embeddings' or with one 1-D array per "
    "key, or a table with the columns 'key' and 'embedding' or with keys as its index."
)


@documented()
class PairFeatures(_BasePairFeatures):
    """Pair features of an encoder of one's own.

    Parameters
    ----------
    encoder : object
        Any object with

        - ``encode_audio(waveforms)``: a list of mono float32 clips at its rate, to an
          array or torch tensor of shape (n, projection_dim), on any device, in any
          real dtype, with or without gradients;
        - ``encode_text(texts)``: a list of strings, to one of the same width;
        - ``sample_rate``: in Hz;
        - optionally ``projection_dim``; else one text is encoded to find it.

        The rows need not be of unit norm; they are normalised. With an attribute
        ``identity``, a string that changes whenever its embeddings do, embeddings are
        stored; without it nothing is, and a warning says so. ``fingerprint``, a
        string, tells weights apart; without it ``identity`` does. Clones share the
        encoder; a pickle holds it.
    {blocks}
    batch_size : int, default=32
        Clips per call of ``encode_audio``, texts per call of ``encode_text``.
    {cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_}
    fingerprint_ : str or None
        The encoder's fingerprint or identity; `transform` refuses another.
    {seen_}

    See Also
    --------
    LaionClapPairFeatures : The same for published checkpoints.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack import PairFeatures
    >>> class Loudness:
    ...     sample_rate = 8000
    ...     def encode_audio(self, waveforms):
    ...         return np.array([[np.abs(w).mean(), 1.0] for w in waveforms])
    ...     def encode_text(self, texts):
    ...         return np.array([["loud" in text, 1.0] for text in texts])
    >>> ramp = np.linspace(-1, 1, 8000)
    >>> X = pd.DataFrame({"audio": [(ramp, 8000)], "text": ["a loud ramp"]})
    >>> features = PairFeatures(Loudness(), blocks=("cosine",), cache=None)
    >>> features.fit_transform(X).round(3)
    array([[0.949]], dtype=float32)
    """

    _parameter_constraints: dict = {
        **_BasePairFeatures._parameter_constraints,
        "encoder": [HasMethods(["encode_audio", "encode_text"])],
    }

    def __init__(
        self,
        encoder,
        *,
        blocks=PAIR_BLOCKS,
        batch_size=32,
        cache="auto",
        verbose=False,
    ):
        self.encoder = encoder
        self.blocks = blocks
        self.batch_size = batch_size
        self.cache = cache
        self.verbose = verbose

    def __sklearn_clone__(self):
        shared = {id(self.encoder): self.encoder}
        twin = type(self)(**copy.deepcopy(self.get_params(deep=False), shared))
        if hasattr(self, "_sklearn_output_config"):
            twin._sklearn_output_config = dict(self._sklearn_output_config)
        return twin

    def _load_encoder(self):
        encoder = _OwnEncoder(self.encoder)
        if encoder.identity is None and self.cache is not None:
            msg = (
                f"{type(self.encoder).__name__} has no attribute 'identity', so that "
                "its embeddings cannot be told from another encoder's: nothing is "
                "stored. Give it one, or set cache=None."
            )
            warnings.warn(msg, stacklevel=2)
        return encoder


@documented()
class PrecomputedPairFeatures(_BasePairFeatures):
    """Pair features from embeddings that exist already, paired by key.

    Parameters
    ----------
    audio_embeddings : mapping, DataFrame, ndarray or path-like
        From what is in the column ``audio`` (a path or an id) to an embedding, an array
        or torch tensor of one axis; or a DataFrame whose index holds the keys, or with
        the columns ``key`` and ``embedding``; or an array with these fields; or a file
        of that: a ``.npz`` with one array per key, or with the two arrays ``keys`` and
        ``embeddings``, a ``.npy`` or a Parquet file. Files must not hold pickled
        objects. A key is a path as a text or a Path, and no key may come twice.
        Mappings and arrays are part of the model: :func:`~clapstack.save_model` writes
        keys (texts!) and embeddings with it. Of a DataFrame it cannot.
    text_embeddings : mapping, DataFrame, ndarray or path-like
        The same for the column ``text``. Embeddings need not be of unit norm; they
        are normalised.
    {blocks}

    Attributes
    ----------
    {projection_dim_, seen_}

    See Also
    --------
    PairFeatures : Computes the embeddings with an encoder of one's own.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import PrecomputedPairFeatures
    >>> features = PrecomputedPairFeatures(
    ...     {"a.wav": [1.0, 0.0]}, {"a dog": [3.0, 4.0]}, blocks=("text", "cosine")
    ... )
    >>> X = pd.DataFrame({"audio": ["a.wav"], "text": ["a dog"]})
    >>> features.fit_transform(X)
    array([[0.6, 0.8, 0.6]], dtype=float32)
    """

    _parameter_constraints: dict = {
        "audio_embeddings": [Mapping, pd.DataFrame, np.ndarray, str, os.PathLike],
        "text_embeddings": [Mapping, pd.DataFrame, np.ndarray, str, os.PathLike],
        "blocks": [tuple, list],
    }

    def __init__(self, audio_embeddings, text_embeddings, *, blocks=PAIR_BLOCKS):
        self.audio_embeddings = audio_embeddings
        self.text_embeddings = text_embeddings
        self.blocks = blocks

    @_fit_context(prefer_skip_nested_validation=True)
    @documented()
    def fit(self, X, y=None):
        """Find the width of the embeddings.

        Parameters
        ----------
        {X_of_fit}

        Returns
        -------
        self : object
            The fitted transformer.
        """
        check_pairs(self, X, reset=True)
        check_blocks(self.blocks)
        audio_dim = _width(self.audio_embeddings, "audio_embeddings")
        text_dim = _width(self.text_embeddings, "text_embeddings")
        if audio_dim != text_dim:
            msg = (
                "audio_embeddings and text_embeddings must be of one space; got "
                f"vectors of {audio_dim} and of {text_dim} values."
            )
            raise ValueError(msg)
        self.projection_dim_ = audio_dim
        return self

    def _embed(self, pairs):
        sides = {}
        bad = []
        for name, table in (
            ("audio", _table(self.audio_embeddings)),
            ("text", _table(self.text_embeddings)),
        ):
            vectors, faults = _look_up(pairs[name], table, self.projection_dim_)
            sides[name] = vectors
            bad.extend(faults)
        if bad:
            raise BadPairsError(one_bad_pair_per_row(bad), len(pairs))
        units = [_unit(np.stack(vectors)) for vectors in sides.values()]
        for name, rows in zip(sides, units, strict=True):
            # By Python's texts: Arrow's refuse names of files that are no UTF-8.
            last = {str(key): row for row, key in enumerate(pairs[name])}
            distinct = rows[list(last.values())]
            warn_if_collapsed(name, f"{name}_embeddings", distinct, None)
        return units


class _OwnEncoder:
    """A user's encoder behind the interface of ours."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.source = type(encoder).__name__
        self.collapsed = set()
        self.sample_rate = encoder.sample_rate
        self.identity = getattr(encoder, "identity", None)
        self.fingerprint = getattr(encoder, "fingerprint", self.identity)
        self.projection_dim = getattr(encoder, "projection_dim", None)
        if self.projection_dim is None:
            self.projection_dim = self._rows("encode_text", ["a sound"]).shape[1]

    def encode_audio(self, waveforms, *, crop, batch_size):
        return self._encode("encode_audio", waveforms, batch_size)

    def encode_text(self, texts, *, batch_size):
        return self._encode("encode_text", texts, batch_size)

    def _encode(self, method, items, batch_size):
        batches = [
            self._rows(method, list(items[i : i + batch_size]))
            for i in range(0, len(items), batch_size)
        ]
        try:
            return _unit(np.concatenate(batches))
        except ValueError as error:
            msg = f"{self.source}.{method}: {error}"
            raise ValueError(msg) from error

    def _rows(self, method, items):
        """Return what the encoder makes of one batch, a row for each item."""
        made = getattr(self.encoder, method)(items)
        try:
            rows = _as_array(made)
            if rows.ndim != 2 or len(rows) != len(items):
                msg = f"got shape {rows.shape}"
                raise ValueError(msg)
        except (TypeError, ValueError) as error:
            msg = (
                f"{self.source}.{method} must return numbers of shape (n, "
                f"projection_dim), a row for each of the {len(items)} items that it is "
                f"given: {error}."
            )
            raise type(error)(msg) from error
        return rows


def _as_array(made):
    """Return an array of real numbers, of an array, a tensor or a list of either.

    Nothing of torch is imported for it: a tensor is what can be detached.

    Raises
    ------
    TypeError
        If it is something else, such as an output object of transformers.
    ValueError
        If it is ragged.
    """
    if isinstance(made, Mapping) or hasattr(made, "to_tuple"):
        fields = [
            name for name in made if getattr(getattr(made, name, None), "ndim", 0) == 2
        ]
        remedy = " or ".join(f".{name}" for name in fields) or "of its tensors one"
        msg = f"got {type(made).__name__}; return {remedy} of it"
        raise TypeError(msg)
    if isinstance(made, list | tuple):
        made = [_detached(part) for part in made]
    rows = np.asarray(_detached(made))
    if rows.dtype.kind not in "biuf":
        msg = f"got {type(made).__name__} of {rows.dtype} values"
        raise TypeError(msg)
    return rows


def _detached(made):
    """Return the numbers of a tensor; anything else as it is."""
    if not hasattr(made, "detach"):
        return made
    tensor = made.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()  # NumPy has no bfloat16
    return tensor.numpy()


def _unit(rows):
    """Return float32 rows of unit norm; refuse rows that have no direction."""
    rows = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norms) & (norms > 0)):
        msg = "an embedding must be finite and not all zero; one is not."
        raise ValueError(msg)
    return (rows / norms).astype(np.float32)


def _table(source):
    """Return embeddings by key, from a mapping, a frame, an array or a file."""
    if not isinstance(source, (str, os.PathLike)):
        if _is_mapping(source) and all(isinstance(key, str) for key in source):
            return source  # as it is, because it may read its vectors when asked
        name = f"this {type(source).__name__}"
        return _by_key(_keys_and_rows(source, name), name)
    name = os.path.expanduser(os.fspath(source))
    with open(name, "rb") as file:
        head = file.read(4)
        file.seek(0)
        if head == b"PAR1":
            pyarrow = import_optional(
                "pyarrow", extra="parquet", caller=f"Reading {name}"
            )
            try:
                frame = pd.read_parquet(file)
            except pyarrow.ArrowException as error:
                msg = f"{name} is damaged ({error}). Write or copy it again."
                raise ValueError(msg) from error
            return _by_key(_keys_and_rows(frame, name), name)
        if head[:2] != b"PK" and head != b"\x93NUM":
            msg = f"{name} is no .npz, .npy or Parquet file. {_FORMS}"
            raise ValueError(msg)
        try:
            content = np.load(file, allow_pickle=False)
            found = _keys_and_rows(content, name)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            msg = f"{name} is damaged ({error}). Write or copy it again."
            raise ValueError(msg) from error
        except ValueError as error:
            if str(error).startswith(name):
                raise
            if "allow_pickle" not in str(error):
                msg = f"{name}: {error} {_FORMS}"
                raise ValueError(msg) from error
            msg = f"{name} holds Python objects, which are never loaded. {_FORMS}"
            raise ValueError(msg) from error
        return _by_key(found, name)


def _keys_and_rows(content, name):
    """Return the keys of embeddings and, in their order, the embeddings."""
    if _is_mapping(content):
        return list(content), list(content.values())
    if isinstance(content, pd.DataFrame):
        if {"key", "embedding"} <= set(content.columns):
            return list(content["key"]), list(content["embedding"])
        if isinstance(content.index, pd.RangeIndex):
            msg = f"{name} has no keys: its index counts its rows. {_FORMS}"
            raise ValueError(msg)
        return list(content.index), list(content.to_numpy())
    if isinstance(content, np.ndarray):
        if set(content.dtype.names or ()) != {"key", "embedding"}:
            msg = (
                f"{name} must be an array with the fields 'key' and 'embedding'; "
                f"got {content.dtype}. {_FORMS}"
            )
            raise ValueError(msg)
        return content["key"].tolist(), list(content["embedding"])
    if set(content.files) == {"keys", "embeddings"}:
        return content["keys"].tolist(), list(content["embeddings"])
    return content.files, [content[key] for key in content.files]


def _is_mapping(content):
    """Return whether this maps keys to vectors; an open .npz file maps names."""
    return isinstance(content, Mapping) and not isinstance(
        content, np.lib.npyio.NpzFile
    )


def _by_key(found, name):
    """Return embeddings by key; refuse keys that occur twice."""
    keys, rows = found
    if len(keys) != len(rows):
        msg = f"{name}: there are {len(keys)} keys and {len(rows)} embeddings."
        raise ValueError(msg)
    keys = [_plain_key(key) for key in keys]
    nested = next((key for key in keys if not isinstance(key, Hashable)), None)
    if nested is not None:
        msg = f"{name}: a key must be a text or a number; got {nested!r}. {_FORMS}"
        raise ValueError(msg)
    table = dict(zip(keys, rows, strict=True))
    if len(table) < len(keys):
        twice = [key for key, count in Counter(keys).items() if count > 1]
        msg = (
            f"{name}: {len(twice)} keys occur more than once, such as "
            f"{twice[0]!r}. Keep one embedding per key."
        )
        raise ValueError(msg)
    return table


def _plain_key(key):
    """Return the text that a path or bytes stand for; other keys as they are."""
    if isinstance(key, os.PathLike):
        key = os.fspath(key)
    return os.fsdecode(key) if isinstance(key, bytes) else key


def _width(source, name):
    """Return the length of the first vector."""
    table = _table(source)
    if isinstance(source, (str, os.PathLike)):
        name = f"{os.fspath(source)} ({name})"
    for key, vector in table.items():
        try:
            vector = _as_array(vector)
        except (TypeError, ValueError) as error:
            msg = f"{name} must hold 1-D vectors of numbers; {key!r}: {error}."
            raise type(error)(msg) from error
        if vector.ndim == 1 and len(vector):
            return len(vector)
        msg = (
            f"{name} must hold 1-D vectors; {key!r} has the shape {vector.shape}. "
            f"{_FORMS}"
        )
        raise ValueError(msg)
    msg = f"{name} is empty; it must hold one vector per key."
    raise ValueError(msg)


def _usable(embedding, dim):
    """Return a vector of `dim` values, or None and what is wrong with it."""
    try:
        vector = _as_array(embedding)
    except (TypeError, ValueError) as error:
        return None, f"its embedding is no vector of numbers: {error}."
    if vector.shape != (dim,):
        return None, (
            f"its embedding has shape {vector.shape}; the others have ({dim},)."
        )
    if not np.isfinite(vector).all() or not vector.any():
        return None, "its embedding is all zero or not finite. Compute it again."
    return vector, ""


def _look_up(column, table, dim):
    """Return the vector of every usable row, and the rows that are not."""
    vectors, faults = [], []
    for position, (index, key) in enumerate(column.items()):
        key = _plain_key(key)
        if not isinstance(key, Hashable) or key not in table:
            reason = (
                f"no embedding has this key; {len(table)} keys are there, such as "
                f"{next(iter(table))!r}. Keys must equal the column {column.name!r}."
            )
        else:
            vector, reason = _usable(table[key], dim)
            if vector is not None:
                vectors.append(vector)
                continue
        faults.append(
            BadPair(position, index, f"{column.name} {reprlib.repr(key)}", reason)
        )
    return vectors, faults
