"""RELATE, the predecessor of XACLE, with public ratings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
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

__all__ = ["load_relate"]

_KEY = "wavname"
_ANCHOR = "anchor label"
_COLUMNS = (_KEY, "text", "score", "listener_id", _ANCHOR)
_IDENTITY = ("clip identity", "text identity")
# Only the table of relevance has RELATE's own split; the others have AudioCaps'.
_SPLITS = {
    "REL": ("in RELATE dataset", ("train", "validation", "test")),
    "IS": ("in AudioCaps", ("train", "test")),
    "OS": ("in AudioCaps", ("train", "test")),
}


def load_relate(
    audio_root: str | Path,
    scores_folder: str | Path,
    *,
    split: str = "train",
    score: str | Sequence[str] = "REL",
    anchors: bool = False,
) -> Bunch:
    """Load RELATE: human 0-10 ratings of text-audio relevance, per listener.

    Parameters
    ----------
    audio_root : path
        The unpacked audio, with the folders ``audiocaps``, ``tango`` and so on.
    scores_folder : path
        The folder with ``REL.csv``, ``IS.csv`` and ``OS.csv``.
    split : {"train", "validation", "test"}, default="train"
        Split to load. For REL it is defined by the column ``in RELATE dataset``; for IS
        and OS, which lack that column, and for several scores by ``in AudioCaps``,
        which has no validation split.
    score : {"REL", "IS", "OS"} or sequence of these, default="REL"
        Relevance, inclusion of the sound events, or their order. Several scores become
        axes of one `y`, for the pairs with a rating on any of them.
    anchors : bool, default=False
        Whether to keep anchors: deliberately mismatched pairs used to screen listeners.
        Only anchors assigned to the split can be kept.

    Returns
    -------
    data : Bunch
        X : DataFrame of shape (n_pairs, 2)
            ``audio`` (path of the WAV file) and ``text``.
        y : ndarray of shape (n_pairs,), float64
            Mean ratings in [0, 10]. For several scores, a DataFrame with one column
            each, NaN where a pair has no rating.
        ratings : DataFrame
            One row per rating: ``pair`` (row of X), ``score`` and ``listener_id``; for
            several scores also ``axis``.
        ids : ndarray of shape (n_pairs,), object
            ``wavname``; a clip may be rated with more than one text.
        anchor : ndarray of shape (n_pairs,), bool
            Whether the pair is an anchor.
        systems : ndarray of shape (n_pairs,), object
            Origin of the clip: ``audiocaps`` (recorded), ``tango``, ``audioldm2`` and
            so on. It is the clip's folder; the column ``audio type`` is not used, since
            it counts ``audioldm2`` as ``audioldm`` and ``tango2`` as ``tango``.

    Raises
    ------
    FileNotFoundError
        If the table or any clip is missing; the message lists missing clips.
    ValueError
        If the table cannot be read, columns are missing, a text or a listener is empty,
        a clip is not in a folder, a score is outside 0-10, a listener rated a pair
        twice, or the split has no pairs; the message lists the lines.

    Notes
    -----
    Ratings that the authors screened out (``excluded``) are in no split. Pairs have one
    or more ratings; all pairs count equally unless `sample_weight` is used. The data
    are described in [1]_.

    References
    ----------
    .. [1] Y. Kanamori et al., "RELATE: Subjective evaluation dataset for automatic
       evaluation of relevance between text and audio", Interspeech, 2025.

    Examples
    --------
    >>> from clapstack.datasets import load_relate
    >>> load_relate("RELATE_wave", "no/such/scores")
    Traceback (most recent call last):
    ...
    FileNotFoundError: load_relate found no 'REL.csv' in 'no/such/scores'. ...
    """
    several = not isinstance(score, str)
    wanted = [score] if isinstance(score, str) else list(dict.fromkeys(score))
    unknown = [name for name in wanted if name not in _SPLITS]
    if unknown or not wanted:
        msg = f"score must be one of {tuple(_SPLITS)}, or several; got {score!r}."
        raise ValueError(msg)
    column, splits = _SPLITS["IS"] if several else _SPLITS[wanted[0]]
    if split not in splits:
        msg = f"split must be one of {splits} for score={score!r}; got {split!r}."
        raise ValueError(msg)
    tables = []
    for name in wanted:
        file = Path(scores_folder) / f"{name}.csv"
        if not file.exists():
            msg = (
                f"load_relate found no {file.name!r} in {str(scores_folder)!r}. Pass "
                "the folder 'scores' of the RELATE repository."
            )
            raise FileNotFoundError(msg)
        own = _SPLITS[name][0]
        ratings = _read(file, *dict.fromkeys([column, own]))
        kept = (ratings[column] == split) & (ratings[own] != "excluded")
        if not anchors:
            kept &= ~ratings[_ANCHOR]
        if not kept.any():
            msg = f"{str(file)!r} has no rows whose {column!r} is {split!r}."
            raise ValueError(msg)
        tables.append(ratings[kept].assign(axis=name))
    ratings = pd.concat(tables, ignore_index=True)
    by_pair = ratings.groupby(list(_IDENTITY), sort=False)
    pairs = by_pair.agg(
        **{_KEY: (_KEY, "first"), "text": ("text", "first")},
        anchor=(_ANCHOR, "first"),
    ).reset_index()
    names = pairs[_KEY].to_list()
    paths = [clip_file(Path(audio_root), name.lstrip("/")) for name in names]
    missing = [
        name for name, path in zip(names, paths, strict=True) if not path.is_file()
    ]
    if missing:
        msg = (
            f"{len(missing)} of {len(pairs)} clips of split {split!r} are missing from "
            f"{str(audio_root)!r}: {first_few(missing)}. Unpack RELATE's audio there."
        )
        raise FileNotFoundError(msg)
    per_rating = ratings[["score", "listener_id", "axis"]].copy()
    per_rating.insert(0, "pair", by_pair.ngroup().to_numpy())
    means = per_rating.groupby(["pair", "axis"])["score"].mean().unstack()[wanted]
    y: pd.DataFrame | np.ndarray = means.rename_axis(index=None, columns=None)
    if not several:
        y = means[wanted[0]].to_numpy(float)
        per_rating = per_rating.drop(columns="axis")
    return RatedPairs(
        X=pd.DataFrame({"audio": list(map(str, paths)), "text": list(pairs["text"])}),
        y=y,
        ratings=per_rating,
        ids=pairs[_KEY].to_numpy(dtype=object),
        anchor=pairs["anchor"].to_numpy(dtype=bool),
        systems=pairs[_IDENTITY[0]].map(_system).to_numpy(dtype=object),
    )


def _read(path: Path, *splits: str) -> pd.DataFrame:
    """Read a table of ratings and check its rows."""
    table = read_frame(path, {name: (name,) for name in (*_COLUMNS, *splits)})
    source = str(path)
    table = refuse_texts_and_scores(table, _KEY, "score", source)
    refuse_nameless_listeners(table, _KEY, source)
    wrong = ~table[_ANCHOR].isin(["True", "False"])
    what = "the anchor label is neither True nor False|Correct it."
    refuse_rows(wrong, table, _KEY, source, what)
    for name, of, identity in zip(
        _IDENTITY, (_KEY, "text"), (clip_name_identity, text_identity), strict=True
    ):
        table[name] = table[of].map(identity)
    homeless = table[_IDENTITY[0]].map(_system) == ""
    what = "the clip's name lacks the folder of its system|Correct the name."
    refuse_rows(homeless, table, _KEY, source, what)
    twice = table.duplicated([*_IDENTITY, "listener_id"])
    what = "a listener rated the pair again|Keep one rating per listener and pair."
    refuse_rows(twice, table, _KEY, source, what)
    return table.assign(**{_ANCHOR: table[_ANCHOR] == "True"})


def _system(clip: str) -> str:
    """Return the first folder of a clip's name, or the empty string."""
    folder, _, rest = clip.replace(os.sep, "/").lstrip("/").partition("/")
    return folder if rest else ""
