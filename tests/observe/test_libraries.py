"""What the loader finds: worked out from files, and really opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FailingRunner, conda_prefix, described, shared_library, site_of, write
from tfgpu_tray.model import Environment, Libraries, Library, LibraryState, Outcome
from tfgpu_tray.observe import libraries
from tfgpu_tray.observe.libraries import Wheel, candidates, is_whole, load, predict, read_wheel

CUDART, CUDNN = "libtfgpucudart.so.11.0", "libtfgpucudnn.so.8"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """On a machine with no CUDA of its own; the interpreter is ours."""
    monkeypatch.setattr(libraries, "SYSTEM_CUDA", (str(tmp_path / "usr/local/cuda/lib64"),))
    monkeypatch.setattr(libraries, "loader_cache", dict)
    prefix = conda_prefix(tmp_path / "it's 用户's env")
    return replace(described(prefix), python=Path(sys.executable))


def tensorflow(environment: Environment, *options: str) -> Wheel:
    folder = site_of(environment.prefix) / "tensorflow"
    shared_library(folder / "libtensorflow_framework.so.2", *options)
    found = read_wheel(folder)
    assert found is not None
    return found


RUNPATH = ("-Wl,--enable-new-dtags,-rpath,$ORIGIN:$ORIGIN/../nvidia/cudnn/lib:/opt//x/",)
RPATH = ("-Wl,--disable-new-dtags,-rpath,$ORIGIN",)
NONE = Wheel()


def one(found: Libraries, soname: str = CUDART) -> Library:
    return next(x for x in found.libraries if x.soname == soname)


def predicted(
    environment: Environment,
    wheel: Wheel | None = NONE,
    path: str | None = "",
    preloaded: bool = False,
) -> Library:
    return one(predict(environment, [CUDART], wheel, path, preloaded))


# ---- the wheel ---------------------------------------------------------------------------------


def test_a_runpath_is_read_with_its_origin(environment: Environment) -> None:
    wheel = tensorflow(environment, *RUNPATH)
    site = site_of(environment.prefix)
    assert not wheel.legacy
    assert wheel.runpath == (f"{site}/tensorflow", f"{site}/nvidia/cudnn/lib", "/opt/x")


def test_an_rpath_also_reaches_the_interpreters_libraries(environment: Environment) -> None:
    wheel = tensorflow(environment, *RPATH)
    assert wheel.legacy and wheel.runpath[-1] == f"{environment.prefix}/lib"


def test_a_wheel_without_either(environment: Environment) -> None:
    assert tensorflow(environment) == Wheel()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + bytes(500), b"not a library"])
def test_a_wheel_that_cannot_be_read_is_not_known(environment: Environment, content: bytes) -> None:
    folder = site_of(environment.prefix) / "tensorflow"
    write(folder / "libtensorflow_framework.so.2", content)
    assert read_wheel(folder) is None
    assert read_wheel(folder / "absent") is None


# ---- candidates --------------------------------------------------------------------------------


def test_candidates_and_relatives(environment: Environment, tmp_path: Path) -> None:
    lib, site = environment.prefix / "lib", site_of(environment.prefix)
    for path in (
        lib / CUDART,
        lib / "libtfgpucudart.so",
        lib / "libtfgpucudart.so.12",
        lib / "libtfgpucudart_static.so.1",
        site / "nvidia/cuda_runtime/lib" / CUDART,
        tmp_path / "usr/local/cuda/lib64" / CUDART,
    ):
        write(path, "x")
    same, other = candidates(environment, CUDART)
    assert same == (
        f"{lib}/{CUDART}",
        f"{site}/nvidia/cuda_runtime/lib/{CUDART}",
        f"{tmp_path}/usr/local/cuda/lib64/{CUDART}",
    )
    assert other == (f"{lib}/libtfgpucudart.so.12",)


def test_a_library_installed_later_is_seen(environment: Environment) -> None:
    assert candidates(environment, CUDART) == ((), ())
    write(environment.prefix / "lib" / CUDART, "x")
    os.utime(environment.prefix / "lib", ns=(1, 1))
    assert len(candidates(environment, CUDART)[0]) == 1


def test_whole_and_not_whole(tmp_path: Path) -> None:
    assert is_whole(str(shared_library(tmp_path / "whole.so")))
    for content in (b"", b"\x7fELF", b"<html>" + bytes(100)):
        assert not is_whole(str(write(tmp_path / "cut.so", content)))
    assert not is_whole(str(tmp_path)) and not is_whole(str(tmp_path / "absent"))


# ---- worked out --------------------------------------------------------------------------------


def test_nowhere_is_missing(environment: Environment) -> None:
    assert predicted(environment).state is LibraryState.MISSING


def test_on_the_loader_path_is_found(environment: Environment) -> None:
    path = shared_library(environment.prefix / "lib" / CUDART)
    found = predicted(environment, path=f"/nowhere:{path.parent}")
    assert (found.state, found.path) == (LibraryState.FOUND, str(path))


def test_on_disk_but_not_looked_at_is_unreachable(environment: Environment) -> None:
    shared_library(environment.prefix / "lib" / CUDART)
    assert predicted(environment).state is LibraryState.UNREACHABLE


@pytest.mark.parametrize("wheel, path", [(None, ""), (NONE, None)])
def test_where_the_path_is_not_known_nothing_is_called_unreachable(
    environment: Environment, wheel: Wheel | None, path: str | None
) -> None:
    shared_library(environment.prefix / "lib" / CUDART)
    assert predicted(environment, wheel, path).state is LibraryState.UNKNOWN


def test_the_preload_reaches_what_lies_in_the_environment(
    environment: Environment, tmp_path: Path
) -> None:
    outside = shared_library(tmp_path / "usr/local/cuda/lib64" / CUDART)
    assert predicted(environment, preloaded=True).state is LibraryState.UNREACHABLE
    assert outside.exists()
    shared_library(environment.prefix / "lib" / CUDART)
    assert predicted(environment, preloaded=True).state is LibraryState.FOUND


def test_an_empty_file_in_front_of_a_good_one_hides_it(
    environment: Environment, tmp_path: Path
) -> None:
    shared_library(environment.prefix / "lib" / CUDART)
    bad = write(tmp_path / "bad" / CUDART)
    found = predicted(environment, path=f"{tmp_path}/bad:{environment.prefix}/lib")
    assert (found.state, found.path) == (LibraryState.HIDDEN, str(bad))


def test_the_variable_comes_before_a_runpath_and_after_an_rpath(
    environment: Environment, tmp_path: Path
) -> None:
    one_, two = shared_library(tmp_path / "one" / CUDART), shared_library(tmp_path / "two" / CUDART)
    folders = (str(one_.parent),)
    new, old = Wheel(folders), Wheel(folders, legacy=True)
    assert predicted(environment, new, str(two.parent)).path == str(two)
    assert predicted(environment, old, str(two.parent)).path == str(one_)


# ---- really opened -----------------------------------------------------------------------------


def opened(environment: Environment, wheel: Wheel | None, path: str = "") -> Library:
    session = {"PATH": os.environ["PATH"]}
    activated = session | ({"LD_LIBRARY_PATH": path} if path else {})
    found = load(environment, [CUDART], wheel, activated, session, deadline=30)
    assert (found.method, found.outcome, found.notes) == ("loaded", Outcome.COMPLETED, ())
    return one(found)


def test_the_loader_agrees_on_what_is_found_and_where(
    environment: Environment, tmp_path: Path
) -> None:
    inside = shared_library(environment.prefix / "lib" / CUDART)
    other = shared_library(tmp_path / "other" / CUDART)
    for wheel in (NONE, Wheel((str(inside.parent),)), Wheel((str(inside.parent),), legacy=True)):
        for path in ("", str(other.parent), f"{inside.parent}:{other.parent}"):
            expected = predicted(environment, wheel, path)
            really = opened(environment, wheel, path)
            assert (really.state, really.path) == (expected.state, expected.path), (wheel, path)


def test_the_loader_says_what_is_only_found_when_activated(environment: Environment) -> None:
    path = shared_library(environment.prefix / "lib" / CUDART)
    assert opened(environment, NONE, str(path.parent)).without_activation is False
    assert opened(environment, Wheel((str(path.parent),))).without_activation is True


def test_a_damaged_file_in_front_of_a_good_one_hides_it(
    environment: Environment, tmp_path: Path
) -> None:
    good = shared_library(environment.prefix / "lib" / CUDART)
    bad = write(tmp_path / "bad" / CUDART)
    found = opened(environment, NONE, f"{bad.parent}:{good.parent}")
    assert (found.state, found.path) == (LibraryState.HIDDEN, str(bad))
    assert found.error is not None and "file too short" in found.error


def test_a_damaged_file_alone_is_damaged(environment: Environment) -> None:
    bad = write(environment.prefix / "lib" / CUDART, b"\x7fELF" + bytes(200))
    found = opened(environment, NONE, str(bad.parent))
    assert (found.state, found.path) == (LibraryState.DAMAGED, str(bad))


def test_nowhere_is_missing_to_the_loader_too(environment: Environment) -> None:
    assert opened(environment, NONE).state is LibraryState.MISSING


def test_a_library_that_needs_another_is_damaged_and_names_it(environment: Environment) -> None:
    lib = environment.prefix / "lib"
    shared_library(lib / CUDNN)
    path = shared_library(lib / CUDART, "-Wl,--no-as-needed", str(lib / CUDNN))
    (lib / CUDNN).unlink()
    found = opened(environment, NONE, str(lib))
    assert (found.state, found.path) == (LibraryState.DAMAGED, str(path))
    assert found.error is not None and found.error.startswith(f"{CUDNN}: cannot open")


def test_a_probe_that_hangs_leaves_every_library_unknown(environment: Environment) -> None:
    found = load(environment, [CUDART, CUDNN], None, {}, {}, runner=FailingRunner())
    assert {x.state for x in found.libraries} == {LibraryState.UNKNOWN}
    assert found.outcome is Outcome.TIMED_OUT and found.libcuda is None and found.cuinit is None
    assert found.notes == (
        "the loader probe did not answer within 5 s and was stopped at its start",
    )
    assert {x.without_activation for x in found.libraries} != {True}


def test_a_probe_that_could_not_look_without_activation_claims_nothing(
    environment: Environment,
) -> None:
    """Unknown is None, never False."""
    found = load(environment, [CUDART], None, {}, {}, runner=FailingRunner())
    assert one(found).without_activation is None


def test_the_probe_says_what_it_knows_before_the_end(environment: Environment) -> None:
    probe = Path(libraries.__file__).parent / "probes" / "loader_probe.py"
    request = json.dumps({"names": [CUDART], "driver": True, "runpath": [], "legacy_rpath": False})
    done = subprocess.run([sys.executable, probe, request], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and CUDART in lines[0] and lines[-1] == '@tfgpu {"stage": "done"}'
