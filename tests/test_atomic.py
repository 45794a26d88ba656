"""Files are there whole or not at all, whoever is killed while writing and however many write."""

import os
import subprocess
import sys
import time
from pathlib import Path

import sb3_gac
from sb3_gac.atomic import LEFTOVER_AGE, replace_when_complete

WRITER = """
import sys
from pathlib import Path
from atomic import replace_when_complete
value = sys.argv[2].encode()
print("ready", flush=True)
for _ in range(int(sys.argv[3])):
    with replace_when_complete(Path(sys.argv[1])) as partial, partial.open("wb") as file:
        for _ in range(200):
            file.write(1000 * value)
"""


def write_in_a_process(path, value, n_times):
    arguments = [sys.executable, "-c", WRITER, str(path), value, str(n_times)]
    env = {**os.environ, "PYTHONPATH": str(Path(sb3_gac.__file__).parent)}  # without the rest, which takes seconds
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, env=env)
    process.stdout.readline()
    return process


def test_several_who_write_at_once_leave_a_whole_file(tmp_path):
    path = tmp_path / "file"
    writers = [write_in_a_process(path, value, 300) for value in "abc"]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 200_000 and len(set(content)) == 1
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_two_in_one_process(tmp_path):
    path = tmp_path / "file"
    with replace_when_complete(path) as first, replace_when_complete(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_leaves_is_removed_later(tmp_path):
    path = tmp_path / "file[1]"
    writer = write_in_a_process(path, "a", 10**6)
    while not list(tmp_path.glob(".file*")):
        time.sleep(0.001)
    writer.kill()
    writer.wait()
    (tmp_path / ".file[1].half.partial").write_text("half")
    (tmp_path / ".file1.other.partial").write_text("of another file")
    with replace_when_complete(path) as partial:
        partial.write_text("whole")
    assert (tmp_path / ".file[1].half.partial").exists()  # another may still write it
    for file in tmp_path.glob(".file*"):
        os.utime(file, (time.time() - 2 * LEFTOVER_AGE,) * 2)
    with replace_when_complete(path) as partial:
        partial.write_text("whole again")
    assert path.read_text() == "whole again"
    assert {file.name for file in tmp_path.iterdir()} == {path.name, ".file1.other.partial"}
