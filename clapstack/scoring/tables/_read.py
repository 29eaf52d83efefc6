"""Tables of pairs in files or frames: column names, clip paths and rows."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from difflib import get_close_matches
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd

from clapstack._compat import cells_of, columns_of, is_dataset, to_pandas
from clapstack._fitted import takes_keys
from clapstack._numerics.suggestions import did_you_mean
from clapstack.audio import describe_audio, is_url
from clapstack.exceptions import BadPair, TableError
from clapstack.pairs import Fault, Usable, on_usable_rows
from clapstack.scoring.tables._folders import (
    CLIP_SUFFIXES,
    KALDI,
    PROMPTS,
    clips_by_id,
    kaldi_lists,
    read_kaldi,
    read_sidecars,
)
from clapstack.tables import (
    SUFFIXES,
    Choose,
    TableRow,
    find_column,
    format_of,
    is_saved_dataset,
    read_rows,
)

__all__ = [
    "FrameTable",
    "PairTable",
    "Row",
    "in_chunks",
    "keep_keys",
    "on_usable_files",
    "pairs_of",
    "result_format",
]

# Column names by role if no option names the column, with those of the challenge.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "wav_file_name", "wave_file_name", "file_name"),
    "text": ("text",),
    "score": ("score", "average_score", "average_semantic_alignement_score"),
    "prediction": ("score", "pred_score", "prediction_score"),
}
# Other frequent names, for suggestions only.
_GUESSES = {
    "audio": ("clip", "file", "filename", "path", "audio_path", "audio_file", "wav"),
    "text": ("texts", "sentence", "query", "words"),
    "score": ("rating", "ratings", "mos", "label", "human_score"),
}
_READ_ONLY = (".tsv", ".json", ".arrow")
_CHUNK_BYTES = 1 << 28  # of clips stored in the cells of a table

T = TypeVar("T")
_Reader = Callable[[Choose], Generator[TableRow, None, None]]


class Row(NamedTuple):
    """One row of a table.

    Attributes
    ----------
    number : int
        Row number from zero, without the header.
    audio : object
        The clip as written in the table.
    path : object
        The clip, with a relative path resolved against the folder of the clips.
    text : object
        The text.
    cells : dict of str to object
        Other requested columns, by role or name.
    line : int or None
        Line of the file where the row starts; None in Parquet.
    """

    number: int
    audio: Any
    path: Any
    text: Any
    cells: dict[str, Any]
    line: int | None


class PairTable:
    """A table of pairs, read row by row.

    Parameters
    ----------
    source : str or Path
        A file; ``"-"`` for standard input, which can be read only once; a folder of
        clips with text files beside them, of Kaldi lists, or of a saved Dataset; or a
        Kaldi ``wav.scp``.
    prompts : str or Path, default=None
        Texts for a folder of clips, by clip name: a table, or JSON such as
        ``{"dog": "a dog barks"}``. For a Kaldi ``wav.scp``, its texts; None means the
        file ``text`` beside it.
    fmt : {"csv", "jsonl", "parquet"}, default=None
        Format of the file. None chooses it by the suffix, and CSV for standard input.
    audio_folder : Path, default=None
        Folder that relative paths of clips start from. None means the folder of the
        table, or the current folder for standard input.
    names : mapping of str to str, sequence of str or None, default=None
        Column names by role: ``audio``, ``text``, ``score``, ``prediction``. If a role
        has several names, or None and thus its usual names, the one in the table is
        used.
    roles : sequence of str, default=("audio", "text")
        Roles that need a column.
    others : sequence of str, default=()
        Names of other columns to read.
    remedy : str, default="Name the column with --{role}-column"
        Remedy in the message about a missing or ambiguous column.

    Attributes
    ----------
    name : str
        Name of the source in messages.
    files : tuple of path-like
        Files that are read, which a result must not overwrite.
    """

    def __init__(
        self,
        source: str | Path,
        prompts: str | os.PathLike[str] | None = None,
        *,
        fmt: str | None = None,
        audio_folder: Path | None = None,
        names: Mapping[str, str | Sequence[str] | None] | None = None,
        roles: Sequence[str] = ("audio", "text"),
        others: Sequence[str] = (),
        remedy: str = "Name the column with --{role}-column",
    ):
        self.is_stdin = str(source) == "-"
        self.path = Path(source)
        self.files: tuple[str | Path, ...] = (source,)
        self.name = "standard input" if self.is_stdin else str(source)
        self.names = dict(names or {})
        self.roles = tuple(roles)
        self.others = tuple(others)
        self._remedy = remedy
        self._header: list[str] = []
        self._begun: Iterator[Row] | None = None
        self._pair_columns: tuple[str, str] | None = None
        self._find: Callable[[Any], str | Fault] | None = None
        is_folder = self.path.is_dir() and not is_saved_dataset(self.path)
        if not self.is_stdin and (is_folder or self.path.suffix == ".scp"):
            here, self._records = self._open_folder(prompts, fmt)
        else:
            if prompts is not None:
                msg = (
                    f"prompts apply to a folder of clips, but {self.name} is not a "
                    "folder. Leave them out, or pass the folder."
                )
                raise TableError(msg)
            here, self._records = self._open_file(source, fmt)
        folder = str(here if audio_folder is None else audio_folder)
        self.folder = "" if folder == "." else folder  # "a.wav", not "./a.wav"

    def _open_file(self, source: str | Path, fmt: str | None) -> tuple[Path, _Reader]:
        """Return the folder of a table's clips, and the reader of its rows."""
        if self.is_stdin:
            return Path(), partial(read_rows, "-", fmt)
        if fmt is None and self.path.suffix.lower() in CLIP_SUFFIXES:
            msg = (
                f"{self.name} is a clip, but a table of pairs is needed: a CSV, JSON "
                "Lines or Parquet file with the columns audio and text, or a folder "
                "of clips with their texts."
            )
            raise TableError(msg)
        fmt = fmt or format_of(self.path)
        here = self.path if self.path.is_dir() else self.path.parent
        return here, partial(read_rows, self.path, fmt)

    def _open_folder(
        self, prompts: str | os.PathLike[str] | None, fmt: str | None
    ) -> tuple[Path, _Reader]:
        """Return the folder of the clips, and the reader of their rows."""
        clips, texts = self.path, None if prompts is None else Path(prompts)
        is_kaldi = clips.suffix == ".scp" or (clips / KALDI).is_file()
        if fmt and (is_kaldi or texts is None):
            msg = (
                f"{clips} is a folder or a Kaldi list, so the format {fmt} does not "
                "apply. Leave the format out."
            )
            raise TableError(msg)
        if is_kaldi:
            self.path, texts = self.files = kaldi_lists(clips, texts)
            return self.path.parent, partial(read_kaldi, self.path, texts)
        if texts is None:
            key = self.names.pop("text", None)
            keys = (key,) if isinstance(key, str) else key
            return clips, partial(read_sidecars, clips, keys)
        self.path, self.files, self.name = texts, (texts,), str(texts)
        self._find = clips_by_id(clips)
        self.names["audio"] = self.names.get("audio") or ("id", *SPELLINGS["audio"])
        self.names["text"] = self.names.get("text") or PROMPTS
        return clips, partial(read_rows, texts, fmt)

    @property
    def pair_columns(self) -> tuple[str, str]:
        """Names of the columns of clips and texts in the table."""
        if self._pair_columns is None:
            self.check()
        return self._pair_columns or ("audio", "text")

    @property
    def header(self) -> list[str]:
        """Names of all columns of the table."""
        if not self._header:
            self.check()
        return self._header

    def has(self, role: str) -> bool:
        """Return whether there is a column for a role."""
        return bool(find_column(self.header, self._usual(role)))

    def count(self) -> int | None:
        """Return the number of rows, or None if they can be read only once."""
        if self._is_read_once():
            return None
        return sum(1 for _ in self.rows())

    def check(self) -> None:
        """Read the first row, so that errors are raised early."""
        rows = self._rows()
        first = next(rows, None)
        if first is not None and self._is_read_once():
            self._begun = chain([first], rows)

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order.

        A missing or ambiguous column, a table without rows and an unreadable line raise
        a TableError that names them.
        """
        begun, self._begun = self._begun, None
        return self._rows() if begun is None else begun

    def _rows(self) -> Iterator[Row]:
        with closing(self._records(self._columns)) as rows:
            for number, line, cells in rows:
                audio, text = cells.get("audio"), cells.get("text")
                cells = {
                    name: cell
                    for name, cell in cells.items()
                    if name in self.others or name not in ("audio", "text")
                }
                path = audio if self._find is None else self._find(audio)
                if self._find and isinstance(path, str):
                    audio = path
                path = self.resolved(path)
                if isinstance(audio, Mapping):
                    audio = describe_audio(audio)
                yield Row(number, audio, path, text, cells, line)

    def resolved(self, audio: Any) -> Any:
        """Return the path of a clip, resolved against the folder of the clips."""
        if isinstance(audio, Mapping) and audio.get("bytes") is None:
            audio = audio.get("path")
        if isinstance(audio, str) and audio and not is_url(audio):
            return os.path.join(self.folder, os.path.expanduser(audio))
        return audio

    def on_usable(
        self, compute: Callable[[pd.DataFrame], Any], pairs: pd.DataFrame
    ) -> Usable:
        """Compute on the usable pairs, whose audio must be a file."""
        return on_usable_files(compute, pairs)

    def _is_read_once(self) -> bool:
        """Return whether the source is a pipe or standard input."""
        if self.is_stdin:
            return True
        mode = os.stat(self.path).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def _columns(self, header: Sequence[str]) -> dict[str, str]:
        """Return the name of every requested column, by role or name."""
        self._header = list(header)
        columns = {role: self._column(role, header) for role in self.roles}
        found = {role: name for role, name in columns.items() if name is not None}
        if len(found) < len(columns):
            missing = [role for role in columns if role not in found]
            raise TableError(self._no_columns(missing, header))
        for name in self.others:
            places = find_column(header, [name])
            if len(places) != 1:
                what = "more than one" if places else "no"
                guess = "" if places else did_you_mean(name, header)
                msg = f"{self.name} has {what} column {name!r}; it has {list(header)}."
                raise TableError(msg + guess)
            if found.setdefault(name, places[0]) != places[0]:
                msg = (
                    f"{self.name} has a column {name!r}, but the {name} is read from "
                    f"the column {found[name]!r}. Rename one of them, or do not keep "
                    f"{name!r}."
                )
                raise TableError(msg)
        audio = "audio" if self._find else found.get("audio", "audio")
        self._pair_columns = audio, found.get("text", "text")
        return found

    def _column(self, role: str, header: Sequence[str]) -> str | None:
        """Return the column of a role, or None if there is none."""
        usual = self._usual(role)
        found = find_column(header, usual)
        if role == "text" and not found and not self.names.get(role):
            usual = PROMPTS
            found = find_column(header, usual)
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        msg = (
            f"{self.name} has more than one {role} column "
            f"({', '.join(map(repr, usual))}); it has {list(header)}. "
            f"{self._remedy.format(role=role)}."
        )
        raise TableError(msg)

    def _no_columns(self, roles: Sequence[str], header: Sequence[str]) -> str:
        """Return the message about missing columns, with a guess for each."""
        lacks, remedies, guesses = [], [], []
        for role in roles:
            usual = self._usual(role)
            lacks.append(f"no {role} column ({', '.join(map(repr, usual))})")
            remedy = self._remedy.format(role=role)
            guess = self._guess(role, header)
            guesses.append(guess)
            remedies.append(f"{remedy} {guess}" if guess else remedy)
        return (
            f"{self.name} has {' and '.join(lacks)}; it has {list(header)}. "
            f"{'. '.join(dict.fromkeys(remedies))}. The first line must name the "
            "columns, separated by commas, semicolons or tabs."
        ) + ("" if any(guesses) else did_you_mean(self._usual(roles[0])[0], header))

    def _guess(self, role: str, header: Sequence[str]) -> str:
        """Return a column that may be meant, or nothing."""
        if not self._remedy.endswith("-column"):
            return ""
        usual = [*self._usual(role), *_GUESSES.get(role, ())]
        folded = {name.strip().lower(): name for name in header}
        likely = [folded[name] for name in usual if name in folded]
        close = [c for u in usual[:1] for c in get_close_matches(u, folded, n=1)]
        likely += [folded[name] for name in close]
        return shlex.quote(likely[0]) if likely else ""

    def _usual(self, role: str) -> Sequence[str]:
        """Return the names that the column of a role may have."""
        names = self.names.get(role) or SPELLINGS[role]
        return (names,) if isinstance(names, str) else names


class FrameTable:
    """A table of pairs in memory, with the interface of `PairTable`.

    Parameters
    ----------
    X : DataFrame (pandas or polars), Arrow table or Dataset
        Table with the columns `audio` and `text`. Clips may have any form that encoders
        accept.
    audio, text : str
        Names of these columns.
    others : sequence of str
        Names of other columns to read.

    Attributes
    ----------
    frame : DataFrame
        These columns, without the clips of a Dataset, which may not fit into memory.
    """

    name = "the table"
    files = ()

    def __init__(self, X: Any, audio: str, text: str, others: Sequence[str] = ()):
        wanted = [audio, text, *others]
        names = columns_of(X)
        missing = [name for name in wanted if names.count(name) != 1]
        if missing:
            msg = (
                f"the table must have each of the columns {wanted} once; {missing} "
                f"are missing or repeated in {names}. Rename them, or pass the names "
                "of your columns."
            )
            raise TableError(msg)
        held = wanted[1:] if is_dataset(X) else wanted
        self.frame = to_pandas(X, list(dict.fromkeys(held)))
        if not len(self.frame):
            msg = "the table has no rows; at least one pair is needed."
            raise TableError(msg)
        self.others = tuple(others)
        self.pair_columns = (audio, text)
        self._table = X

    def count(self) -> int:
        """Return the number of rows."""
        return len(self.frame)

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order, numbered from zero."""
        audio_column, text_column = self.pair_columns
        # Cell by cell, because rows of a frame would have one dtype.
        cells = zip(*(self.frame[name].tolist() for name in self.others), strict=True)
        texts = self.frame[text_column].tolist()
        clips = cells_of(self._table, audio_column)
        for number, (audio, text) in enumerate(zip(clips, texts, strict=True)):
            kept = dict(zip(self.others, next(cells, ()), strict=True))
            shown = audio if isinstance(audio, str) else describe_audio(audio)
            yield Row(number, shown, audio, text, kept, None)

    def on_usable(
        self, compute: Callable[[pd.DataFrame], Any], pairs: pd.DataFrame
    ) -> Usable:
        """Compute on the usable pairs."""
        return on_usable_rows(compute, pairs)


