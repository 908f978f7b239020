"""What Windows finds of a TensorFlow's DLLs: worked out from files, and judged from what a probe
says. That the probe and Windows agree with it is for the Windows lab to show."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FailingRunner, FakeRunner, completed, facts, write
from tests.observe.windows_prefix import I386, conda, dll, seen, venv
from tfgpu_tray.model import Environment, Libraries, Library, LibraryState, Outcome
from tfgpu_tray.observe import libraries
from tfgpu_tray.observe.dlls import (
    CUDNN,
    ZLIB,
    candidates,
    is_whole,
    load,
    predict,
    running_python,
    search_order,
)

CUDART = "cudart64_110.dll"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return replace(seen(conda(tmp_path / "王 小明" / "envs" / "tf")), user_site=None)


@pytest.fixture
def session(tmp_path: Path) -> dict[str, str]:
    """A Windows without CUDA."""
    windows = tmp_path / "Windows"
    (windows / "System32").mkdir(parents=True)
    return {"SYSTEMROOT": str(windows), "PATH": f"{windows}/System32;{windows}"}


def inside(environment: Environment, name: str = CUDART) -> Path:
    return environment.prefix / "Library" / "bin" / name


def one(found: Libraries, name: str = CUDART) -> Library:
    return next(x for x in found.libraries if x.soname == name)


def predicted(
    environment: Environment,
    session: dict[str, str],
    *front: Path,
    known: bool = True,
    preloaded: bool = False,
) -> Library:
    """With *front* before the PATH of the session."""
    path = ";".join([*map(str, front), session["PATH"]]) if known else None
    return one(predict(environment, [CUDART], path, session, preloaded))


# ---- worked out --------------------------------------------------------------------------------


def test_nowhere_is_missing(environment: Environment, session: dict[str, str]) -> None:
    found = predicted(environment, session)
    assert (found.state, found.path, found.without_activation) == (
        *(LibraryState.MISSING, None),
        False,
    )


def test_condas_folder_is_reached_by_activation_alone(
    environment: Environment, session: dict[str, str]
) -> None:
    path = dll(inside(environment))
    found = predicted(environment, session, path.parent)
    assert (found.state, found.path) == (LibraryState.FOUND, str(path))
    assert found.without_activation is False
    assert predicted(environment, session).state is LibraryState.UNREACHABLE


def test_the_folder_of_python_is_searched_before_path(
    environment: Environment, session: dict[str, str]
) -> None:
    own, other = dll(environment.prefix / CUDART), dll(inside(environment))
    found = predicted(environment, session, other.parent)
    assert (found.path, found.without_activation) == (str(own), True)


def test_system32_is_searched_before_path(
    environment: Environment, session: dict[str, str]
) -> None:
    own = dll(Path(session["SYSTEMROOT"], "System32", CUDART))
    other = dll(inside(environment))
    assert predicted(environment, session, other.parent).path == str(own)


def test_a_foreign_one_in_front_on_path_is_what_is_found(
    environment: Environment, session: dict[str, str], tmp_path: Path
) -> None:
    foreign, own = dll(tmp_path / "CUDA" / "bin" / CUDART), dll(inside(environment))
    found = predicted(environment, session, foreign.parent, own.parent)
    assert (found.state, found.path) == (LibraryState.FOUND, str(foreign))


def test_a_damaged_file_in_front_of_a_good_one_hides_it(
    environment: Environment, session: dict[str, str], tmp_path: Path
) -> None:
    bad, own = write(tmp_path / "bad" / CUDART, "cut"), dll(inside(environment))
    found = predicted(environment, session, bad.parent, own.parent)
    assert (found.state, found.path) == (LibraryState.HIDDEN, str(bad))


def test_a_damaged_file_alone_is_damaged(environment: Environment, session: dict[str, str]) -> None:
    bad = write(inside(environment), b"MZ" + bytes(100))
    assert predicted(environment, session, bad.parent).state is LibraryState.DAMAGED
    assert predicted(environment, session).state is LibraryState.DAMAGED


def test_where_the_path_is_not_known_nothing_is_called_unreachable(
    environment: Environment, session: dict[str, str]
) -> None:
    dll(inside(environment))
    assert predicted(environment, session, known=False).state is LibraryState.UNKNOWN


def test_the_preload_wins_over_what_is_on_path(
    environment: Environment, session: dict[str, str], tmp_path: Path
) -> None:
    """A module that is loaded already is taken by its name."""
    foreign, own = dll(tmp_path / "CUDA" / CUDART), dll(inside(environment))
    found = predicted(environment, session, foreign.parent, preloaded=True)
    assert (found.state, found.path) == (LibraryState.FOUND, str(own))
    assert found.without_activation is True
    own.write_bytes(b"cut")
    assert predicted(environment, session, foreign.parent, preloaded=True).path == str(foreign)


def test_the_stores_python_does_not_search_path(
    environment: Environment, session: dict[str, str]
) -> None:
    path = dll(inside(environment))
    packaged = replace(environment, packaged_python=True)
    assert predicted(packaged, session, path.parent).state is LibraryState.UNREACHABLE


def test_a_venv_runs_the_python_it_was_made_with(tmp_path: Path, session: dict[str, str]) -> None:
    home = tmp_path / "Python310"
    environment = seen(venv(tmp_path / "venv", home=str(home)))
    assert running_python(environment) == home
    assert search_order(environment, "", session)[0] == str(home)
    write(environment.prefix / "Scripts" / "python310.dll")  # as some tools make one
    assert running_python(environment) == environment.prefix / "Scripts"


def test_without_an_interpreter_only_the_system_is_searched(
    environment: Environment, session: dict[str, str]
) -> None:
    without = replace(environment, python=None)
    assert search_order(without, "", session)[0] == os.path.join(session["SYSTEMROOT"], "System32")


# ---- the helper of cuDNN -----------------------------------------------------------------------


def test_cudnns_helper_is_looked_for_where_cudnn_is(
    environment: Environment, session: dict[str, str]
) -> None:
    names = [CUDART, CUDNN]
    assert [x.soname for x in predict(environment, names, "", session, False).libraries] == names
    dll(inside(environment, CUDNN))
    found = predict(environment, names, "", session, False)
    assert one(found, ZLIB).state is LibraryState.MISSING
    dll(inside(environment, ZLIB))
    found = predict(environment, names, str(inside(environment).parent), session, False)
    assert one(found, ZLIB).state is LibraryState.FOUND


# ---- candidates --------------------------------------------------------------------------------


def test_candidates_and_relatives(
    environment: Environment, session: dict[str, str], tmp_path: Path
) -> None:
    site = environment.site_packages
    assert site is not None
    program_files = tmp_path / "Program Files"
    toolkit = program_files / "NVIDIA GPU Computing Toolkit" / "CUDA"
    places = [
        inside(environment),
        site / "nvidia" / "cuda_runtime" / "bin" / CUDART,
        tmp_path / "on path" / "CUDART64_110.DLL",
        toolkit / "v11.8" / "bin" / CUDART,
        toolkit / "v11.2" / "bin" / CUDART,
    ]
    relatives = [inside(environment, "cudart64_12.dll"), tmp_path / "on path" / "cudart64_101.dll"]
    elsewhere = [toolkit / "v12.4" / "bin" / "cudart64_12.dll", inside(environment, "cudart.dll")]
    for path in (*places, *relatives, *elsewhere):
        dll(path)
    session |= {"PROGRAMFILES": str(program_files), "PATH": f"{tmp_path}/on path"}
    same, other = candidates(environment, CUDART, session)
    assert same == tuple(map(str, places))
    assert other == tuple(map(str, relatives))


def test_a_toolkit_that_a_variable_names_is_looked_into(
    environment: Environment, session: dict[str, str], tmp_path: Path
) -> None:
    path = dll(tmp_path / "D" / "CUDA" / "bin" / CUDART)
    for name in ("CUDA_PATH", "CUDA_PATH_V11_2"):
        assert candidates(environment, CUDART, {**session, name: f"{tmp_path}/D/CUDA"}) == (
            (str(path),),
            (),
        )


def test_names_are_found_in_any_case(environment: Environment, session: dict[str, str]) -> None:
    path = dll(inside(environment, "cublasLt64_11.dll"))
    for name in ("cublasLt64_11.dll", "CUBLASLT64_11.DLL"):
        assert candidates(environment, name, session)[0] == (str(path),)


def test_a_dll_installed_later_is_seen(environment: Environment, session: dict[str, str]) -> None:
    inside(environment).parent.mkdir(parents=True)
    assert candidates(environment, CUDART, session) == ((), ())
    dll(inside(environment))
    os.utime(inside(environment).parent, ns=(1, 1))
    assert len(candidates(environment, CUDART, session)[0]) == 1


def test_libraries_hands_dlls_over(environment: Environment) -> None:
    path = dll(inside(environment))
    assert libraries.candidates(environment, CUDART)[0] == (str(path),)
    assert libraries.is_whole(str(path))


@pytest.mark.parametrize("content", [b"", b"MZ", b"\x7fELF" + bytes(200), b"MZ" + bytes(300)])
def test_whole_and_not_whole(tmp_path: Path, content: bytes) -> None:
    assert is_whole(str(dll(tmp_path / "whole.dll")))
    assert not is_whole(str(write(tmp_path / "cut.dll", content)))
    assert not is_whole(str(tmp_path)) and not is_whole(str(tmp_path / "absent.dll"))


def test_a_dll_for_32_bits_is_none_here(tmp_path: Path) -> None:
    assert not is_whole(str(dll(tmp_path / "old.dll", I386)))


# ---- really opened -----------------------------------------------------------------------------


def judged(environment: Environment, path: Path | None, code: int) -> Library:
    error = f"[WinError {code}] …" if code else None
    said = {"library": {"name": CUDART, "path": path and str(path), "error": error, "code": code}}
    runner = FakeRunner({"dll_probe.py": completed(facts(said, {"cuinit": 0, "stage": "done"}))})
    found = load(environment, [CUDART], {}, {}, runner=runner)
    assert (found.method, found.outcome, found.cuinit) == ("loaded", Outcome.COMPLETED, 0)
    return one(found)


def test_what_was_opened_is_found(environment: Environment) -> None:
    path = dll(inside(environment))
    found = judged(environment, path, 0)
    assert (found.state, found.path) == (LibraryState.FOUND, str(path))
    assert found.without_activation is True


@pytest.mark.parametrize("there", [True, False])
def test_what_is_not_found_is_unreachable_or_missing(environment: Environment, there: bool) -> None:
    if there:
        dll(inside(environment))
    found = judged(environment, None, 126)
    assert found.state is (LibraryState.UNREACHABLE if there else LibraryState.MISSING)
    assert found.error == "[WinError 126] …"


def test_what_lacks_another_dll_is_damaged_although_it_is_whole(environment: Environment) -> None:
    """Windows has the same code for it as for a file that is not there."""
    path = dll(inside(environment))
    assert judged(environment, path, 126).state is LibraryState.DAMAGED


def test_what_is_no_dll_is_damaged_or_hides_a_good_one(
    environment: Environment, tmp_path: Path
) -> None:
    bad = write(tmp_path / "bad" / CUDART)
    assert judged(environment, bad, 193).state is LibraryState.DAMAGED
    dll(inside(environment))
    assert judged(environment, bad, 193).state is LibraryState.HIDDEN


def test_a_probe_that_hangs_leaves_every_dll_unknown(environment: Environment) -> None:
    dll(inside(environment, CUDNN))
    found = load(environment, [CUDART, CUDNN], {}, {}, runner=FailingRunner())
    assert [x.soname for x in found.libraries] == [CUDART, CUDNN, ZLIB]
    assert {x.state for x in found.libraries} == {LibraryState.UNKNOWN}
    assert {x.without_activation for x in found.libraries} == {None}
    assert found.outcome is Outcome.TIMED_OUT
