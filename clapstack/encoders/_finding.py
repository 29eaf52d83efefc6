"""Location of checkpoint files, on this machine or on the hub."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from transformers import (  # type: ignore[attr-defined]
    AutoTokenizer,
    BertTokenizerFast,
    GPT2TokenizerFast,
    RobertaTokenizerFast,
)

from clapstack._numerics.checks import first_few
from clapstack.encoders._noting import note_file
from clapstack.encoders._reading import (
    EXTRACTOR_FILES,
    adapter_message,
    check_size,
    first_line,
    read_json,
)
from clapstack.exceptions import CheckpointError, MissingCheckpointError

_BUNDLED = Path(__file__).parents[1] / "bundled"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILE = re.compile(r"([\w.-]+/[\w.-]+)/([\w.-]+\.pth?)")


class _Tokenizer(NamedTuple):
    """A published tokenizer that files of weights need."""

    name: str  # also its former id on the hub, found in old caches
    hub: str
    vocabulary: tuple[str, ...]  # files that replace tokenizer.json
    reader: Any

    @property
    def files(self) -> list[str]:
        settings = ["tokenizer_config.json", "special_tokens_map.json"]
        return ["tokenizer.json", *settings, "added_tokens.json", *self.vocabulary]

    @property
    def needs(self) -> str:
        return f"tokenizer.json, or {' and '.join(self.vocabulary)}"

    def is_in(self, folder: Path) -> bool:
        note_file(folder / "tokenizer.json")
        # Checked here, because some versions of transformers create an empty one.
        return (folder / "tokenizer.json").exists() or all(
            (folder / name).exists() for name in self.vocabulary
        )


_BYTE_PAIRS = ("vocab.json", "merges.txt")
_TOKENIZERS = {
    "roberta": _Tokenizer(
        "roberta-base", "FacebookAI/roberta-base", _BYTE_PAIRS, RobertaTokenizerFast
    ),
    "gpt2": _Tokenizer("gpt2", "openai-community/gpt2", _BYTE_PAIRS, GPT2TokenizerFast),
    "bert": _Tokenizer(
        "bert-base-uncased",
        "google-bert/bert-base-uncased",
        ("vocab.txt",),
        BertTokenizerFast,
    ),
}
_LAION_CONFIGS = ["config.json", *EXTRACTOR_FILES]
_PRETRAINED_WEIGHTS = ["model.safetensors", "pytorch_model.bin"]
# Large models are saved as an index and the files that it lists.
_INDICES = [f"{name}.index.json" for name in _PRETRAINED_WEIGHTS]
_SHARDS = ["model-*.safetensors", "pytorch_model-*.bin"]
_ADAPTER = "adapter_config.json"
# Settings and vocabularies, anywhere in a repository.
_TEXT_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]
# Names from `save_pretrained(variant="fp16")`, and weights of other frameworks.
_VARIANTS = re.compile(
    r"model\..+\.safetensors|pytorch_model\..+\.bin|model\.safetensors\..+"
)
_OTHER_FRAMEWORKS = ["tf_model.h5", "flax_model.msgpack", "model.onnx"]
_LAION_NEEDS = (
    "config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin) "
    f"and the tokenizer ({_TOKENIZERS['roberta'].needs})"
)
_MSCLAP_WEIGHTS = "CLAP_weights_2023.pth"
_MSCLAP_NEEDS = (
    f"{_MSCLAP_WEIGHTS} and gpt2's tokenizer ({_TOKENIZERS['gpt2'].needs}; next to it "
    f"or in tokenizer/)"
)
_TRIAL = "a sound, \N{SNOWMAN}"
# Settings of a tokenizer that name files, or are passed to its class unchanged.
_ELSEWHERE = re.compile(r"_files?$|^init_inputs$|^auto_map$")
# Maximum factor by which a normalizer may lengthen a text; published ones do not.
_MOST_GROWTH = 1000


def find_laion(checkpoint: str, revision: str | None) -> tuple[Path, Path]:
    """Locate a LAION CLAP checkpoint, in transformers' format or the authors'.

    Parameters
    ----------
    checkpoint : str
        In transformers' format: a local folder, "bundled:<name>" or a hub id. In the
        authors' format: a ``.pt`` file, local or on the hub as "owner/name/file.pt".
        Local files take precedence over the hub.
    revision : str or None
        Branch, tag or commit of the weights on the hub.

    Returns
    -------
    folder, weights : Path
        The folder of the tokenizer (and, in transformers' format, of the
        configuration), and the file of weights.
    """
    place = _file_on_hub(checkpoint, revision) or _local(checkpoint, _LAION_NEEDS)
    if place is None:
        files = [*_LAION_CONFIGS, *_TOKENIZERS["roberta"].files]
        place = _download_pretrained(checkpoint, revision, files, _LAION_NEEDS)
    if place.suffix == ".pt" and place.is_file():
        return find_tokenizer(place, "roberta"), place
    is_folder = (
        f"a LAION CLAP checkpoint is a folder with {_LAION_NEEDS}, or one of the "
        f"authors' .pt files"
    )
    _refuse_other_than_folder(place, checkpoint, is_folder)
    if not _TOKENIZERS["roberta"].is_in(place):
        _refuse_missing("the tokenizer", place, _LAION_NEEDS)
    return place, _pretrained_weights(place, _LAION_NEEDS)


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
        A local folder or a hub id. Local files take precedence over the hub.
    revision : str or None
        Branch, tag or commit of the weights on the hub.
    configs : sequence of str
        Names of the other files that the model needs.
    extractor : bool, default=False
        Whether the model needs one of `EXTRACTOR_FILES` too; that is not checked here.

    Returns
    -------
    folder, weights : Path
        The folder of the other files, and the file of weights in it.
    """
    needed = [*configs, *EXTRACTOR_FILES[:1] * extractor]
    needs = ", ".join([*needed, " or ".join(_PRETRAINED_WEIGHTS)])
    folder = _local(checkpoint, needs)
    if folder is None:
        files = [*configs, *EXTRACTOR_FILES * extractor]
        folder = _download_pretrained(checkpoint, revision, files, needs)
    is_folder = f"it must be a folder with {needs}"
    _refuse_other_than_folder(folder, checkpoint, is_folder)
    for name in configs:
        if not (folder / name).exists():
            _refuse_missing(name, folder, needs)
    return folder, _pretrained_weights(folder, needs)


