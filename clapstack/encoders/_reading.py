"""Strict, safe and bounded reading of untrusted weights and configurations."""

from __future__ import annotations

import argparse
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from reprlib import repr as short_repr
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file

from clapstack._numerics.checks import first_few
from clapstack.encoders._noting import note_file
from clapstack.encoders._pickles import check_pickles
from clapstack.exceptions import CheckpointError

# Files that describe transformers' extractors; only transformers 5 writes the second.
EXTRACTOR_FILES = ["preprocessor_config.json", "processor_config.json"]

# Buffers derived from the configuration, and a counter used in training only. Whether a
# published file contains them depends on the version that wrote it.
DERIVED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|relative_position_index|num_batches_tracked)$"
)

# Bounds far above what is published: a vocabulary of 250,000 tokens takes 17 MB, the
# largest model has 1,300 tensors. Within them, reading and building take a few seconds
# at most, and no more memory than the file.
_MOST_JSON = 32 << 20
_COUNTS = re.compile(r"^num_|layers?$")
_MOST_COUNTED = 100_000
_MOST_HEADER = 4 << 20
_MOST_TENSORS = 4096
MOST_LAYERS = 256
# Tensors may share memory, as tied weights do. Their total size must not exceed this
# many times the file's.
_MOST_SHARED = 4

# Wrappers of models add a prefix to all names (torch's parallel training, Lightning),
# or insert their name wherever they wrap a part (torch.compile, FSDP).
_WRAPPERS = {"module", "model", "net", "network", "clap", "clap_model"}
_INSERTED = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module"
    r"|_forward_module)\."
)
_CONTENTS = ("model", "state_dict", "model_state_dict", "module", "model_state")
_DEEPEST_CONTENT = 4

# Errors that parsers and constructors raise for senseless sizes, names or values;
# transformers and torch document nothing narrower. Lack of memory, a missing package
# and a missing name are not among them.
_SENSELESS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


def _empty_dict(*_: Any) -> dict[Any, Any]:
    """Stand in for a defaultdict and for the factory of its values."""
    return {}


def _empty_bytes(*_: Any) -> bytes:
    """Stand in for the values of an empty array, which Python creates with bytes."""
    return b""


def _empty_array(kind: type, shape: Any, dtype: Any) -> np.ndarray:
    """Create an empty array, as NumPy does before it sets shape and values."""
    return np.ndarray((0,), np.int8)


# Training checkpoints contain more than weights: learning rates and losses as NumPy
# scalars and arrays, arguments, paths. Constructors of these that run no foreign code
# are allowed, under the names of NumPy 1 and 2 and of every Python version.
_rebuild_scalar = np.float64().__reduce__()[0]
_PLAIN_VALUES: list[Any] = [
    *(
        (_rebuild_scalar, f"numpy.{core}.multiarray.scalar")
        for core in ("core", "_core")
    ),
    *(
        (_empty_array, f"numpy.{core}.multiarray._reconstruct")
        for core in ("core", "_core")
    ),
    (_empty_bytes, "builtins.bytes"),
    np.ndarray,
    np.dtype,
    *(
        getattr(np.dtypes, name)
        for name in np.dtypes.__all__
        if name.endswith("DType") and name not in ("ObjectDType", "StringDType")
    ),
    argparse.Namespace,
    *(
        (_empty_dict, name)
        for name in (
            "collections.defaultdict",
            "builtins.dict",
            "builtins.float",
            "builtins.int",
            "builtins.list",
        )
    ),
    *(
        (pure, f"{module}.{kind}{system}Path")
        for system, pure in (("Posix", PurePosixPath), ("Windows", PureWindowsPath))
        for kind in ("", "Pure")
        for module in ("pathlib", "pathlib._local")
    ),
]
_NAMED_CLASS = re.compile(r"GLOBAL (\S+)")
_TRUE_REASON = re.compile(r"WeightsUnpickler error:\s*(\S.*?)\.? *(?:\n|$)")


