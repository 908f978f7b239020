"""WSL seen from Windows: the registry first, wsl.exe's words in every encoding and language."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_wsl import (
    DEBIAN,
    ENCODINGS,
    FAILED,
    UBUNTU,
    Said,
    fake_wsl,
    recorded,
    running,
    wsl_registry,
)
from tests.fakes import FailingRunner
from tests.observe.fake_windows import FailingRegistry, FakeRegistry
from tfgpu_tray.model import Host, WslDistribution
from tfgpu_tray.observe.wsl import (
    LXSS,
    Registered,
    Wsl,
    distribution_of,
    find_wsl,
    parse_list,
    registered,
    with_wsl,
)

CLOSED = FailingRegistry(denied="HK")

# ---- the registry ------------------------------------------------------------------------------


def test_the_default_distribution_comes_first() -> None:
    tree = wsl_registry(DEBIAN, UBUNTU)
    assert registered(tree) == Registered(True, (UBUNTU, DEBIAN))


@pytest.mark.parametrize("service", ["WSLService", "LxssManager"])
def test_wsl_without_a_distribution_is_installed(service: str) -> None:
    assert registered(wsl_registry(service=service)) == Registered(True)


def test_without_its_service_there_is_no_wsl() -> None:
    assert registered(wsl_registry(service="")) == Registered(False)


def test_a_key_that_is_no_distribution_is_left_out() -> None:
    tree = wsl_registry(UBUNTU)
    tree.set(rf"{LXSS}\AppxInstallerCache", Something=1)
    tree.set(rf"{LXSS}\{{half-removed}}", DistributionName="Gone")
    known = registered(tree)
    assert known is not None and [d.name for d in known.distributions] == ["Ubuntu-22.04"]


def test_a_registry_that_cannot_be_read_says_nothing() -> None:
    assert registered(CLOSED) is None


# ---- wsl.exe -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_which_distributions_run(encoding: str) -> None:
    wsl, exe = fake_wsl(wsl_registry(UBUNTU, DEBIAN), running("Ubuntu-22.04"), encoding)
    known = wsl.look()
    assert known is not None
    assert known.distributions == (replace(UBUNTU, running=True), replace(DEBIAN, running=False))
    assert exe.calls == [["-l", "--running", "-q"]], "nothing else was asked, nothing was started"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_sentence_in_place_of_names_means_that_none_runs(encoding: str) -> None:
    answers = {"--running": Said(recorded("not-running-zh"), FAILED)}
    known = fake_wsl(wsl_registry(UBUNTU), answers, encoding)[0].look()
    assert known is not None and known.distributions[0].running is False


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_error_in_place_of_names_means_that_it_is_not_known(encoding: str) -> None:
    answers = {"--running": Said(recorded("no-disk-zh"), FAILED)}
    known = fake_wsl(wsl_registry(UBUNTU), answers, encoding)[0].look()
    assert known == Registered(True, (UBUNTU,))


def test_a_wsl_that_hangs_leaves_the_registry_s_word() -> None:
    wsl = Wsl({}, wsl_registry(UBUNTU), FailingRunner())
    assert wsl.look() == Registered(True, (UBUNTU,))


def test_nothing_is_run_where_there_is_nothing_to_ask_about() -> None:
    wsl, exe = fake_wsl(wsl_registry())
    assert wsl.look() == Registered(True) and exe.calls == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "name, expected",
    [
        ("list", (UBUNTU, DEBIAN)),
        (
            "list-docker",
            (
                WslDistribution("docker-desktop", 2, default=True),
                WslDistribution("Ubuntu", 2),
                WslDistribution("docker-desktop-data", 2),
            ),
        ),
        ("list-french", (WslDistribution("Debian", 2, default=True),)),
        ("none-en", ()),
        ("none-zh", ()),
    ],
)
def test_the_list_serves_where_the_registry_is_closed(
    name: str, expected: tuple[WslDistribution, ...], encoding: str
) -> None:
    code = FAILED if name.startswith("none") else 0
    answers = {"-l -v": Said(recorded(name), code), **running(*(d.name for d in expected))}
    known = fake_wsl(CLOSED, answers, encoding)[0].look()
    assert known == Registered(True, tuple(replace(d, running=True) for d in expected))


def test_what_the_list_says_of_running() -> None:
    assert [d.running for d in parse_list(recorded("list"))] == [True, False]
    assert [d.running for d in parse_list(recorded("list-french"))] == [None]


@pytest.mark.parametrize("name", ["too-old-zh", "none-old-zh", "no-disk-zh"])
def test_what_names_no_distribution_is_not_taken_for_none(name: str) -> None:
    answers = {"-l -v": Said(recorded(name), FAILED)}
    assert fake_wsl(CLOSED, answers)[0].look() is None


def test_a_wsl_exe_that_only_offers_to_install_wsl() -> None:
    text = "此应用程序需要适用于 Linux 的 Windows 子系统可选组件。\n"
    text += "错误代码: Wsl/WSL_E_WSL_OPTIONAL_COMPONENT_REQUIRED\n"
    answers = {"-l -v": Said(text, FAILED)}
    assert fake_wsl(CLOSED, answers, "utf-16-le")[0].look() == Registered(False)


def test_without_wsl_exe_and_registry_nothing_is_known() -> None:
    assert fake_wsl(CLOSED)[0].look() is None


# ---- paths and hosts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path, expected",
    [
        (r"\\wsl.localhost\Ubuntu\home\me\tf", "Ubuntu"),
        (r"\\wsl$\Ubuntu-22.04\home\me", "Ubuntu-22.04"),
        ("//WSL.LOCALHOST/Debian/home", "Debian"),
        (r"\\server\share\tf", None),
        (r"C:\Users\me\wsl$\tf", None),
        ("/home/me/tf", None),
    ],
)
def test_the_distribution_that_a_path_leads_into(path: str, expected: str | None) -> None:
    assert distribution_of(Path(path)) == expected


def test_the_system_s_own_wsl_exe_is_run() -> None:
    assert find_wsl({"SystemRoot": r"D:\Windows"}) == r"D:\Windows\System32\wsl.exe"
    assert find_wsl({}) == r"C:\Windows\System32\wsl.exe"


def test_what_is_not_known_leaves_the_host_as_it_is() -> None:
    host = Host("windows", "x86_64")
    assert with_wsl(host, None) == host
    assert with_wsl(host, Registered(False)).wsl_installed is False
    assert with_wsl(host, registered(FakeRegistry())).wsl_distributions == ()
