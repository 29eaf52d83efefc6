"""Tables of (audio, text) pairs: validation, identities, and unusable rows."""

from __future__ import annotations

import os
import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from clapstack._compat import columns_of, is_frame, to_pandas
from clapstack._numerics.checks import first_few, first_rows
from clapstack.audio import audio_key
from clapstack.exceptions import AudioError, BadPair, BadPairsError

__all__ = [
    "PAIR_COLUMNS",
    "Fault",
    "Preferences",
    "Usable",
    "bad_texts",
    "check_pairs",
    "clip_identity",
    "group_identity",
    "on_usable_rows",
    "read_preferences",
    "resolved_path",
    "text_identity",
]

PAIR_COLUMNS = ("audio", "text")


class Fault(NamedTuple):
    """Placeholder for a missing clip or text, with the reason.

    Attributes
    ----------
    reason : str
        The fault and its remedy.
    """

    reason: str


def check_pairs(estimator: Any, X: Any, *, reset: bool) -> pd.DataFrame:
    """Return pairs as a frame with the columns ``audio`` and ``text``.

    Parameters
    ----------
    estimator : estimator
        The calling estimator. Messages contain its name, and its ``feature_names_in_``
        and ``n_features_in_`` are set or checked.
    X : DataFrame or array-like of shape (n_pairs, 2)
        A DataFrame (pandas or polars), an Arrow table or a Hugging Face Dataset with
        columns ``audio`` and ``text`` in any order; other columns are ignored. Or an
        object array or sequence of ``(audio, text)`` rows.
    reset : bool
        True in ``fit``, False in ``transform`` and ``predict``.

    Returns
    -------
    pairs : DataFrame of shape (n_pairs, 2)
        Columns ``audio`` and ``text``, with the index labels of `X`, or 0, 1, ….

    Raises
    ------
    TypeError
        If `X` is neither a table nor rows.
    ValueError
        If a column is missing or repeated, the shape is wrong, or there are no rows.
    """
    who = type(estimator).__name__
    if is_frame(X):
        pairs = _from_frame(X, who)
    elif isinstance(X, np.ndarray):
        pairs = _from_array(X, who)
    elif isinstance(X, Sequence) and not isinstance(X, (str, bytes)):
        pairs = _from_rows(X, who)
    else:
        msg = (
            f"X passed to {who} must be a table (a pandas or polars DataFrame, an "
            "Arrow table or a Dataset) with columns 'audio' and 'text', or rows of "
            f"(audio, text); got {type(X).__name__}. Wrap it with pandas.DataFrame(X). "
            "For a DatasetDict, pass one split; for a lazy or iterable table, collect "
            "the rows."
        )
        raise TypeError(msg)
    if len(pairs) == 0:
        msg = f"X passed to {who} has no rows; at least one pair is needed."
        raise ValueError(msg)
    return validate_data(estimator, X=pairs, skip_check_array=True, reset=reset)


def bad_texts(pairs: pd.DataFrame) -> list[BadPair]:
    """Return the rows whose text is unusable.

    Parameters
    ----------
    pairs : DataFrame
        A frame with a column ``text``.

    Returns
    -------
    rows : list of BadPair
        One row per text that is not a string, is empty or blank, or is not valid
        Unicode, in order of position.
    """
    rows = []
    for position, text in enumerate(pairs["text"].tolist()):
        reason = _text_fault(text)
        if reason:
            source = "" if isinstance(text, Fault) else f"text {reprlib.repr(text)}"
            rows.append(BadPair(position, pairs.index[position], source, reason))
    return rows


