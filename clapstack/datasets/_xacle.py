"""The XACLE challenge folder, real or simulated, and its official ranking."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.utils import Bunch

from clapstack._numerics.checks import first_few
from clapstack.datasets._tables import (
    RatedPairs,
    clip_file,
    clip_name_identity,
    refuse_nameless_listeners,
    refuse_texts_and_scores,
)
from clapstack.pairs import text_identity
from clapstack.tables import read_frame, refuse_rows

__all__ = ["list_xacle_splits", "load_xacle", "load_xacle_ranking"]

SPLITS = ("train", "validation", "test")

# The dataset's README and the official code use different column names.
_AVERAGE_SCHEMAS = (
    ("wav_file_name", "text", "average_score"),
    ("wave_file_name", "text", "average_semantic_alignement_score"),
)
_RATING_SCHEMAS = (
    ("wav_file_name", "text", "score"),
    ("wave_file_name", "text", "11-point semantic-alignment score"),
)
# The development data and, as of 2026, the test data are two downloads.
_FOLDERS = ("XACLE_dataset", "XACLE_test_data")
_KEY = "wav_file_name"
_RANKING = Path(__file__).with_name("xacle_2026_ranking.csv")


def load_xacle(root: str | Path, split: str = "train") -> Bunch:
    """Load one split of an XACLE folder.

    Parameters
    ----------
    root : path
        The challenge folder: the one with ``meta_data`` and ``wav``, or the parent of
        ``XACLE_dataset`` (for the test split, of ``XACLE_test_data``). The 2027 edition
        inherits the development data of 2026 and its layout.
    split : {"train", "validation", "test"}, default="train"
        Split to load.

    Returns
    -------
    data : Bunch
        X : DataFrame of shape (n_pairs, 2)
            ``audio`` (path of the WAV file) and ``text``.
        y : ndarray of shape (n_pairs,), float64, or None
            Mean ratings in [0, 10]; None for a test split without ratings.
        ratings : DataFrame or None
            One row per rating: ``pair`` (row of X), ``score``, and ``listener_id`` if
            the file has it.
        ids : ndarray of shape (n_pairs,), object
            Names of the WAV files.
        simulated : bool
            Whether the data was created by :func:`make_simulated_xacle` and not rated
            by humans.

    Raises
    ------
    FileNotFoundError
        If the folder, its tables or any WAV file is missing; the message lists missing
        files.
    ValueError
        If a table cannot be read, columns are unknown, a WAV file is listed twice, a
        text is missing or differs between the tables, a listener has no name, or a
        score is missing or outside 0-10; the message lists the lines.

    See Also
    --------
    find_overlaps : Finds clips that occur in two splits.
    load_relate : Loads the challenge's predecessor, whose ratings are public.

    Notes
    -----
    Cells are read as text: a caption ``007`` stays one. Columns are found by name, in
    either spelling in use: ``wav_file_name, text, average_score`` and, per rating,
    ``score``; or ``wave_file_name, text, average_semantic_alignement_score`` and
    ``11-point semantic-alignment score``. If there are only ratings, as in the test
    data of 2026, their means are used.

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
    root = _challenge_folder(Path(root), split)
    average_file = root / "meta_data" / f"{split}_average.csv"
    rating_file = root / "meta_data" / f"{split}.csv"
    ratings = None
    if rating_file.exists():
        ratings = _read(rating_file, _RATING_SCHEMAS, "score", scored=split != "test")
    if average_file.exists():
        pairs = _read(average_file, _AVERAGE_SCHEMAS, "average_score", scored=True)
    elif ratings is not None:
        keys = [_clips(ratings), ratings["text"].map(text_identity)]
        pairs = ratings[~pd.concat(keys, axis=1).duplicated()]
        if "score" in ratings:
            means = ratings["score"].groupby(keys).transform("mean")
            pairs = pairs.assign(average_score=means[pairs.index])
    else:
        msg = (
            f"load_xacle found neither {average_file.name!r} nor {rating_file.name!r} "
            f"in {str(root / 'meta_data')!r}. Check the name of the split, or unpack "
            "the challenge's tables there."
        )
        raise FileNotFoundError(msg)
    source = str(average_file if average_file.exists() else rating_file)
    what = "the WAV file is listed more than once|Keep one row per clip."
    refuse_rows(_clips(pairs).duplicated(), pairs, _KEY, source, what)
    paths = [clip_file(root / "wav" / split, name) for name in pairs[_KEY]]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        msg = (
            f"{len(missing)} of {len(pairs)} WAV files of split {split!r} are missing "
            f"from {str(root / 'wav' / split)!r}: {first_few(missing)}. Unpack the "
            "challenge's audio there."
        )
        raise FileNotFoundError(msg)
    return RatedPairs(
        X=pd.DataFrame({"audio": list(map(str, paths)), "text": list(pairs["text"])}),
        y=pairs["average_score"].to_numpy(float) if "average_score" in pairs else None,
        ratings=_of_pairs(ratings, pairs, rating_file, source),
        ids=pairs[_KEY].to_numpy(dtype=object),
        simulated=(root / "simulated_truth.csv").exists(),
    )


