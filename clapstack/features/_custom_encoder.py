"""Pair features of a custom encoder."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from contextlib import suppress
from numbers import Integral, Real
from weakref import WeakValueDictionary

import numpy as np

from clapstack._compat import HasMethods
from clapstack.exceptions import UnstableEncoderWarning
from clapstack.families import PAIR_BLOCKS
from clapstack.features._base import _BasePairFeatures
from clapstack.features._docstring import documented

# For unit-norm embeddings, whose rounding error in half precision is about 1e-3.
_TOLERANCE = 2e-3
# Encoders already checked for stability, by id and method.
_CHECKED: WeakValueDictionary = WeakValueDictionary()

__all__ = ["PairFeatures", "as_array", "unit_rows"]


@documented()
class PairFeatures(_BasePairFeatures):
    """Pair features of a custom encoder.

    Parameters
    ----------
    encoder : object
        Any object with

        - ``encode_audio(waveforms)``: maps a list of mono float32 clips at its sample
          rate to an array or torch tensor of shape (n, projection_dim), on any device,
          in any real dtype, with or without gradients;
        - ``encode_text(texts)``: maps a list of strings to an array or tensor of the
          same width;
        - ``sample_rate``: in Hz;
        - optionally ``projection_dim``; without it, a text is encoded to determine it.

        Rows need not have unit norm; they are normalised. If the encoder has an
        attribute ``identity``, a string that changes whenever its embeddings do,
        embeddings are stored; otherwise they are not, and a warning is issued. An
        optional string ``fingerprint`` identifies the weights; it defaults to
        ``identity``. Clones share the encoder, and a pickle contains it. Once per
        process, a clip and a text of the first batch are embedded again, alone. If the
        result differs, a warning reports that the encoder is random or depends on the
        other inputs in a batch.
    {blocks}
    batch_size : int, default=32
        Clips per call of ``encode_audio``, texts per call of ``encode_text``.
    {cache, verbose}

    Attributes
    ----------
    {projection_dim_, sample_rate_}
    fingerprint_ : str or None
        The encoder's fingerprint or identity; `transform` rejects any other.
    {seen_}

    See Also
    --------
    LaionClapPairFeatures : Pair features of LAION CLAP.

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
        encoder = _CustomEncoder(self.encoder)
        if encoder.identity is None and self.cache is not None:
            msg = (
                f"{type(self.encoder).__name__} has no attribute 'identity', so its "
                "embeddings cannot be distinguished from another encoder's and are not "
                "stored. Add the attribute, or set cache=None."
            )
            warnings.warn(msg, stacklevel=2)
        return encoder


