"""Detection of a checkpoint's kind from its files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from transformers import CONFIG_MAPPING

from clapstack.encoders._finding import find_any
from clapstack.encoders._reading import guarded, read_content, read_json, tensors_in
from clapstack.exceptions import CheckpointError

# Kind by "model_type" of a configuration. Other models that transformers knows are read
# by sentence-transformers, if they embed audio and text.
_BY_TYPE = {
    "clap": "laion",
    "wavlm": "wavlm",
    "whisper": "whisper",
    "wav2vec2": "ctc",
    "eat": "eat",
    "pe_audio": "pe-audio",
    "pe_audio_video": "pe-audio",
}
# A tensor that only files of this kind have, with or without the prefix of a wrapper.
_BY_TENSOR = {
    "laion": re.compile(r"(^|\.)audio_branch\."),
    "msclap": re.compile(r"(^|\.)caption_encoder\."),
    "mga-clap": re.compile(r"(^|\.)audio_encoder\.audio_enc\."),
    "m2d-clap": re.compile(r"(^|\.)audio_proj\.sem_token$"),
    "beats": re.compile(r"(^|\.)self_attn\.grep_a$"),
    "eat": re.compile(r"(^|\.)modality_encoders\.IMAGE\."),
}


def kind_of(checkpoint: str | os.PathLike[str], revision: str | None = None) -> str:
    """Return the kind of encoder that a checkpoint is for.

    For a hub id, only configuration files are downloaded; for a file on the hub, that
    file.

    Parameters
    ----------
    checkpoint : str or path-like
        A folder, a file, a hub id, a file on the hub ("owner/name/file.pt") or the name
        of a bundled checkpoint.
    revision : str or None, default=None
        Branch, tag or commit of a hub id.

    Returns
    -------
    kind : str
        As for :func:`load_encoder`.

    Raises
    ------
    CheckpointError
        If the checkpoint does not exist or its kind is unknown.

    Examples
    --------
    >>> from clapstack.encoders import kind_of
    >>> kind_of("bundled:laion-fused"), kind_of("bundled:msclap")
    ('laion', 'msclap')
    """
    checkpoint = os.fspath(checkpoint)
    with guarded(checkpoint):
        place = find_any(checkpoint, revision)
        kind = _kind_of_file(place) if place.is_file() else _kind_of_folder(place)
    if kind is None:
        of_folder = place.is_file() and (place.parent / "config.json").exists()
        hint = f"Pass its folder, {place.parent}, if that is one. " * of_folder
        msg = (
            f"{place} is not a known kind of checkpoint; known kinds are "
            f"{sorted(_kinds())}. {hint}"
            f"Choose a transformer of clapstack.features or, as the page 'Adding an "
            f"encoder' of the guide shows, write a custom encoder."
        )
        raise CheckpointError(msg)
    return kind


def _kinds() -> set[str]:
    return {*_BY_TYPE.values(), *_BY_TENSOR, "audiomae", "sentence-transformer"}


def _kind_of_folder(folder: Path) -> str | None:
    if (folder / "modules.json").exists():
        return "sentence-transformer"
    if any(folder.glob("CLAP_weights*.pth")):
        return "msclap"
    if not (folder / "config.json").exists():
        inner = [*folder.glob("*.pt*"), *(p.parent for p in folder.glob("*/*.json"))]
        such = f", such as {min(inner)}" if inner else ""
        msg = (
            f"{folder} is not a checkpoint: it has no config.json, modules.json or "
            f"CLAP_weights*.pth. Pass a folder with one, or a file of weights{such}."
        )
        raise CheckpointError(msg)
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if "model_variant" in config:
        return "eat"
    if "vit" in str(config.get("architecture", "")):  # timm's format
        return "audiomae"
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return "sentence-transformer" if kind in CONFIG_MAPPING else None


def _kind_of_file(path: Path) -> str | None:
    names = list(tensors_in(read_content(path), path))
    for kind, tensor in _BY_TENSOR.items():
        if any(tensor.search(name) for name in names):
            return kind
    return None
