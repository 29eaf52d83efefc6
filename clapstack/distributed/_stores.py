"""An embedding store for each worker, and one store of all of them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from clapstack._optional import import_optional
from clapstack.store import EmbeddingStore, MergeReport

__all__ = ["merge_worker_stores", "use_worker_stores"]


def use_worker_stores(client: Any, folder: str | os.PathLike[str]) -> None:
    """Give every worker of a cluster an embedding store of its own.

    For workers on several machines, which cannot share one store: SQLite does not work
    across machines. Estimators with ``cache="auto"`` use it. Workers that come later,
    and those that come in place of dead ones, have one too.

    Parameters
    ----------
    client : distributed.Client
        The client of the cluster.
    folder : path-like
        Where the stores lie: ``folder/<name of the worker>``. It should be on a disk of
        the worker's machine; a worker whose name is used again finds its store again.

    Raises
    ------
    ImportError
        If distributed is not installed.
    RuntimeError
        If workers are threads of this process, which share one store.

    See Also
    --------
    merge_worker_stores : Adds them to one store when the work is done.
    """
    import_optional("distributed", extra="dask", caller="use_worker_stores")
    from clapstack.distributed._plugin import WorkerStore

    client.register_plugin(WorkerStore(os.path.abspath(folder)))


def merge_worker_stores(
    folder: str | os.PathLike[str], into: str | os.PathLike[str]
) -> dict[str, MergeReport]:
    """Add the stores of all workers to one store; doing it again changes nothing.

    Parameters
    ----------
    folder : path-like
        As for :func:`use_worker_stores`, when no worker uses it any more. Bring the
        folders of several machines to one place first; worker names differ.
    into : path-like
        Folder of the store that they are added to.

    Returns
    -------
    reports : dict of str to MergeReport
        What :meth:`clapstack.store.EmbeddingStore.merge` did for each worker, in the
        order of their names, in which they are merged.

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
            f"there is no worker's store in {os.fspath(folder)}. Pass the folder that "
            "use_worker_stores was given, and brought from the workers' machines."
        )
        raise FileNotFoundError(msg)
    with closing(EmbeddingStore(into)) as store:
        return {path.name: store.merge(path) for path in found}
