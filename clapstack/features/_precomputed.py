"""Pair features of precomputed embeddings."""

from __future__ import annotations

import os
import reprlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from clapstack._compat import _fit_context
from clapstack._numerics.collapse import warn_if_collapsed
from clapstack._optional import import_optional
from clapstack.exceptions import BadPair
from clapstack.families import PAIR_BLOCKS
from clapstack.features._base import _BasePairFeatures
from clapstack.features._custom_encoder import as_array, unit_rows
from clapstack.features._docstring import documented
from clapstack.features._embedding import refuse_bad_pairs
from clapstack.features._pair_feature import check_blocks
from clapstack.pairs import check_pairs

__all__ = ["PrecomputedPairFeatures"]

_FORMS = (
    "Use a .npz with the arrays 'keys' and 'embeddings' or with one 1-D array per "
    "key, or a table with the columns 'key' and 'embedding' or with keys as its index."
)


@documented()
class PrecomputedPairFeatures(_BasePairFeatures):
    """Pair features of precomputed embeddings, looked up by key.

    Parameters
    ----------
    audio_embeddings : mapping, DataFrame, ndarray or path-like
        Embeddings of clips, by the value in the column ``audio`` (a path or an id).
        One of

        - a mapping of keys to 1-D arrays or torch tensors;
        - a DataFrame with the keys as its index, or with the columns ``key`` and
          ``embedding``;
        - a structured array with these two fields;
        - a file: a ``.npz`` with one array per key or with the two arrays ``keys`` and
          ``embeddings``, a ``.npy`` or a Parquet file. Files must not contain pickled
          objects.

        Paths may be str or Path, and keys must be unique. Mappings and arrays are part
        of the model: :func:`~clapstack.save_model` writes their embeddings and keys,
        texts included, to the file. It cannot save a DataFrame.
    text_embeddings : mapping, DataFrame, ndarray or path-like
        Embeddings of texts, by the value in the column ``text``. Embeddings need not
        have unit norm; they are normalised.
    {blocks}

    Attributes
    ----------
    {projection_dim_, seen_}

    See Also
    --------
    PairFeatures : Computes the embeddings with a custom encoder.

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
        """Determine the width of the embeddings.

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
                "audio_embeddings and text_embeddings must have the same width; got "
                f"vectors of {audio_dim} and of {text_dim} values."
            )
            raise ValueError(msg)
        self.projection_dim_ = audio_dim
        return self

    def _embed(self, pairs):
        vectors, bad = {}, []
        for name in ("audio", "text"):
            table = _table(getattr(self, f"{name}_embeddings"))
            vectors[name], faults = _look_up(pairs[name], table, self.projection_dim_)
            bad.extend(faults)
        refuse_bad_pairs(bad, pairs)
        units = [unit_rows(np.stack(some)) for some in vectors.values()]
        for name, rows in zip(vectors, units, strict=True):
            # Python strings, because Arrow's reject file names that are not UTF-8.
            last = {str(key): row for row, key in enumerate(pairs[name])}
            distinct = rows[list(last.values())]
            warn_if_collapsed(name, f"{name}_embeddings", distinct, None)
        return units


def _table(source):
    """Return embeddings by key, from a mapping, a frame, an array or a file."""
    if isinstance(source, (str, os.PathLike)):
        name = os.path.expanduser(os.fspath(source))
        return _by_key(_keys_and_rows_of_file(name), name)
    if _is_mapping(source) and all(isinstance(key, str) for key in source):
        return source  # unchanged, because it may load its vectors lazily
    name = f"this {type(source).__name__}"
    return _by_key(_keys_and_rows(source, name), name)


