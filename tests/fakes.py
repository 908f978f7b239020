"""Stand-ins for what the program is given from outside, and builders of what it reads from disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.needs import tool
from tfgpu_tray.model import Environment, Kind, Outcome
from tfgpu_tray.observe.child import Result
from tfgpu_tray.observe.environments import describe

# ---- child processes ---------------------------------------------------------------------------


def completed(stdout: str = "", stderr: str = "") -> Result:
    return Result(Outcome.COMPLETED, 0, stdout, stderr, 0.1)


def failed(code: int, stdout: str = "", stderr: str = "") -> Result:
    return Result(Outcome.FAILED, code, stdout, stderr, 0.1)


def crashed(signal: int, stdout: str = "", stderr: str = "") -> Result:
    return Result(Outcome.CRASHED, -signal, stdout, stderr, 0.1)


def timed_out(stdout: str = "", stderr: str = "") -> Result:
    return Result(Outcome.TIMED_OUT, None, stdout, stderr, 5.0)


def facts(*said: Mapping[str, object]) -> str:
    """What a probe prints."""
    return "".join(f"@tfgpu {json.dumps(fact)}\n" for fact in said)


@dataclass
class FakeRunner:
    """Answers a command by the first of its words (or their file names) that *answers* knows."""

    answers: Mapping[str, Result]
    calls: list[list[str]] = field(default_factory=list)
    environs: list[Mapping[str, str]] = field(default_factory=list)

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float,
        environ: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Result:
        words = [str(word) for word in command]
        self.calls.append(words)
        self.environs.append(environ or {})
        for word in words:
            for key in (word, Path(word).name):
                if key in self.answers:
                    return self.answers[key]
        return Result(Outcome.NOT_STARTED, None, "", "No such file or directory", 0.0)


@dataclass
class FailingRunner:
    """Every command hangs until its deadline, or ends as *result* says."""

    result: Result = field(default_factory=timed_out)

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float,
        environ: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Result:
        return self.result


# ---- environments on disk ----------------------------------------------------------------------


def write(path: Path, content: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def interpreter(prefix: Path, version: str) -> Path:
    """A bin/python that only exists, and the library folder that tells its version."""
    (prefix / "lib" / f"python{version}" / "site-packages").mkdir(parents=True, exist_ok=True)
    python = write(prefix / "bin" / "python", "#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    return python


def conda_prefix(prefix: Path, version: str = "3.10", history: str = "") -> Path:
    interpreter(prefix, version)
    write(prefix / "conda-meta" / "history", history)
    return prefix


def venv_prefix(prefix: Path, version: str = "3.10", system_site: bool = False) -> Path:
    interpreter(prefix, version)
    shared = "true" if system_site else "false"
    text = f"home = /usr/bin\ninclude-system-site-packages = {shared}\nversion = {version}.1\n"
    write(prefix / "pyvenv.cfg", text)
    return prefix


def described(prefix: Path) -> Environment:
    """The environment at *prefix*, which must be there; never with a user site."""
    from dataclasses import replace

    environment = describe(prefix)
    assert environment is not None
    return replace(environment, user_site=None)


def site_of(prefix: Path, version: str = "3.10") -> Path:
    return prefix / "lib" / f"python{version}" / "site-packages"


def distribution(
    site: Path,
    name: str,
    version: str,
    *,
    installer: str | None = "pip",
    requested: bool = False,
    direct: bool = False,
    requires: Iterable[str] = (),
    files: Iterable[str] = (),
    lost: Iterable[str] = (),
) -> Path:
    """An installed distribution: its metadata, *files*, and *lost* ones that only RECORD names."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\n.")
    record = [f"{file},sha256=0,1" for file in (*files, *lost)]
    write(info / "RECORD", "\n".join([*record, f"{info.name}/RECORD,,"]) + "\n")
    if installer is not None:
        write(info / "INSTALLER", f"{installer}\n")
    if requested:
        write(info / "REQUESTED")
    if direct:
        write(info / "direct_url.json", "{}")
    for file in files:
        write(site / file)
    return info


def record(prefix: Path, name: str, version: str, build: str, **content: object) -> Path:
    """conda's record of one package."""
    text = json.dumps({"name": name, "version": version, "build": build, **content})
    return write(prefix / "conda-meta" / f"{name}-{version}-{build}.json", text)


def hook(prefix: Path, name: str, text: str | bytes, folder: str = "activate.d") -> Path:
    return write(prefix / "etc" / "conda" / folder / name, text)


# ---- shared libraries --------------------------------------------------------------------------


@cache
def _linked(options: tuple[str, ...], source: str) -> bytes:
    import tempfile

    gcc = tool("gcc")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "lib.so")
        subprocess.run(
            [gcc, "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", out, *options],
            input=source,
            text=True,
            check=True,
        )
        return out.read_bytes()


def shared_library(path: Path, *options: str, source: str = "int tfgpu_here;") -> Path:
    """A real ELF library at *path*, built by gcc with linker *options*."""
    options = (f"-Wl,-soname,{path.name}", *options)
    write(path, _linked(options, source))
    return path


def elf_like(path: Path) -> Path:
    """A file that starts like a shared library, which is all that a look at files asks."""
    return write(path, b"\x7fELF" + bytes(200))


def environment(prefix: Path, **changes: object) -> Environment:
    """An environment that need not be on disk."""
    from dataclasses import replace

    plain = Environment(
        prefix=prefix,
        kind=Kind.CONDA,
        python=prefix / "bin" / "python",
        python_version="3.10",
        site_packages=site_of(prefix),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def forget(prefix: Path) -> None:
    shutil.rmtree(prefix)
