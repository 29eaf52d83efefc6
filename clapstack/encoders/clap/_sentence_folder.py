"""Folders of sentence-transformers: checked, and copied without what leads elsewhere.

The library imports classes that a folder names, fetches repositories that it names and
hands its settings to constructors. Only what is listed here reaches it: no file of code
is copied, and what would run code, or fetch anything, is refused by its name.
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
from clapstack.encoders._pickles import check_pickles
from clapstack.encoders._reading import (
    adapter_message,
    check_header,
    check_size,
    read_json,
)
from clapstack.exceptions import CheckpointError

_MODULES, _CONFIG = "modules.json", "config.json"
_WEIGHTS = re.compile(r"(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)")
_SETTINGS = (".json", ".jinja", ".txt", ".model")
# Tokenizers, whose words are no settings.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
# What builds the models that embed audio and text.
_KNOWN = (
    "Dense",
    "Dropout",
    "LayerNorm",
    "Normalize",
    "Pooling",
    "Router",
    "Transformer",
)
_ROUTES = ("router_config.json", _CONFIG)
_METHODS = re.compile(r"forward|get_\w+_features")
# How a model is run or was saved, which code to fetch for it: nothing of the model.
_NOT_OF_MODELS = re.compile(
    r"auto_map|_?attn_implementation\w*|_?name_or_path|(torch_)?dtype"
    r"|transformers_version|__version__"
)
_KEYWORDS = re.compile(r"(model|processor|tokenizer|config)_(kw)?args|tokenizer_name.*")
_HARMLESS = {"attn_implementation", "dtype", "model_max_length", "padding_side"}
_OWN_CODE = (
    "Code of others is not run. If you trust it, load the model yourself and wrap it in "
    "clapstack.PairFeatures, as the page 'Adding an encoder' of the guide shows."
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
        # An empty folder, of a module without settings, is none on the hub.
        for path in sorted((folder / place).glob("*")):
            name = f"{place}/{path.name}".lstrip("/")
            if path.suffix in _SETTINGS:
                made = _settings(path, module)
                (copy / name).write_bytes(made)
                digests[name] = hashlib.sha256(made).hexdigest()
            elif _WEIGHTS.fullmatch(path.name):
                (check_header if path.suffix == ".safetensors" else check_pickles)(path)
                _link(path, copy / name)
    return digests


def _modules(folder: Path) -> dict[str, str]:
    """Return the name of the class of each module, by its place in a folder."""
    if not (folder / _MODULES).exists():
        return {"": "Transformer"}
    found = {"": ""}
    for module in read_json(folder / _MODULES, kind=list):
        place = str(module["path"])
        found[place] = _class_name(module["type"], folder / _MODULES)
        for path in (folder / place / name for name in _ROUTES):
            if found[place] == "Router" and path.exists():
                for name, type_ in read_json(path)["types"].items():
                    found[f"{place}/{name}".lstrip("/")] = _class_name(type_, path)
                break
    for place in found:
        if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
            msg = f"{folder / _MODULES} names a place out of its folder: {place!r}."
            raise CheckpointError(msg)
    return found


def _class_name(type_: Any, path: Path) -> str:
    """Return the name of a class of sentence-transformers; refuse any other class."""
    package, _, name = str(type_).rpartition(".")
    name = {"Asym": "Router"}.get(name, name)
    if package.partition(".")[0] != "sentence_transformers" or name not in _KNOWN:
        msg = (
            f"{path} names the class {str(type_)[:200]!r}, which is none of those of "
            f"sentence-transformers that are known to be safe ({', '.join(_KNOWN)}). "
            f"{_OWN_CODE}"
        )
        raise CheckpointError(msg)
    return name


def _settings(path: Path, module: str) -> bytes:
    """Return a file of settings as it is handed on."""
    check_size(path)
    if path.suffix != ".json":
        return path.read_bytes()
    if path.name == _MODULES:
        modules = read_json(path, kind=list)
        return _dump([{**m, "type": _canonical(m["type"], path)} for m in modules])
    content = read_json(path, counted=path.name not in _VOCABULARIES)
    if path.name in _VOCABULARIES:
        check_growth(content.get("normalizer"), path)
        return path.read_bytes()
    if path.name == "tokenizer_config.json":
        content = {k: v for k, v in content.items() if not leads_elsewhere(k)}
    if path.name in _ROUTES and "types" in content:
        types = content["types"].items()
        content["types"] = {name: _canonical(type_, path) for name, type_ in types}
    _check(content, path, module)
    return _dump(_of_model(content))


def _canonical(type_: Any, path: Path) -> str:
    """Return where a known class is, whatever the path that a folder has for it."""
    from sentence_transformers.sentence_transformer import modules

    known = getattr(modules, _class_name(type_, path))
    return f"{known.__module__}.{known.__qualname__}"


def _check(content: dict[str, Any], path: Path, module: str) -> None:
    """Refuse settings that name what is not in the folder."""
    if path.name == "adapter_config.json":
        raise CheckpointError(adapter_message(path.parent))
    wrong = None
    kind = content.get("model_type")
    if path.name == _CONFIG and "auto_map" in content and kind not in CONFIG_MAPPING:
        wrong = f"wants its own code to be run (auto_map, for {kind!r})"
    elif path.name == "config_sentence_transformers.json":
        if kind not in (None, "SentenceTransformer"):
            wrong = f"is of a {kind}, which has no embedding of a clip or text alone"
    elif path.name.startswith("sentence_") and path.name.endswith("_config.json"):
        wrong = _wrong_keywords(content)
    elif path.name.endswith(".index.json"):
        files = set(map(str, content.get("weight_map", {}).values()))
        strange = sorted(file for file in files if not _WEIGHTS.fullmatch(file))
        wrong = strange and f"names files of weights as {first_few(strange)}"
    elif module == "Dense" and "activation_function" in content:
        function = str(content["activation_function"])
        if not function.startswith("torch.nn.modules."):
            # The library would take another in its place, and only warn.
            wrong = f"names {function[:200]!r} as its activation function"
    if wrong:
        msg = f"{path} {wrong}. {_OWN_CODE}"
        raise CheckpointError(msg)


def _wrong_keywords(content: dict[str, Any]) -> str | None:
    """Return what of the settings of a transformer may lead out of its folder."""
    for name, value in content.items():
        if not _KEYWORDS.fullmatch(name) or not value:
            continue
        if not isinstance(value, dict) or not value.keys() <= _HARMLESS:
            return (
                f"has {name}={str(value)[:200]}, which may fetch or run what it names"
            )
    for modality, params in (content.get("modality_config") or {}).items():
        if not _METHODS.fullmatch(str(params["method"])):
            return f"has {modality} embedded by the method {params['method']!r}"
    return None


def _of_model(content: Any) -> Any:
    """Return settings without those that are not about the model, at any depth."""
    if isinstance(content, dict):
        return {
            name: _of_model(value)
            for name, value in content.items()
            if not _NOT_OF_MODELS.fullmatch(name)
        }
    return content


def _dump(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _link(path: Path, link: Path) -> None:
    try:
        os.symlink(path.resolve(), link)
    except OSError:  # not everybody may make links on Windows
        shutil.copyfile(path, link)