def find_any(checkpoint: str, revision: str | None) -> Path:
    """Locate a checkpoint of any kind: a file, or a folder with its settings."""
    place = _file_on_hub(checkpoint, revision) or _local(checkpoint, "a checkpoint")
    if place is None:
        files = ["modules.json", "config.json"]
        place = _download(checkpoint, revision, files, "pass a local folder or file")
    return place


def find_sentence_transformer(checkpoint: str, revision: str | None) -> Path:
    """Locate a folder in the format of sentence-transformers or of transformers.

    `checkpoint` is a local folder, "bundled:<name>" or a hub id. No code is downloaded.
    Local files take precedence over the hub.
    """
    needs = "modules.json (or config.json) and the files that it names"
    folder: Any = _local(checkpoint, needs)
    if folder is None:
        remedy = _into_a_folder(needs)
        for weights in ("*model*.safetensors", "*pytorch_model*.bin"):
            folder = _download(checkpoint, revision, [*_TEXT_FILES, weights], remedy)
            if any(folder.rglob(weights)):
                break
    _refuse_other_than_folder(folder, checkpoint, f"it must be a folder with {needs}")
    if not any((folder / name).exists() for name in ("modules.json", "config.json")):
        _refuse_missing("modules.json and config.json", folder, needs)
    return folder


