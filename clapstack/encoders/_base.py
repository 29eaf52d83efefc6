"""Base class of all encoders: loading, device, dtype, identity and GPU memory."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack.encoders._noting import NotedFiles
from clapstack.encoders._reading import guarded, is_derived
from clapstack.exceptions import AudioError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class FrozenEncoder(ABC):
    """A model with frozen, published weights.

    Parameters
    ----------
    model : Module
        Loaded weights in float32.
    settings : mapping of plain values
        Everything else that embeddings depend on; at least "sample_rate" (Hz) and
        "window" (samples).
    fingerprint : str
        As from :func:`fingerprint_of`.
    source : str
        Origin of the weights, for error messages.
    device : str
        A torch device.
    dtype : {"float32", "bfloat16"}
        Precision of the model.
    """

    #: Maximum number of inputs per forward pass. On a CPU, the rounding of matrix
    #: products depends on the batch size; alone, an input's bits depend on no other.
    _at_once_on_cpu: ClassVar[int] = 1
    _at_once_on_gpu: ClassVar[int] = sys.maxsize
    #: Name of these inputs in a warning.
    _inputs: ClassVar[str] = "pieces"

    #: Files that the encoder was read from, if all of them are known.
    files: NotedFiles | None = None

    _version: str  # of weights, dtype and code

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        settings: Mapping[str, Any],
        fingerprint: str,
        source: str,
        device: str,
        dtype: str,
    ):
        self.sample_rate: int = settings["sample_rate"]
        self.window: int = settings["window"]
        self.fingerprint = fingerprint
        self.source = source
        self.device = torch.device(device)
        self._settings = settings
        self._dtype = DTYPES[dtype]
        self._model: Any = model.eval().to(self.device, self._dtype)
        on_cpu = self.device.type == "cpu"
        self._at_once = self._at_once_on_cpu if on_cpu else self._at_once_on_gpu
        # Front ends compute in float64, which Apple's devices do not support.
        self._front_end_device = "cpu" if self.device.type == "mps" else device

    @property
    def identity(self) -> str:
        """Everything that an embedding depends on besides the input and `crop`.

        `fingerprint`, the dtype of the model, the version of its code and, if it is not
        "highest", ``torch.get_float32_matmul_precision()``.
        """
        precision = torch.get_float32_matmul_precision()
        return self._version + ("" if precision == "highest" else f"-{precision}")

    @classmethod
    def load(
        cls, checkpoint: str, *, revision: str | None, device: str, dtype: str
    ) -> FrozenEncoder:
        """Load a checkpoint."""
        with guarded(checkpoint):
            build = cls._read(checkpoint, revision)
        # Outside the guard: failures on a device are not the checkpoint's fault.
        return build(device=device, dtype=dtype)

    @classmethod
    @abstractmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint; return a constructor that only needs device and dtype."""

    @abstractmethod
    def encode_audio(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        *,
        crop: str = "windows",
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Return one row of numbers per waveform."""

    def _in_parts_that_fit(
        self, embed: Callable[..., torch.Tensor], *inputs: Any
    ) -> torch.Tensor:
        """Embed inputs, in halves if they do not fit into the GPU's memory."""
        n_inputs = len(inputs[0])
        try:
            return embed(*inputs)
        except torch.cuda.OutOfMemoryError:
            if n_inputs == 1:
                raise
        # Outside the handler, which keeps the memory of the failed pass alive.
        half = n_inputs // 2
        if half < self._at_once:
            self._at_once = half
            msg = (
                f"{n_inputs} {self._inputs} at once do not fit into the memory of "
                f"{self.device}; from now on, {half} are used. Pass batch_size={half}."
            )
            warnings.warn(msg, stacklevel=3)
        first = self._in_parts_that_fit(embed, *(part[:half] for part in inputs))
        others = self._in_parts_that_fit(embed, *(part[half:] for part in inputs))
        return torch.cat([first, others])


def checked_waveform(waveform: NDArray[np.float32], row: int) -> NDArray[np.float32]:
    """Return a waveform as contiguous float32.

    Raises
    ------
    AudioError
        If it is not a non-empty 1-D array of finite numbers; the message names `row`.
    """
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if waveform.ndim != 1 or not waveform.size or not _all_finite(waveform):
        msg = (
            f"Waveform {row} must be a one-dimensional, non-empty array of finite "
            f"samples; got shape {waveform.shape} with "
            f"{int((~np.isfinite(waveform)).sum())} non-finite samples. "
            f"Read audio with clapstack.audio, which mixes to mono and checks samples."
        )
        raise AudioError(msg)
    return waveform


def _all_finite(waveform: NDArray[np.float32]) -> bool:
    with np.errstate(all="ignore"):
        # The sum of squares takes a third of the time, but may overflow.
        return bool(np.isfinite(waveform @ waveform) or np.isfinite(waveform).all())


def unusual(found: Any, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return which attributes of a configuration are not as in the published files.

    They are settings that no tensor shows. Only those that differ go into a
    fingerprint, so that files which models were fitted with keep theirs.
    """
    values = {name: getattr(found, name) for name in usual}
    return {name: v for name, v in values.items() if v != usual[name]}


def fingerprint_of(
    model: torch.nn.Module, settings: Mapping[str, Any], tokenizer: Any = None
) -> str:
    """Return the SHA-256 of settings, vocabulary and weights, in hex."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    if tokenizer is not None:
        # The vocabulary represents the tokenizer: the format of tokenizer files
        # changes between library versions, the vocabulary does not.
        digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not is_derived(name):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().reshape(-1).numpy())
    return digest.hexdigest()