def keep_keys(table: PairTable, model: Any, audio_folder: Path | None) -> None:
    """Do not prepend a folder to clips if a model looks them up by key.

    A folder that the user passed is still prepended.
    """
    if audio_folder is None and takes_keys(model):
        table.folder = ""


def result_format(path: Path) -> str:
    """Return the format in which a result is written, by the suffix of its name."""
    written = {name: fmt for name, fmt in SUFFIXES.items() if name not in _READ_ONLY}
    fmt = written.get(path.suffix.lower())
    if fmt is None:
        msg = (
            f"{str(path)!r} must end in {', '.join(written)}. Rename it, or specify "
            "the format."
        )
        raise ValueError(msg)
    return fmt


def pairs_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame of pairs, indexed by row number."""
    columns = {"audio": [row.path for row in rows], "text": [row.text for row in rows]}
    # Objects, because NumPy integers would show as np.int64(0) in messages.
    numbers = pd.Index([row.number for row in rows], dtype=object)
    return pd.DataFrame(columns, index=numbers, dtype=object)


def in_chunks(
    items: Iterable[T], size: int, row_of: Callable[[T], Row]
) -> Iterator[list[T]]:
    """Yield lists of `size` items, or of fewer if clips or texts are large."""
    chunk: list[T] = []
    n_bytes = 0
    for item in items:
        row = row_of(item)
        n_bytes += len(row.path["bytes"]) if _has_bytes(row.path) else 0
        n_bytes += len(row.text) if isinstance(row.text, str) else 0
        chunk.append(item)
        if len(chunk) == size or n_bytes > _CHUNK_BYTES:
            yield chunk
            chunk, n_bytes = [], 0
    if chunk:
        yield chunk


def on_usable_files(
    compute: Callable[[pd.DataFrame], Any], pairs: pd.DataFrame
) -> Usable:
    """Compute on the usable pairs, whose audio must be a file.

    `compute` takes pairs and returns any result, or raises BadPairsError.
    """
    no_paths = [
        BadPair(i, pairs.index[i], _named(audio), reason)
        for i, audio in enumerate(pairs["audio"])
        if (reason := _path_fault(audio))
    ]
    return on_usable_rows(compute, pairs, no_paths)


def _named(audio: Any) -> str:
    return "" if isinstance(audio, Fault) else f"audio {audio!r}"


def _path_fault(audio: Any) -> str:
    if isinstance(audio, Fault):
        return audio.reason
    if (isinstance(audio, str) and audio.strip()) or _has_bytes(audio):
        return ""
    return "the audio must be the path of a file. Fill it in or drop the row."


def _has_bytes(audio: Any) -> bool:
    """Return whether a cell contains an audio file, as in saved Datasets."""
    return isinstance(audio, Mapping) and isinstance(audio.get("bytes"), bytes)
