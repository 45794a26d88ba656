"""What comes of reading a changed file, seen from outside of the process that reads it."""

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sb3_gac import save_safe
from sb3_gac.data import TrajectoryReplayBuffer
from sb3_gac.data.stored_buffer import write_buffer
from tests.fuzz.mutation import SECRET
from tests.hub.contents import read

MAX_BYTES, MAX_SECONDS = 10**9, 60
# What no file may bring about, whatever is read
_FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")


def outcome(read: Callable[[], Any], file: Path, folder: Path) -> str:
    """
    Read a file in a process of its own.

    :param read: Reads it.
    :param file: The file, which errors must name.
    :param folder: Where the file ``ran`` tells that code of the file has run.
    :return: "refused" or "read", or what is wrong: "runs code", "crash", "memory", "time", "reads another file", "obscure",
        "accepted, but changed", each with details.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiver)
        text = _watched(read, file, folder)
        os.write(sender, text.encode()[:60_000])
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return f"time: more than {MAX_SECONDS} s" if name == "SIGALRM" else f"crash: {name}"
    return "runs code: the file ran" if (folder / "ran").exists() else text


def _watched(read: Callable[[], Any], file: Path, folder: Path) -> str:
    events: list[str] = []

    def watch(event: str, arguments: Any) -> None:
        if event in _FORBIDDEN or (event == "import" and str(arguments[0]).startswith("theirs")):
            events.append(f"{event} {str(arguments)[:100]}")

    sys.addaudithook(watch)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    signal.alarm(MAX_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        text = _compare(read(), file)
    except (ValueError, TypeError, FileNotFoundError) as error:
        text = "refused" if str(file) in str(error) else f"obscure: {error!r}"[:300]
    except BaseException as error:
        text = f"obscure: {error!r} {traceback.format_exc()[-600:]}"
    used = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if used > MAX_BYTES:
        text = f"memory: {used:,} bytes, then {text}"
    return f"runs code: {events}" if events else text


def _compare(found: Any, file: Path) -> str:
    """Whether what was read is what stands there: a model or a buffer is saved again."""
    if isinstance(found, list):
        arrays = [array for t in found for array in (t.observations, t.actions, t.rewards)]
        return "reads another file" if any((np.asarray(array) == SECRET).any() for array in arrays) else "read"
    if isinstance(found, TrajectoryReplayBuffer):
        write_buffer(file.with_name("again"), found)
        return "read" if _values(file.with_name("again")) == _values(file) else "accepted, but changed"
    given, again = (json.loads(read(path)[0]) for path in (file, save_safe(found, file.with_name("again"))))
    for name in ("quantile", "rise", "fall", "headroom"):  # arguments say that, too, and count
        del given["target_return"][name]
    if isinstance(train_freq := given["arguments"].get("train_freq"), int):
        given["arguments"]["train_freq"] = {"$tuple": [train_freq, "step"]}
    for key in given.keys() - {"versions"}:
        if (difference := _difference(given[key], again.get(key))) is not None:
            return f"accepted, but changed: {key}{difference}"
    return "read"


def _values(file: Path) -> bytes:
    content = file.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def _difference(given: Any, again: Any) -> str | None:
    if isinstance(given, dict) and isinstance(again, dict):
        # What a file does not say has its default
        found = ((key, _difference(value, again.get(key))) for key, value in given.items())
        return next((f"/{key}{difference}" for key, difference in found if difference is not None), None)
    if isinstance(given, list) and isinstance(again, list) and len(given) == len(again):
        return _difference(dict(enumerate(given)), dict(enumerate(again)))
    return None if given == again or str(given) == str(again) else f": {str(given)[:100]} became {str(again)[:100]}"
