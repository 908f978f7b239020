"""One simulated machine: a driver, a PCI bus, a home folder, and the tool to run on it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Judged:
    """One environment of an answer."""

    json: dict[str, Any]

    @property
    def verdict(self) -> str:
        return str(self.json["verdict"])

    @property
    def primary(self) -> str | None:
        return next((d["cause"] for d in self.json["diagnoses"] if d["role"] == "primary"), None)

    def causes(self, role: str) -> list[str]:
        return [d["cause"] for d in self.json["diagnoses"] if d["role"] == role]

    @property
    def gpus(self) -> list[str]:
        """What the real TensorFlow listed."""
        return list((self.json["facts"]["tensorflow"] or {}).get("gpus") or [])


@dataclass(frozen=True)
class Answer:
    """What the tool printed with --json, and its exit code."""

    code: int
    json: dict[str, Any]
    stderr: str

    @property
    def environment(self) -> Judged:
        return Judged(self.json["environments"][0])

    @property
    def before(self) -> Judged:
        """The environment before a repair."""
        return Judged(self.json["before"])

    @property
    def after(self) -> Judged:
        """The environment after a repair or an undo, asked anew."""
        return Judged(self.json["after"])

    @property
    def primary(self) -> str | None:
        return self.environment.primary

    @property
    def gpus(self) -> list[str]:
        return self.environment.gpus


class Machine:
    """A Linux machine with one NVIDIA GPU, which is simulated."""

    def __init__(self, lab: Lab, folder: Path):
        self.lab = lab
        self.driver = lab.driver(folder / "driver")
        self.home = folder / "home"
        self.root = folder / "root"
        self.data = folder / "data"
        device = self.root / "sys/bus/pci/devices/0000:01:00.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030000\n")
        self.home.mkdir()
        self.extra: dict[str, str] = {}  # more environment variables of the session

    def environ(self) -> dict[str, str]:
        kept = ("PATH", "LANG", "TERM", "TMPDIR")
        passed = ("PIP_", "UV_", "SSL_")  # how this machine reaches its package index
        own = {k: v for k, v in os.environ.items() if k in kept or k.startswith(passed)}
        own |= {"HOME": str(self.home), "TFGPU_DATA_DIR": str(self.data), "LC_ALL": "C.UTF-8"}
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        own |= {"PIP_CACHE_DIR": str(Path.home() / ".cache" / "pip"), "PYENV_ROOT": str(pyenv)}
        own["CONDA_EXE"] = str(self.lab.conda)
        links = (str(self.lab.shelf), own.get("PIP_FIND_LINKS"))
        own["PIP_FIND_LINKS"] = " ".join(filter(None, links))
        return own | self.driver.environ() | self.extra

    def tool(self, *arguments: str | Path) -> Answer:
        """Run the tool with --json and read its answer."""
        environ = self.environ()
        done = subprocess.run(
            [sys.executable, "-m", "tests.lab.tool", self.root, *arguments, "--json"],
            cwd=REPOSITORY,
            env=environ,
            capture_output=True,
            text=True,
            timeout=900,
            stdin=subprocess.DEVNULL,
        )
        try:
            content = json.loads(done.stdout)
        except ValueError:
            content = {}
        return Answer(done.returncode, content, done.stderr)

    def check(self, prefix: Path, depth: str = "tensorflow") -> Answer:
        return self.tool("check", "--env", prefix, "--depth", depth)

    def pip(self, prefix: Path, *arguments: str) -> None:
        """The user's own pip, in the environment, as anyone would run it."""
        subprocess.run(
            [prefix / "bin" / "python", "-m", "pip", *arguments],
            env=self.environ(),
            check=True,
            capture_output=True,
            timeout=900,
        )

    def conda(self, prefix: Path, command: str, *arguments: str) -> None:
        subprocess.run(
            [self.lab.conda, command, "-p", prefix, "-y", "--json", *arguments],
            env=self.environ(),
            check=True,
            capture_output=True,
            timeout=300,
        )


def tree(root: Path) -> dict[str, str]:
    """Everything under *root*: relative path → mode, and link target or hash of the content."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content = ""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = _content(path, status)
            found[os.path.relpath(path, root)] = f"{status.st_mode:o} {content}"
    return found


def _content(path: str, status: os.stat_result) -> str:
    shared = status.st_nlink > 1 and status.st_size > 1_000_000
    # A new link changes the time of the inode, but not what is in it.
    changed = 0 if shared else status.st_ctime_ns
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, changed)
    if key not in _CONTENT:
        with open(path, "rb") as file:
            _CONTENT[key] = hashlib.file_digest(file, "blake2b").hexdigest()
    return _CONTENT[key]


# (device, inode, size, mtime, ctime) → hash: clones share the large files, and most of the small
# ones are as they were. Without ctime an inode that is soon another's would pass for the old one.
_CONTENT: dict[tuple[int, int, int, int, int], str] = {}
