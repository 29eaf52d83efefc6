"""Which files an encoder was read from, and how each of them was then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clapstack.audio import FileState, file_state

_LISTENING: list[NotedFiles] = []


class NotedFiles:
    """Files that were looked for, by the state in which they were before.

    Attributes
    ----------
    states : dict of str to FileState or None
        By absolute path, folders of these files too, in which others may appear; None
        for what is not there.
    settled : bool
        Whether any change would have left another state.
    """

    def __init__(self) -> None:
        self.states: dict[str, FileState | None] = {}
        self.settled = True

    def add(self, path: Path) -> None:
        """Note a file and its folder, unless they are noted."""
        for place in (path.absolute(), path.absolute().parent):
            if str(place) not in self.states:
                state = file_state(place)
                self.settled &= state is not None or not place.exists()
                self.states[str(place)] = state


@contextmanager
def noted_files() -> Iterator[NotedFiles]:
    """Collect what is passed to `note_file` meanwhile."""
    files = NotedFiles()
    _LISTENING.append(files)
    try:
        yield files
    finally:
        _LISTENING.remove(files)


def note_file(path: Path) -> None:
    """Note a file that a checkpoint depends on; it is read after this, or missing."""
    for files in _LISTENING:
        files.add(path)
