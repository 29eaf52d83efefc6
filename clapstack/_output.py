"""Output files that appear only when they are complete."""

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
    """Yield the name of a new file, which replaces `path` when it is complete.

    Parameters
    ----------
    path : path-like
        The file. Its folder is created if necessary. A symbolic link is kept, and its
        target is replaced. A device or pipe is kept and receives the content.

    Yields
    ------
    new : Path
        File to write to. An error or interruption leaves `path` unchanged.

    Raises
    ------
    OSError
        If `path` is a folder or read-only, or the disk is full.

    Notes
    -----
    The new file has the permissions of the old one. Other hard links to the old file
    keep the old content. If two processes write the same file, the last one wins.
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
    """Name `path` in errors that name `new` or no file."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename) == str(new):
            error.filename = os.fspath(path)
        raise


def _take_permissions(new: Path, old: os.stat_result) -> None:
    # Without the right to change the owner, the file becomes ours.
    with suppress(PermissionError):
        if hasattr(os, "chown"):
            os.chown(new, old.st_uid, old.st_gid)
    new.chmod(stat.S_IMODE(old.st_mode))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the content of a file by a text in UTF-8, in one step."""
    with replaced(path) as new:
        # File names in the text may contain bytes that are not UTF-8.
        new.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the content of a file by bytes, in one step."""
    with replaced(path) as new:
        new.write_bytes(content)


def check_output(
    path: str | os.PathLike[str], *sources: str | os.PathLike[str]
) -> None:
    """Raise an error early if a result cannot be written to a file.

    Parameters
    ----------
    path : path-like
        The file to write.
    *sources : path-like
        Files that are read, which the result must not replace.

    Raises
    ------
    ValueError
        If the file is one of the sources.
    OSError
        If the file is a folder or read-only.
    """
    target = _target(path)
    if target.exists() and not is_stream(target):
        for source in sources:
            if os.path.exists(source) and target.samefile(source):
                msg = (
                    f"The output would overwrite the input {os.fspath(path)}. Choose "
                    "another name."
                )
                raise ValueError(msg)
    folder = next(place for place in target.absolute().parents if place.exists())
    if not folder.is_dir():
        msg = f"cannot write {os.fspath(path)}: {folder} is a file, not a folder."
        raise NotADirectoryError(msg)
    if not is_stream(target) and not os.access(folder, os.W_OK):
        msg = (
            f"cannot write {os.fspath(path)}: the folder {folder} is read-only. Write "
            "to another folder."
        )
        raise PermissionError(msg)


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a device, pipe or socket, which cannot be replaced.

    A file opened by the shell counts too, because other processes may write to it.
    """
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _target(path: str | os.PathLike[str]) -> Path:
    """Return the file to replace, following symbolic links."""
    if is_stream(path):  # the target of /dev/stdout may have no name to open
        return Path(path)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        msg = f"cannot write {os.fspath(path)}: it is a folder. Add a file name."
        raise IsADirectoryError(msg)
    if target.exists() and not os.access(target, os.W_OK):
        msg = (
            f"cannot write {os.fspath(path)}: the file is read-only. Give the result "
            "another name."
        )
        raise PermissionError(msg)
    return target
