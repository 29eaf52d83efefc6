"""Folders of clips read as tables: text files, prompts by id, and Kaldi lists."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from clapstack.exceptions import TableError
from clapstack.pairs import Fault
from clapstack.tables import Choose, TableRow, is_table, parse_json, read_lines

__all__ = [
    "CLIP_SUFFIXES",
    "KALDI",
    "PROMPTS",
    "clips_by_id",
    "kaldi_lists",
    "read_kaldi",
    "read_sidecars",
]

# Names of the text in JSON files beside clips, and in tables of prompts.
PROMPTS = ("text", "caption", "prompt", "description")
KALDI = "wav.scp"
CLIP_SUFFIXES = (
    *(".wav", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a"),
    *(".mp4", ".aac", ".aif", ".aiff", ".aifc", ".au", ".caf", ".webm", ".wma"),
)
_IN_ARCHIVE = re.compile(r"\.ark:\d+(\[.*\])?$")


class _NoText(Fault):
    """The fault of a clip without a text beside it."""


_LONGEST = 1 << 20  # bytes of a text file beside a clip


def read_sidecars(
    folder: Path, text_keys: Sequence[str] | None, choose: Choose
) -> Generator[TableRow, None, None]:
    """Yield the clips of a folder and its subfolders, with the texts beside them.

    The text of ``dog.wav`` is the content of ``dog.txt``, or a member of the object in
    ``dog.json``: one of `text_keys`, or of `PROMPTS`. Other members become columns. For
    a clip without a text, the text is a Fault. Files whose names begin with a dot are
    skipped.
    """
    records: Iterator[dict[str, Any]] = (
        {"audio": clip, **_beside(folder / clip, text_keys)} for clip in _clips(folder)
    )
    first = []
    for record in records:
        first.append(record)
        if not isinstance(record["text"], _NoText):
            break
    else:
        if first:
            clips = "clip has" if len(first) == 1 else "clips have"
            msg = (
                f"{folder}: its {len(first):,} {clips} no texts. Put a .txt or .json "
                "file with the text next to each clip, or name a file of prompts "
                "(--prompts FILE)."
            )
            raise TableError(msg)
    if not first:
        msg = (
            f"{folder} contains no clips. Clips are recognised by their extension, "
            f"such as .wav, .flac or .mp3; a Kaldi folder contains {KALDI}."
        )
        raise TableError(msg)
    chosen = choose(list(first[-1]))
    for number, record in enumerate(chain(first, records)):
        cells = {wanted: record.get(name) for wanted, name in chosen.items()}
        yield TableRow(number, None, cells)


def clips_by_id(folder: Path) -> Callable[[Any], str | Fault]:
    """Return a function that finds clips of a folder by name or by stem.

    It returns the path relative to the folder, which never leads outside.
    """
    places: dict[str, list[str]] = {}
    for clip in _clips(folder):
        for name in (clip, os.path.splitext(clip)[0]):
            places.setdefault(name, []).append(clip)

    def find(name: Any) -> str | Fault:
        found = places.get(str(name).strip(), [])
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(found)
            return Fault(
                f"{str(name)!r} matches {names} in {folder}. Use the full name in the "
                "prompts."
            )
        return Fault(
            f"{folder} has no clip named {str(name)!r}. Add it, or remove its prompt."
        )

    return find


def kaldi_lists(table: Path, prompts: Path | None) -> tuple[Path, Path]:
    """Return the files of clips and of texts for a Kaldi folder or ``wav.scp``."""
    scp = table / KALDI if table.is_dir() else table
    texts = scp.parent / "text" if prompts is None else prompts
    if (scp.parent / "segments").exists():
        msg = (
            f"{scp.parent} has a segments file, which cuts utterances out of "
            "recordings and is not supported. Cut the utterances into files first."
        )
        raise TableError(msg)
    return scp, texts


def read_kaldi(
    scp: Path, texts: Path, choose: Choose
) -> Generator[TableRow, None, None]:
    """Yield the clips of a Kaldi ``wav.scp`` with their texts, as id, audio and text.

    Nothing is executed. The clip or text is a Fault if an entry is a command or a place
    in an archive, if an id is repeated, or if an id has no clip or no text.
    """
    if is_table(texts):
        msg = (
            f"{texts} is a table, but the texts of {KALDI} must be lines of an id and "
            "its text, such as 'dog a dog barks'. Write such lines, or score the "
            "folder of clips with these prompts."
        )
        raise TableError(msg)
    by_id: dict[str, Any] = {}
    for _, content in read_lines(texts):
        name, text = _split(content)
        again = Fault(f"{texts} has two texts for {name}. Keep one.")
        by_id[name] = text if by_id.get(name, text) == text else again
    chosen = choose(["id", "audio", "text"])
    number = -1
    for number, (line, name, audio) in enumerate(_entries(scp, by_id)):
        text = by_id.get(name, Fault(f"{texts} has no text for {name}. Add it."))
        record = {"id": name, "audio": audio, "text": text}
        cells = {wanted: record[column] for wanted, column in chosen.items()}
        yield TableRow(number, line, cells)
    if number < 0:
        msg = f"{scp} has no entries. Add at least one."
        raise TableError(msg)


def _entries(
    scp: Path, wanted: Iterable[str]
) -> Iterator[tuple[int | None, str, str | Fault]]:
    """Yield lines, ids and clips of a list, then the ids that it lacks."""
    seen: set[str] = set()
    for number, line in read_lines(scp):
        name, entry = _split(line)
        again = Fault(f"{scp} already has an entry {name}. Keep one.")
        yield number, name, again if name in seen else _clip(entry, scp.parent)
        seen.add(name)
    for name in wanted:
        if name not in seen:
            yield None, name, Fault(f"{scp} has no clip for {name}. Add it.")


def _split(line: str) -> tuple[str, str]:
    """Split a line of a Kaldi list into its id and the rest."""
    name, *rest = line.split(maxsplit=1)
    return name, rest[0].strip() if rest else ""


def _clip(entry: str, folder: Path) -> str | Fault:
    """Return the path of an entry, relative to the list or the current folder."""
    if entry.endswith("|") or entry.startswith("|"):
        return Fault(
            f"the entry {entry!r} is a command, which clapstack does not run. Run it "
            "yourself and list the file that it writes."
        )
    if _IN_ARCHIVE.search(entry):
        return Fault(
            f"the entry {entry!r} is a place in an archive, which clapstack does not "
            "read. Copy the clips to files, such as with wav-copy, and list those."
        )
    # Kaldi resolves entries from the current folder. Lists that were moved together
    # with their clips need the folder of the list.
    is_there = os.path.isabs(entry) or (folder / entry).exists()
    return entry if is_there or not os.path.exists(entry) else os.path.abspath(entry)


def _clips(folder: Path) -> Iterator[str]:
    """Yield paths of clips within a folder, sorted, with / between names.

    Links to folders elsewhere are yielded too, to be refused by name: a stranger's link
    may lead to the whole disk. Targets of links inside the folder are found anyway.
    """
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = Path(place).relative_to(folder)
        for link in filter(Path.is_symlink, (Path(place, name) for name in folders)):
            if not link.resolve().is_relative_to(folder.resolve()):
                yield link.relative_to(folder).as_posix()
        for name in sorted(files):
            is_clip = os.path.splitext(name)[1].lower() in CLIP_SUFFIXES
            if is_clip and not name.startswith("."):
                yield (inner / name).as_posix()


def _refuse(error: OSError) -> None:
    raise error


def _beside(clip: Path, text_keys: Sequence[str] | None) -> dict[str, Any]:
    """Return the text of a clip, or a Fault, and other data from files beside it."""
    if clip.is_symlink() and clip.is_dir():
        return {
            "text": Fault(
                f"{clip} is a link to a folder outside. Score that folder separately."
            )
        }
    text_file, json_file = clip.with_suffix(".txt"), clip.with_suffix(".json")
    found: dict[str, Any] = {}
    more: dict[str, Any] = {}
    try:
        if json_file.exists():
            form = 'an object, such as {"text": "a dog barks"}'
            more = parse_json(_content(json_file), str(json_file), form)
            named = [key for key in text_keys or PROMPTS if key in more]
            found |= {f"{json_file.name}: {key}": more[key] for key in named}
        if text_file.exists() and not text_keys:
            found[text_file.name] = _content(text_file).strip()
    except (OSError, ValueError) as error:
        return {"text": Fault(str(error))}
    more = {name: cell for name, cell in more.items() if name not in ("audio", "text")}
    texts = list(found.values())
    if not texts:
        wanted = " or ".join(text_keys or ["a text"])
        words = (
            f"the clip has no text: there is no {text_file.name}, and no "
            f"{json_file.name} with {wanted}, beside it. Add one."
        )
        return {"text": _NoText(words), **more}
    if any(text != texts[0] for text in texts):
        words = (
            f"the clip has more than one text: {', '.join(found)}. Keep one, or name "
            "the JSON member to use as the text column."
        )
        return {"text": Fault(words), **more}
    return {"text": texts[0], **more}


def _content(path: Path) -> str:
    """Return the text of a small regular file; raise ValueError for other files."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LONGEST:
        msg = f"{path} is not a text file of at most {_LONGEST:,} bytes. Shorten it."
        raise ValueError(msg)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8 ({error.reason}). Save it as UTF-8."
        raise ValueError(msg) from error
