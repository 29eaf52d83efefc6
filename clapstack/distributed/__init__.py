"""Feature extraction and scoring of partitioned tables with Dask."""

from clapstack.distributed._files import read_features, write_features
from clapstack.distributed._partitions import extract_partitions, score_partitions
from clapstack.distributed._stores import merge_worker_stores, use_worker_stores

__all__ = [
    "extract_partitions",
    "merge_worker_stores",
    "read_features",
    "score_partitions",
    "use_worker_stores",
    "write_features",
]