def list_xacle_splits(root: str | Path) -> list[str]:
    """Return the splits whose tables an XACLE folder contains.

    Parameters
    ----------
    root : path
        As for :func:`load_xacle`.

    Returns
    -------
    splits : list of str
        Those of ``train``, ``validation`` and ``test`` that exist, in this order.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or has no training split.

    Examples
    --------
    >>> import tempfile
    >>> from clapstack.datasets import list_xacle_splits, make_simulated_xacle
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_simulated_xacle(folder, n_train=1, n_validation=1, n_test=1)
    ...     list_xacle_splits(root)
    ['train', 'validation', 'test']
    """
    splits = [
        split
        for split in SPLITS
        if any(
            (_challenge_folder(Path(root), split) / "meta_data" / name).exists()
            for name in _tables(split)
        )
    ]
    if "train" not in splits:
        msg = (
            f"{str(root)!r} has no tables of the training split (meta_data/train.csv, "
            "meta_data/train_average.csv). Unpack the development data there."
        )
        raise FileNotFoundError(msg)
    return splits


def load_xacle_ranking() -> pd.DataFrame:
    """Return the official ranking of 2026, the baselines and the paper's results.

    Returns
    -------
    ranking : DataFrame
        ``rank`` (missing for systems that did not take part), ``system``, ``srcc``,
        ``lcc``, ``ktau``, ``mse`` on the test split, ``kind`` (``official``,
        ``baseline`` or ``paper``) and ``what`` (a description); the highest SRCC first.

    Notes
    -----
    Ranks 1 to 10 and the 2026 baseline are from the organisers' results page, the 2027
    baseline from its code, and the other rows from Table 1 of the paper.

    Examples
    --------
    >>> from clapstack.datasets import load_xacle_ranking
    >>> load_xacle_ranking()[["system", "srcc"]].head(2)
                 system    srcc
    0        Sun_NPU_01  0.6402
    1  Chunarkar_NTHU_01  0.6382
    """
    ranking = pd.read_csv(_RANKING, dtype={"rank": "Int64"})
    return ranking.sort_values("srcc", ascending=False, ignore_index=True)


def _challenge_folder(root: Path, split: str) -> Path:
    """Return the folder with the split's tables, else one with any tables."""
    folders = [
        folder
        for folder in (root, *(root / name for name in _FOLDERS))
        if (folder / "meta_data").is_dir()
    ]
    if not folders:
        msg = (
            f"load_xacle found no folder 'meta_data' in {str(root)!r}. Pass the folder "
            "that has 'meta_data' and 'wav'; clapstack.datasets.make_simulated_xacle "
            "writes a simulated one."
        )
        raise FileNotFoundError(msg)
    for folder in folders:
        if any((folder / "meta_data" / name).exists() for name in _tables(split)):
            return folder
    return folders[0]


def _tables(split: str) -> tuple[str, str]:
    return f"{split}_average.csv", f"{split}.csv"


def _read(
    path: Path, schemas: tuple[tuple[str, ...], ...], score: str, *, scored: bool
) -> pd.DataFrame:
    """Read a table in one of its schemas, under our names, and check its rows."""
    ours = (_KEY, "text", score)
    columns = dict(zip(ours, zip(*schemas, strict=True), strict=True))
    optional = ["listener_id"] if scored else ["listener_id", score]
    if schemas is _RATING_SCHEMAS:
        columns["listener_id"] = ("listener_id",)
    table = read_frame(path, columns, optional)
    source = str(path)
    if "listener_id" in table:
        refuse_nameless_listeners(table, _KEY, source)
    return refuse_texts_and_scores(table, _KEY, score, source)


def _of_pairs(
    ratings: pd.DataFrame | None, pairs: pd.DataFrame, path: Path, source: str
) -> pd.DataFrame | None:
    """Return the ratings with the row numbers of their pairs, or None."""
    if ratings is None or "score" not in ratings:
        return None
    row_of = {name: row for row, name in enumerate(_clips(pairs))}
    pair = _clips(ratings).map(row_of)
    table = Path(source).name
    what = f"the WAV file is not in {table!r}|Remove the row, or add the pair."
    refuse_rows(pair.isna(), ratings, _KEY, str(path), what)
    pair = pair.astype(int)
    text = pairs["text"].map(text_identity).to_numpy()[pair]
    what = f"the text differs from the one in {table!r}|Correct one of them."
    other = ratings["text"].map(text_identity) != text
    refuse_rows(other, ratings, _KEY, str(path), what)
    ratings = ratings.drop(columns=[_KEY, "text"])
    ratings.insert(0, "pair", pair)
    return ratings.reset_index(drop=True)


def _clips(table: pd.DataFrame) -> pd.Series[str]:
    """Return normalised clip names, which identify the clips of a table."""
    return table[_KEY].map(clip_name_identity)