@contextmanager
def guarded(checkpoint: str) -> Iterator[None]:
    """Turn errors from reading and building a checkpoint into CheckpointError.

    The error of the parser or constructor becomes its cause. Every encoder reads its
    checkpoint in this context and does nothing else there: later failures on a device
    are not the file's fault.
    """
    try:
        yield
    except CheckpointError:
        raise
    except BaseException as error:
        # The tokenizers library panics on some patterns, with a class that is not an
        # Exception and cannot be imported.
        panics = type(error).__name__ == "PanicException"
        if not (panics or isinstance(error, _SENSELESS)):
            raise
        msg = (
            f"Checkpoint {checkpoint!r} cannot be loaded: {type(error).__name__}: "
            f"{first_line(error)}. It is damaged, or its configuration does not match "
            f"its weights. Download it again from its publisher."
        )
        raise CheckpointError(msg) from error


def is_derived(name: str) -> bool:
    """Return whether a tensor of this name is derived from the configuration."""
    return DERIVED.search(name) is not None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors without running any code from the file.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file; a file from ``torch.save`` with a mapping of names to
        tensors, alone or as "model" or "state_dict"; or the ``.index.json`` of several
        such files.

    Returns
    -------
    tensors : dict of str to Tensor
        Half precision becomes float32. Prefixes of wrappers are removed from names.

    Raises
    ------
    CheckpointError
        If the file is damaged, or contains anything but tensors, plain values, NumPy
        scalars and arrays, paths and command-line arguments.
    """
    return tensors_in(read_content(path), path)


def read_content(path: Path) -> Any:
    """Read the whole content of a file of weights, as safely as `read_tensors`."""
    note_file(path)
    if path.suffix == ".json":
        return _read_shards(path)
    if not path.is_file():
        msg = f"{path} is not a regular file, so weights cannot be read from it."
        raise CheckpointError(msg)
    try:
        if path.suffix == ".safetensors":
            check_header(path)
            return load_file(path)
        check_pickles(path)
        with torch.serialization.safe_globals(_PLAIN_VALUES):
            return torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                # Leaves an optimizer's state, twice the size of the weights, unread.
                mmap=zipfile.is_zipfile(path),
            )
    except CheckpointError:
        raise
    # Neither library documents what it raises for a forged file: KeyError,
    # AssertionError, struct.error, BadZipFile and a dozen others occur. Only these
    # libraries run in here.
    except Exception as error:
        raise CheckpointError(_unreadable(path, error)) from error


def tensors_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return the named tensors in the result of `read_content` for a file."""
    tensors = _mapping_of_tensors(content)
    if tensors is None:
        msg = (
            f"{path} must contain a mapping of names to tensors, alone, as 'model' or "
            f"as 'state_dict'; got {type(content).__name__}. It may be a checkpoint of "
            f"another format."
        )
        raise CheckpointError(msg)
    _check_stored(tensors, path)
    tensors = _without_wrappers(tensors, path)
    if any(".lora_" in name for name in tensors):
        raise CheckpointError(adapter_message(path))
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def adapter_message(place: Path) -> str:
    """Explain how to use an adapter, which contains only changes to weights."""
    return (
        f"{place} is a PEFT adapter: it contains changes to a model's weights, not the "
        f"weights. Load it with peft, call merge_and_unload() and save the result with "
        f"save_pretrained()."
    )


def check_size(path: Path) -> None:
    """Reject a companion file that is too large or not a regular file."""
    note_file(path)
    if path.exists() and not path.is_file():
        msg = f"{path} cannot be read: it is not a regular file."
        raise CheckpointError(msg)
    if path.exists() and path.stat().st_size > _MOST_JSON:
        msg = (
            f"{path} has {path.stat().st_size} bytes; no checkpoint needs more than "
            f"{_MOST_JSON}. Download it again from its publisher."
        )
        raise CheckpointError(msg)


def read_json(path: Path, *, kind: type = dict, counted: bool = True) -> Any:
    """Read a JSON object of a checkpoint or, with `kind` list, an array.

    The size of the file is limited and, if its numbers are settings (`counted`), so are
    the numbers of layers and labels.
    """
    check_size(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path} cannot be read: {error}. Download it again from its publisher."
        raise CheckpointError(msg) from error
    if not isinstance(content, kind):
        what = "a JSON object" if kind is dict else "a JSON array"
        msg = f"{path} must contain {what}; got {type(content).__name__}."
        raise CheckpointError(msg)
    if counted:
        _check_counts({"": content}, path)
    return content


