"""A conda channel in a folder: packages named and laid out like conda-forge's, with stubs."""

from __future__ import annotations

import asyncio
import bz2
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.interpreters import Interpreter
from tests.lab.stubs import CUDA11, build_stub

__all__ = ["Package", "build_channel", "pack"]

SUBDIR = "linux-64"


@dataclass(frozen=True)
class Package:
    """A conda package to be: its name, and what `fill` puts into an empty folder."""

    name: str
    version: str
    build: str
    fill: Callable[[Path], None]
    depends: tuple[str, ...] = ()
    #: Text that `pack` declares as the prefix to replace on installation, as conda-build does.
    placeholder: str | None = None
    track_features: str = ""

    @property
    def filename(self) -> str:
        return f"{self.name}-{self.version}-{self.build}.tar.bz2"

    def index(self) -> dict[str, object]:
        """The package's info/index.json."""
        return {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": int(self.build.rpartition("_")[2]),
            "depends": list(self.depends),
            "subdir": SUBDIR,
            "platform": "linux",
            "arch": "x86_64",
            "license": "LicenseRef-lab-stub",
            "timestamp": 1672531200000,
            **({"track_features": self.track_features} if self.track_features else {}),
        }


def _entries(content: Path, placeholder: str | None) -> Iterator[dict[str, object]]:
    """The entries of info/paths.json for everything under `content`."""
    for path in sorted(content.rglob("*")):
        entry: dict[str, object] = {"_path": path.relative_to(content).as_posix()}
        if path.is_symlink():
            target = path.resolve()
            data = target.read_bytes() if target.is_file() else b""
            entry["path_type"] = "softlink"
        elif path.is_file():
            data = path.read_bytes()
            entry["path_type"] = "hardlink"
            # scripts only: within Python source a prefix with quotes would be a syntax error
            if placeholder and path.parent.name == "bin" and data.startswith(b"#!"):
                entry |= {"prefix_placeholder": placeholder, "file_mode": "text"}
        else:
            continue
        yield entry | {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}


def pack(package: Package, channel: Path) -> Path:
    """Builds the package into the channel, which must be indexed afterwards."""
    archive = channel / SUBDIR / package.filename
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder)
        package.fill(content)
        entries = list(_entries(content, package.placeholder))
        info = {
            "info/index.json": json.dumps(package.index(), indent=2),
            "info/paths.json": json.dumps({"paths": entries, "paths_version": 1}),
            "info/files": "".join(f"{entry['_path']}\n" for entry in entries),
        }
        # the fastest level: a Python of 60 MB would take five times as long at the default one
        with bz2.open(archive, "wb", 1) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
            for name, text in info.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
            for entry in entries:
                tar.add(content / str(entry["_path"]), str(entry["_path"]))
    return archive


def _stubs(names: tuple[str, ...], version: str) -> Callable[[Path], None]:
    def fill(content: Path) -> None:
        for soname in names:
            build_stub(content / "lib" / soname, soname, version)
            plain = soname.split(".so")[0] + ".so"
            (content / "lib" / plain).symlink_to(soname)

    return fill


def _note(path: str, text: str) -> Callable[[Path], None]:
    def fill(content: Path) -> None:
        target = content / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    return fill


def _python(source: Interpreter) -> Callable[[Path], None]:
    """Copies an interpreter, relocatable, without tests, bytecode and foreign packages."""
    version = ".".join(source.version.split(".")[:2])
    name = f"python{version}"

    def wanted(path: Path) -> bool:
        parts = path.parts
        if {"__pycache__", "test", "tests", "idle_test"} & set(parts) or path.suffix == ".a":
            return False
        if parts[0] == "bin":
            return path.name in {name, "pip", "pip3", f"pip{version}"}
        if parts[0] != "lib":
            return False
        if parts[1] != name:
            return parts[1].startswith("libpython")
        own = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
        return parts[2:3] != ("site-packages",) or parts[3].startswith(own)

    def fill(content: Path) -> None:
        for folder, _, files in os.walk(source.prefix):
            relative = Path(folder).relative_to(source.prefix)
            for file in files:
                if not wanted(relative / file):
                    continue
                target = content / relative / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source.prefix / relative / file, target)
        for link in ("python", "python3"):
            (content / "bin" / link).symlink_to(name)
        _use_own_library(content / "bin" / name, source.prefix / "lib")

    return fill


def _use_own_library(binary: Path, folder: Path) -> None:
    """Points the binary's RUNPATH, when it is `folder`, at the lib folder beside the binary's."""
    old = f"{folder}\0".encode()
    new = b"$ORIGIN/../lib\0"
    if len(new) <= len(old):
        data = binary.read_bytes()
        binary.write_bytes(data.replace(old, new.ljust(len(old), b"\0")))


def _packages(python: Interpreter) -> tuple[Package, ...]:
    cuda = tuple(soname for soname, _ in CUDA11 if "cudnn" not in soname)
    cudnn = ("libcudnn.so.8",)
    site = "lib/python3.10/site-packages"
    tensorflow = _note(
        f"{site}/tensorflow-2.10.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: tensorflow\nVersion: 2.10.0\n",
    )
    python_depends = ("python >=3.10,<3.11.0a0",)
    placeholder = str(python.prefix)
    return (
        Package(
            "python",
            python.version,
            "hd12c33a_0",
            _python(python),
            placeholder=placeholder,
        ),
        # conda asks for it by name; in this channel pip's files come with python
        Package("pip", "24.0", "pyhd8ed1ab_0", _note("share/doc/pip/README", "see python\n")),
        Package("cudatoolkit", "11.2.2", "hbe64b41_10", _stubs(cuda, "11.2.2")),
        Package("cudatoolkit", "11.8.0", "h37601d7_11", _stubs(cuda, "11.8.0")),
        Package(
            "cudnn", "8.1.0.77", "h90431f1_0", _stubs(cudnn, "8.1.0.77"), ("cudatoolkit 11.*",)
        ),
        Package(
            "cudnn", "8.4.1.50", "hed8a83a_0", _stubs(cudnn, "8.4.1.50"), ("cudatoolkit 11.*",)
        ),
        Package("zlib", "1.2.13", "hd590300_5", _note("share/doc/zlib/README", "a stub\n")),
        Package(
            "tensorflow",
            "2.10.0",
            "cuda112py310hbogus_0",
            tensorflow,
            (*python_depends, "cudatoolkit 11.2.*", "cudnn >=8.1.0.77,<9.0a0", "__cuda"),
        ),
        Package(
            "tensorflow",
            "2.10.0",
            "cpu_py310hbogus_0",
            tensorflow,
            python_depends,
            track_features="tensorflow-cpu",
        ),
    )


def build_channel(channel: Path, python: Interpreter) -> None:
    """Packs all of the lab's packages and indexes the channel."""
    from rattler.index import index_fs  # heavy, and needed only here

    (channel / "noarch").mkdir(parents=True)
    for package in _packages(python):
        pack(package, channel)
    asyncio.run(index_fs(channel))
