"""Reading of weights and configurations from anybody: strict, safe and bounded."""

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

# Where transformers' extractors are described; only transformers 5 writes the second.
EXTRACTOR_FILES = ["preprocessor_config.json", "processor_config.json"]

# Buffers that a constructor derives from the configuration, and a counter that only
# training uses: published files hold them or not, by the version that wrote them.
DERIVED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|relative_position_index|num_batches_tracked)$"
)

# Bounds of what one may meet, far from what is published: a vocabulary of 250,000
# tokens takes 17 MB, the largest model has 1,300 tensors. Within them, reading and
# building take some seconds at most, and no memory but the file's.
_MOST_JSON = 32 << 20
_COUNTS = re.compile(r"^num_|layers?$")
_MOST_COUNTED = 100_000
_MOST_HEADER = 4 << 20
_MOST_TENSORS = 4096
MOST_LAYERS = 256
# Tensors may share memory, as tied weights do; all of them are not larger than this
# many times the file.
_MOST_SHARED = 4

# What wraps a model gives all names a prefix (torch's parallel training, Lightning), or
# puts itself into the names wherever it wraps a part (torch.compile, FSDP).
_WRAPPERS = {"module", "model", "net", "network", "clap", "clap_model"}
_INSERTED = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module"
    r"|_forward_module)\."
)
_CONTENTS = ("model", "state_dict", "model_state_dict", "module", "model_state")
_DEEPEST_CONTENT = 4

# What parsers and constructors raise when sizes, names or values make no sense: those
# of transformers and torch document nothing narrower. Out of memory, a missing package
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
    """Stand for a defaultdict, and for what makes its values."""
    return {}


def _empty_bytes(*_: Any) -> bytes:
    """Stand for the values of an array that has none: Python calls bytes for these."""
    return b""


def _empty_array(kind: type, shape: Any, dtype: Any) -> np.ndarray:
    """Begin an array, as NumPy does before it sets shape and values."""
    return np.ndarray((0,), np.int8)


# Training checkpoints hold more than weights: learning rates and losses as NumPy
# scalars and arrays, arguments, paths. What builds these and runs no code of others is
# let through, under the names of NumPy 1 and 2 and of every Python.
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
    """Read and build under one kind of error, whatever a checkpoint may hold.

    Any error of a parser or a constructor becomes a CheckpointError, of which it is the
    cause. Every encoder reads its checkpoint within this door, and nothing else: what
    goes wrong on a device, later, is no fault of the file.
    """
    try:
        yield
    except CheckpointError:
        raise
    except BaseException as error:
        # The tokenizers library panics on some patterns, with a class that is no
        # Exception and cannot be imported.
        panics = type(error).__name__ == "PanicException"
        if not (panics or isinstance(error, _SENSELESS)):
            raise
        msg = (
            f"Checkpoint {checkpoint!r} makes no model: {type(error).__name__}: "
            f"{first_line(error)}. It is damaged, or its configuration is not that of "
            f"its weights: fetch it again from its publisher."
        )
        raise CheckpointError(msg) from error


