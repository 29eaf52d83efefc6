import numpy as np
import pandas as pd
import pytest


def pair_columns(family, a, b):
    blocks = {
        "audio": a,
        "text": b,
        "product": a * b,
        "absdiff": np.abs(a - b),
        "sqdiff": (a - b) ** 2,
    }
    columns = {
        f"{family}__{role}{i}": block[:, i]
        for role, block in blocks.items()
        for i in range(block.shape[1])
    }
    return columns | {f"{family}__cosine": (a * b).sum(axis=1)}


def unit_rows(rng, shape):
    rows = rng.normal(size=shape)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def features():
    """Pair features of three contrastive families, and an auxiliary family."""
    rng = np.random.default_rng(0)
    columns = {}
    for family, dim in (("msclap", 5), ("laion", 4), ("fused", 4)):
        a, b = unit_rows(rng, (40, dim)), unit_rows(rng, (40, dim))
        columns |= pair_columns(family, a, b)
    columns |= {f"beats__mean{i}": rng.normal(size=40) for i in range(3)}
    return pd.DataFrame(columns)
