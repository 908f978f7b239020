"""WSL from a Windows: the real registry, the real elevation, and a wsl.exe that says what real
ones said, in UTF-16 as the older ones write it and in UTF-8."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_wsl import (
    CUDA,
    ENCODINGS,
    GPU,
    HEALTHY,
    SEES_GPU,
    SYSTEM,
    Said,
    recorded,
)
from tests.fakes import facts
from tests.lab.windows.lab import WindowsLab
from tests.lab.windows.machine import WindowsMachine
from tests.lab.windows.mingw import compile_windows
from tests.lab.windows.tool import PYTHON
from tfgpu_tray.observe.wsl import LXSS, SERVICES

FAILED = 0xFFFFFFFF
SERVICE = rf"{SERVICES}\WSLService"
# Answers with the file of the first line of answers.txt whose words all stand among its arguments;
# a line is "words", a tab, the exit status, a tab, the file. "#7" stands for seven arguments.
STAND_IN = r"""
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static int has(int argc, wchar_t **argv, const char *word) {
    wchar_t wide[512];
    mbstowcs(wide, word, 512);
    if (wide[0] == L'#') return _wtoi(wide + 1) == argc - 1;
    for (int i = 1; i < argc; i++) if (!wcscmp(argv[i], wide)) return 1;
    return 0;
}

