"""Where weights come from, and their strict and safe reading."""

from __future__ import annotations

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (  # type: ignore[attr-defined]
    AutoTokenizer,
    BertTokenizerFast,
    GPT2TokenizerFast,
    RobertaTokenizerFast,
)

from clapstack.exceptions import CheckpointError

_BUNDLED = Path(__file__).parents[1] / "bundled"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILE = re.compile(r"([\w.-]+/[\w.-]+)/([\w.-]+\.pth?)")
_TOKENIZER_FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
]
# Where transformers' extractors are described; only transformers 5 writes the second.
EXTRACTOR_FILES = ["preprocessor_config.json", "processor_config.json"]
_LAION_CONFIGS = ["config.json", *EXTRACTOR_FILES]
_PRETRAINED_WEIGHTS = ["model.safetensors", "pytorch_model.bin"]
_LAION_NEEDS = (
    "config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin) "
    "and the tokenizer (tokenizer.json, or vocab.json and merges.txt)"
)
_LAION_TOKENIZER = "FacebookAI/roberta-base"
_MSCLAP_WEIGHTS = "CLAP_weights_2023.pth"
_MSCLAP_TOKENIZER = "openai-community/gpt2"
_MSCLAP_NEEDS = (
    f"{_MSCLAP_WEIGHTS} and gpt2's tokenizer (tokenizer.json, or vocab.json and "
    f"merges.txt; beside it or in tokenizer/)"
)
_BERT_TOKENIZER = "google-bert/bert-base-uncased"
_BERT_TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]

# Buffers that a constructor derives from the configuration, and a counter that only
# training uses: published files hold them or not, by the version that wrote them.
_DERIVED = re.compile(
    r"(^|\.)(position_ids|token_type_ids|relative_position_index|num_batches_tracked)$"
)