def find_msclap(checkpoint: str, revision: str | None) -> Path:
    """Locate an MS-CLAP file of weights in the authors' format.

    `checkpoint` is a ``.pth`` file, local or on the hub as "owner/name/file.pth"; a
    folder with one ``CLAP_weights*.pth``; "bundled:<name>"; or a hub id, from which
    ``CLAP_weights_2023.pth`` is used. Local files take precedence over the hub.
    """
    place = _file_on_hub(checkpoint, revision) or _local(checkpoint, _MSCLAP_NEEDS)
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
            f"Folder {str(place)!r} contains several checkpoints: "
            f"{', '.join(file.name for file in found)}. Pass the path of one of "
            f"them."
        )
        raise CheckpointError(msg)
    return found[0]


def find_file(checkpoint: str, revision: str | None, what: str) -> Path:
    """Locate a file of weights that is not on the hub and thus has no revision.

    `what` describes the file and its publisher, for the message.
    """
    if revision is not None:
        msg = (
            f"revision={revision!r} is a commit on the Hugging Face hub, but "
            f"{checkpoint!r} is a local file. Omit revision."
        )
        raise CheckpointError(msg)
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        fault = "is a folder" if path.is_dir() else "does not exist"
        msg = (
            f"There is no file {str(path)!r} ({path.absolute()} {fault}). The "
            f"checkpoint must be {what}. It is not downloaded automatically: put it "
            f"anywhere on this machine and pass its path."
        )
        raise MissingCheckpointError(msg)
    return path


def find_tokenizer(weights: Path, kind: str, *, on_hub: bool = True) -> Path:
    """Return the folder of the tokenizer that a file of weights needs.

    Parameters
    ----------
    weights : Path
        The file. Its tokenizer is next to it, in ``tokenizer/`` next to it, or on the
        hub, from which the authors' packages download it.
    kind : {"roberta", "gpt2", "bert"}
        Model whose tokenizer is needed.
    on_hub : bool, default=True
        Whether to look on the hub.
    """
    tokenizer = _TOKENIZERS[kind]
    for folder in (weights.parent, weights.parent / "tokenizer"):
        if tokenizer.is_in(folder):
            return folder
    places = f"into {weights.parent} or its subfolder tokenizer"
    if on_hub:
        remedy = f"put {tokenizer.name}'s tokenizer ({tokenizer.needs}) {places}"
        return _download_tokenizer(tokenizer, remedy)
    msg = (
        f"There is no tokenizer next to {weights}. Put the tokenizer of "
        f"{tokenizer.hub!r} on the Hugging Face hub ({tokenizer.needs}) {places}."
    )
    raise CheckpointError(msg)


def read_tokenizer(folder: Path, kind: str | None = None) -> Any:
    """Read a tokenizer from local files.

    `kind` is "roberta", "gpt2" or "bert"; if None, the folder's ``config.json``
    determines it.
    """
    reader = AutoTokenizer if kind is None else _TOKENIZERS[kind].reader
    try:
        with tempfile.TemporaryDirectory() as copy:
            _copy_tokenizer(folder, Path(copy))
            tokenizer = reader.from_pretrained(
                copy, local_files_only=True, trust_remote_code=False
            )
        # Fails if the vocabulary has no token for unknown characters.
        tokenizer([_TRIAL], verbose=False)
    # The tokenizers library raises plain Exception for damaged files.
    except Exception as error:
        msg = (
            f"The tokenizer in {folder} cannot be read: {first_line(error)}. Download "
            f"its files again from their publisher."
        )
        raise CheckpointError(msg) from error
    refuse_dropout(tokenizer, folder)
    return tokenizer