def is_derived(name: str) -> bool:
    """Tell whether a tensor of this name follows from the configuration."""
    return DERIVED.search(name) is not None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors, without running any code that the file may hold.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or what ``torch.save`` wrote: a mapping of names to
        tensors, or one that holds such a mapping as "model" or "state_dict"; or the
        ``.index.json`` of several such files.

    Returns
    -------
    tensors : dict of str to Tensor
        Half precision becomes float32. Names have no prefix of what wrapped the model
        when it was saved.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds anything but tensors, plain values, NumPy's
        scalars and arrays, paths and command-line arguments.
    """
    return tensors_in(read_content(path), path)


def read_content(path: Path) -> Any:
    """Read all that a file of weights holds, as `read_tensors` reads its tensors."""
    note_file(path)
    if path.suffix == ".json":
        return _read_shards(path)
    if not path.is_file():
        msg = f"{path} is no regular file, so no weights can be read from it."
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
                # An optimizer's state, twice the size of the weights, stays unread.
                mmap=zipfile.is_zipfile(path),
            )
    except CheckpointError:
        raise
    # Neither library says what it raises on a forged file: KeyError, AssertionError,
    # struct.error, BadZipFile and a dozen others were seen. Nothing but these libraries
    # runs in here.
    except Exception as error:
        raise CheckpointError(_unreadable(path, error)) from error


def tensors_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return the named tensors of what `read_content` returned for a file."""
    tensors = _mapping_of_tensors(content)
    if tensors is None:
        msg = (
            f"{path} must hold a mapping of names to tensors, alone, as 'model' or as "
            f"'state_dict'; got {type(content).__name__}. Is it a checkpoint of "
            f"another format?"
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
    """Say what to do with an adapter, which holds but changes of other weights."""
    return (
        f"{place} is a PEFT adapter: it holds changes of a model's weights, not the "
        f"weights. Load it with peft, call merge_and_unload() and save what that "
        f"returns with save_pretrained()."
    )


def check_size(path: Path) -> None:
    """Refuse a file beside the weights that is too large, or no file."""
    note_file(path)
    if path.exists() and not path.is_file():
        msg = f"{path} cannot be read: it is no regular file."
        raise CheckpointError(msg)
    if path.exists() and path.stat().st_size > _MOST_JSON:
        msg = (
            f"{path} has {path.stat().st_size} bytes; no checkpoint needs more than "
            f"{_MOST_JSON}. Fetch it again from its publisher."
        )
        raise CheckpointError(msg)


def read_json(path: Path, *, kind: type = dict, counted: bool = True) -> Any:
    """Read a JSON object of a checkpoint, or with `kind` list an array.

    It may not be large nor, if its numbers are settings (`counted`), count more layers
    or labels than anything has.
    """
    check_size(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path} cannot be read: {error}. Fetch it again from its publisher."
        raise CheckpointError(msg) from error
    if not isinstance(content, kind):
        what = "a JSON object" if kind is dict else "a JSON array"
        msg = f"{path} must hold {what}; got {type(content).__name__}."
        raise CheckpointError(msg)
    if counted:
        _check_counts({"": content}, path)
    return content


def _check_counts(content: Mapping[str, Any], path: Path) -> None:
    """Refuse numbers of which transformers makes lists while it reads a configuration.

    That is in reach of everything that reads a folder, tokenizers among it.
    """
    for name, value in content.items():
        if isinstance(value, dict):
            _check_counts(value, path)
        elif isinstance(value, int) and _COUNTS.search(name):
            check_number(value, -1, _MOST_COUNTED, f"{name} in {path}")


# Our names of what extractors set, with the least and most that makes sense. Published
# ones: 16 to 48 kHz, windows of 5 to 30 s, spectra of 400 to 2,048 samples.
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

    CheckpointError if there is no file of `EXTRACTOR_FILES` in the folder, or a setting
    is missing or makes no sense.
    """
    first, second = (folder / name for name in EXTRACTOR_FILES)
    if first.exists():
        path, extractor = first, read_json(first)
    else:
        path, extractor = second, read_json(second).get("feature_extractor", {})
    if not isinstance(extractor, dict):
        msg = f"{path} must hold an object as 'feature_extractor'."
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
    """Refuse what is no number from `least` to `most`; `what` names it and its file.

    It must be an integer unless `whole` is False.
    """
    kinds = int if whole else (int, float)
    if (
        isinstance(value, bool)
        or not isinstance(value, kinds)
        or not least <= value <= most
    ):
        msg = (
            f"{what} must be {'an integer' if whole else 'a number'} from {least} to "
            f"{most}; got {short_repr(value)}. Compare it with the publisher's."
        )
        raise CheckpointError(msg)


def check_tensors(
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    *,
    source: Path,
    unused: re.Pattern[str] = DERIVED,
) -> None:
    """Refuse a checkpoint whose names or shapes differ from those of its model.

    Those that match `unused` may be there or not, since no embedding depends on them.
    The message has the missing, unexpected and misshapen names.
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
            f"is damaged, or of another model than its configuration says."
        )
        raise CheckpointError(msg)