def _check_counts(content: Mapping[str, Any], path: Path) -> None:
    """Reject numbers from which transformers would build huge lists.

    It builds them while it reads a configuration, as tokenizers do too.
    """
    for name, value in content.items():
        if isinstance(value, dict):
            _check_counts(value, path)
        elif isinstance(value, int) and _COUNTS.search(name):
            check_number(value, -1, _MOST_COUNTED, f"{name} in {path}")


# Settings of extractors, by our names, with their plausible range. Published ones have
# 16 to 48 kHz, windows of 5 to 30 s, spectra of 400 to 2,048 samples.
_BOUNDS: dict[str, tuple[float, float]] = {
    "sample_rate": (1000, 768_000),
    "n_fft": (16, 16_384),
    "hop_length": (1, 16_384),
    "n_mels": (1, 1024),
    "f_min": (0, 384_000),
    "f_max": (1, 384_000),
    "seconds": (0.01, 600),
}
_FRACTIONS = ("f_min", "f_max", "seconds")


def read_extractor(folder: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """Read settings of transformers' feature extractor, given our names and theirs.

    Raises CheckpointError if the folder has none of `EXTRACTOR_FILES`, or a setting is
    missing or implausible.
    """
    first, second = (folder / name for name in EXTRACTOR_FILES)
    if first.exists():
        path, extractor = first, read_json(first)
    else:
        path, extractor = second, read_json(second).get("feature_extractor", {})
    if not isinstance(extractor, dict):
        msg = f"{path} must contain an object 'feature_extractor'."
        raise CheckpointError(msg)
    missing = [name for name in names.values() if name not in extractor]
    if missing:
        msg = f"{path} lacks {', '.join(missing)}; these settings have no safe default."
        raise CheckpointError(msg)
    for ours, theirs in names.items():
        if ours in _BOUNDS:
            least, most = _BOUNDS[ours]
            whole = ours not in _FRACTIONS
            check_number(
                extractor[theirs], least, most, f"{theirs} in {path}", whole=whole
            )
    return {ours: extractor[theirs] for ours, theirs in names.items()}


def check_number(
    value: Any, least: float, most: float, what: str, *, whole: bool = True
) -> None:
    """Reject anything but a number from `least` to `most`.

    It must be an integer unless `whole` is False. `what` names it and its file.
    """
    kinds = int if whole else (int, float)
    if (
        isinstance(value, bool)
        or not isinstance(value, kinds)
        or not least <= value <= most
    ):
        msg = (
            f"{what} must be {'an integer' if whole else 'a number'} from {least} to "
            f"{most}; got {short_repr(value)}. Compare it with the publisher's file."
        )
        raise CheckpointError(msg)


def check_tensors(
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    *,
    source: Path,
    unused: re.Pattern[str] = DERIVED,
) -> None:
    """Reject a checkpoint whose names or shapes differ from those of its model.

    Tensors that match `unused` are optional, since no embedding depends on them. The
    message lists missing, unexpected and misshapen tensors.
    """
    needed = {name for name in expected if not unused.search(name)}
    found = {name for name in tensors if not unused.search(name)}
    both = sorted(needed & found)
    faults = {
        "missing": sorted(needed - found),
        "unexpected": sorted(found - needed),
        "of wrong shape": [
            f"{name} {tuple(tensors[name].shape)} "
            f"instead of {tuple(expected[name].shape)}"
            for name in both
            if tensors[name].shape != expected[name].shape
        ],
        "of wrong type": [
            f"{name} {tensors[name].dtype} instead of {expected[name].dtype}"
            for name in both
            if tensors[name].is_floating_point() != expected[name].is_floating_point()
        ],
    }
    wrong = [f"{what}: {first_few(names)}" for what, names in faults.items() if names]
    if wrong:
        msg = (
            f"{source} does not match its model. Tensors {'; '.join(wrong)}. The file "
            f"is damaged, or its configuration describes another model."
        )
        raise CheckpointError(msg)


def first_line(error: BaseException) -> str:
    """Return the first line of an error message, which may be long."""
    line = str(error).strip().split("\n")[0].rstrip(".")[:500]
    return line or type(error).__name__


def reason_of(error: BaseException) -> str:
    """Explain in one line why a library did not load a file."""
    if named := _NAMED_CLASS.search(str(error)):
        return f"it contains an object of {named[1]}, which could run code when read"
    # torch gives general advice before the reason.
    why = _TRUE_REASON.search(str(error))
    return why[1][:500] if why else f"{type(error).__name__}: {first_line(error)}"


def _read_shards(index: Path) -> dict[str, Any]:
    """Read the files that an index lists, which are in its folder."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(place, str) for place in places.values()
    ):
        msg = f"{index} must contain an object 'weight_map' of tensors and their files."
        raise CheckpointError(msg)
    found: dict[str, Any] = {}
    for shard in sorted(set(places.values())):
        # Must not leave the folder: a plain file name on every system.
        names = {PurePosixPath(shard).name, PureWindowsPath(shard).name}
        if names != {shard} or not shard.endswith((".safetensors", ".bin")):
            msg = (
                f"{index} lists {shard[:200]!r}, which is not a file of weights in its "
                f"folder."
            )
            raise CheckpointError(msg)
        path = index.parent / shard
        if not path.is_file():
            msg = (
                f"{index} lists {shard}, which is not in {index.parent}. Download it "
                f"too."
            )
            raise CheckpointError(msg)
        content = _mapping_of_tensors(read_content(path)) or {}
        found.update({n: t for n, t in content.items() if places.get(n) == shard})
    missing = sorted(places.keys() - found.keys())
    if missing:
        msg = f"{index} lists tensors that its files lack: {first_few(missing)}."
        raise CheckpointError(msg)
    return found


def _mapping_of_tensors(content: Any) -> Mapping[str, torch.Tensor] | None:
    """Return the tensors, which training scripts store under one of a few names."""
    for _ in range(_DEEPEST_CONTENT):
        if not isinstance(content, Mapping):
            return None
        if all(isinstance(t, torch.Tensor) for t in content.values()):
            named = all(isinstance(name, str) for name in content)
            return content if named else None
        content = next((content[k] for k in _CONTENTS if k in content), None)
    return None


def check_header(path: Path) -> None:
    """Reject a safetensors file whose header alone would take much memory."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= min(_MOST_HEADER, path.stat().st_size):
        msg = (
            f"{path} cannot be read: its header claims {size} bytes of "
            f"{path.stat().st_size}. Download it again from its publisher."
        )
        raise CheckpointError(msg)


def _check_stored(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Reject tensors that claim more data than the file contains."""
    files = [path]
    if path.suffix == ".json":
        files = [
            path.parent / name for name in set(read_json(path)["weight_map"].values())
        ]
    room = _MOST_SHARED * sum(file.stat().st_size for file in files)
    if len(tensors) > _MOST_TENSORS:
        msg = (
            f"{path} contains {len(tensors)} tensors; no supported model has more than "
            f"{_MOST_TENSORS}."
        )
        raise CheckpointError(msg)
    odd = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    if odd:
        msg = (
            f"{path} contains tensors that are sparse, quantized, complex, expanded or "
            f"without values: {first_few(odd)}. Save them dense and real."
        )
        raise CheckpointError(msg)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > room:
        msg = (
            f"{path} is damaged: its tensors claim {size} bytes, but it has only "
            f"{room // _MOST_SHARED}. Download it again from its publisher."
        )
        raise CheckpointError(msg)


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def _without_wrappers(
    tensors: Mapping[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """Remove from the names what wrappers added to them when the model was saved."""
    plain = {_INSERTED.sub("", name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        msg = f"{path} contains tensors twice, of a wrapped model and of a plain one."
        raise CheckpointError(msg)
    while len(wrapper := {name.partition(".")[0] for name in plain}) == 1:
        if not wrapper <= _WRAPPERS or not all("." in name for name in plain):
            break
        plain = {name.partition(".")[2]: tensor for name, tensor in plain.items()}
    return plain


def _unreadable(path: Path, error: Exception) -> str:
    named = _NAMED_CLASS.search(str(error))
    if named:
        return (
            f"{path} was not loaded: besides tensors, it contains an object of "
            f"{named[1]}, which could run code when read. If you trust its publisher, "
            f"load it with torch.load(…, weights_only=False) and save only its "
            f"state_dict."
        )
    return (
        f"{path} cannot be read: {reason_of(error)}. Download it again from its "
        f"publisher or, if you trust it, load it with torch.load(…, "
        f"weights_only=False) and save only its state_dict."
    )
