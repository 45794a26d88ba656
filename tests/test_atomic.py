"""Files and folders that are there whole or not at all, whoever else writes and whoever is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_gac.atomic import discard, lock_folder, replace_when_complete

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_fails_leaves_nothing(tmp_path: Path, is_folder: bool) -> None:
    def write(path: Path, text: str) -> None:
        if is_folder:
            path.mkdir()
            path /= "part"
        path.write_text(text)

    path = tmp_path / "path"
    with replace_when_complete(path) as partial:
        write(partial, "old")
        assert not path.exists()
    with pytest.raises(OSError, match="the disk is full"), replace_when_complete(path) as partial:
        write(partial, "new")
        raise OSError("the disk is full")
    assert (path / "part" if is_folder else path).read_text() == "old"
    assert os.listdir(tmp_path) == ["path"]
    discard(path)
    assert os.listdir(tmp_path) == []


def test_links(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with replace_when_complete(tmp_path / "link") as partial:
        partial.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@needs_fork
def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    program = f"""
import pathlib, sys, time
from sb3_gac.atomic import replace_when_complete
with replace_when_complete(pathlib.Path({str(tmp_path)!r}) / sys.argv[1]) as partial:
    partial.write_text("whole")
    print("written", flush=True)
    sys.stdin.readline()
"""
    root = Path(__file__).parents[1]
    start = [sys.executable, "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": root}
    killed, living = (subprocess.Popen([*start, name], **pipes) for name in ("a", "b"))  # type: ignore[call-overload]
    for process in (killed, living):
        assert process.stdout.readline() == "written\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(os.listdir(tmp_path)) == 2
    with replace_when_complete(tmp_path / "c") as partial:
        partial.write_text("whole")
    assert len(os.listdir(tmp_path)) == 2
    living.communicate("go on\n")
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]
    assert (tmp_path / "b").read_text() == "whole"


@needs_fork
def test_one_at_a_time_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    children = []
    for _ in range(4):
        if (child := os.fork()) == 0:
            for _ in range(50):
                with lock_folder(tmp_path):
                    (tmp_path / "count").write_text(str(1 + int((tmp_path / "count").read_text())))
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert (tmp_path / "count").read_text() == "200"


def test_two_writers_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "path"
    with replace_when_complete(path) as first, replace_when_complete(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # it was complete last
    assert os.listdir(tmp_path) == ["path"]


@needs_fork
def test_several_writers_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "path"
    children = []
    for value in (b"a", b"b", b"c"):
        if (child := os.fork()) == 0:
            for _ in range(50):
                with replace_when_complete(path) as partial, partial.open("wb") as file:
                    for _ in range(200):
                        file.write(1000 * value)
            os._exit(0)
        children.append(child)
    while children:
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 200_000 and len(set(content)) == 1
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            children.remove(child)
            assert status == 0
    assert os.listdir(tmp_path) == ["path"]