int wmain(int argc, wchar_t **argv) {
    char line[1024];
    FILE *log = fopen("C:\\wsl\\calls.txt", "ab");
    for (int i = 1; i < argc; i++) fprintf(log, i > 1 ? " %ls" : "%ls", argv[i]);
    fputs("\n", log);
    fclose(log);
    FILE *answers = fopen("C:\\wsl\\answers.txt", "rb");
    while (answers && fgets(line, sizeof line, answers)) {
        char *words = strtok(line, "\t"), *code = strtok(NULL, "\t"), *name = strtok(NULL, "\n");
        int all = 1;
        for (char *word = strtok(words, " "); word && all; word = strtok(NULL, " "))
            all = has(argc, argv, word);
        if (!all) continue;
        FILE *text = fopen(name, "rb");
        _setmode(1, _O_BINARY);
        for (int c; (c = fgetc(text)) != EOF;) putchar(c);
        return (int)strtoul(code, NULL, 10);
    }
    return 99;
}
"""


class WindowsWithWsl:
    """What of WSL there is on a machine, and what its wsl.exe says."""

    def __init__(self, machine: WindowsMachine, folder: Path) -> None:
        self.machine = machine
        self.folder = machine.drive / "wsl"
        self.folder.mkdir()
        source = folder / "wsl.c"
        source.write_text(STAND_IN, encoding="utf-8")
        compile_windows(machine.drive / "windows" / "system32" / "wsl.exe", source)

    def set(self, *distributions: tuple[str, int], installed: bool = True) -> None:
        """The first is the default."""
        self.machine.delete_registry(LXSS)
        self.machine.delete_registry(SERVICE)
        if installed:
            self.machine.set_registry(SERVICE, Start=3)
        for place, (name, version) in enumerate(distributions):
            identifier = f"{{0000000{place}-1111-2222-3333-444444444444}}"
            key = rf"{LXSS}\{identifier}"
            self.machine.set_registry(key, DistributionName=name, Version=version, State=1)
            if not place:
                self.machine.set_registry(LXSS, DefaultDistribution=identifier)

    def says(self, answers: dict[str, Said], encoding: str = "utf-16-le") -> None:
        lines = []
        for number, (words, said) in enumerate(answers.items()):
            name = f"{number}.txt"
            raw = said.text.encode()
            if not said.inside:
                raw = said.text.replace("\n", "\r\n").encode(encoding)
            (self.folder / name).write_bytes(raw)
            lines.append(f"{words}\t{said.code}\tC:\\wsl\\{name}\n")
        (self.folder / "answers.txt").write_text("".join(lines), encoding="utf-8")
        (self.folder / "calls.txt").unlink(missing_ok=True)

    @property
    def calls(self) -> list[str]:
        try:
            return (self.folder / "calls.txt").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    def check(self, *words: str) -> dict[str, Any]:
        answer = self.machine.tool("check", "--wsl", *words)
        assert answer.json, answer.stderr
        return answer.json


@pytest.fixture(scope="module")
def made(lab: WindowsLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsWithWsl]:
    folder = tmp_path_factory.mktemp("windows")
    with WindowsMachine(lab, folder / "machine") as machine:
        yield WindowsWithWsl(machine, folder)


@pytest.fixture
def wsl(made: WindowsWithWsl) -> WindowsWithWsl:
    made.machine.set_build(22631)
    made.set()
    made.says({})
    return made


def causes(told: dict[str, Any]) -> list[str]:
    found = [
        *told["wsl"]["diagnoses"],
        *(d for one in told["wsl"]["distributions"] for d in one["diagnoses"]),
    ]
    return [d["cause"] for d in found]


# ---- the five cases ----------------------------------------------------------------------------


def test_no_wsl(wsl: WindowsWithWsl) -> None:
    wsl.set(installed=False)
    told = wsl.check("--depth", "static")
    assert told["wsl"]["installed"] is False and causes(told) == ["wsl-not-installed"]
    assert wsl.calls == []


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_wsl_1(wsl: WindowsWithWsl, encoding: str) -> None:
    wsl.set(("Debian", 1))
    wsl.says({"--running": Said(recorded("not-running-zh"), FAILED)}, encoding)
    told = wsl.check("--depth", "static")
    assert causes(told) == ["wsl1-not-wsl2"]
    [debian] = told["wsl"]["distributions"]
    assert (debian["running"], debian["ready"]) == (False, False)
    assert wsl.calls == ["-l --running -q"], "nothing was started"


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "gpu, cuda, cause",
    [
        ({"device": False, "driver": False}, {"libcuda": ""}, "wsl-gpu-not-passed-on"),
        (
            {"linux_driver": ["libnvidia-compute-535"]},
            {"libcuda": "/usr/lib/x86_64-linux-gnu/libcuda.so.1", "cuinit": 100},
            "wsl-linux-driver-installed",
        ),
    ],
)
def test_wsl_2_into_which_the_gpu_does_not_come(
    wsl: WindowsWithWsl, gpu: dict[str, Any], cuda: dict[str, Any], cause: str, encoding: str
) -> None:
    wsl.set(("Ubuntu-22.04", 2))
    look = facts(SYSTEM, {**GPU, **gpu}, cuda, {"stage": "done"})
    wsl.says({"--running": Said("Ubuntu-22.04\n"), "python3": Said(look, inside=True)}, encoding)
    told = wsl.check("--depth", "static")
    assert causes(told) == [cause]
    assert told["wsl"]["distributions"][0]["ready"] is False


def test_wsl_2_in_good_health_and_its_tensorflow(wsl: WindowsWithWsl) -> None:
    wsl.set(("Ubuntu-22.04", 2), ("Debian", 1))
    wsl.says(
        {
            "--running": Said("Ubuntu-22.04\n"),
            "python3 #7": Said(SEES_GPU, inside=True),  # the seventh is the request
            "python3": Said(HEALTHY, inside=True),
        }
    )
    told = wsl.check()
    ubuntu = told["wsl"]["distributions"][0]
    assert (ubuntu["ready"], ubuntu["diagnoses"]) == (True, [])
    assert ubuntu["gpu"]["libcuda"] == CUDA["libcuda"]
    [environment] = told["environments"]
    assert environment["prefix"] == r"\\wsl.localhost\Ubuntu-22.04\home\me\tf"
    assert (environment["verdict"], told["verdict"]) == ("ok", "ok"), environment["diagnoses"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_that_does_not_start_says_why_in_chinese(wsl: WindowsWithWsl, encoding: str) -> None:
    wsl.set(("Ubuntu", 2))
    text = recorded("no-virtualization-zh")
    wsl.says({"--running": Said(), "-d": Said(text, FAILED)}, encoding)
    told = wsl.check("--depth", "static")
    assert causes(told) == ["wsl-does-not-start"]
    [ubuntu] = told["wsl"]["distributions"]
    assert ubuntu["error"].startswith("请启用“虚拟机平台”可选组件")
    assert "HCS_E_HYPERV_NOT_INSTALLED" in ubuntu["error"]


def test_a_plain_check_starts_no_distribution(wsl: WindowsWithWsl) -> None:
    wsl.set(("Ubuntu", 2))
    wsl.says({"--running": Said()})
    told = wsl.machine.tool("check", "--depth", "static").json
    assert told["wsl"]["distributions"][0]["running"] is False
    assert wsl.calls == ["-l --running -q"]


# ---- its installation --------------------------------------------------------------------------


def after_restart(wsl: WindowsWithWsl) -> list[Path]:
    return list(wsl.machine.home.rglob("after-restart.json"))


def test_an_old_windows_is_refused_with_the_reason(wsl: WindowsWithWsl) -> None:
    wsl.set(installed=False)
    wsl.machine.set_build(18363)
    answer = wsl.machine.tool("install", "--wsl", "--yes")
    assert (answer.code, answer.json["state"]) == (3, "refused")
    assert "build 18363" in answer.json["note"] and wsl.calls == []


def test_a_failed_installation_leaves_nothing(wsl: WindowsWithWsl) -> None:
    wsl.set(installed=False)
    wsl.says({"--install": Said(code=5)})
    answer = wsl.machine.tool("install", "--wsl", "--yes")
    assert (answer.code, answer.json["state"]) == (3, "failed")
    assert "exit status 5" in answer.json["note"] and after_restart(wsl) == []


def test_the_installation_is_elevated_and_its_restart_remembered(wsl: WindowsWithWsl) -> None:
    wsl.set(installed=False)
    wsl.says({"--install": Said()})
    answer = wsl.machine.tool("install", "--wsl", "--yes")
    assert (answer.code, answer.json["state"]) == (0, "restart-needed"), answer.json
    assert wsl.calls == ["--install"]
    [note] = after_restart(wsl)
    assert json.loads(note.read_text(encoding="utf-8"))["what"] == "wsl"
    note.unlink()


def test_elevation_tells_how_the_program_ended(wsl: WindowsWithWsl) -> None:
    script = (
        "import sys; from tfgpu_tray.installer.elevation import run_elevated as run; "
        "p = sys.executable; "
        "print(run(p, ['-c', 'import sys; sys.exit(len(sys.argv[1]))', 'a b'], deadline=60).code); "
        "print(run(p, ['-c', 'import time; time.sleep(3)'], deadline=0.3).error); "
        "print(run(r'C:\\absent.exe', ['--install'], deadline=5).error)"
    )
    done = wsl.machine.run(rf"{PYTHON}\python.exe", "-c", script)
    three, late, absent = done.stdout.splitlines()
    assert three == "3"
    assert "still runs" in late and absent.startswith(r"C:\absent.exe could not be started")
