"""WSL is installed with consent and a restart, and taken up after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.fake_wsl import DEBIAN, UBUNTU, fake_wsl, running, wsl_registry
from tests.observe.fake_windows import FailingRegistry, FakeRegistry
from tfgpu_tray.installer.elevation import Elevated, run_elevated
from tfgpu_tray.installer.wsl import State, WslInstaller
from tfgpu_tray.model import Host, WslDistribution
from tfgpu_tray.store.awaited import FILE, AfterRestart
from tfgpu_tray.store.database import StoreUnusable

WINDOWS = Host("windows", "x86_64", windows_build=22631)
DOCKER = WslDistribution("docker-desktop", 2, default=True)
NOTHING = wsl_registry(service="")
BOOT, LATER = 1000.0, 9000.0


@dataclass
class FakeElevate:
    """The person at the screen, and what the program then does to *registry*."""

    ended: Elevated = field(default_factory=lambda: Elevated(0))
    registry: FakeRegistry | None = None
    after: FakeRegistry | None = None
    asked: list[list[str]] = field(default_factory=list)

    def __call__(self, program: str, arguments: Sequence[str], *, deadline: float) -> Elevated:
        self.asked.append([program, *arguments])
        if self.registry is not None and self.after is not None:
            self.registry.tree = self.after.tree
        return self.ended


def installer(
    folder: Path,
    registry: FakeRegistry,
    elevate: FakeElevate | None = None,
    boot: float = BOOT,
) -> WslInstaller:
    wsl, _ = fake_wsl(registry, running())
    return WslInstaller(wsl, AfterRestart(folder, lambda: boot), elevate or FakeElevate())


# ---- what there is to do -----------------------------------------------------------------------


def test_an_old_windows_is_refused_with_the_reason(tmp_path: Path) -> None:
    told = installer(tmp_path, NOTHING).plan(replace(WINDOWS, windows_build=18363))
    assert told.state is State.REFUSED and told.step is None
    assert "18363" in told.note and "19044" in told.note


def test_without_wsl_its_installation_is_offered_with_its_price(tmp_path: Path) -> None:
    elevate = FakeElevate()
    told = installer(tmp_path, NOTHING, elevate).plan(WINDOWS)
    assert told.state is State.PLANNED and told.step is not None
    assert told.step.commands == (r"C:\Windows\System32\wsl.exe --install  (as administrator)",)
    assert "consent" in told.note and "restart" in told.note
    assert told.steps[0].startswith("Restart Windows") and "pip install" in " ".join(told.steps)
    assert elevate.asked == [] and not (tmp_path / FILE).exists(), "a plan does nothing"


@pytest.mark.parametrize(
    "distributions, state, first",
    [
        ((UBUNTU,), State.NOTHING_TO_DO, "wsl -d Ubuntu-22.04"),
        ((DEBIAN,), State.GUIDED, "wsl --set-version Debian 2"),
        ((DOCKER,), State.GUIDED, "wsl --install -d Ubuntu"),
        ((), State.GUIDED, "wsl --install -d Ubuntu"),
    ],
)
def test_what_is_there_already_is_not_installed_again(
    tmp_path: Path, distributions: tuple[WslDistribution, ...], state: State, first: str
) -> None:
    told = installer(tmp_path, wsl_registry(*distributions)).plan(WINDOWS)
    assert told.state is state and told.step is None and f"`{first}`" in told.steps[0]


# ---- doing it ----------------------------------------------------------------------------------


def test_a_restart_is_remembered_and_taken_up_once(tmp_path: Path) -> None:
    elevate = FakeElevate()
    told = installer(tmp_path, NOTHING, elevate).apply(WINDOWS, now=2000.0)
    assert told.state is State.RESTART and told.steps[0].startswith("Restart Windows")
    assert elevate.asked == [[r"C:\Windows\System32\wsl.exe", "--install"]]

    again = installer(tmp_path, NOTHING, elevate)
    assert again.plan(WINDOWS).state is State.RESTART, "it is not asked for a second time"
    assert again.take_up() is None, "before the restart there is nothing to tell"

    after = installer(tmp_path, wsl_registry(UBUNTU), boot=LATER)
    assert after.take_up() == (
        "WSL 2 is there now, with Ubuntu-22.04; `tfgpu-tray check --wsl` looks inside"
    )
    assert after.take_up() is None, "told once"


@pytest.mark.parametrize(
    "registry, text",
    [
        (wsl_registry(), "`wsl --install -d Ubuntu` adds a distribution"),
        (wsl_registry(DOCKER), "`wsl --install -d Ubuntu` adds a distribution"),
        (NOTHING, "WSL is not there"),
    ],
)
def test_what_a_restart_may_leave_to_do(tmp_path: Path, registry: FakeRegistry, text: str) -> None:
    installer(tmp_path, NOTHING).apply(WINDOWS, now=2000.0)
    assert text in (installer(tmp_path, registry, boot=LATER).take_up() or "")


def test_a_registry_that_is_closed_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    installer(tmp_path, NOTHING).apply(WINDOWS, now=2000.0)
    closed = FailingRegistry(denied="HK")
    assert installer(tmp_path, closed, boot=LATER).take_up() is None
    assert installer(tmp_path, wsl_registry(UBUNTU), boot=LATER).take_up()


def test_a_windows_that_had_all_but_wsl_needs_no_restart(tmp_path: Path) -> None:
    registry = wsl_registry(service="")
    elevate = FakeElevate(registry=registry, after=wsl_registry(UBUNTU))
    told = installer(tmp_path, registry, elevate).apply(WINDOWS, now=2000.0)
    assert told.state is State.DONE and not (tmp_path / FILE).exists()


@pytest.mark.parametrize("code", [3010, 1641])
def test_the_codes_that_mean_a_restart(tmp_path: Path, code: int) -> None:
    told = installer(tmp_path, NOTHING, FakeElevate(Elevated(code))).apply(WINDOWS, now=2000.0)
    assert told.state is State.RESTART and (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "ended, state, note",
    [
        (Elevated(), State.DECLINED, "nothing was changed"),
        (Elevated(1), State.FAILED, "exit status 1"),
        (Elevated(error="wsl.exe still runs after 60 min"), State.FAILED, "still runs"),
    ],
)
def test_what_did_not_happen_leaves_nothing(
    tmp_path: Path, ended: Elevated, state: State, note: str
) -> None:
    made = installer(tmp_path, NOTHING, FakeElevate(ended))
    told = made.apply(WINDOWS, now=2000.0)
    assert told.state is state and note in told.note
    assert not (tmp_path / FILE).exists() and made.plan(WINDOWS).state is State.PLANNED


def test_what_cannot_be_remembered_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    elevate = FakeElevate()
    with pytest.raises(StoreUnusable, match=FILE):
        installer(tmp_path / "data", NOTHING, elevate).apply(WINDOWS, now=2000.0)
    assert elevate.asked == []


def test_only_windows_has_such_a_consent() -> None:
    ended = run_elevated("wsl.exe", ["--install"], deadline=1.0)
    assert ended.code is None and not ended.declined


def test_a_note_that_cannot_be_read_is_no_note(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"what": "wsl"}'):
        (tmp_path / FILE).write_text(text)
        assert installer(tmp_path, NOTHING, boot=LATER).take_up() is None