# LAION's and M2D's files are training checkpoints. An optimizer notes its learning rate
# as a NumPy scalar: to read those takes three callables that only build numbers, under
# the names of NumPy 1 and 2. A script notes its arguments, plain values in a Namespace.
_rebuild_scalar = np.float64().__reduce__()[0]
_PLAIN_VALUES: list[Any] = [
    (_rebuild_scalar, "numpy.core.multiarray.scalar"),
    (_rebuild_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    argparse.Namespace,
]


def is_derived(name: str) -> bool:
    """Tell whether a tensor of this name follows from the configuration."""
    return _DERIVED.search(name) is not None


def find_laion(checkpoint: str, revision: str | None) -> tuple[Path, Path]:
    """Locate a LAION CLAP checkpoint, in transformers' format or the authors'.

    Parameters
    ----------
    checkpoint : str
        In transformers' format: a local folder, "bundled:<name>" or a hub id. In the
        authors' format: a ``.pt`` file, local or on the hub as "owner/name/file.pt",
        with roberta-base's tokenizer beside it, in ``tokenizer/`` beside it, or on
        the hub. What is on this machine wins over the hub.
    revision : str or None
        Branch, tag or commit of the weights on the hub.

    Returns
    -------
    folder, weights : Path
        The folder of the tokenizer (and, in transformers' format, of the
        configuration), and the file of weights.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or a file of it is missing.
    """
    on_hub = _HUB_FILE.fullmatch(checkpoint)
    if on_hub and not Path(checkpoint).exists():
        repository, file = on_hub.groups()
        weights = _download_file(repository, file, revision)
        return _roberta_of(weights), weights
    folder = _local(checkpoint, _LAION_NEEDS)
    if folder is None:
        files = [*_LAION_CONFIGS, *_TOKENIZER_FILES]
        folder = _download_pretrained(checkpoint, revision, files, _LAION_NEEDS)
    if folder.is_file():
        if folder.suffix == ".pt":
            return _roberta_of(folder), folder
        msg = (
            f"Checkpoint {checkpoint!r} is a file; a LAION CLAP checkpoint is a folder "
            f"that holds {_LAION_NEEDS}, or a .pt file of the authors."
        )
        raise CheckpointError(msg)
    if not _has_tokenizer(folder):
        _refuse_missing("the tokenizer", folder, _LAION_NEEDS)
    return folder, _pretrained_weights(folder, _LAION_NEEDS)


def find_pretrained(
    checkpoint: str,
    revision: str | None,
    configs: Sequence[str],
    *,
    extractor: bool = False,
) -> tuple[Path, Path]:
    """Locate a checkpoint in transformers' (or timm's) format.

    Parameters
    ----------
    checkpoint : str
        A local folder or a hub id. What is on this machine wins over the hub.
    revision : str or None
        Branch, tag or commit of the weights on the hub.
    configs : sequence of str
        Names of the other files that the model needs.
    extractor : bool, default=False
        Whether the model needs a file of `EXTRACTOR_FILES` too. Which one is not
        checked here.

    Returns
    -------
    folder, weights : Path
        The folder of the other files, and the file of weights in it.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint, or a file of it is missing.
    """
    needed = [*configs, *EXTRACTOR_FILES[:1] * extractor]
    needs = ", ".join([*needed, " or ".join(_PRETRAINED_WEIGHTS)])
    folder = _local(checkpoint, needs)
    if folder is None:
        files = [*configs, *EXTRACTOR_FILES * extractor]
        folder = _download_pretrained(checkpoint, revision, files, needs)
    if folder.is_file():
        msg = (
            f"Checkpoint {checkpoint!r} is a file; it must be a folder that holds "
            f"{needs}."
        )
        raise CheckpointError(msg)
    for name in configs:
        if not (folder / name).exists():
            _refuse_missing(name, folder, needs)
    return folder, _pretrained_weights(folder, needs)


def find_msclap(checkpoint: str, revision: str | None) -> Path:
    """Locate an MS-CLAP file of weights in the authors' format.

    Parameters
    ----------
    checkpoint : str
        A ``.pth`` file, local or on the hub as "owner/name/file.pth"; a folder with one
        ``CLAP_weights*.pth``; "bundled:<name>"; or a hub id, of which
        ``CLAP_weights_2023.pth`` is taken. What is on this machine wins over the hub.
    revision : str or None
        Branch, tag or commit of the weights on the hub.

    Raises
    ------
    CheckpointError
        If there is no such checkpoint.
    """
    on_hub = _HUB_FILE.fullmatch(checkpoint)
    if on_hub and not Path(checkpoint).exists():
        repository, file = on_hub.groups()
        return _download_file(repository, file, revision)
    place = _local(checkpoint, _MSCLAP_NEEDS)
    if place is None:
        remedy = _into_a_folder(_MSCLAP_NEEDS)
        place = _download(checkpoint, revision, [_MSCLAP_WEIGHTS], remedy)
        if not (place / _MSCLAP_WEIGHTS).exists():
            _refuse_missing(_MSCLAP_WEIGHTS, place, _MSCLAP_NEEDS)
        return place / _MSCLAP_WEIGHTS
    if place.is_file():
        return place
    found = sorted(place.glob("CLAP_weights*.pth"))
    if not found:
        _refuse_missing("CLAP_weights*.pth", place, _MSCLAP_NEEDS)
    if len(found) > 1:
        msg = (
            f"Folder {str(place)!r} holds several checkpoints: "
            f"{', '.join(file.name for file in found)}. Pass the path of the one "
            f"to use."
        )
        raise CheckpointError(msg)
    return found[0]


def find_msclap_tokenizer(weights: Path, *, bert: bool = False) -> Path:
    """Return the folder of the tokenizer of an MS-CLAP file.

    Parameters
    ----------
    weights : Path
        The file. The tokenizer is beside it, in ``tokenizer/`` beside it, or on the
        hub, whence the authors' package takes it.
    bert : bool, default=False
        Whether the text tower is BERT, as in the version of 2022, or GPT-2.

    Raises
    ------
    CheckpointError
        If it is in neither place.
    """
    if bert:
        beside = bert_tokenizer_beside(weights)
        hub, files = _BERT_TOKENIZER, _BERT_TOKENIZER_FILES
        what = "bert-base-uncased's tokenizer (tokenizer.json, or vocab.txt)"
    else:
        beside = _tokenizer_beside(weights)
        hub, files = _MSCLAP_TOKENIZER, _TOKENIZER_FILES
        what = "gpt2's tokenizer (tokenizer.json, or vocab.json and merges.txt)"
    remedy = f"put {what} into {weights.parent} or into tokenizer/ there"
    return beside or _download(hub, None, files, remedy)


def bert_tokenizer_beside(weights: Path) -> Path | None:
    """Return the folder with BERT's tokenizer: that of a file, or tokenizer/ there."""

    def has(folder: Path) -> bool:
        return any((folder / name).exists() for name in ("tokenizer.json", "vocab.txt"))

    return _folder_of(weights, has)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors, without running any code that the file may hold.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or what ``torch.save`` wrote: a mapping of names to
        tensors, or one that holds such a mapping as "model" or "state_dict".

    Returns
    -------
    tensors : dict of str to Tensor
        Half precision becomes float32.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds anything but tensors, plain values, NumPy
        scalars and command-line arguments.
    """
    return tensors_in(read_content(path), path)


def read_content(path: Path) -> Any:
    """Read all that a file of weights holds, without running any code.

    Parameters
    ----------
    path : Path
        As for `read_tensors`.

    Raises
    ------
    CheckpointError
        As for `read_tensors`.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_PLAIN_VALUES):
            return torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                # An optimizer's state, twice the size of the weights, stays unread.
                mmap=zipfile.is_zipfile(path),
            )
    except pickle.UnpicklingError as error:
        msg = (
            f"{path} is damaged, or holds objects other than tensors, which could run "
            f"code when read; it was not loaded. Fetch it again from its publisher."
        )
        raise CheckpointError(msg) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}. Fetch it again from its publisher."
        raise CheckpointError(msg) from error


