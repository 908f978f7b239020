"""One repair of an environment at a time, one watcher of a data folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import Timeout

from tfgpu_tray.store.locks import is_held, prefix_lock, take, watcher_lock

HOLD = """
import sys
from pathlib import Path
from tfgpu_tray.store.locks import prefix_lock
lock = prefix_lock(Path(sys.argv[1]), Path(sys.argv[2]))
lock.acquire(timeout=0)
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def another_process(folder: Path, prefix: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of *prefix* until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(prefix)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_lock_that_nobody_holds_is_not_held(tmp_path: Path) -> None:
    lock = prefix_lock(tmp_path / "new" / "data", Path("/envs/tf"))
    assert not is_held(lock)
    assert not is_held(lock)  # looking does not take it
    lock.acquire(timeout=0)
    lock.release()


def test_a_lock_held_by_a_process_is_held_until_that_is_killed(tmp_path: Path) -> None:
    prefix = Path("/envs/tf")
    with another_process(tmp_path, prefix) as process:
        assert is_held(prefix_lock(tmp_path, prefix))
        with pytest.raises(Timeout):
            prefix_lock(tmp_path, prefix).acquire(timeout=0)
        assert not is_held(prefix_lock(tmp_path, Path("/envs/other")))
        assert not is_held(prefix_lock(tmp_path / "elsewhere", prefix))
        assert not is_held(watcher_lock(tmp_path))
        process.kill()
        process.wait(10)
        assert not is_held(prefix_lock(tmp_path, prefix))


def test_who_takes_a_lock_waits_for_who_only_asks(tmp_path: Path) -> None:
    held = threading.Event()

    def ask() -> None:
        with watcher_lock(tmp_path).acquire(timeout=0):
            held.set()
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    held.wait()
    lock = watcher_lock(tmp_path)
    take(lock)
    asking.join()
    with pytest.raises(Timeout):  # but not for who keeps it
        take(watcher_lock(tmp_path))
    lock.release()


def test_a_lock_held_in_this_process_is_held(tmp_path: Path) -> None:
    """The watcher asks about itself, and about a repair it started in a thread."""
    with watcher_lock(tmp_path).acquire(timeout=0):
        assert is_held(watcher_lock(tmp_path))
    assert not is_held(watcher_lock(tmp_path))


def test_a_prefix_has_one_lock_by_whatever_path_it_is_named(tmp_path: Path) -> None:
    real = tmp_path / "envs" / "tf"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "envs")
    with prefix_lock(tmp_path, real).acquire(timeout=0):
        assert is_held(prefix_lock(tmp_path, tmp_path / "link" / "tf"))
        assert is_held(prefix_lock(tmp_path, tmp_path / "envs" / ".." / "envs" / "tf"))


def test_where_case_does_not_matter_a_prefix_has_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "normcase", str.lower)
    assert prefix_lock(tmp_path, Path("/Envs/TF")).lock_file == (
        prefix_lock(tmp_path, Path("/envs/tf")).lock_file
    )


def test_any_name_makes_a_lock(tmp_path: Path) -> None:
    for name in ("größe 训练", "x" * 250, "bad\udcff"):
        with prefix_lock(tmp_path, tmp_path / name).acquire(timeout=0):
            assert is_held(prefix_lock(tmp_path, tmp_path / name))
