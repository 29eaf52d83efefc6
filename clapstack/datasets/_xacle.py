"""The XACLE challenge folder, real or simulated."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.utils import Bunch

__all__ = ["load_xacle"]

SPLITS = ("train", "validation", "test")

# The dataset's README and the official code name the columns differently.
_AVERAGE_SCHEMAS = (
    ("wav_file_name", "text", "average_score"),
    ("wave_file_name", "text", "average_semantic_alignement_score"),
)
_RATING_SCHEMAS = (
    ("wav_file_name", "text", "score"),
    ("wave_file_name", "text", "11-point semantic-alignment score"),
)
_SHOWN = 10


def load_xacle(root: str | Path, split: str = "train") -> Bunch:
    """Load one split of an XACLE folder.

    Parameters
    ----------
    root : path
        The challenge folder: the one that holds ``meta_data`` and ``wav``, or its
        parent with ``XACLE_dataset`` inside.
    split : {"train", "validation", "test"}, default="train"
        Which split.

    Returns
    -------
    data : Bunch
        X : DataFrame of shape (n_pairs, 2)
            ``audio`` (absolute path of the WAV file) and ``text``.
        y : ndarray of shape (n_pairs,), float64, or None
            Mean ratings in [0, 10]; None for a test split without ratings.
        ratings : DataFrame or None
            One row per rating: ``pair`` (row of X), ``score``, and ``listener_id``
            where the file has it.
        ids : ndarray of shape (n_pairs,), object
            Names of the WAV files.

    Raises
    ------
    FileNotFoundError
        If the folder, its tables or any WAV file is missing; rows are named.
    ValueError
        If columns are unknown, a WAV file is listed twice, a text is missing, or a
        score is missing or outside 0-10; rows are named.

    Notes
    -----
    Columns are read by name, in either spelling in use: ``wav_file_name, text,
    average_score`` and, per rating, ``score``; or ``wave_file_name, text,
    average_semantic_alignement_score`` and ``11-point semantic-alignment score``.

    Examples
    --------
    >>> from clapstack.datasets import load_xacle
    >>> load_xacle("no/such/folder")
    Traceback (most recent call last):
    ...
    FileNotFoundError: load_xacle found no folder 'meta_data' in 'no/such/folder'. ...
    """
    if split not in SPLITS:
        msg = f"split must be one of {SPLITS}; got {split!r}."
        raise ValueError(msg)
    root = _challenge_folder(Path(root))
    average_file = root / "meta_data" / f"{split}_average.csv"
    rating_file = root / "meta_data" / f"{split}.csv"
    ratings = None
    if rating_file.exists():
        ratings = _read(rating_file, _RATING_SCHEMAS, "score", scored=split != "test")
    if average_file.exists():
        pairs = _read(average_file, _AVERAGE_SCHEMAS, "average_score", scored=True)
    elif ratings is not None:
        pairs = ratings.drop_duplicates(["wav_file_name", "text"])
        if "score" in ratings:
            keys = [ratings["wav_file_name"], ratings["text"]]
            means = ratings["score"].groupby(keys).transform("mean")
            pairs = pairs.assign(average_score=means[pairs.index])
    else:
        msg = (
            f"load_xacle found neither {average_file.name!r} nor {rating_file.name!r} "
            f"in {str(root / 'meta_data')!r}. Check the name of the split, or unpack "
            "the tables of the challenge there."
        )
        raise FileNotFoundError(msg)
    _refuse(
        pairs["wav_file_name"].duplicated(),
        pairs,
        average_file if average_file.exists() else rating_file,
        "the WAV file is listed more than once",
        "Keep one row per clip.",
    )
    paths = [root / "wav" / split / name for name in pairs["wav_file_name"]]
    missing = pd.Series([not path.is_file() for path in paths], index=pairs.index)
    if missing.any():
        names = list(pairs.loc[missing, "wav_file_name"])
        msg = (
            f"{len(names)} of {len(pairs)} WAV files of split {split!r} are missing "
            f"from {str(root / 'wav' / split)!r}: {_shorten(names)}. Unpack the audio "
            "of the challenge there."
        )
        raise FileNotFoundError(msg)
    texts = pairs["text"].to_list()
    X = pd.DataFrame({"audio": [str(path) for path in paths], "text": texts})
    y = None
    if "average_score" in pairs:
        y = pairs["average_score"].to_numpy(dtype=float)
    if ratings is not None and "score" in ratings:
        row_of = {name: row for row, name in enumerate(pairs["wav_file_name"])}
        ratings.insert(0, "pair", ratings["wav_file_name"].map(row_of))
        _refuse(
            ratings["pair"].isna(),
            ratings,
            rating_file,
            f"the WAV file is not in {average_file.name!r}",
            "Remove the row, or add the pair.",
        )
        ratings = ratings.drop(columns=["wav_file_name", "text"])
        ratings = ratings.astype({"pair": int})
    else:
        ratings = None
    ids = pairs["wav_file_name"].to_numpy(dtype=object)
    return Bunch(X=X, y=y, ratings=ratings, ids=ids)


def _challenge_folder(root: Path) -> Path:
    for folder in (root, root / "XACLE_dataset"):
        if (folder / "meta_data").is_dir():
            return folder
    msg = (
        f"load_xacle found no folder 'meta_data' in {str(root)!r}. Pass the folder "
        "that holds 'meta_data' and 'wav'; clapstack.datasets.make_simulated_xacle "
        "writes a simulated one."
    )
    raise FileNotFoundError(msg)


def _read(
    path: Path, schemas: tuple[tuple[str, ...], ...], score: str, *, scored: bool
) -> pd.DataFrame:
    """Read a table in one of its schemas, with our names, checked row by row."""
    table = pd.read_csv(path, dtype={"listener_id": str}, keep_default_na=False)
    for names in schemas:
        needed = names if scored else names[:2]
        if set(needed) <= set(table.columns):
            break
    else:
        expected = " or ".join(str(list(names)) for names in schemas)
        msg = (
            f"{str(path)!r} must have the columns {expected}; it has "
            f"{list(table.columns)}. Rename them, or export the table again."
        )
        raise ValueError(msg)
    ours = ("wav_file_name", "text", score)
    table = table.rename(columns=dict(zip(names, ours, strict=True)))
    kept = [*ours, "listener_id"]
    table = table[[name for name in kept if name in table]].astype(
        {"wav_file_name": str, "text": str}
    )
    blank = table["text"].str.strip() == ""
    _refuse(blank, table, path, "the text is empty", "Fill it in.")
    if score in table:
        numbers = pd.to_numeric(table[score], errors="coerce")
        wrong = ~numbers.between(0, 10)
        _refuse(
            wrong, table, path, "the score is not a number from 0 to 10", "Correct it."
        )
        table[score] = numbers
    return table


def _refuse(
    bad: pd.Series[bool], table: pd.DataFrame, path: Path, what: str, remedy: str
) -> None:
    """Raise a ValueError that names the bad rows of a table."""
    if bad.any():
        rows = [
            f"line {line + 2} ({name})"
            for line, name in zip(
                bad.to_numpy().nonzero()[0],
                table.loc[bad.to_numpy(), "wav_file_name"],
                strict=True,
            )
        ]
        msg = f"{str(path)!r}: {what} in {_shorten(rows)}. {remedy}"
        raise ValueError(msg)


def _shorten(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"
