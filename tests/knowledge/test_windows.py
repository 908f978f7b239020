"""What a build of Windows can do."""

from __future__ import annotations

import pytest

from tfgpu_tray.knowledge.windows import driver_of_branch, family, wsl2_possible
from tfgpu_tray.model import Host


@pytest.mark.parametrize(
    "build, expected",
    [
        (9600, None),
        (10240, "Windows 10"),
        (19045, "Windows 10"),
        (21999, "Windows 10"),
        (22000, "Windows 11"),
        (26200, "Windows 11"),
    ],
)
def test_windows_10_and_11_differ_by_build(build: int, expected: str | None) -> None:
    assert family(build) == expected


@pytest.mark.parametrize("build, possible", [(18363, False), (19043, False), (19044, True)])
def test_wsl2_needs_a_build(build: int, possible: bool) -> None:
    answer, reason = wsl2_possible(Host("windows", "x86_64", windows_build=build))
    assert answer is possible
    assert reason == (
        ""
        if possible
        else f"this is Windows build {build}, and a GPU in WSL 2 needs build 19044 "
        "(Windows 10 21H2) or newer"
    )


def test_wsl2_is_not_promised_where_the_build_is_not_known() -> None:
    assert wsl2_possible(Host("windows", "x86_64"))[1].startswith("the build of Windows is not")
    assert wsl2_possible(Host("linux", "x86_64")) == (False, "this is not Windows")


def test_a_branch_is_known_by_one_of_its_drivers() -> None:
    assert (driver_of_branch("580"), driver_of_branch("470")) == ("581.29", "472.50")
    assert driver_of_branch("390") is None