def refuse_dropout(tokenizer: Any, folder: Path) -> None:
    """Reject a tokenizer that skips merges at random, which is meant for training."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    dropout = getattr(model, "dropout", None)
    if dropout:
        msg = (
            f"The tokenizer in {folder} skips merges at random (dropout={dropout:g}), "
            f"so a text would have a different embedding each time. Set 'dropout' in "
            f"tokenizer.json to null."
        )
        raise CheckpointError(msg)


def _copy_tokenizer(folder: Path, copy: Path) -> None:
    """Check and copy a tokenizer's files, without settings that point elsewhere.

    The libraries would also read other files in the folder, and files anywhere on the
    disk that its settings name.
    """
    for name in {"config.json"}.union(*(t.files for t in _TOKENIZERS.values())):
        path = folder / name
        check_size(path)
        if path.suffix == ".json" and path.exists():
            content = read_json(path)
            if name == "tokenizer.json":
                check_growth(content.get("normalizer"), path)
            kept = {key: v for key, v in content.items() if not leads_elsewhere(key)}
            text = json.dumps(kept if name == "tokenizer_config.json" else content)
            (copy / name).write_text(text, encoding="utf-8")
        elif path.exists():
            shutil.copyfile(path, copy / name)


def leads_elsewhere(setting: str) -> bool:
    """Return whether a tokenizer's setting names files or is passed to its class."""
    return _ELSEWHERE.search(setting) is not None


def check_growth(normalizer: Any, path: Path) -> None:
    """Reject replacements that turn a short text into a very long one.

    Thirty replacements that double their input turn one letter into gigabytes.
    """
    growth, parts = 1, [normalizer]
    while parts:
        part = parts.pop()
        if not isinstance(part, dict):
            continue
        parts += [*part.get("normalizers", ()), part.get("normalizer")]
        growth *= max(1, len(part.get("content", "")))
        growth *= 1 + len(part.get("prepend", ""))
        if growth > _MOST_GROWTH:
            msg = f"{path} lengthens texts more than {_MOST_GROWTH} times"
            raise CheckpointError(msg)


def check_vocabulary(tokenizer: Any, folder: Path, n_tokens: int) -> None:
    """Reject a tokenizer with tokens that the text tower does not have.

    The tower has `n_tokens` rows, so ids must be smaller than that.
    """
    largest = max(tokenizer.get_vocab().values(), default=0)
    if len(tokenizer) > n_tokens or largest >= n_tokens:
        msg = (
            f"The tokenizer in {folder} does not match the text tower: it has "
            f"{len(tokenizer)} tokens with ids up to {largest}, but the tower has "
            f"{n_tokens}. Use the tokenizer that was published with the weights."
        )
        raise CheckpointError(msg)


def _local(checkpoint: str, needs: str) -> Path | None:
    if checkpoint.startswith("bundled:"):
        folder = _BUNDLED / checkpoint.removeprefix("bundled:")
        if not folder.is_dir():
            known = [*_BUNDLED.glob("*/config.json"), *_BUNDLED.glob("*/CLAP_*.pth")]
            names = sorted(f"bundled:{file.parent.name}" for file in known)
            msg = (
                f"There is no bundled checkpoint {checkpoint!r}; this installation "
                f"has {first_few(names) or 'none'}."
            )
            raise CheckpointError(msg)
        return folder
    path = Path(checkpoint).expanduser()
    if path.exists():
        return path
    if not _HUB_ID.fullmatch(checkpoint):
        msg = (
            f"Checkpoint {checkpoint!r} is not a file, not a folder (looked in "
            f"{path.absolute().parent}) and not a hub id such as 'owner/name'. A local "
            f"folder must contain {needs}."
        )
        raise MissingCheckpointError(msg)
    return None


def _pretrained_weights(folder: Path, needs: str) -> Path:
    for name in (_PRETRAINED_WEIGHTS[0], _INDICES[0], *_PRETRAINED_WEIGHTS, *_INDICES):
        if (folder / name).exists():
            return folder / name
    found = sorted(path.name for path in folder.iterdir())
    variants = [name for name in found if _VARIANTS.fullmatch(name)]
    others = [name for name in _OTHER_FRAMEWORKS if name in found]
    if variants:
        of_torch = not variants[0].startswith("pytorch")
        name = _PRETRAINED_WEIGHTS[0 if of_torch else 1]
        needs += (
            f". It contains {first_few(variants)}, a variant: to use it, save it again "
            f"without variant=, or copy it to {name}"
        )
    elif others:
        needs += f". It contains {first_few(others)}, weights of another framework"
    _refuse_missing(" or ".join(_PRETRAINED_WEIGHTS), folder, needs)


