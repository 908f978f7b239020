"""Package managers at work are noticed, and nothing else is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from tests.needs import tool
from tfgpu_tray.observe.layout import WINDOWS
from tfgpu_tray.observe.processes import Manager, installers_at_work, manager_of


@contextmanager
def at_work(words: list[str], environ: dict[str, str] | None = None) -> Iterator[None]:
    """A process whose command line reads *words*, waiting until it is told to go."""
    script = "echo ready; read -r line"
    process = subprocess.Popen(
        [words[0], "-c", script, *words[1:]],
        executable=tool("bash"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **(environ or {})},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.communicate(b"\n", timeout=10)


@pytest.mark.parametrize(
    "words",
    [
        ["{prefix}/bin/pip", "install", "keras"],
        ["conda", "install", "-p", "{prefix}", "cudnn"],
        ["mamba", "update", "--prefix", "{prefix}"],
        ["conda", "install", "--prefix={prefix}", "cudnn"],
        ["uv", "sync", "--python", "{prefix}/bin/python"],
        ["{prefix}/bin/pip3.10", "install", "keras"],
        ["conda", "install", "-n", "tf", "cudnn"],
        ["conda", "install", "--name=tf", "cudnn"],
    ],
)
def test_a_manager_that_names_the_prefix_is_at_work_there(words: list[str], tmp_path: Path) -> None:
    prefix = tmp_path / "envs" / "tf"
    with at_work([word.format(prefix=prefix) for word in words]):
        (found,) = installers_at_work(prefix)
        assert words[1] in str(found) and str(found.pid) in str(found)
        assert installers_at_work(tmp_path / "envs" / "tf2") == []
        assert installers_at_work(tmp_path / "envs" / "other") == []
    assert installers_at_work(prefix) == []


@pytest.mark.parametrize("variable", ["CONDA_PREFIX", "VIRTUAL_ENV"])
def test_a_manager_started_inside_the_environment_is_at_work_there(
    variable: str, tmp_path: Path
) -> None:
    prefix = tmp_path / "envs" / "tf"
    for words in (["conda", "install", "cudnn"], ["uv", "pip", "install", "keras"]):
        with at_work(words, {variable: str(prefix)}):
            assert len(installers_at_work(prefix)) == 1
            assert installers_at_work(tmp_path / "envs" / "other") == []


def test_a_pip_of_another_python_changes_that_one(tmp_path: Path) -> None:
    prefix = tmp_path / "envs" / "tf"
    with at_work(["/usr/bin/pip", "install", "keras"], {"CONDA_PREFIX": str(prefix)}):
        assert installers_at_work(prefix) == []


@pytest.mark.parametrize(
    "words",
    [
        ["{prefix}/bin/pip", "list"],
        ["conda", "run", "-p", "{prefix}", "python"],
        ["{prefix}/bin/python", "train.py", "install"],
        ["less", "{prefix}/bin/pip", "install.log"],
    ],
)
def test_what_changes_nothing_is_not_waited_for(words: list[str], tmp_path: Path) -> None:
    prefix = tmp_path / "envs" / "tf"
    with at_work([word.format(prefix=prefix) for word in words]):
        assert installers_at_work(prefix) == []


# ---- on Windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, manager",
    [
        ([r"C:\m\envs\tf\Scripts\pip.exe", "install", "keras"], "pip"),
        ([r"C:\m\envs\tf\python.exe", r"C:\m\envs\tf\Scripts\pip3.10.exe", "install"], "pip"),
        ([r"C:\m\envs\tf\python.exe", "-m", "pip", "install", "keras"], "pip"),
        ([r"C:\m\python.exe", r"C:\m\Scripts\conda-script.py", "install", "cudnn"], "conda"),
        (["cmd.exe", "/c", r"C:\m\condabin\conda.bat", "install", "cudnn"], "conda"),
        ([r"C:\Users\me\Scripts\UV.EXE", "sync"], "uv"),
        ([r"C:\m\python.exe", "train.py"], None),
        ([r"C:\pip\notepad.exe", "install.txt"], None),
    ],
)
def test_managers_are_known_by_their_windows_names(words: list[str], manager: str | None) -> None:
    assert manager_of(words) == manager


@pytest.mark.parametrize(
    "facts, at_work",
    [
        ({"places": (r"c:\USERS\me\Envs\TF\Scripts\pip.exe",)}, True),
        ({"places": (r"C:/Users/me/envs/tf",)}, True),
        ({"places": (r"C:\Users\me\envs\tf2\python.exe",)}, False),
        ({"active": (r"c:\users\me\envs\tf\\",)}, True),
        ({"active": (r"C:\Users\me\envs",)}, False),
        ({"words": ("conda", "install", "-n", "TF", "cudnn")}, True),
        ({"words": ("conda", "install", "-n", "tf2", "cudnn")}, False),
    ],
)
def test_paths_are_compared_as_windows_does(facts: dict[str, Any], at_work: bool) -> None:
    manager = Manager(1, "conda", **{"words": (), "started": 0.0, **facts})
    prefix = PureWindowsPath(r"C:\Users\me\envs\tf")
    assert manager.works_on(prefix, WINDOWS) is at_work  # type: ignore[arg-type]