def _keys_and_rows_of_file(name):
    # Errors of damaged archives that NumPy does not translate.
    damage: tuple[type[Exception], ...] = (zipfile.BadZipFile, zlib.error, EOFError)
    with open(name, "rb") as file:
        head = file.read(4)
        file.seek(0)
        is_parquet = head == b"PAR1"
        if is_parquet:
            caller = f"Reading {name}"
            pyarrow = import_optional("pyarrow", extra="parquet", caller=caller)
            damage = (pyarrow.ArrowException,)
        elif head[:2] != b"PK" and head != b"\x93NUM":
            msg = f"{name} is not a .npz, .npy or Parquet file. {_FORMS}"
            raise ValueError(msg)
        try:
            if is_parquet:
                return _keys_and_rows(pd.read_parquet(file), name)
            return _keys_and_rows(np.load(file, allow_pickle=False), name)
        except damage as error:
            msg = f"{name} is damaged ({error}). Write or copy it again."
            raise ValueError(msg) from error
        except ValueError as error:
            if str(error).startswith(name):
                raise
            msg = f"{name}: {error} {_FORMS}"
            if "allow_pickle" in str(error):
                msg = f"{name} has pickled objects, which are never loaded. {_FORMS}"
            raise ValueError(msg) from error


def _keys_and_rows(content, name):
    """Return the keys of embeddings and, in their order, the embeddings."""
    if _is_mapping(content):
        return list(content), list(content.values())
    if isinstance(content, pd.DataFrame):
        if {"key", "embedding"} <= set(content.columns):
            return list(content["key"]), list(content["embedding"])
        if isinstance(content.index, pd.RangeIndex):
            msg = f"{name} has no keys: its index only numbers rows. {_FORMS}"
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
    """Return embeddings by key; reject duplicate keys."""
    keys, rows = found
    if len(keys) != len(rows):
        msg = f"{name} has {len(keys)} keys, but {len(rows)} embeddings."
        raise ValueError(msg)
    keys = [_plain_key(key) for key in keys]
    nested = next((key for key in keys if not isinstance(key, Hashable)), None)
    if nested is not None:
        msg = f"{name}: a key must be a string or a number; got {nested!r}. {_FORMS}"
        raise ValueError(msg)
    table = dict(zip(keys, rows, strict=True))
    if len(table) < len(keys):
        twice = [key for key, count in Counter(keys).items() if count > 1]
        msg = (
            f"{name}: duplicate keys ({len(twice)}), such as "
            f"{twice[0]!r}. Keep one embedding per key."
        )
        raise ValueError(msg)
    return table


def _plain_key(key):
    """Return a path or bytes as a string; other keys unchanged."""
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
            vector = as_array(vector)
        except (TypeError, ValueError) as error:
            msg = f"{name} must contain 1-D vectors of numbers; {key!r}: {error}."
            raise type(error)(msg) from error
        if vector.ndim == 1 and len(vector):
            return len(vector)
        msg = (
            f"{name} must contain 1-D vectors; {key!r} has shape {vector.shape}. "
            f"{_FORMS}"
        )
        raise ValueError(msg)
    msg = f"{name} is empty; it must contain one vector per key."
    raise ValueError(msg)


def _usable(embedding, dim):
    """Return a vector of `dim` values, or None and the reason why it is unusable."""
    try:
        vector = as_array(embedding)
    except (TypeError, ValueError) as error:
        return None, f"its embedding is not a vector of numbers: {error}."
    if vector.shape != (dim,):
        return None, (
            f"its embedding has shape {vector.shape}; the others have ({dim},)."
        )
    if not np.isfinite(vector).all() or not vector.any():
        return None, "its embedding is all zero or not finite. Compute it again."
    return vector, ""


def _look_up(column, table, dim):
    """Return the vectors of usable rows, and the unusable rows."""
    vectors, faults = [], []
    for position, (index, key) in enumerate(column.items()):
        key = _plain_key(key)
        if not isinstance(key, Hashable) or key not in table:
            reason = (
                f"no embedding has this key; there are {len(table)} keys, such as "
                f"{next(iter(table))!r}. Keys must match the column {column.name!r}."
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