class _CustomEncoder:
    """Adapter that gives a user's encoder the interface of the built-in ones."""

    def __init__(self, encoder):
        if isinstance(encoder, type):
            msg = (
                f"encoder must be an object, not a class; got {encoder.__name__}. Pass "
                f"{encoder.__name__}()."
            )
            raise TypeError(msg)
        self.encoder = encoder
        self.source = type(encoder).__name__
        self.collapsed = set()
        self.sample_rate = self._attribute("sample_rate", Real, "a number of hertz")
        self.identity = self._attribute("identity", str, "a string", default=None)
        self.fingerprint = self._attribute(
            "fingerprint", str, "a string", default=self.identity
        )
        self.projection_dim = self._attribute(
            "projection_dim", Integral, "a whole number", default=None
        )
        if self.projection_dim is None:
            self.projection_dim = self._rows("encode_text", ["a sound"]).shape[1]

    def _attribute(self, name, kind, what, **default):
        """Return an attribute; reject a wrong type, zero or an empty string."""
        value = getattr(self.encoder, name, default.get("default"))
        if value is None and default:
            return None
        if not (isinstance(value, kind) and value):
            msg = f"{self.source}.{name} must be {what}; got {value!r}."
            raise TypeError(msg)
        return value

    def encode_audio(self, waveforms, *, crop, batch_size):
        return self._encode("encode_audio", waveforms, batch_size)

    def encode_text(self, texts, *, batch_size):
        return self._encode("encode_text", texts, batch_size)

    def _encode(self, method, items, batch_size):
        # Check the shortest input of the first batch: padding affects it most.
        some = range(min(batch_size, len(items)))
        shortest = min(some, key=lambda row: len(items[row]))
        alone = self._alone(method, items[shortest]) if len(some) > 1 else None
        batches = [
            self._rows(method, list(items[i : i + batch_size]))
            for i in range(0, len(items), batch_size)
        ]
        try:
            units = unit_rows(np.concatenate(batches))
            if alone:
                self._warn_if_unstable(method, units[shortest], *map(unit_rows, alone))
        except ValueError as error:
            msg = f"{self.source}.{method}: {error}"
            raise ValueError(msg) from error
        return units

    def _alone(self, method, item):
        """Embed an input alone, twice; return None if this process already did."""
        key = id(self.encoder), method
        if _CHECKED.get(key) is self.encoder:
            return None
        with suppress(TypeError):  # the object does not support weak references
            _CHECKED[key] = self.encoder
        # Copies, because an encoder may modify its inputs in place.
        return [self._rows(method, [copy.copy(item)])[0] for _ in range(2)]

    def _warn_if_unstable(self, method, together, alone, again):
        chance, company = abs(alone - again).max(), abs(alone - together).max()
        if chance > _TOLERANCE:
            what = f"twice differ by {chance:.1g}"
            remedy = "The encoder is random: crop at fixed positions, call eval()"
        elif company > _TOLERANCE:
            what = f"alone and in a batch differ by {company:.1g}"
            remedy = "Encode inputs one by one, or mask the padding"
        else:
            return
        msg = (
            f"{self.source}.{method}: embeddings of one input {what}, so scores would "
            f"not be reproducible. {remedy}."
        )
        warnings.warn(msg, UnstableEncoderWarning, stacklevel=6)

    def _rows(self, method, items):
        """Encode one batch; return one row per item."""
        made = getattr(self.encoder, method)(items)
        try:
            rows = as_array(made)
            if rows.ndim != 2 or rows.shape != (
                len(items),
                self.projection_dim or rows.shape[1],  # not known at the first text
            ):
                msg = f"got shape {rows.shape}"
                raise ValueError(msg)
        except (TypeError, ValueError) as error:
            msg = (
                f"{self.source}.{method} must return numbers of shape (n, "
                f"{self.projection_dim or 'projection_dim'}), one row for each of the "
                f"{len(items)} items passed to it: {error}."
            )
            raise type(error)(msg) from error
        return rows


def as_array(made):
    """Convert an array, a tensor or a list of either to an array of real numbers.

    torch is not imported: any object with a method ``detach`` counts as a tensor.

    Raises
    ------
    TypeError
        If the input is something else, such as an output object of transformers.
    ValueError
        If the list is ragged.
    """
    if isinstance(made, Mapping) or hasattr(made, "to_tuple"):
        fields = [
            name for name in made if getattr(getattr(made, name, None), "ndim", 0) == 2
        ]
        remedy = " or ".join(f"its .{name}" for name in fields) or "one of its tensors"
        msg = f"got {type(made).__name__}; return {remedy}"
        raise TypeError(msg)
    if isinstance(made, list | tuple):
        made = [_detached(part) for part in made]
    rows = np.asarray(_detached(made))
    if rows.dtype.kind not in "biuf":
        msg = f"got {type(made).__name__} of {rows.dtype} values"
        raise TypeError(msg)
    return rows


def _detached(made):
    """Return a tensor as a NumPy array; anything else unchanged."""
    if not hasattr(made, "detach"):
        return made
    tensor = made.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()  # NumPy has no bfloat16
    return tensor.numpy()


def unit_rows(rows):
    """Scale rows to unit norm, as float32; reject zero or non-finite rows."""
    rows = np.asarray(rows, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norms) & (norms > 0)):
        msg = "embeddings must be finite and not all zero; at least one is not."
        raise ValueError(msg)
    return (rows / norms).astype(np.float32)
