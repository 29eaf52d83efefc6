import pytest

from clapstack.store import EmbeddingStore, _database


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch):
    monkeypatch.setattr(_database, "warned", set())


@pytest.fixture
def store(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    yield store
    store.close()
