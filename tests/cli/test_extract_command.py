import json

import numpy as np
import pandas as pd
import pytest

from clapstack import MsClapPairFeatures
from clapstack.store import EmbeddingStore, default_cache_dir
from clapstack.streaming import StreamedFeatures

FAMILY = ["--checkpoints", "bundled", "--family", "msclap", "--quiet"]


@pytest.fixture
def table(write_csv, pairs):
    """Return a table whose row 2 cannot be used."""
    rows = [dict(pair) for pair in pairs]
    rows[2]["audio"] = "no_such.wav"
    return write_csv(rows)


@pytest.fixture(scope="module")
def expected(clips, pairs):
    X = pd.DataFrame(pairs)
    X["audio"] = [str(clips / name) for name in X["audio"]]
    features = MsClapPairFeatures("bundled:msclap", blocks=("audio", "text"))
    values = features.fit_transform(X)
    return np.hsplit(values, 2)


def test_embeddings_are_written_as_streamed_features_take_them(
    run, table, tmp_path, expected
):
    out = tmp_path / "e.npz"
    done = run("extract", table, "--out", out, *FAMILY, "--chunk-size", 5)
    assert done.exit_code == 1
    assert "row 2, " in done.stderr
    rows = [i for i in range(24) if i != 2]
    with np.load(out) as arrays:
        assert set(arrays) == {"row", "msclap__audio", "msclap__text"}
        assert arrays["row"].tolist() == rows
        sides = arrays["msclap__audio"], arrays["msclap__text"]
    for found, side in zip(sides, expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, side[rows], atol=1e-6)
    StreamedFeatures({"msclap": sides}).check("a stack")


def test_parquet_holds_a_column_of_vectors_per_block(run, table, tmp_path, expected):
    pytest.importorskip("pyarrow")
    out = tmp_path / "e.parquet"
    done = run(
        "extract", table, "--out", out, *FAMILY, "--blocks", "audio,cosine", "--json"
    )
    result = json.loads(done.stdout)
    assert (result["rows"], result["failed"]) == (24, 1)
    assert result["arrays"]["msclap__cosine"] == 1
    frame = pd.read_parquet(out)
    rows = frame["row"].to_numpy()
    audio, text = (side[rows] for side in expected)
    np.testing.assert_allclose(np.stack(frame["msclap__audio"]), audio, atol=1e-6)
    cosines = np.einsum("ij,ij->i", audio, text)
    np.testing.assert_allclose(frame["msclap__cosine"], cosines, atol=1e-5)


def test_without_a_file_embeddings_go_to_the_store(
    run, write_csv, pairs, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "store"))
    done = run("extract", write_csv(pairs), *FAMILY)
    assert (done.exit_code, done.output) == (0, "")
    assert EmbeddingStore(default_cache_dir()).stats().n_entries == 6 + 4


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--out", "e.txt"], 2, "must end in .npz or .parquet"),
        (["--family", "clap", "--checkpoints", "bundled"], 2, "family 'clap'"),
        (
            ["--blocks", "audio;text", *FAMILY],
            2,
            "'audio;text' is not one of audio, text",
        ),
        (["--blocks", "produc", *FAMILY], 2, "Did you mean 'product'?"),
    ],
)
def test_what_cannot_be_extracted_is_named(run, table, options, code, message):
    done = run("extract", table, *options)
    assert done.exit_code == code
    assert message in done.stderr
