"""Embeddings on disk, keyed by content, shared by runs and processes."""

from clapstack.store._location import default_cache_dir, open_store, text_key
from clapstack.store._store import (
    EmbeddingStore,
    MergeReport,
    StoreStats,
    VerifyReport,
)

__all__ = [
    "EmbeddingStore",
    "MergeReport",
    "StoreStats",
    "VerifyReport",
    "default_cache_dir",
    "open_store",
    "text_key",
]
