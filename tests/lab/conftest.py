"""The `lab` fixture, and when tests that need it run."""

from __future__ import annotations

import os

import pytest

from tests.lab.lab import Lab

STRICT = os.environ.get("TFGPU_TEST_STRICT") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what uses the lab, and leaves it out of quick runs: building it takes minutes."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker("lab")
        if not STRICT and item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason="lab tests run with TFGPU_TEST_STRICT=1"))


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab; a machine that cannot have one fails a strict run."""
    if reason := Lab.missing():
        pytest.fail(reason) if STRICT else pytest.skip(reason)
    return Lab()