def text_identity(text: str) -> str:
    """Return a normal form that is the same for all spellings of a text.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    identity : str
        The text in Unicode form NFC, with white space stripped at the ends and
        collapsed inside. Case is kept, because it may change the prompt.

    Examples
    --------
    >>> from clapstack.pairs import text_identity
    >>> text_identity("a  dog barks ") == text_identity("a dog barks")
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def clip_identity(audio: Any) -> str:
    """Return an identifier that is the same for all references to a clip.

    Parameters
    ----------
    audio : path-like, tuple or mapping
        A clip.

    Returns
    -------
    identity : str
        Key of the clip's content, as in the embedding store: copies, links, and
        ``./a.wav`` and ``a.wav`` are one clip. For an unreadable file, its path with
        links and ``..`` resolved.

    Raises
    ------
    AudioError
        If `audio` is neither a path nor a clip.
    """
    try:
        return audio_key(audio)
    except AudioError:
        if isinstance(audio, (str, os.PathLike)) and os.fspath(audio):
            return resolved_path(os.fspath(audio))
        raise


def resolved_path(path: str) -> str:
    """Return the resolved path of a file, which need not exist.

    Parameters
    ----------
    path : str
        Any path.

    Returns
    -------
    resolved : str
        Absolute path, with links and ``..`` resolved.
    """
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in the path, which no file system allows
        return os.path.abspath(path)


def group_identity(cell: Any) -> str | None:
    """Return an identifier that is the same for all cells naming a group or key.

    Parameters
    ----------
    cell : object
        A cell of a table.

    Returns
    -------
    identity : str or None
        For a text, its `text_identity`; for a number, its digits, so that ``1``,
        ``1.0`` and ``"1"`` are the same. None for an empty or blank text, None, NaN,
        and anything that is neither text nor number.
    """
    if isinstance(cell, str):
        return text_identity(cell) or None
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if isinstance(cell, (int, float)) and cell == cell:  # not NaN
        return str(cell)
    return None


class Preferences(NamedTuple):
    """Preferences between pairs, with every pair listed once.

    Attributes
    ----------
    X : DataFrame of shape (n_pairs, 2)
        The pairs, with columns ``audio`` and ``text``.
    preferences : ndarray of shape (n_preferences, 3), float64
        Two rows of `X` and the share of votes for the first: 1, 0, or 0.5 for a tie.
    groups : ndarray of shape (n_pairs,), int
        Group number of each row of `X`, which is the number of its text.
    """

    X: pd.DataFrame
    preferences: np.ndarray
    groups: np.ndarray


def read_preferences(
    table: Any,
    *,
    text: str = "text",
    first: str = "audio_a",
    second: str = "audio_b",
    winner: str = "winner",
    labels: Sequence[Any] = ("a", "b", "tie"),
) -> Preferences:
    """Convert a table of comparisons to preferences between distinct pairs.

    Parameters
    ----------
    table : DataFrame (pandas or polars), Arrow table or Dataset
        One row per comparison: a text, two clips, and the winner.
    text, first, second, winner : str
        Names of these columns.
    labels : sequence of 3, default=("a", "b", "tie")
        Labels in the winner column if the first clip won, the second clip won, or
        neither. Case and surrounding blanks are ignored, and ``1`` equals ``"1"``.

    Returns
    -------
    preferences : Preferences
        ``X``, ``preferences`` and ``groups``, for
        :class:`~clapstack.stacking.PreferenceRegressor`.

    Raises
    ------
    ValueError
        If a column is missing, a winner is not one of the labels, a text is empty, or
        both clips are the same; the message names the rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.pairs import read_preferences
    >>> table = pd.DataFrame(
    ...     {
    ...         "text": ["a dog barks", "a dog barks"],
    ...         "audio_a": ["v1.wav", "v2.wav"],
    ...         "audio_b": ["v2.wav", "v3.wav"],
    ...         "winner": ["b", "tie"],
    ...     }
    ... )
    >>> found = read_preferences(table)
    >>> found.X["audio"].tolist()
    ['v1.wav', 'v2.wav', 'v3.wav']
    >>> found.preferences.tolist()
    [[0.0, 1.0, 0.0], [1.0, 2.0, 0.5]]
    """
    columns = [text, first, second, winner]
    if not is_frame(table):
        msg = (
            f"table must be a DataFrame; got {type(table).__name__}. Use "
            "pandas.DataFrame(table)."
        )
        raise TypeError(msg)
    missing = [name for name in columns if name not in columns_of(table)]
    if missing:
        msg = (
            f"table has no column {first_few(missing)}; it has {columns_of(table)}. "
            "Name your columns with text=, first=, second= and winner=."
        )
        raise ValueError(msg)
    frame = to_pandas(table, columns)
    shares = dict(zip(map(_label, labels), (1.0, 0.0, 0.5), strict=True))
    share = np.array([shares.get(_label(w), np.nan) for w in frame[winner]])
    faults = {
        f"a winner that is not one of {tuple(labels)!r}|Pass your labels with "
        "labels=.": np.isnan(share),
        "a text that is empty or not a string|Fill it in or drop the row.": np.array(
            [_text_fault(cell) != "" for cell in frame[text]]
        ),
    }
    _refuse_comparisons(faults)
    prompts = [text_identity(cell) for cell in frame[text]]
    sides = [
        [(_clip_key(cell), prompt) for cell, prompt in zip(side, prompts, strict=True)]
        for side in (frame[first], frame[second])
    ]
    same = np.array([a == b for a, b in zip(*sides, strict=True)])
    _refuse_comparisons({"the same clip on both sides|Drop the row.": same})
    # Row by row, so that the first clip comes before the second.
    keys = [key for both in zip(*sides, strict=True) for key in both]
    codes, found = pd.factorize(pd.Series(keys, dtype=object))
    _, places = np.unique(codes, return_index=True)
    clips = frame[[first, second]].to_numpy(dtype=object).ravel()[places]
    # The first spelling of each text is used, so that it is encoded once.
    spelled = dict(zip(reversed(prompts), reversed(list(frame[text])), strict=True))
    texts = [spelled[prompt] for _, prompt in found]
    X = pd.DataFrame({"audio": clips, "text": texts}, dtype=object)
    groups = pd.factorize(pd.Series([prompt for _, prompt in found], dtype=object))[0]
    rows = codes.reshape(-1, 2)
    return Preferences(X, np.column_stack([rows, share]), groups)


def _label(cell: Any) -> str | None:
    identity = group_identity(cell)
    return None if identity is None else identity.casefold()


def _clip_key(audio: Any) -> str:
    """Return an identifier of a clip, without reading files."""
    if isinstance(audio, (str, os.PathLike)) and os.fspath(audio):
        return resolved_path(os.fspath(audio))
    return clip_identity(audio)


def _refuse_comparisons(faults: Mapping[str, np.ndarray]) -> None:
    for what, wrong in faults.items():
        rows = np.flatnonzero(wrong)
        if rows.size:
            fault, _, remedy = what.partition("|")
            msg = f"{rows.size} comparisons have {fault} ({first_rows(rows)}). {remedy}"
            raise ValueError(msg)


def _text_fault(text: Any) -> str:
    """Return the fault of a text, or an empty string if it has none."""
    if isinstance(text, Fault):
        return text.reason
    if not isinstance(text, str):
        kind = type(text).__name__
        return f"a text must be a string; got {kind}. Fill it in or drop the row."
    if not text or text.isspace():
        return "the text is empty or blank. Fill it in or drop the row."
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        return f"the text is not valid UTF-8 ({error.reason}). Save the table as UTF-8."
    return ""


def _from_frame(X: Any, who: str) -> pd.DataFrame:
    columns = columns_of(X)
    missing = [name for name in PAIR_COLUMNS if name not in columns]
    if missing:
        msg = (
            f"X passed to {who} must have columns 'audio' and 'text'; missing "
            f"{missing}, got {reprlib.repr(columns)}. Rename your columns with "
            "X.rename(...)."
        )
        raise ValueError(msg)
    named = [name for name in columns if name in PAIR_COLUMNS]
    if len(named) != 2:
        msg = (
            f"X passed to {who} has more than one column of the same name: {named}. "
            "Drop all but one of each."
        )
        raise ValueError(msg)
    return to_pandas(X, PAIR_COLUMNS)


def _from_array(X: np.ndarray, who: str) -> pd.DataFrame:
    if X.ndim != 2 or X.shape[1] != 2:
        msg = (
            f"X passed to {who} must have shape (n_pairs, 2), audio before text; got "
            f"an array of shape {X.shape}. Pass one row of (audio, text) per pair."
        )
        raise ValueError(msg)
    return pd.DataFrame(X, columns=list(PAIR_COLUMNS), dtype=object)


def _from_rows(X: Sequence[Any], who: str) -> pd.DataFrame:
    table = np.empty((len(X), 2), dtype=object)  # cell by cell: a cell may be a tuple
    for position, row in enumerate(X):
        is_pair = isinstance(row, (Sequence, np.ndarray)) and len(row) == 2
        if not is_pair or isinstance(row, (str, bytes, Mapping)):
            msg = (
                f"X passed to {who} must contain (audio, text) rows; row {position} is "
                f"{reprlib.repr(row)}. For a list of mappings, use pandas.DataFrame(X)."
            )
            raise ValueError(msg)
        table[position, 0], table[position, 1] = row
    return pd.DataFrame(table, columns=list(PAIR_COLUMNS), dtype=object)


class Usable(NamedTuple):
    """Result for the usable rows of a table, with the unusable rows.

    Attributes
    ----------
    values : object
        Result of the function for the usable rows; None if there are none.
    positions : ndarray of int
        Positions of the usable rows in the table.
    bad : list of BadPair
        The unusable rows, in order of their positions in the table.
    """

    values: Any
    positions: np.ndarray
    bad: list[BadPair]


def on_usable_rows(
    compute: Callable[[pd.DataFrame], Any],
    pairs: pd.DataFrame,
    known: Iterable[BadPair] = (),
) -> Usable:
    """Apply a function to the usable rows of a table.

    The function is called again without the rows that it refused. This is cheap,
    because encoders store the embeddings of all other rows before they raise. Encoders
    may refuse different rows, so there may be more than two calls.

    Parameters
    ----------
    compute : callable
        Function of pairs that returns a result or raises BadPairsError.
    pairs : DataFrame of shape (n_pairs, n_columns)
        Pairs, with the columns ``audio`` and ``text``.
    known : iterable of BadPair, default=()
        Rows that are already known to be unusable, and are not tried.

    Returns
    -------
    usable : Usable
        The result and the rows that it is for.
    """
    bad = list(known)
    left = np.setdiff1d(np.arange(len(pairs)), [row.position for row in bad])
    values = None
    while len(left):
        try:
            values = compute(pairs.iloc[left])
            break
        except BadPairsError as error:
            bad += [r._replace(position=int(left[r.position])) for r in error.rows]
            left = np.delete(left, [row.position for row in error.rows])
    return Usable(values, left, sorted(bad, key=lambda row: row.position))
