"""Checked copies of sentence-transformers folders.

The library imports classes and downloads repositories that a folder names, and passes
its settings to constructors. Only files listed here reach it: code is not copied, and
settings that would run code or download anything are rejected by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from transformers import CONFIG_MAPPING

from clapstack._numerics.checks import first_few
from clapstack.encoders._finding import check_growth, leads_elsewhere
from clapstack.encoders._noting import note_file
from clapstack.encoders._pickles import check_pickles
from clapstack.encoders._reading import (
    adapter_message,
    check_header,
    check_size,
    read_json,
)
from clapstack.exceptions import CheckpointError

_WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)")
# Files of tokenizers, whose words are not settings.
_VOCABULARIES = re.compile(
    r"(tokenizer|vocab|added_tokens|normalizer|unigram|tekken)\.json|(vocab|merges)\.txt"
    r"|.+\.(model|jinja)"
)
# Published folders also contain scripts, and logs and results of training.
_SETTINGS = re.compile(
    r"modules\.json|config(_sentence_transformers)?\.json|special_tokens_map\.json"
    r"|(router|adapter|tokenizer|sentence_\w+|(\w+_)?(pre)?processor)_config\.json"
    r"|chat_template\.json|.+\.index\.json"
)
# The classes that audio-text models consist of.
_KNOWN = {"Dense", "Dropout", "LayerNorm", "Normalize", "Pooling", "Transformer"}
_CONFIGURED = {"Dense", "LayerNorm", "Pooling"}
_ROUTERS = {"Router", "Asym"}
_METHODS = re.compile(r"forward|get_\w+_features")
# Settings on how a model is run or was saved, or on code to download for it.
_NOT_OF_MODELS = re.compile(
    r"auto_map|_?attn_implementation\w*|_?name_or_path|(torch_)?dtype"
    r"|transformers_version|__version__"
)
_KEYWORDS = re.compile(r"(model|processor|tokenizer|config)_(kw)?args|tokenizer_name.*")
_HARMLESS = {"attn_implementation", "dtype", "model_max_length", "padding_side"}
_OWN_CODE = (
    "Foreign code is not run. If you trust it, load the model yourself and wrap it "
    "in clapstack.PairFeatures, as the page 'Adding an encoder' of the guide shows."
)


def copy_checked(folder: Path, copy: Path) -> dict[str, str]:
    """Copy the files that define a model; weights are linked.

    Parameters
    ----------
    folder : Path
        In the format of sentence-transformers or, without ``modules.json``, in that of
        transformers.
    copy : Path
        An empty folder.

    Returns
    -------
    digests : dict of str to str
        SHA-256 of every settings file, by its path in the folder. The versions of the
        libraries that wrote it are ignored.

    Raises
    ------
    CheckpointError
        If the folder names foreign code, classes or repositories, is an adapter, or is
        another kind of model.
    """
    digests = {}
    for place, module in modules_in(folder).items():
        (copy / place).mkdir(parents=True, exist_ok=True)
        note_file(folder / place / "config.json")
        # The hub has no empty folders, as of modules without settings.
        for path in sorted((folder / place).glob("*")):
            note_file(path)
            name = f"{place}/{path.name}".lstrip("/")
            if _VOCABULARIES.fullmatch(path.name) or _SETTINGS.fullmatch(path.name):
                made = _settings(path, module)
                (copy / name).write_bytes(made)
                digests[name] = hashlib.sha256(made).hexdigest()
            elif _WEIGHTS.fullmatch(path.name):
                (check_header if path.suffix == ".safetensors" else check_pickles)(path)
                _link(path, copy / name)
    return digests


def modules_in(folder: Path) -> dict[str, str]:
    """Return the class name of each module, by its path in a folder."""
    path = folder / "modules.json"
    if not path.exists():
        return {"": "Transformer"}
    found = {"": ""}
    for module in read_json(path, kind=list):
        place, name = str(module["path"]), _class_name(module["type"], path)
        found[place] = name
        if name in _ROUTERS:
            routes = folder / place / "router_config.json"
            former = folder / place / "config.json"
            if former.exists() and not routes.exists():
                routes = former
            for inner, type_ in read_json(routes)["types"].items():
                found[f"{place}/{inner}".lstrip("/")] = _class_name(type_, routes)
    for place, name in found.items():
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            msg = f"{path} names a path outside its folder: {place!r}."
            raise CheckpointError(msg)
        if name in _CONFIGURED and not (folder / place / "config.json").exists():
            msg = f"{folder} lacks {place}/config.json, which {name} needs."
            raise CheckpointError(msg)
    return found


def _class_name(type_: Any, path: Path) -> str:
    """Return the name of a sentence-transformers class; reject any other class."""
    package, _, name = str(type_).rpartition(".")
    known = _KNOWN | _ROUTERS
    if package.partition(".")[0] != "sentence_transformers" or name not in known:
        msg = (
            f"{path} names the class {str(type_)[:200]!r}, which is not one of "
            f"sentence-transformers' {', '.join(sorted(known))}. {_OWN_CODE}"
        )
        raise CheckpointError(msg)
    return name


def _settings(path: Path, module: str) -> bytes:
    """Return the content of a settings file for the copy."""
    if _VOCABULARIES.fullmatch(path.name):
        check_size(path)
        if path.name == "tokenizer.json":
            check_growth(read_json(path, counted=False).get("normalizer"), path)
        return path.read_bytes()
    is_list = path.name == "modules.json"
    content = read_json(path, kind=list if is_list else dict)
    if path.name == "tokenizer_config.json":
        content = {k: v for k, v in content.items() if not leads_elsewhere(k)}
    wrong = None if is_list else _fault(content, path, module)
    if wrong:
        msg = f"{path} {wrong}. {_OWN_CODE}"
        raise CheckpointError(msg)
    return json.dumps(_of_model(content), sort_keys=True).encode()


def _fault(content: dict[str, Any], path: Path, module: str) -> str | None:
    """Describe a setting that points outside the folder or to another model."""
    kind, name = content.get("model_type"), path.name
    if name == "adapter_config.json":
        raise CheckpointError(adapter_message(path.parent))
    if name == "config.json" and "auto_map" in content and kind not in CONFIG_MAPPING:
        return f"requires its own code (auto_map, for {kind!r})"
    if name == "config_sentence_transformers.json":
        dense = kind in (None, "SentenceTransformer")
        return None if dense else f"describes a {kind}, not a SentenceTransformer"
    if name.endswith(".index.json"):
        files = set(map(str, content.get("weight_map", {}).values()))
        strange = sorted(file for file in files if not _WEIGHTS.fullmatch(file))
        return f"names files of weights as {first_few(strange)}" if strange else None
    function = str(content.get("activation_function", "torch.nn.modules."))
    if module == "Dense" and not function.startswith("torch.nn.modules."):
        # The library would replace it and only warn.
        return f"names {function[:200]!r} as its activation function"
    for key, value in content.items():
        is_harmless = isinstance(value, dict) and value.keys() <= _HARMLESS
        if _KEYWORDS.fullmatch(key) and value and not is_harmless:
            return f"has {key}={str(value)[:200]}, which may download or run anything"
    for modality, params in (content.get("modality_config") or {}).items():
        if not _METHODS.fullmatch(str(params["method"])):
            return f"embeds {modality} with the method {params['method']!r}"
    return None


def _of_model(content: Any) -> Any:
    """Remove settings that do not describe the model, at any depth."""
    if not isinstance(content, dict):
        return content
    kept = {k: v for k, v in content.items() if not _NOT_OF_MODELS.fullmatch(k)}
    return {name: _of_model(value) for name, value in kept.items()}


def _link(path: Path, link: Path) -> None:
    try:
        os.symlink(path.resolve(), link)
    except OSError:  # on Windows, creating links may not be permitted
        shutil.copyfile(path, link)
