"""Record of the files that an encoder was read from, with their states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clapstack.audio import FileState, file_state

_LISTENING: list[NotedFiles] = []


class NotedFiles:
    """Files that were looked up, with their states before they were read.

    Attributes
    ----------
    states : dict of str to FileState or None
        States by absolute path, including the files' folders, where others may appear.
        None for missing files.
    settled : bool
        Whether every change would result in another state.
    """

    def __init__(self) -> None:
        self.states: dict[str, FileState | None] = {}
        self.settled = True

    def add(self, path: Path) -> None:
        """Record a file and its folder, unless they are recorded already."""
        for place in (path.absolute(), path.absolute().parent):
            if str(place) not in self.states:
                state = file_state(place)
                self.settled &= state is not None or not place.exists()
                self.states[str(place)] = state


@contextmanager
def noted_files() -> Iterator[NotedFiles]:
    """Collect the files passed to `note_file` in this context."""
    files = NotedFiles()
    _LISTENING.append(files)
    try:
        yield files
    finally:
        _LISTENING.remove(files)


def note_file(path: Path) -> None:
    """Record a file that a checkpoint depends on, before it is read or if missing."""
    for files in _LISTENING:
        files.add(path)
