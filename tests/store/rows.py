"""Rows that contain their own number, so that any change is detected."""

import numpy as np

from clapstack.store import text_key

SCOPE = "encoder\ntext"


def numbers(first, last):
    return list(range(first, last))


def put(store, some, width=8, scope=SCOPE):
    """Store rows that contain their own number, as one block."""
    rows = np.repeat(np.array(some, np.float32)[:, None], width, axis=1)
    store.put(scope, [text_key(str(number)) for number in some], rows)


def get(store, some, width=8, scope=SCOPE):
    """Return the numbers that are stored; each must be unchanged."""
    found, rows = store.get(scope, [text_key(str(number)) for number in some], width)
    for number, row in zip(np.array(some)[found], rows[found], strict=True):
        assert (row == number).all()
    assert not rows[~found].any()
    return np.array(some)[found].tolist()
