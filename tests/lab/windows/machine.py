"""One simulated Windows machine: a Windows, a driver, a home folder, and the tool to run on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.machine import REPOSITORY, Answer
from tests.lab.windows.desktop import WindowsDesktop
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.mirror import mirror
from tests.lab.windows.registry import Value
from tests.lab.windows.tool import PYTHON as TOOL_PYTHON
from tests.lab.windows.wheels import Site
from tests.lab.windows.wine import USER, VERSION_KEY, to_linux, to_windows, version_values

__all__ = ["WindowsMachine"]

PYTHON310 = r"C:\Program Files\Python310"

#: What `conda activate` puts before the PATH, below the prefix.
CONDA_PATH = ("", r"\Library\mingw-w64\bin", r"\Library\usr\bin", r"\Library\bin", r"\Scripts")


class WindowsMachine:
    """A Windows 10 machine with one NVIDIA GPU, which is simulated; a context manager.

    Python 3.11 with the tool and Python 3.10 are installed for all users, and a miniconda3 without
    environments is in the home folder. Ends with everything that runs on it killed.
    """

    def __init__(
        self,
        lab: WindowsLab,
        folder: Path,
        desktop: WindowsDesktop | None = None,
        *,
        user: str = USER,
    ) -> None:
        """With a desktop, which must have started, the machine has a screen."""
        self.lab = lab
        self.wine = lab.install_windows(folder / "windows", user)
        self.drive = self.wine.drive
        self.driver = lab.windows_driver(self.wine)
        self.home = self.drive / "users" / user
        self.extra: dict[str, str] = {}  #: more environment variables of the session
        self.path: list[str] = []  #: folders that the session's PATH starts with
        self._install_pythons()
        if desktop is not None:
            self.wine.session["DISPLAY"] = desktop.display
            desktop.watch(self.home)
        lab.install_miniconda(self.home / "miniconda3")

    def __enter__(self) -> Self:
        self.wine.boot()
        self.driver.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wine.stop()

    def _install_pythons(self) -> None:
        """Links to the lab's own, but for site-packages, which finds the tool in the checkout."""
        mirror(self.lab.windows_python310, self.to_linux(PYTHON310))
        tool, packages = self.to_linux(TOOL_PYTHON), Path("Lib", "site-packages")
        mirror(self.lab.tool_python, tool, ("Lib", "Lib/site-packages"))
        (tool / packages / "checkout.pth").write_text(self.to_windows(REPOSITORY), "utf-8")

    # paths

    def to_windows(self, path: Path) -> str:
        """C:\\… for what lies on the machine's drive, Z:\\… for everything else."""
        return to_windows(path, self.drive)

    def to_linux(self, text: str) -> Path:
        return to_linux(text, self.drive)

    # environments

    def conda_environment(self, name: str = "tf", kind: str = "article") -> Path:
        """A clone in miniconda3\\envs.

        Kinds: "bare"; "cuda", which has CUDA and cuDNN; "article", which has TensorFlow 2.10.1
        besides; "toy", which has the toy in its place.
        """
        prefix = self.home / "miniconda3" / "envs" / name
        build = {
            "bare": self.lab.windows_conda,
            "cuda": self.lab.windows_cuda,
            "toy": self.lab.windows_cuda,
            "article": self.lab.windows_article,
        }[kind]
        prefix.parent.mkdir(parents=True, exist_ok=True)
        build(prefix, self.to_windows(prefix))
        if kind == "toy":
            self.use_toys()
            [wheel] = self.lab.toys.glob("tensorflow-2.10.1-*")
            Site(prefix, self.python(prefix), "3.10").install([wheel], ["tensorflow"])
        known = self.home / ".conda" / "environments.txt"
        known.parent.mkdir(exist_ok=True)
        with known.open("a", encoding="utf-8") as file:
            file.write(f"{self.to_windows(prefix)}\n")
        return prefix

    def use_toys(self) -> None:
        """From now on pip finds toys of TensorFlow instead of the real ones."""
        self.extra["PIP_FIND_LINKS"] = self.to_windows(self.lab.toys)

    def venv(self, name: str = "venv") -> Path:
        """A venv of Python 3.10 with pip and setuptools, in the home folder."""
        prefix = self.home / name
        self.lab.windows_venv(prefix, self.to_windows(prefix), PYTHON310)
        return prefix

    def python(self, prefix: Path) -> str:
        """The environment's interpreter."""
        folder = prefix if (prefix / "conda-meta").is_dir() else prefix / "Scripts"
        return self.to_windows(folder / "python.exe")

    def activated(self, prefix: Path) -> dict[str, str]:
        """The variables that activating adds, hooks left out."""
        home = self.to_windows(prefix)
        if not (prefix / "conda-meta").is_dir():
            return {"VIRTUAL_ENV": home, **self._path([rf"{home}\Scripts"])}
        variables = {"CONDA_PREFIX": home, "CONDA_DEFAULT_ENV": prefix.name, "CONDA_SHLVL": "1"}
        return variables | self._path([home + part for part in CONDA_PATH])

    def _path(self, first: list[str]) -> dict[str, str]:
        """WINEPATH becomes the start of the PATH that Windows programs see."""
        folders = [*first, *self.path]
        return {"WINEPATH": ";".join(folders)} if folders else {}

    # what runs on it

    def environ(self) -> dict[str, str]:
        """The session's variables; pip finds the lab's wheels instead of an index."""
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.to_windows(self.lab.wheels)}
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return pip | quiet | self._path([]) | self.extra

    def run(
        self,
        *command: str | Path,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        seconds: float = 120,
        encoding: str = "utf-8",
    ) -> subprocess.CompletedProcess[str]:
        """Runs a Windows program; paths are translated, and `environ` is added to the session's."""
        return self.wine.run(
            self._words(command),
            environ=self.environ() | dict(environ or {}),
            cwd=cwd or self.home,
            seconds=seconds,
            encoding=encoding,
        )

    def start(
        self, *command: str | Path, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a Windows program, which ends with the machine at the latest."""
        session = self.environ() | dict(environ or {})
        return self.wine.start(self._words(command), session, self.home)

    def tool(self, *arguments: str | Path, seconds: float = 600) -> Answer:
        """Runs the tool with --json and reads its answer."""
        tool = (rf"{TOOL_PYTHON}\python.exe", "-m", "tfgpu_tray")
        done = self.run(*tool, *arguments, "--json", seconds=seconds)
        try:
            content = json.loads(done.stdout)
        except ValueError:
            content = {}
        return Answer(done.returncode, content, done.stderr)

    def check(self, prefix: Path, depth: str = "tensorflow") -> Answer:
        return self.tool("check", "--env", prefix, "--depth", depth)

    def pip(self, prefix: Path, *arguments: str | Path, seconds: float = 600) -> None:
        """The user's own pip, in the environment, as anyone would run it."""
        done = self.run(
            self.python(prefix),
            *("-m", "pip", *arguments),
            environ=self.activated(prefix),
            seconds=seconds,
        )
        if done.returncode != 0:
            raise RuntimeError(f"pip {arguments} failed:\n{done.stdout}{done.stderr}")

    def conda(self, command: str, *arguments: str | Path, seconds: float = 300) -> None:
        """The user's own conda: `conda COMMAND …`."""
        program = self.home / "miniconda3" / "Scripts" / "conda.exe"
        done = self.run(program, command, *arguments, "-y", "--json", seconds=seconds)
        if done.returncode != 0:
            raise RuntimeError(f"conda {command} failed:\n{done.stdout}{done.stderr}")

    def _words(self, command: tuple[str | Path, ...]) -> list[str]:
        return [self.to_windows(one) if isinstance(one, Path) else one for one in command]

    # the registry

    def set_registry(self, key: str, **values: Value) -> None:
        """Writes REG_SZ, REG_DWORD, REG_BINARY or REG_MULTI_SZ values below "HKLM\\…", "HKCU\\…".

        None deletes a value.
        """
        self.wine.write_registry({key: values})

    def delete_registry(self, key: str) -> None:
        self.wine.write_registry({key: None})

    def set_build(self, build: int, revision: int = 1) -> None:
        """Makes it another Windows 10, or from 22000 on a Windows 11."""
        self.wine.write_registry({VERSION_KEY: version_values(build, revision)})
