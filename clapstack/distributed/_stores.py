"""One embedding store per worker, and merging them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from clapstack._optional import import_optional
from clapstack.store import EmbeddingStore, MergeReport

__all__ = ["merge_worker_stores", "use_worker_stores"]


def use_worker_stores(client: Any, folder: str | os.PathLike[str]) -> None:
    """Set up a separate embedding store for each worker of a cluster.

    Use it for workers on several machines, which cannot share one store because SQLite
    does not work across machines. Estimators with ``cache="auto"`` use these stores.
    Workers that join later or replace others also get one.

    Parameters
    ----------
    client : distributed.Client
        Client of the cluster.
    folder : path-like
        Parent folder of the stores, ``folder/<name of the worker>``. It should be on a
        local disk of each worker. A worker with the name of an earlier one reuses its
        store.

    Raises
    ------
    ImportError
        If distributed is not installed.
    RuntimeError
        If workers are threads of this process, which share one store.

    See Also
    --------
    merge_worker_stores : Merge the stores when the work is done.
    """
    import_optional("distributed", extra="dask", caller="use_worker_stores")
    from clapstack.distributed._plugin import WorkerStore

    client.register_plugin(WorkerStore(os.path.abspath(folder)))


def merge_worker_stores(
    folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> dict[str, MergeReport]:
    """Merge the stores of all workers into one; repeating it changes nothing.

    Parameters
    ----------
    folder : path-like
        Folder passed to :func:`use_worker_stores`, no longer in use by any worker. Copy
        the folders of several machines to one place first; worker names are unique.
    into : path-like
        Folder of the target store.

    Returns
    -------
    reports : dict of str to MergeReport
        Output of :meth:`clapstack.store.EmbeddingStore.merge` by worker name, in the
        sorted order in which the stores are merged.

    Raises
    ------
    FileNotFoundError
        If there is no store in `folder`.
    OSError
        If a store cannot be read, or `into` cannot be written.
    """
    found = sorted(path for path in Path(folder).glob("*") if path.is_dir())
    if not found:
        msg = (
            f"there is no worker store in {os.fspath(folder)}. Pass the folder that "
            "was passed to use_worker_stores, copied from the workers' machines."
        )
        raise FileNotFoundError(msg)
    with closing(EmbeddingStore(into)) as store:
        return {path.name: store.merge(path) for path in found}
