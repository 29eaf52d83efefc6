"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 3


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that suggests similar names, or nothing if there are none.

    It begins with a blank, so that it can follow a sentence.

    Examples
    --------
    >>> from clapstack._numerics.suggestions import did_you_mean
    >>> did_you_mean("MSCLP", ["msclap", "beats"])
    " Did you mean 'msclap'?"
    >>> did_you_mean("xyz", ["msclap", "beats"])
    ''
    """
    by_fold = {_fold(each): each for each in known}
    close = difflib.get_close_matches(_fold(str(name)), by_fold, n=_MOST)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(by_fold[each]) for each in close)}?"


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