def first_line(error: BaseException) -> str:
    """Return the first line of a message, which may be a page."""
    line = str(error).strip().split("\n")[0].rstrip(".")[:500]
    return line or type(error).__name__


def reason_of(error: BaseException) -> str:
    """Say in a line why a library did not load a file."""
    if named := _NAMED_CLASS.search(str(error)):
        return f"it holds an object of {named[1]}, which could run code when read"
    # torch says first what anybody might do, and then why it did not load.
    why = _TRUE_REASON.search(str(error))
    return why[1][:500] if why else f"{type(error).__name__}: {first_line(error)}"


def _read_shards(index: Path) -> dict[str, Any]:
    """Read the files that an index names, which lie beside it."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(place, str) for place in places.values()
    ):
        msg = f"{index} must hold an object 'weight_map' of tensors and their files."
        raise CheckpointError(msg)
    found: dict[str, Any] = {}
    for shard in sorted(set(places.values())):
        # No way out of the folder: the name of a file, in every system's terms.
        names = {PurePosixPath(shard).name, PureWindowsPath(shard).name}
        if names != {shard} or not shard.endswith((".safetensors", ".bin")):
            msg = (
                f"{index} names {shard[:200]!r}, which is no file of weights beside it."
            )
            raise CheckpointError(msg)
        path = index.parent / shard
        if not path.is_file():
            msg = (
                f"{index} names {shard}, which is not in {index.parent}: fetch it too."
            )
            raise CheckpointError(msg)
        content = _mapping_of_tensors(read_content(path)) or {}
        found.update({n: t for n, t in content.items() if places.get(n) == shard})
    missing = sorted(places.keys() - found.keys())
    if missing:
        msg = f"{index} names tensors that its files lack: {first_few(missing)}."
        raise CheckpointError(msg)
    return found


def _mapping_of_tensors(content: Any) -> Mapping[str, torch.Tensor] | None:
    """Return the tensors that training scripts keep under one of a few names."""
    for _ in range(_DEEPEST_CONTENT):
        if not isinstance(content, Mapping):
            return None
        if all(isinstance(t, torch.Tensor) for t in content.values()):
            named = all(isinstance(name, str) for name in content)
            return content if named else None
        content = next((content[k] for k in _CONTENTS if k in content), None)
    return None


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header alone would take much memory."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= min(_MOST_HEADER, path.stat().st_size):
        msg = (
            f"{path} cannot be read: its header claims {size} bytes of "
            f"{path.stat().st_size}. Fetch it again from its publisher."
        )
        raise CheckpointError(msg)


def _check_stored(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse tensors that stand for more than the file holds."""
    files = [path]
    if path.suffix == ".json":
        files = [
            path.parent / name for name in set(read_json(path)["weight_map"].values())
        ]
    room = _MOST_SHARED * sum(file.stat().st_size for file in files)
    if len(tensors) > _MOST_TENSORS:
        msg = (
            f"{path} holds {len(tensors)} tensors; no supported model has more than "
            f"{_MOST_TENSORS}."
        )
        raise CheckpointError(msg)
    odd = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    if odd:
        msg = (
            f"{path} holds tensors that are sparse, quantized, complex, expanded or "
            f"without values: {first_few(odd)}. Save them dense and real."
        )
        raise CheckpointError(msg)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > room:
        msg = (
            f"{path} is damaged: its tensors, of {size} bytes, do not fit its "
            f"{room // _MOST_SHARED}. Fetch it again from its publisher."
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
    """Take off the names what wrapped the model when it was saved."""
    plain = {_INSERTED.sub("", name): tensor for name, tensor in tensors.items()}
    if len(plain) < len(tensors):
        msg = f"{path} holds tensors twice, of a wrapped model and of a plain one."
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
            f"{path} holds an object of {named[1]} beside its tensors, which could run "
            f"code when read; it was not loaded. If you trust its publisher, load it "
            f"with torch.load(…, weights_only=False) and save its state_dict alone."
        )
    return (
        f"{path} cannot be read: {reason_of(error)}. Fetch it again from its "
        f"publisher; if you trust that, load it with torch.load(…, weights_only=False) "
        f"and save its state_dict alone."
    )
