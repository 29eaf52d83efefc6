"""Files of results, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "check_output",
    "is_stream",
    "named",
    "replaced",
    "write_bytes",
    "write_text",
]


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the name of a new file that takes the place of another when it is whole.

    Parameters
    ----------
    path : path-like
        The file. Its folder is made if it is missing. A symbolic link stays, and the
        file that it leads to is replaced. A device or a pipe stays too, and gets the
        content.

    Yields
    ------
    new : Path
        Where to write. After an error, or a kill, the file is as it was.

    Raises
    ------
    OSError
        If the file is a folder, may not be written, or there is no room.

    Notes
    -----
    The new file has the permissions of the old one. A second name of the old file (a
    hard link) keeps the old content. Of two processes that write one file, the one that
    ends last wins.
    """
    target = _target(path)
    if is_stream(target):
        with tempfile.TemporaryDirectory() as folder:
            new = Path(folder) / "content"
            with named(path, new):
                yield new
                with open(new, "rb") as source, open(target, "ab") as stream:
                    shutil.copyfileobj(source, stream)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name[:32]}.{uuid.uuid4().hex}.new")
    try:
        with named(path, new):
            new.touch(exist_ok=False)
            yield new
            with open(new, "r+b") as file:
                os.fsync(file.fileno())
            if target.exists():
                _take_permissions(new, target.stat())
            os.replace(new, target)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def named(path: str | os.PathLike[str], new: Path | None = None) -> Iterator[None]:
    """Give errors the user's name of the file, for no name or that of `new`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename) == str(new):
            error.filename = os.fspath(path)
        raise


def _take_permissions(new: Path, old: os.stat_result) -> None:
    # Another owner's file becomes ours where that is all we may do.
    with suppress(PermissionError):
        if hasattr(os, "chown"):
            os.chown(new, old.st_uid, old.st_gid)
    new.chmod(stat.S_IMODE(old.st_mode))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace a file by a text in UTF-8, whole or not at all."""
    with replaced(path) as new:
        # Names of files may hold bytes that are no UTF-8.
        new.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file by some bytes, whole or not at all."""
    with replaced(path) as new:
        new.write_bytes(content)


def check_output(
    path: str | os.PathLike[str], *sources: str | os.PathLike[str]
) -> None:
    """Raise if a result cannot be written to a file, before work is done for it.

    Parameters
    ----------
    path : path-like
        The file to write.
    *sources : path-like
        Files that are read, none of which may be the one to write.

    Raises
    ------
    ValueError
        If the file is one of the sources.
    OSError
        If it is a folder or may not be written.
    """
    target = _target(path)
    if target.exists() and not is_stream(target):
        for source in sources:
            if os.path.exists(source) and target.samefile(source):
                msg = (
                    f"{os.fspath(path)} is what is read, and the result would take its "
                    "place. Give the result another name."
                )
                raise ValueError(msg)
    folder = next(place for place in target.absolute().parents if place.exists())
    if not folder.is_dir():
        msg = f"cannot write {os.fspath(path)}: {folder} is a file, not a folder."
        raise NotADirectoryError(msg)
    if not is_stream(target) and not os.access(folder, os.W_OK):
        msg = f"cannot write {os.fspath(path)}: the folder {folder} is read-only."
        raise PermissionError(msg)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a device, pipe or socket, which cannot be replaced.

    So is what the shell opened, even if it is a file: others may be writing to it.
    """
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _target(path: str | os.PathLike[str]) -> Path:
    """Return the file to replace: what a symbolic link leads to."""
    if is_stream(path):  # /dev/stdout leads to what has no name that can be opened
        return Path(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        msg = f"cannot write {os.fspath(path)}: it is a folder. Add a file name."
        raise IsADirectoryError(msg)
    if target.exists() and not os.access(target, os.W_OK):
        msg = f"cannot write {os.fspath(path)}: the file is read-only."
        raise PermissionError(msg)
    return target
