"""What is written is what gets started."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.autostart.readers import by_glib, by_the_specification, by_windows
from tfgpu_tray.autostart.command_lines import (
    join_exec,
    join_exec_start,
    join_windows,
    split_exec,
    split_exec_start,
    split_windows,
)
from tfgpu_tray.autostart.entry import AutostartError

words_of = st.lists(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1), min_size=1, max_size=5
)


awkward_words = st.lists(st.text("ab \\\"'`$%;#=~&{}", min_size=1), min_size=1, max_size=5)


@given(words_of | awkward_words)
def test_an_exec_line_means_the_same_to_everybody(words: list[str]) -> None:
    value = join_exec(words)
    assert by_the_specification(value) == words
    assert split_exec(value) == tuple(words)


@given(words_of | awkward_words)
def test_an_exec_line_means_the_same_to_glib(words: list[str]) -> None:
    assert by_glib(join_exec(words)) == words


@given(words_of | awkward_words)
def test_an_exec_start_line_reads_back(words: list[str]) -> None:
    assert split_exec_start(join_exec_start(["/bin/x", *words])) == ("/bin/x", *words)


@given(st.lists(st.text("ab \\c:.é%$", min_size=1), min_size=1, max_size=5))
def test_a_windows_command_line_reads_back(words: list[str]) -> None:
    assume(not words[0].endswith("\\") and words[0].strip())  # a program, no folder
    line = join_windows(words)
    assert by_windows(line) == words
    assert split_windows(line) == tuple(words)


@pytest.mark.parametrize("join", [join_exec, join_exec_start, join_windows])
@pytest.mark.parametrize("word", ["/a\nb", "/a\x00", "/a\x7f", "/\udcff/python"])
def test_what_no_entry_can_hold_is_refused(join: Any, word: str) -> None:
    with pytest.raises(AutostartError, match="rename the folder"):
        join([word])


def test_dollars_are_literal_in_units_and_only_they_need_the_newer_prefix() -> None:
    assert join_exec_start(["/a b/python", "50%"]) == '"/a b/python" "50%%"'
    assert join_exec_start(["/$a"]) == ':"/$a"'
    assert split_exec_start("-/bin/x $$a") == ("/bin/x", "$a")


def test_field_codes_and_broken_lines_are_read_as_such() -> None:
    assert split_exec("python -m tfgpu_tray %U") == ("python", "-m", "tfgpu_tray")
    assert split_exec('"python') == () and split_exec("") == ()
