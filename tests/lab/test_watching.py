"""The watcher without a desktop, beside real package managers: what it notices, whom it names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.machine import Machine
from tests.lab.toy_tensorflow import toy_wheel
from tests.lab.watching import Toys, Watching
from tests.needs import tool
from tfgpu_tray.model import Verdict

REPLACED = "replaced tensorflow 2.10.1 with 2.15.1"
STANDIN = Path(__file__).parent  # of the folder conda_standin
CLOCK = r"\d\d:\d\d"


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    return Machine(lab, tmp_path)


@pytest.fixture
def prefix(toys: Toys, machine: Machine) -> Path:
    return toys.environment(machine)


# ---- what people do, and the sentence about it ---------------------------------------------------


def upgrade_with_pip(machine: Machine, prefix: Path) -> None:
    machine.pip(prefix, "install", "-q", "--upgrade", "tensorflow")


def install_what_needs_a_newer_one(machine: Machine, prefix: Path) -> None:
    shelf = machine.root.with_name("shelf")
    toy_wheel(shelf, "0.9.0", gpu=False, name="keras-cv", requires=["tensorflow>=2.11"])
    machine.pip(prefix, "install", "--find-links", str(shelf), "keras-cv")


def upgrade_with_uv(machine: Machine, prefix: Path) -> None:
    words = [tool("uv"), "pip", "install", "--python", str(prefix), "--offline", "--no-index"]
    shelf = machine.extra["PIP_FIND_LINKS"]
    words += ["--find-links", shelf, "tensorflow==2.15.1"]
    subprocess.run(words, env=machine.environ(), check=True, capture_output=True, timeout=60)


def delete_the_folder(machine: Machine, prefix: Path) -> None:
    shutil.rmtree(prefix / "lib/python3.10/site-packages/tensorflow")


@pytest.mark.parametrize(
    ("change", "who"),
    [
        (upgrade_with_pip, f"`pip install --upgrade tensorflow` {REPLACED} at {CLOCK}"),
        (
            install_what_needs_a_newer_one,
            f"`pip install .*keras-cv` {REPLACED} at {CLOCK}, "
            "because keras-cv 0.9.0 requires tensorflow>=2.11",
        ),
        # uv may be done before anybody looks at what runs
        (upgrade_with_uv, f"(`uv pip install .*tensorflow==2.15.1`|uv) {REPLACED} at {CLOCK}"),
        (
            delete_the_folder,
            f"tensorflow 2.10.1 was deleted at {CLOCK}, not by a package manager",
        ),
    ],
    ids=["pip", "dependency", "uv", "by-hand"],
)
def test_who_broke_it_is_said(
    machine: Machine, prefix: Path, change: Callable[[Machine, Path], None], who: str
) -> None:
    with Watching(machine, "--headless") as watcher:
        watcher.wait_for_verdict(prefix, Verdict.OK)
        watcher.wait_for_watch(prefix / "lib/python3.10/site-packages")
        change(machine, prefix)
        broken = watcher.wait_for_verdict(prefix, Verdict.BROKEN)
        (changed,) = watcher.events("changed")
        (transition,) = watcher.events("transition")
    assert re.fullmatch(who, broken.shown.who)
    assert changed.text == broken.shown.who
    assert transition.text.startswith("ok → broken: ")
    assert transition.text.endswith(broken.shown.who)


def conda(machine: Machine, prefix: Path, *words: str) -> None:
    """The lab's stand-in as a process that looks like conda's: Python and a script of that name."""
    script = machine.root.with_name("conda")
    script.write_text(
        f"import sys; sys.path.insert(0, {str(STANDIN)!r}); from conda_standin.cli import run; "
        f"run([{str(machine.lab.conda)!r}, *sys.argv[1:]])",
        encoding="utf-8",
    )
    command = [sys.executable, "-I", str(script), *words, "-p", str(prefix), "-y"]
    subprocess.run(command, env=machine.environ(), check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("command", "did", "verdict"),
    [
        (
            "install cudatoolkit=11.8 cudnn=8.4",
            "replaced cudatoolkit 11.2.2 with 11.8.0",
            Verdict.OK,
        ),
        ("remove cudnn", "removed cudnn 8.1.0.77", Verdict.DEGRADED),  # the toy needs none
    ],
    ids=["install", "remove"],
)
def test_what_conda_did_is_said(
    machine: Machine, prefix: Path, command: str, did: str, verdict: Verdict
) -> None:
    with Watching(machine, "--headless") as watcher:
        watcher.wait_for_verdict(prefix, Verdict.OK)
        watcher.wait_for_watch(prefix / "conda-meta")
        conda(machine, prefix, *command.split())
        changed = watcher.wait_for_event("changed")
        condition = watcher.wait_for_verdict(prefix, verdict)
        transitions = watcher.events("transition")
    assert re.fullmatch(f"`conda {command}` {did} at {CLOCK}", changed.text)
    if verdict is Verdict.OK:
        assert transitions == []
    else:
        assert condition.shown.who == changed.text
        assert transitions[0].text.endswith(changed.text)


# ---- what else happens --------------------------------------------------------------------------


def set_schedule(machine: Machine, fingerprint: str) -> None:
    settings = machine.home / ".config" / "tfgpu-tray" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[schedule]\nfingerprint = "{fingerprint}"\n', encoding="utf-8")


def test_an_environment_goes_and_comes_again(machine: Machine, prefix: Path, toys: Toys) -> None:
    set_schedule(machine, "1s")  # a new folder is noticed at once, but may be no environment yet
    with Watching(machine, "--headless") as watcher:
        watcher.wait_for_verdict(prefix, Verdict.OK)
        watcher.wait_for_watch(prefix.parent)
        shutil.rmtree(prefix)
        watcher.wait_for_event("gone")
        assert watcher.condition(prefix) is None
        toys.environment(machine)
        watcher.wait_for_verdict(prefix, Verdict.OK)
        kinds = [e.kind for e in watcher.events() if e.prefix == prefix and e.kind != "changed"]
    assert kinds == ["found", "gone", "found"]


@pytest.mark.parametrize(("limit", "number"), [("instances", 0), ("watches", 2)])
def test_a_kernel_that_watches_no_more_folders(
    machine: Machine, prefix: Path, limit: str, number: int
) -> None:
    """The limit is that of a user namespace, so that nothing else on the computer meets it."""
    lower = f'echo {number} > /proc/sys/user/max_inotify_{limit} && exec "$@"'
    within = ("unshare", "--user", "--map-root-user", "sh", "-c", lower, "sh")
    if subprocess.run([*within, "true"], capture_output=True, timeout=10).returncode:
        pytest.skip("user namespaces are not allowed here")
    set_schedule(machine, "1s")
    with Watching(machine, "--headless", within=within) as watcher:
        watcher.wait_for_verdict(prefix, Verdict.OK)
        machine.pip(prefix, "install", "tensorflow==2.15.1")
        broken = watcher.wait_for_verdict(prefix, Verdict.BROKEN)
        (said,) = watcher.events("watching")
        watcher.stop()
    assert f"fs.inotify.max_user_{limit} is reached" in said.text
    assert said.text.endswith("; looking on the schedule instead")
    assert REPLACED in broken.shown.who
