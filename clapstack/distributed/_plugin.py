"""Plugin that sets up a store for each worker; needs distributed."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from distributed import WorkerPlugin


class WorkerStore(WorkerPlugin):
    """Set a worker's ``$CLAPSTACK_CACHE``.

    Parameters
    ----------
    folder : str
        Folder of all stores on the worker's machine.
    """

    name = "clapstack-worker-store"

    def __init__(self, folder):
        self.folder = folder
        self._client = socket.gethostname(), os.getpid()

    def setup(self, worker):
        """Name the store after the worker."""
        if (socket.gethostname(), os.getpid()) == self._client:
            msg = (
                "workers are threads of this process and share its embedding store. "
                "Start the cluster with processes=True, or omit use_worker_stores."
            )
            raise RuntimeError(msg)
        name = re.sub(r"[^\w.-]+", "_", str(worker.name))
        os.environ["CLAPSTACK_CACHE"] = str(Path(self.folder) / name)
