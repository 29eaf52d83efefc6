"""Rows that tell whether they are as they were stored: each holds its number."""

import numpy as np

from clapstack.store import text_key

SCOPE = "encoder\ntext"


def numbers(first, last):
    return list(range(first, last))


def put(store, some, width=8, scope=SCOPE):
    """Store rows that hold their own number, as one block."""
    rows = np.repeat(np.array(some, np.float32)[:, None], width, axis=1)
    store.put(scope, [text_key(str(number)) for number in some], rows)


def get(store, some, width=8, scope=SCOPE):
    """Return which numbers are there; each must be as it was put."""
    found, rows = store.get(scope, [text_key(str(number)) for number in some], width)
    for number, row in zip(np.array(some)[found], rows[found], strict=True):
        assert (row == number).all()
    assert not rows[~found].any()
    return np.array(some)[found].tolist()
