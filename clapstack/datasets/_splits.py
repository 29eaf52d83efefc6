"""Clips shared by several splits, and small parts of splits."""

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
    """Find clips that occur in two splits.

    Parameters
    ----------
    splits : mapping of str to Bunch
        Loaded splits by name, the training split first.
    keys : mapping of str to str, default=None
        Key of each path, from :func:`clapstack.audio.audio_key`, if already known. If
        None, every clip is read.

    Returns
    -------
    overlaps : DataFrame
        One row per clip of a later split whose audio is also in an earlier one:
        ``split``, ``id``, ``text``, ``other_split``, ``other_id`` and ``same_text``
        (whether the texts are the same, too). Empty if the splits are disjoint.

    Notes
    -----
    Clips are compared by content, never by name: each folder may number its clips from
    zero, and a copy may have another name. Texts that differ only in white space or
    Unicode form count as the same.

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
        The split from which to draw the validation part. If None, it is drawn from the
        rest of `data`.
    n_train, n_validation : int
        Number of pairs in each part: 512 and 128 for the probes of the paper's Table 2,
        256 and 64 for its smoke test.
    random_state : int, default=0
        Seed of the draw.

    Returns
    -------
    train, validation : Bunch
        As from :func:`load_xacle`, including the ratings of the pairs.

    Raises
    ------
    ValueError
        If there are fewer pairs than the parts need.

    Notes
    -----
    The paper does not specify the pairs of its probes, so results for other draws
    differ by chance: with 128 pairs, the 95 % interval of an SRCC of .57 is about .25
    wide. For one seed, a smaller part is the beginning of a larger one.

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
                f"The probe needs {wanted} pairs for {name}, and at least one in each "
                f"part; there are {present}. Change n_train or n_validation."
            )
            raise ValueError(msg)
    rng = np.random.default_rng(random_state)
    order = rng.permutation(len(data.X))
    train = take_pairs(data, order[:n_train])
    if validation is None:
        # From the end, so that no part depends on the size of the other.
        return train, take_pairs(data, order[::-1][:n_validation])
    order = rng.permutation(len(validation.X))
    return train, take_pairs(validation, order[:n_validation])
