"""Files of results: what is replaced, what is written to, what is refused."""

import errno
import os
import stat
import threading

import pytest

from clapstack._output import check_output, replaced, write_text

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


def test_a_new_file_has_the_usual_permissions(tmp_path):
    write_text(tmp_path / "folder" / "new.csv", "a\n")
    (tmp_path / "plain").touch()
    mode = (tmp_path / "folder" / "new.csv").stat().st_mode
    assert mode == (tmp_path / "plain").stat().st_mode


@posix
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    (tmp_path / "old.csv").touch(0o640)
    write_text(tmp_path / "old.csv", "new\n")
    assert stat.S_IMODE((tmp_path / "old.csv").stat().st_mode) == 0o640


@posix
def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link.csv").symlink_to("data/real.csv")
    for text in ("first\n", "second\n"):
        write_text(tmp_path / "link.csv", text)
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "data" / "real.csv").read_text() == text
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["real.csv"]


@posix
def test_another_name_of_the_file_keeps_the_old_content(tmp_path):
    (tmp_path / "a.csv").write_text("old")
    os.link(tmp_path / "a.csv", tmp_path / "b.csv")
    write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "b.csv").read_text() == "old"


@posix
def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(
        target=lambda: got.append((tmp_path / "pipe").read_text())
    )
    reader.start()
    write_text(tmp_path / "pipe", "a\n" * 100_000)
    reader.join(10)
    assert got == ["a\n" * 100_000]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@posix
def test_a_device_is_written_to():
    before = os.stat(os.devnull)
    write_text(os.devnull, "a")
    assert os.stat(os.devnull).st_rdev == before.st_rdev


@posix
def test_what_the_shell_opened_is_added_to(tmp_path):
    with open(tmp_path / "log", "w") as log:
        log.write("before\n")
        log.flush()
        write_text(f"/dev/fd/{log.fileno()}", "after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "old.csv").write_text("old")

    def fill():
        with replaced(tmp_path / "old.csv") as new:
            new.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as caught:
        fill()
    assert caught.value.filename == str(tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device")
def test_a_device_without_room_is_named():
    with pytest.raises(OSError, match="No space left") as caught:
        write_text("/dev/full", "a")
    assert caught.value.filename == "/dev/full"


def test_a_long_name_is_no_obstacle(tmp_path):
    name = f"{'n' * 251}.csv"
    write_text(tmp_path / name, "a")
    assert (tmp_path / name).read_text() == "a"


@pytest.mark.parametrize("check", [check_output, lambda path: write_text(path, "a")])
def test_a_folder_is_refused(tmp_path, check):
    with pytest.raises(IsADirectoryError, match=r"it is a folder\. Add a file name"):
        check(tmp_path)


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="root may write what is read-only"
)
@pytest.mark.parametrize("check", [check_output, lambda path: write_text(path, "a")])
def test_a_read_only_file_is_refused(tmp_path, check):
    (tmp_path / "a.csv").touch(0o444)
    with pytest.raises(PermissionError, match=r"a\.csv: the file is read-only"):
        check(tmp_path / "a.csv")


@posix
def test_a_source_is_refused_under_any_name(tmp_path):
    (tmp_path / "table.csv").write_text("a")
    (tmp_path / "link.csv").symlink_to("table.csv")
    os.link(tmp_path / "table.csv", tmp_path / "twin.csv")
    for name in ("table.csv", "link.csv", "twin.csv"):
        with pytest.raises(ValueError, match=rf"overwrite the input .*{name}"):
            check_output(tmp_path / name, tmp_path / "table.csv")
    check_output(tmp_path / "other.csv", tmp_path / "table.csv", "-")
