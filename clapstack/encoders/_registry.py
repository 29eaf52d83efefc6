"""Loading of encoders, once per process."""

from __future__ import annotations

import importlib
import logging
import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from clapstack.encoders._base import DTYPES
from clapstack.encoders._noting import noted_files
from clapstack.encoders._reading import guarded
from clapstack.encoders.audio import AudioEncoder
from clapstack.encoders.clap import ClapEncoder

_LOGGER = logging.getLogger("clapstack")
# Module in this folder and class, by kind. Imported on first use, because all of them
# would load most of transformers.
_KINDS = {
    "laion": ("clap._laion", "LaionClapEncoder"),
    "msclap": ("clap._msclap", "MsClapEncoder"),
    "wavlm": ("audio._wavlm", "WavLmEncoder"),
    "audiomae": ("audio._audiomae", "AudioMaeEncoder"),
    "whisper": ("audio._whisper", "WhisperEncoder"),
    "ctc": ("audio._ctc", "CtcEncoder"),
    "beats": ("audio._beats", "BeatsEncoder"),
    "beats-states": ("audio._beats", "BeatsStatesEncoder"),
    "eat": ("audio._eat", "EatEncoder"),
    "m2d-clap": ("clap._m2d", "M2dClapEncoder"),
    "mga-clap": ("clap._mga", "MgaClapEncoder"),
    "pe-audio": ("clap._pe_audio", "PeAudioEncoder"),
    "sentence-transformer": (
        "clap._sentence_transformer",
        "SentenceTransformerEncoder",
    ),
}
# The authors' packages, by their name in `backend`; each supports one kind.
_REFERENCES = {
    "laion_clap": {"laion": ("clap._reference", "LaionReferenceEncoder")},
    "msclap": {"msclap": ("clap._reference", "MsClapReferenceEncoder")},
}
# Number of families in a union of all published ones: with fewer, every table would
# load each model again.
_MOST_LOADED = 10
# Held while loading, so that concurrent requests for an encoder load it once.
_LOCK = threading.Lock()


def load_encoder(
    kind: str,
    checkpoint: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    backend: str = "clapstack",
) -> ClapEncoder | AudioEncoder:
    """Return a frozen encoder; load it unless this process already has.

    The ten most recently used encoders stay loaded. A local checkpoint that has been
    rewritten is loaded again.

    Parameters
    ----------
    kind : str
        Format of the checkpoint: "laion", "msclap", "m2d-clap" or
        "sentence-transformer" for a ClapEncoder; "mga-clap" or "pe-audio" for one with
        `encode_frames`; "wavlm", "audiomae", "eat", "beats", "beats-states", "whisper"
        or "ctc" for an AudioEncoder.
    checkpoint : str or path-like
        A hub id, a local folder or file, or "bundled:<name>", as accepted by the
        transformer of this kind, such as :class:`~clapstack.LaionClapPairFeatures`.
    revision : str or None, default=None
        Branch, tag or commit of a hub id. Must be None for files of BEATs, M2D-CLAP and
        MGA-CLAP, which are not on the hub.
    device : str or None, default=None
        A torch device. None selects "cuda" if available, else "mps", else "cpu".
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the model. "bfloat16" is about three times as fast on processors
        that support it; its embeddings have a cosine of about 0.9999 with those of
        float32.
    backend : {"clapstack", "laion_clap", "msclap"}, default="clapstack"
        Model classes to run: clapstack's or, for comparison, those of the packages
        laion-clap (for "laion") or msclap (for "msclap"), in float32. The weights, the
        fingerprint and the encoded part of a clip are the same; the identity under
        which embeddings are stored is not.

    Returns
    -------
    encoder : ClapEncoder or AudioEncoder
        Shared by all callers in this process.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be found, read safely, or matched to its model.
    ImportError
        If the package of `backend` or one of its dependencies is not installed.
    ValueError
        If `kind` or `dtype` is unknown, or `backend` does not support `kind`.

    Examples
    --------
    >>> from clapstack.encoders import load_encoder
    >>> encoder = load_encoder("laion", "bundled:laion-unfused")
    >>> encoder.sample_rate
    48000
    >>> len(encoder.encode_text(["a dog barks", "rain"]))
    2
    """
    backends = ["clapstack"] + [b for b, kinds in _REFERENCES.items() if kind in kinds]
    choices: list[tuple[str, str, Any]] = [
        ("kind", kind, _KINDS),
        ("dtype", dtype, DTYPES),
        ("backend", backend, backends),
    ]
    for name, given, known in choices:
        if given not in known:
            msg = f"{name} must be one of {sorted(known)}; got {given!r}."
            raise ValueError(msg)
    device = str(torch.device(device or _best_device()))
    if device.startswith("cuda") and not torch.cuda.is_available():
        msg = (
            f"device={device!r} is not available: torch finds no CUDA GPU, or was "
            "installed without CUDA. Use 'cpu', or None to choose a device."
        )
        raise ValueError(msg)
    name, stamp = os.fspath(checkpoint), None
    path = Path(name).expanduser()
    if path.exists():
        name, stamp = str(path.absolute()), _stamp(path, kind)
    # Keyed by path and file states, so that a rewritten checkpoint is loaded again.
    with _LOCK:
        return _load(kind, name, stamp, revision, device, dtype, backend)


def clear_encoders() -> None:
    """Release all loaded encoders to free their memory."""
    with _LOCK:
        _load.cache_clear()


@lru_cache(maxsize=_MOST_LOADED)
def _load(
    kind: str,
    checkpoint: str,
    stamp: tuple[tuple[str | int, ...], ...] | None,
    revision: str | None,
    device: str,
    dtype: str,
    backend: str,
) -> ClapEncoder | AudioEncoder:
    module, name = _REFERENCES.get(backend, _KINDS)[kind]
    encoders = importlib.import_module(f"clapstack.encoders.{module}")
    with noted_files() as files:
        encoder: ClapEncoder | AudioEncoder = getattr(encoders, name).load(
            checkpoint, revision=revision, device=device, dtype=dtype
        )
    if backend == "clapstack":  # the packages read further files
        encoder.files = files
    _LOGGER.info("Loaded %s encoder %r on %s as %s", kind, checkpoint, device, dtype)
    return encoder


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _stamp(path: Path, kind: str) -> tuple[tuple[str | int, ...], ...]:
    """Return a key that changes whenever local files change."""
    # No deeper than a tokenizer's subfolder: someone may pass a home folder.
    if path.is_dir():
        found = {*path.glob("*"), *path.glob("*/*")}
        if kind == "sentence-transformer":
            # Imported on first use, as in _load.
            name = "clapstack.encoders.clap._sentence_folder"
            with guarded(str(path)):
                for place in importlib.import_module(name).modules_in(path):
                    found.update((path / place).glob("*"))  # may lie deeper
        files = sorted(found)
    else:
        # Including the tokenizer, which is beside a weights file or in tokenizer/.
        folders = path.parent, path.parent / "tokenizer"
        names = "*.json", "*.txt"
        files = [path, *(f for x in folders for n in names for f in sorted(x.glob(n)))]
    stats = [(file, file.stat()) for file in files if file.is_file()]
    # A replaced file may keep its size and mtime, but not all of these.
    return tuple(
        (str(f), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f, s in stats
    )