def tensors_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return the named tensors of what `read_content` returned.

    Raises
    ------
    CheckpointError
        If it holds none.
    """
    tensors: Any = content
    if isinstance(content, Mapping):
        tensors = content.get("model", content.get("state_dict", content))
    if not isinstance(tensors, Mapping) or not all(
        isinstance(tensor, torch.Tensor) for tensor in tensors.values()
    ):
        msg = (
            f"{path} must hold a mapping of names to tensors, alone, as 'model' or as "
            f"'state_dict'; got {type(content).__name__}. Is it a checkpoint of "
            f"another format?"
        )
        raise CheckpointError(msg)
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a checkpoint.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}. Fetch it again from its publisher."
        raise CheckpointError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold a JSON object; got {type(content).__name__}."
        raise CheckpointError(msg)
    return content


def read_extractor(folder: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """Read the settings of transformers' feature extractor.

    Parameters
    ----------
    folder : Path
        Where a file of `EXTRACTOR_FILES` is.
    names : mapping of str to str
        Our name of a setting to theirs.

    Raises
    ------
    CheckpointError
        If there is no such file, or a setting is missing.
    """
    first, second = (folder / name for name in EXTRACTOR_FILES)
    if first.exists():
        path, extractor = first, read_json(first)
    else:
        path, extractor = second, read_json(second).get("feature_extractor", {})
    missing = [name for name in names.values() if name not in extractor]
    if missing:
        msg = f"{path} lacks {', '.join(missing)}; these settings have no safe default."
        raise CheckpointError(msg)
    return {ours: extractor[theirs] for ours, theirs in names.items()}


def check_tensors(
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    *,
    source: Path,
    unused: re.Pattern[str] = _DERIVED,
) -> None:
    """Refuse a checkpoint whose names or shapes differ from the model's.

    Parameters
    ----------
    tensors, expected : mapping of str to Tensor
        What the file holds; what the model needs.
    source : Path
        The file, for the message.
    unused : Pattern
        Names that may be there or not, since no embedding depends on them.

    Raises
    ------
    CheckpointError
        With the missing, unexpected and misshapen names.
    """
    needed = {name for name in expected if not unused.search(name)}
    found = {name for name in tensors if not unused.search(name)}
    faults = {
        "missing": sorted(needed - found),
        "unexpected": sorted(found - needed),
        "of wrong shape": [
            f"{name} {tuple(tensors[name].shape)} "
            f"instead of {tuple(expected[name].shape)}"
            for name in sorted(needed & found)
            if tensors[name].shape != expected[name].shape
        ],
    }
    told = [f"{what}: {_some(names)}" for what, names in faults.items() if names]
    if told:
        msg = (
            f"{source} does not match its model. Tensors {'; '.join(told)}. The file "
            f"is damaged, or of another model than its configuration says."
        )
        raise CheckpointError(msg)


def read_tokenizer(
    folder: Path, *, bert: bool = False, gpt2: bool = False, roberta: bool = False
) -> Any:
    """Read a tokenizer from local files.

    Parameters
    ----------
    folder : Path
        Where its files are.
    bert, gpt2, roberta : bool, default=False
        Whether it is BERT's, GPT-2's or RoBERTa's; else the folder's ``config.json``
        says what it is.

    Raises
    ------
    CheckpointError
        If its files are damaged.
    """
    reader: Any = AutoTokenizer
    if bert:
        reader = BertTokenizerFast
    elif gpt2 or roberta:
        reader = GPT2TokenizerFast if gpt2 else RobertaTokenizerFast
    try:
        return reader.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    # A damaged file makes the tokenizers library raise Exception itself.
    except Exception as error:
        msg = (
            f"The tokenizer in {folder} cannot be read: {_first_line(error)}. Fetch "
            f"its files again from their publisher."
        )
        raise CheckpointError(msg) from error


def _local(checkpoint: str, needs: str) -> Path | None:
    if checkpoint.startswith("bundled:"):
        folder = _BUNDLED / checkpoint.removeprefix("bundled:")
        if not folder.is_dir():
            known = [*_BUNDLED.glob("*/config.json"), *_BUNDLED.glob("*/CLAP_*.pth")]
            names = sorted(f"bundled:{file.parent.name}" for file in known)
            msg = (
                f"There is no bundled checkpoint {checkpoint!r}; this installation "
                f"has {_some(names) or 'none'}."
            )
            raise CheckpointError(msg)
        return folder
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(checkpoint):
        msg = (
            f"Checkpoint {checkpoint!r} is neither a file or folder on this machine "
            f"(looked in {path.absolute().parent}), nor a hub id such as 'owner/name'."
            f" A local folder must hold {needs}."
        )
        raise CheckpointError(msg)
    return None


def _has_tokenizer(folder: Path) -> bool:
    # Checked here, because some versions of transformers make up an empty one.
    return (folder / "tokenizer.json").exists() or (
        (folder / "vocab.json").exists() and (folder / "merges.txt").exists()
    )


def _tokenizer_beside(weights: Path) -> Path | None:
    return _folder_of(weights, _has_tokenizer)


def _folder_of(weights: Path, has: Callable[[Path], bool]) -> Path | None:
    folders = (weights.parent, weights.parent / "tokenizer")
    return next((folder for folder in folders if has(folder)), None)


def _roberta_of(weights: Path) -> Path:
    """Return the folder of the tokenizer of an official LAION file."""
    remedy = (
        f"put roberta-base's tokenizer (tokenizer.json, or vocab.json and merges.txt) "
        f"into {weights.parent} or into tokenizer/ there"
    )
    return _tokenizer_beside(weights) or _download(
        _LAION_TOKENIZER, None, _TOKENIZER_FILES, remedy
    )


def _pretrained_weights(folder: Path, needs: str) -> Path:
    for name in _PRETRAINED_WEIGHTS:
        if (folder / name).exists():
            return folder / name
    _refuse_missing(" or ".join(_PRETRAINED_WEIGHTS), folder, needs)


def _download_pretrained(
    checkpoint: str, revision: str | None, files: Sequence[str], needs: str
) -> Path:
    remedy = _into_a_folder(needs)
    for weights in _PRETRAINED_WEIGHTS:
        folder = _download(checkpoint, revision, [*files, weights], remedy)
        if (folder / weights).exists():
            break
    return folder


def _download_file(repository: str, file: str, revision: str | None) -> Path:
    remedy = f"pass the path of a local copy of {file}; {repository}/{file} is none"
    path = _download(repository, revision, [file], remedy) / file
    if not path.exists():
        msg = f"{repository!r} on the Hugging Face hub holds no file {file!r}."
        raise CheckpointError(msg)
    return path


def _into_a_folder(needs: str) -> str:
    return (
        f"put {needs} into a folder and pass the path of that folder as the checkpoint"
    )


def _download(
    repository: str, revision: str | None, files: list[str], remedy: str
) -> Path:
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=files)
        )
    # What the hub client raises has no common base across its supported versions.
    except Exception as error:
        at = f" at revision {revision!r}" if revision else ""
        msg = (
            f"{repository!r}{at} could not be fetched from the Hugging Face hub, and "
            f"is not in its cache on this machine: {_first_line(error)}. Without a "
            f"network, {remedy}."
        )
        raise CheckpointError(msg) from error


def _refuse_missing(what: str, folder: Path, needs: str) -> NoReturn:
    msg = f"{folder} lacks {what}. The checkpoint needs {needs}."
    raise CheckpointError(msg)


def _some(names: Sequence[str], limit: int = 5) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
