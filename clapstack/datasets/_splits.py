"""Clips that several splits share, and small parts of splits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from clapstack.audio import audio_key
from clapstack.datasets._tables import take_pairs
from clapstack.pairs import text_identity

__all__ = ["find_overlaps", "probe_split"]


def find_overlaps(
    splits: Mapping[str, Bunch], keys: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Find clips that stand in two splits.

    Parameters
    ----------
    splits : mapping of str to Bunch
        Loaded splits by name, the training split first.
    keys : mapping of str to str, default=None
        What :func:`clapstack.audio.audio_key` gives for each path, where it is known.
        None reads every clip.

    Returns
    -------
    overlaps : DataFrame
        One row per clip of a later split whose sound is in an earlier one: ``split``,
        ``id``, ``text``, ``other_split``, ``other_id`` and ``same_text``, which tells
        whether the two are one and the same pair. Empty if the splits are disjoint.

    Notes
    -----
    Clips are compared by content, never by name: folders may number their clips from
    zero, and a copy may have another name. Texts that differ in white space or Unicode
    form alone are the same.

    Examples
    --------
    >>> import tempfile
    >>> from clapstack.datasets import find_overlaps, load_xacle, make_simulated_xacle
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_simulated_xacle(folder, n_train=2, n_validation=2, n_test=0)
    ...     splits = {name: load_xacle(root, name) for name in ("train", "validation")}
    ...     len(find_overlaps(splits))
    0
    """
    seen: dict[str, list[tuple[str, str, str]]] = {}
    rows = []
    for split, data in splits.items():
        here: dict[str, list[tuple[str, str, str]]] = {}
        for name, audio, text in zip(
            data.ids, data.X["audio"], data.X["text"], strict=True
        ):
            key = audio_key(audio) if keys is None else keys[audio]
            here.setdefault(key, []).append((split, name, text))
            rows += [
                {
                    "split": split,
                    "id": name,
                    "text": text,
                    "other_split": other_split,
                    "other_id": other_name,
                    "same_text": text_identity(text) == text_identity(other_text),
                }
                for other_split, other_name, other_text in seen.get(key, [])
            ]
        for key, places in here.items():
            seen.setdefault(key, []).extend(places)
    columns = ["split", "id", "text", "other_split", "other_id", "same_text"]
    return pd.DataFrame(rows, columns=columns)


def probe_split(
    data: Bunch,
    validation: Bunch | None = None,
    *,
    n_train: int = 512,
    n_validation: int = 128,
    random_state: int = 0,
) -> tuple[Bunch, Bunch]:
    """Draw the small training and validation parts of a probe.

    Parameters
    ----------
    data : Bunch
        A loaded training split.
    validation : Bunch, default=None
        Where the validation part is drawn from. None draws it from `data`, without the
        pairs of the training part.
    n_train, n_validation : int
        Pairs in each part: 512 and 128 for the probes of the paper's Table 2, 256 and
        64 for its smoke test.
    random_state : int, default=0
        Draws the pairs.

    Returns
    -------
    train, validation : Bunch
        As :func:`load_xacle` returns them; their ratings are taken along.

    Raises
    ------
    ValueError
        If there are fewer pairs than the parts need.

    Notes
    -----
    The paper does not say which pairs its probes used, so figures of other draws differ
    from it by chance: at 128 pairs, an interval of 95 % around an SRCC of .57 is about
    .25 wide. A smaller part of one seed is the beginning of a larger one.

    Examples
    --------
    >>> import tempfile
    >>> from clapstack.datasets import load_xacle, make_simulated_xacle, probe_split
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = make_simulated_xacle(folder, n_train=6, n_validation=0, n_test=0)
    ...     train, held_out = probe_split(load_xacle(root), n_train=4, n_validation=2)
    >>> len(train.X), len(held_out.X)
    (4, 2)
    """
    if validation is None:
        needs = [("train and validation", n_train + n_validation, len(data.X))]
    else:
        needs = [("train", n_train, len(data.X))]
        needs += [("validation", n_validation, len(validation.X))]
    for name, wanted, present in needs:
        if wanted > present or min(n_train, n_validation) < 1:
            msg = (
                f"The probe needs {wanted} pairs for {name}, and one or more in each "
                f"part; there are {present}. Change n_train or n_validation."
            )
            raise ValueError(msg)
    rng = np.random.default_rng(random_state)
    order = rng.permutation(len(data.X))
    train = take_pairs(data, order[:n_train])
    if validation is None:
        # From the end, so that neither part depends on the size of the other.
        return train, take_pairs(data, order[::-1][:n_validation])
    order = rng.permutation(len(validation.X))
    return train, take_pairs(validation, order[:n_validation])
