"""Folders of sentence-transformers: checked, and copied without what leads elsewhere.

The library imports classes that a folder names, fetches repositories that it names and
hands its settings to constructors. Only what is listed here reaches it: no file of code
is copied, and what would run code or fetch anything is refused by its name.
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
# Tokenizers, whose words are no settings.
_VOCABULARIES = re.compile(
    r"(tokenizer|vocab|added_tokens|normalizer|unigram|tekken)\.json|(vocab|merges)\.txt"
    r"|.+\.(model|jinja)"
)
# Others lie about in published folders: scripts, logs of a training, results of it.
_SETTINGS = re.compile(
    r"modules\.json|config(_sentence_transformers)?\.json|special_tokens_map\.json"
    r"|(router|adapter|tokenizer|sentence_\w+|(\w+_)?(pre)?processor)_config\.json"
    r"|chat_template\.json|.+\.index\.json"
)
# The classes that audio-text models are built of.
_KNOWN = {"Dense", "Dropout", "LayerNorm", "Normalize", "Pooling", "Transformer"}
_CONFIGURED = {"Dense", "LayerNorm", "Pooling"}
_ROUTERS = {"Router", "Asym"}
_METHODS = re.compile(r"forward|get_\w+_features")
# How a model is run or was saved, and code to fetch for it: nothing of the model.
_NOT_OF_MODELS = re.compile(
    r"auto_map|_?attn_implementation\w*|_?name_or_path|(torch_)?dtype"
    r"|transformers_version|__version__"
)
_KEYWORDS = re.compile(r"(model|processor|tokenizer|config)_(kw)?args|tokenizer_name.*")
_HARMLESS = {"attn_implementation", "dtype", "model_max_length", "padding_side"}
_OWN_CODE = (
    "Code of others is not run. If you trust it, load the model yourself and wrap it "
    "in clapstack.PairFeatures, as the page 'Adding an encoder' of the guide shows."
)


def copy_checked(folder: Path, copy: Path) -> dict[str, str]:
    """Copy what makes a model; links stand for weights.

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
        SHA-256 of every file of settings, by its place in the folder. The versions of
        the libraries that wrote it do not count.

    Raises
    ------
    CheckpointError
        If the folder names code, classes or repositories of others, is an adapter, or
        is of another kind of model.
    """
    digests = {}
    for place, module in _modules(folder).items():
        (copy / place).mkdir(parents=True, exist_ok=True)
        note_file(folder / place / "config.json")
        # An empty folder, of a module without settings, is none on the hub.
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


def _modules(folder: Path) -> dict[str, str]:
    """Return the name of the class of each module, by its place in a folder."""
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
            msg = f"{path} names a place out of its folder: {place!r}."
            raise CheckpointError(msg)
        if name in _CONFIGURED and not (folder / place / "config.json").exists():
            msg = f"{folder} lacks {place}/config.json, of a {name}."
            raise CheckpointError(msg)
    return found


def _class_name(type_: Any, path: Path) -> str:
    """Return the name of a class of sentence-transformers; refuse any other class."""
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
    """Return a file of settings as it is handed on."""
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
    """Say which setting leads out of the folder, or to another model."""
    kind, name = content.get("model_type"), path.name
    if name == "adapter_config.json":
        raise CheckpointError(adapter_message(path.parent))
    if name == "config.json" and "auto_map" in content and kind not in CONFIG_MAPPING:
        return f"wants its own code to be run (auto_map, for {kind!r})"
    if name == "config_sentence_transformers.json":
        dense = kind in (None, "SentenceTransformer")
        return None if dense else f"is of a {kind}, not of a SentenceTransformer"
    if name.endswith(".index.json"):
        files = set(map(str, content.get("weight_map", {}).values()))
        strange = sorted(file for file in files if not _WEIGHTS.fullmatch(file))
        return f"names files of weights as {first_few(strange)}" if strange else None
    function = str(content.get("activation_function", "torch.nn.modules."))
    if module == "Dense" and not function.startswith("torch.nn.modules."):
        # The library would take another in its place, and only warn.
        return f"names {function[:200]!r} as its activation function"
    for key, value in content.items():
        is_harmless = isinstance(value, dict) and value.keys() <= _HARMLESS
        if _KEYWORDS.fullmatch(key) and value and not is_harmless:
            return f"has {key}={str(value)[:200]}, which may fetch or run anything"
    for modality, params in (content.get("modality_config") or {}).items():
        if not _METHODS.fullmatch(str(params["method"])):
            return f"has {modality} embedded by the method {params['method']!r}"
    return None


def _of_model(content: Any) -> Any:
    """Return settings without those that are not about the model, at any depth."""
    if not isinstance(content, dict):
        return content
    kept = {k: v for k, v in content.items() if not _NOT_OF_MODELS.fullmatch(k)}
    return {name: _of_model(value) for name, value in kept.items()}


def _link(path: Path, link: Path) -> None:
    try:
        os.symlink(path.resolve(), link)
    except OSError:  # not everybody may make links on Windows
        shutil.copyfile(path, link)
