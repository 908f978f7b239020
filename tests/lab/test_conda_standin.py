"""That the stand-in for conda behaves like conda 26.7 where tests of the product rest on it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab

CUDA = ("cudatoolkit=11.2", "cudnn=8.1.0")


@dataclass
class Machine:
    """A user's home with one environment and the stand-in."""

    conda: Path
    home: Path
    prefix: Path

    def run(
        self, command: str, *arguments: str, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "HOME": str(self.home), "CONDA_OVERRIDE_CUDA": ""}
        return subprocess.run(
            [str(self.conda), command, "-p", str(self.prefix), *arguments],
            env=environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def json(self, command: str, *arguments: str, code: int = 0) -> Any:
        done = self.run(command, "--json", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def packages(self) -> dict[str, str]:
        return {package["name"]: package["version"] for package in self.json("list")}

    def history(self) -> str:
        return (self.prefix / "conda-meta" / "history").read_text(encoding="utf-8")


@pytest.fixture
def machine(lab: Lab, tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    home.mkdir()
    return Machine(lab.conda, home, lab.bare_conda(tmp_path / "envs of 我" / "tf"))


def test_version_says_what_it_is(lab: Lab) -> None:
    done = subprocess.run([str(lab.conda), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "conda 26.7.0 (tfgpu lab stand-in)\n"


def test_install_reports_and_writes_what_conda_does(machine: Machine) -> None:
    planned = machine.json("install", "--dry-run", "-c", "conda-forge", *CUDA)
    assert planned["dry_run"] is True
    assert planned["success"] is True
    assert {package["name"] for package in planned["actions"]["LINK"]} == {"cudatoolkit", "cudnn"}
    assert all(package["size"] > 0 for package in planned["actions"]["FETCH"])
    assert "UNLINK" not in planned["actions"]
    assert "cudnn" not in machine.packages()

    done = machine.json("install", "-c", "conda-forge", "--override-channels", *CUDA)
    [cudnn] = [package for package in done["actions"]["LINK"] if package["name"] == "cudnn"]
    assert cudnn["channel"] == "conda-forge"
    assert cudnn["dist_name"] == "cudnn-8.1.0.77-h90431f1_0"
    assert (machine.prefix / "lib" / "libcudnn.so.8").is_file()
    record = json.loads(
        (machine.prefix / "conda-meta" / f"{cudnn['dist_name']}.json").read_text("utf-8")
    )
    assert record["requested_spec"] == "cudnn=8.1.0"
    assert record["channel"].endswith("/conda-forge/linux-64")

    section = machine.history().rpartition("==> ")[2].splitlines()
    assert section[1].startswith(f"# cmd: {machine.conda} install -p {machine.prefix} --json")
    assert section[2:] == [
        "# conda version: 26.7.0",
        "+conda-forge/linux-64::cudatoolkit-11.2.2-hbe64b41_10",
        "+conda-forge/linux-64::cudnn-8.1.0.77-h90431f1_0",
        "# update specs: ['cudatoolkit=11.2', 'cudnn=8.1.0']",
    ]
    again = machine.json("install", *CUDA)
    assert again == {"message": "All requested packages already installed.", "success": True}


def test_install_keeps_earlier_requests_and_replaces_what_is_asked(machine: Machine) -> None:
    machine.json("install", *CUDA)
    machine.json("install", "zlib")
    assert machine.packages()["cudnn"] == "8.1.0.77"
    moved = machine.json("install", "cudnn=8.4")["actions"]
    assert [package["version"] for package in moved["UNLINK"]] == ["8.1.0.77"]
    assert [package["version"] for package in moved["LINK"]] == ["8.4.1.50"]
    assert machine.packages()["cudatoolkit"] == "11.2.2"


def test_remove_takes_dependents_along(machine: Machine) -> None:
    machine.json("install", *CUDA)
    gone = machine.json("remove", "cudatoolkit")["actions"]["UNLINK"]
    assert {package["name"] for package in gone} == {"cudatoolkit", "cudnn"}
    assert "# remove specs: ['cudatoolkit']" in machine.history()
    assert "cudnn" not in machine.packages()
    assert not (machine.prefix / "lib" / "libcudnn.so.8").exists()


def test_remove_takes_orphans_along_but_nothing_that_was_asked_for(machine: Machine) -> None:
    machine.json("install", "cudnn=8.1")
    machine.json("remove", "cudnn")
    assert "cudatoolkit" not in machine.packages()
    assert "python" in machine.packages()


def test_pins_are_kept_and_a_request_against_them_is_refused(machine: Machine) -> None:
    (machine.prefix / "conda-meta" / "pinned").write_text("# ours\ncudnn 8.1.*\n", "utf-8")
    machine.json("install", "cudnn")
    assert machine.packages()["cudnn"] == "8.1.0.77"
    refused = machine.json("install", "cudnn=8.4", code=1)
    assert refused["exception_name"] == "SpecsConfigurationConflictError"


def test_explicit_urls_install_silently_and_stick(machine: Machine, lab: Lab) -> None:
    machine.json("install", *CUDA)
    listed = machine.run("list", "--explicit", "--md5").stdout
    assert "@EXPLICIT" in listed
    urls = [line for line in listed.splitlines() if "/cud" in line]
    machine.json("install", "cudnn=8.4", "cudatoolkit=11.8")
    done = machine.run("install", "--json", "-y", *urls)
    assert (done.returncode, done.stdout) == (0, "")
    assert machine.packages()["cudatoolkit"] == "11.2.2"
    assert "conda-forge/linux-64::cudnn==8.1.0.77=h90431f1_0" in machine.history()
    wrong = machine.json("install", urls[0].partition("#")[0] + "#" + "0" * 32, code=1)
    assert wrong["exception_name"] == "ChecksumMismatchError"


def test_errors_are_named_on_stdout(machine: Machine, tmp_path: Path) -> None:
    def name(*arguments: str) -> str:
        return str(machine.json(*arguments, code=1)["exception_name"])

    missing = machine.json("install", "cudnn=99", code=1)
    assert missing["exception_name"] == "PackagesNotFoundInChannelsError"
    assert missing["packages"] == ["cudnn=99"]
    assert name("install", "cudnn", "cudatoolkit=12") == "PackagesNotFoundInChannelsError"
    assert name("install", "tensorflow=2.10.0=cuda*") == "UnsatisfiableError"
    assert name("install", "-c", "nowhere", "zlib") == "UnavailableInvalidChannel"
    assert name("remove", "zlib") == "PackagesNotFoundInPrefixError"
    assert name("install", "--revision", "0") == "CondaError"

    (machine.prefix / "conda-meta" / "frozen").write_text('{"message": "hands off"}', "utf-8")
    assert "hands off" in machine.json("install", "zlib", code=1)["message"]
    assert name("install", "zlib") == "EnvironmentIsFrozenError"

    machine.prefix = tmp_path
    assert name("install", "zlib") == "DirectoryNotACondaEnvironmentError"
    machine.prefix = tmp_path / "nowhere"
    assert name("install", "zlib") == "EnvironmentLocationNotFound"


def test_usage_errors_are_plain_text(machine: Machine) -> None:
    done = machine.run("install", "--json", "--frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --frobnicate" in done.stderr


def test_asks_before_it_acts(machine: Machine) -> None:
    declined = machine.run("install", "zlib", stdin="n\n")
    assert "Proceed ([y]/n)? " in declined.stdout
    assert "CondaSystemExit: Exiting." in declined.stderr
    assert "zlib" not in machine.packages()
    assert machine.run("install", "zlib", stdin="y\n").returncode == 0
    assert "zlib" in machine.packages()


def test_create_makes_an_environment_and_registers_it(machine: Machine) -> None:
    machine.prefix = machine.home / "my envs" / "new"
    created = machine.json("create", "-c", "conda-forge", "python=3.10")
    assert created["prefix"] == str(machine.prefix)
    registered = (machine.home / ".conda" / "environments.txt").read_text(encoding="utf-8")
    assert registered == f"{machine.prefix}\n"
    python = subprocess.run([str(machine.prefix / "bin" / "python"), "-m", "pip", "--version"])
    assert python.returncode == 0
    assert machine.json("create", "python", code=1)["exception_name"] == "CondaValueError"
    assert str(machine.prefix) in machine.json("info", "--envs")["envs"]


def test_driver_decides_about_cuda_builds(machine: Machine, lab: Lab, tmp_path: Path) -> None:
    driver = lab.driver(tmp_path / "driver")
    driver.set(cuda=11020)
    preload = driver.environ()["LD_PRELOAD"]
    with_driver = ["env", "-u", "CONDA_OVERRIDE_CUDA", f"LD_PRELOAD={preload}", str(machine.conda)]

    def ask(conda: list[str], *arguments: str) -> Any:
        done = subprocess.run([*conda, *arguments], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    assert ["__cuda", "11.2", "0"] in ask(with_driver, "info", "--json")["virtual_pkgs"]
    install = ("install", "-p", str(machine.prefix), "--json", "--dry-run", "tensorflow")
    for conda, kind in (
        (with_driver, "cuda"),
        (["env", "CONDA_OVERRIDE_CUDA=", *with_driver[-1:]], "cpu"),
    ):
        linked = ask(conda, *install)["actions"]["LINK"]
        [build] = [item["build_string"] for item in linked if item["name"] == "tensorflow"]
        assert build.startswith(kind)
