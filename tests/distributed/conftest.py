import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, PairFeatures
from tests.distributed.encoders import BandsEncoder

N_PAIRS = 48
WORDS = ["bark", "rain", "wind", "bell", "door", "horn"]


class Workers:
    """A cluster of two worker processes of one thread each, on this machine."""

    def __init__(self):
        self._client = None

    def client(self):
        """Return a client of both workers; restart them if a killed one is missing."""
        if self._client is not None:
            try:
                self._client.wait_for_workers(2, timeout=30)
            except TimeoutError:  # its nanny did not start another
                self.close()
        if self._client is None:
            cluster = distributed.LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address=None,
                memory_limit=None,
                resources={"GPU": 1},
            )
            # No context manager: it would take precedence over later clients.
            self._client = distributed.Client(cluster)
            self._client.wait_for_workers(2, timeout=60)
        return self._client

    def close(self):
        if self._client is not None:
            self._client.close()
            self._client.cluster.close()
            self._client = None


@pytest.fixture(scope="session")
def workers():
    workers = Workers()
    yield workers
    workers.close()


@pytest.fixture
def cluster(workers):
    """Return a client of two worker processes, both alive."""
    return workers.client()


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Return distinct short clips with texts, names of rows and scores."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    paths = []
    for i in range(N_PAIRS):
        samples = np.cumsum(rng.uniform(-0.5, 0.5, 800 + 10 * i)) / 50
        paths.append(str(folder / f"{i:02d}.wav"))
        soundfile.write(paths[-1], samples, 8_000)
    texts = [f"{WORDS[i % len(WORDS)]} {i}" for i in range(N_PAIRS)]
    scores = rng.uniform(0, 10, N_PAIRS)
    table = {"audio": paths, "text": texts, "score": scores, "id": range(N_PAIRS)}
    return pd.DataFrame(table, index=[f"row {i}" for i in range(N_PAIRS)])


@pytest.fixture
def bad_pairs(pairs):
    """Return the same with a missing file, a blank text, and a row of both."""
    bad = pairs.copy()
    bad.loc["row 3", "audio"] = "nowhere.wav"
    bad.loc["row 30", "text"] = " "
    bad.loc["row 31", ["audio", "text"]] = ["nowhere.wav", " "]
    return bad


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "store")


def make_stack(encoder, cache, **params):
    features = PairFeatures(encoder, cache=cache, batch_size=5, **params)
    return Pipeline(
        [
            ("features", FeatureUnion([("bands", features)])),
            ("agreement", CrossAgreement(n_components=2)),
            ("stack", ClapStackingRegressor(boosting=False)),
        ]
    ).set_output(transform="pandas")


@pytest.fixture
def pipeline(pairs, cache):
    """Return a stack, fitted on all pairs."""
    return make_stack(BandsEncoder(), cache).fit(pairs, pairs["score"])


def cut(frame, npartitions=6):
    """Return a dask DataFrame of the rows, in order."""
    return dd.from_pandas(frame, npartitions=npartitions, sort=False)
