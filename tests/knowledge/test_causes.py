"""What reads differently on Windows differs in words alone."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from tests.knowledge.test_tables import PLACEHOLDERS
from tfgpu_tray.knowledge.causes import cause, cause_ids
from tfgpu_tray.knowledge.tables import table

ON_WINDOWS = [name for name in cause_ids() if "windows" in table("causes")[name]]
OF_LINUX = re.compile(r"\b(sudo|apt|modprobe|dkms|LD_LIBRARY_PATH|ldconfig|Ubuntu|bin/python)\b")


@pytest.mark.parametrize("identifier", ON_WINDOWS)
def test_only_words_differ(identifier: str) -> None:
    own = table("causes")[identifier]["windows"]
    assert own and own.keys() <= {"title", "why", "remedy", "steps"}
    here, there = cause(identifier), cause(identifier, "windows")
    assert here != there
    assert (here.chapters, here.safety, here.scope, here.link) == (
        *(there.chapters, there.safety, there.scope, there.link),
    )


@pytest.mark.parametrize("identifier", ON_WINDOWS)
def test_words_for_windows_are_for_windows(identifier: str) -> None:
    found = cause(identifier, "windows")
    text = "\n".join((found.title, found.why, found.remedy, *found.steps))
    assert not OF_LINUX.search(text), text
    for step in found.steps:
        fields = {name for _, name, _, _ in Formatter().parse(step) if name is not None}
        assert fields <= PLACEHOLDERS


def test_what_is_the_same_everywhere_is_written_once() -> None:
    assert len(ON_WINDOWS) > 10
    assert cause("no-nvidia-gpu", "windows") == cause("no-nvidia-gpu")