def _refuse_other_than_folder(place: Path, checkpoint: str, remedy: str) -> None:
    """Reject a file; reject an adapter before its folder's files are checked."""
    if place.is_file():
        msg = f"Checkpoint {checkpoint!r} is a file; {remedy}."
        raise CheckpointError(msg)
    if (place / _ADAPTER).exists() and not any(
        (place / name).exists() for name in [*_PRETRAINED_WEIGHTS, *_INDICES]
    ):
        raise CheckpointError(adapter_message(place))


def _download_pretrained(
    checkpoint: str, revision: str | None, files: Sequence[str], needs: str
) -> Path:
    remedy = _into_a_folder(needs)
    for found in zip(_PRETRAINED_WEIGHTS, _INDICES, _SHARDS, strict=True):
        patterns = [*files, _ADAPTER, *found]
        folder = _download(checkpoint, revision, patterns, remedy)
        if any((folder / name).exists() for name in found[:2]):
            break
    return folder


def _file_on_hub(checkpoint: str, revision: str | None) -> Path | None:
    """Download "owner/name/file.pt"; None if `checkpoint` is not of this form."""
    named = _HUB_FILE.fullmatch(checkpoint)
    if named is None or Path(checkpoint).exists():
        return None
    repository, file = named.groups()
    remedy = f"pass the path of a local copy of {file}; {checkpoint} does not exist"
    path = _download(repository, revision, [file], remedy) / file
    if not path.exists():
        msg = f"{repository!r} on the Hugging Face hub has no file {file!r}."
        raise CheckpointError(msg)
    return path


def _download_tokenizer(tokenizer: _Tokenizer, remedy: str) -> Path:
    """Return a tokenizer from the cache, under either of its ids, or download it."""
    for known_as in (tokenizer.hub, tokenizer.name):
        try:
            folder = _snapshot(known_as, None, tokenizer.files, local_files_only=True)
        except (LocalEntryNotFoundError, OSError, ValueError):
            continue
        if tokenizer.is_in(folder):
            return folder
    return _download(tokenizer.hub, None, tokenizer.files, remedy)


def _into_a_folder(needs: str) -> str:
    return (
        f"put {needs} into a folder and pass the path of that folder as the checkpoint"
    )


def _download(
    repository: str, revision: str | None, files: list[str], remedy: str
) -> Path:
    try:
        return _snapshot(repository, revision, files)
    # The hub client's errors have no common base class across supported versions.
    except Exception as error:
        at = f" at revision {revision!r}" if revision else ""
        msg = (
            f"{repository!r}{at} could not be downloaded from the Hugging Face hub and "
            f"is not in its local cache: {first_line(error)}. Without a network, "
            f"{remedy}."
        )
        # The hub client chains six errors, whose tracebacks would hide the message.
        error.__cause__ = error.__context__ = None
        raise MissingCheckpointError(msg) from error.with_traceback(None)


def _snapshot(
    repository: str, revision: str | None, files: list[str], **settings: Any
) -> Path:
    name = repo_folder_name(repo_id=repository, repo_type="model")
    # The commit that the hub's cache has for the branch.
    note_file(Path(constants.HF_HUB_CACHE, name, "refs", revision or "main"))
    return Path(
        snapshot_download(
            repository, revision=revision, allow_patterns=files, **settings
        )
    )


def _refuse_missing(what: str, folder: Path, needs: str) -> NoReturn:
    msg = f"{folder} lacks {what}. The checkpoint needs {needs}."
    raise CheckpointError(msg)
