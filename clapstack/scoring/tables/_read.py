"""Tables of pairs, in files or frames: their columns, and where their clips lie."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
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

# What a column may be called where no option says so; the challenge's names too.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "wav_file_name", "wave_file_name", "file_name"),
    "text": ("text",),
    "score": ("score", "average_score", "average_semantic_alignement_score"),
    "prediction": ("score", "pred_score", "prediction_score"),
}
_READ_ONLY = (".tsv", ".json", ".arrow")
_CHUNK_BYTES = 1 << 28  # of clips that lie in the cells of a table

T = TypeVar("T")
_Reader = Callable[[Choose], Generator[TableRow, None, None]]


class Row(NamedTuple):
    """One row of a table.

    Attributes
    ----------
    number : int
        From zero, the line of the header not counted.
    audio : object
        As it stands in the table.
    path : object
        The same, with the folder of the clips before it if it is relative.
    text : object
        The text.
    cells : dict of str to object
        Other columns that were asked for, by role or name.
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
        A file, or ``"-"`` for standard input, which is read once. Or a folder: of clips
        with texts beside them, of Kaldi's lists, or that a Dataset was saved to; or
        Kaldi's ``wav.scp`` itself.
    prompts : str or Path, default=None
        Texts of the clips of a folder, by their names: a table, or JSON such as
        ``{"dog": "a dog barks"}``. For Kaldi's ``wav.scp``: its texts; None is the file
        ``text`` beside it.
    fmt : {"csv", "jsonl", "parquet"}, default=None
        None goes by the suffix; standard input is CSV then.
    audio_folder : Path, default=None
        What relative paths of clips are relative to. None is the folder of the table,
        or the current one for standard input.
    names : mapping of str to str, sequence of str or None, default=None
        Names of columns by role: ``audio``, ``text``, ``score``, ``prediction``. Of
        several names, and of its usual ones without any, a role takes the one that the
        table has.
    roles : sequence of str, default=("audio", "text")
        What the table must have.
    others : sequence of str, default=()
        Names of further columns.
    remedy : str, default="Say which with --{role}-column"
        What to do about a missing or doubtful column, for commands without options.

    Attributes
    ----------
    name : str
        For messages.
    files : tuple of path-like
        What is read, where a result must not be written.
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
        remedy: str = "Say which with --{role}-column",
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
                msg = f"prompts are for a folder of clips, and {self.name} is none."
                raise TableError(msg)
            here, self._records = self._open_file(source, fmt)
        folder = str(here if audio_folder is None else audio_folder)
        self.folder = "" if folder == "." else folder  # "a.wav", not "./a.wav"

    def _open_file(self, source: str | Path, fmt: str | None) -> tuple[Path, _Reader]:
        """Return where the clips of a table are, and what reads its rows."""
        if self.is_stdin:
            return Path(), partial(read_rows, "-", fmt)
        fmt = fmt or format_of(self.path)
        here = self.path if self.path.is_dir() else self.path.parent
        return here, partial(read_rows, self.path, fmt)

    def _open_folder(
        self, prompts: str | os.PathLike[str] | None, fmt: str | None
    ) -> tuple[Path, _Reader]:
        """Return where the clips of a folder are, and what reads its rows."""
        clips, texts = self.path, None if prompts is None else Path(prompts)
        is_kaldi = clips.suffix == ".scp" or (clips / KALDI).is_file()
        if fmt and (is_kaldi or texts is None):
            msg = f"{clips} is no file of the format {fmt}. Leave the format out."
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
        """What the columns of clips and of texts are called in the table."""
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
        """Return the number of rows, None if they can be read once only."""
        if self._is_read_once():
            return None
        return sum(1 for _ in self.rows())

    def check(self) -> None:
        """Read the first row, so that a fault is known at once."""
        rows = self._rows()
        first = next(rows, None)
        if first is not None and self._is_read_once():
            self._begun = chain([first], rows)

    def rows(self) -> Iterator[Row]:
        """Yield the rows in order.

        A missing or doubtful column, a table without rows and a line that cannot be
        read are a TableError that names them.
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
        """Return the path of a clip, relative ones in the folder of the clips."""
        if isinstance(audio, Mapping) and audio.get("bytes") is None:
            audio = audio.get("path")
        if isinstance(audio, str) and audio and not is_url(audio):
            return os.path.join(self.folder, os.path.expanduser(audio))
        return audio

    def on_usable(
        self, compute: Callable[[pd.DataFrame], Any], pairs: pd.DataFrame
    ) -> Usable:
        """Compute on the pairs that can be used, of which the audio must be a file."""
        return on_usable_files(compute, pairs)

    def _is_read_once(self) -> bool:
        """Return whether the rows of a pipe or of standard input are gone once read."""
        if self.is_stdin:
            return True
        mode = os.stat(self.path).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def _columns(self, header: Sequence[str]) -> dict[str, str]:
        """Return the name of every wanted column by role, or by name."""
        self._header = list(header)
        found = {role: self._column(role, header) for role in self.roles}
        for name in self.others:
            places = find_column(header, [name])
            if len(places) != 1:
                what = "more than one" if places else "no"
                guess = "" if places else did_you_mean(name, header)
                msg = f"{self.name} has {what} column {name!r}; it has {list(header)}."
                raise TableError(msg + guess)
            if found.setdefault(name, places[0]) != places[0]:
                msg = (
                    f"{self.name} has a column {name!r}, and the {name} is read from "
                    f"{found[name]!r}. Rename one, or leave {name!r} out."
                )
                raise TableError(msg)
        audio = "audio" if self._find else found.get("audio", "audio")
        self._pair_columns = audio, found.get("text", "text")
        return found

    def _column(self, role: str, header: Sequence[str]) -> str:
        usual = self._usual(role)
        found = find_column(header, usual)
        if role == "text" and not found and not self.names.get(role):
            usual = PROMPTS
            found = find_column(header, usual)
        if len(found) == 1:
            return found[0]
        what = "more than one" if found else "no"
        msg = (
            f"{self.name} has {what} column of {role} "
            f"({', '.join(map(repr, usual))}); it has {list(header)}. "
            f"{self._remedy.format(role=role)}; the first line must name the columns, "
            "separated by commas, semicolons or tabs."
        )
        raise TableError(msg + ("" if found else did_you_mean(usual[0], header)))

    def _usual(self, role: str) -> Sequence[str]:
        """Return what the column of a role may be called."""
        names = self.names.get(role) or SPELLINGS[role]
        return (names,) if isinstance(names, str) else names


class FrameTable:
    """A table of pairs in memory, with the interface of `PairTable`.

    Parameters
    ----------
    X : DataFrame (pandas or polars), Arrow table or Dataset
        With the columns `audio` and `text`. Clips are in any form that encoders take.
    audio, text : str
        Names of these columns.
    others : sequence of str
        Names of further columns.

    Attributes
    ----------
    frame : DataFrame
        These columns. Clips of a Dataset are left out: they may not fit into memory.
    """

    name = "the table"
    files = ()

    def __init__(self, X: Any, audio: str, text: str, others: Sequence[str] = ()):
        wanted = [audio, text, *others]
        names = columns_of(X)
        missing = [name for name in wanted if names.count(name) != 1]
        if missing:
            msg = (
                f"the table must have the columns {wanted}, each once; {missing} "
                f"are missing or twice in {names}. Rename them, or say how yours are "
                "called."
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
        # Cell by cell, as objects: rows of a frame would be of one type.
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
        """Compute on the pairs that can be used."""
        return on_usable_rows(compute, pairs)


def keep_keys(table: PairTable, model: Any, audio_folder: Path | None) -> None:
    """Leave keys as they stand in a table, where a model finds clips by key.

    A folder that the user gave is set before each clip all the same.
    """
    if audio_folder is None and takes_keys(model):
        table.folder = ""


def result_format(path: Path) -> str:
    """Return the format in which a result is written, by the suffix of its name."""
    written = {name: fmt for name, fmt in SUFFIXES.items() if name not in _READ_ONLY}
    fmt = written.get(path.suffix.lower())
    if fmt is None:
        msg = (
            f"{str(path)!r} must end in {', '.join(written)}, or its format be given "
            "by an option."
        )
        raise ValueError(msg)
    return fmt


def pairs_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame of pairs; its index holds the numbers of the rows."""
    columns = {"audio": [row.path for row in rows], "text": [row.text for row in rows]}
    # Of objects: NumPy's integers would show as np.int64(0) in messages.
    numbers = pd.Index([row.number for row in rows], dtype=object)
    return pd.DataFrame(columns, index=numbers, dtype=object)


def in_chunks(
    items: Iterable[T], size: int, row_of: Callable[[T], Row]
) -> Iterator[list[T]]:
    """Yield lists of `size` items, or of fewer if they hold large clips or texts."""
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
    """Compute on the pairs that can be used, of which the audio must be a file.

    `compute` takes pairs and returns anything, or raises BadPairsError.
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
    """Return whether a cell has a file in it, as Datasets write them."""
    return isinstance(audio, Mapping) and isinstance(audio.get("bytes"), bytes)
