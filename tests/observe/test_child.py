"""A child process ends by itself, or is ended with all it started."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.needs import tool
from tests.until import until
from tfgpu_tray.model import Outcome
from tfgpu_tray.observe.child import OUTPUT_LIMIT, Result, _outcome, decoded, run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses a POSIX shell")


def sh(script: str, deadline: float = 20.0) -> Result:
    return run([tool("sh"), "-c", script], deadline=deadline)


def test_output_and_exit_status() -> None:
    result = sh("echo out; echo err >&2")
    assert (result.outcome, result.code) == (Outcome.COMPLETED, 0)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_an_exit_status_is_a_failure_not_a_crash() -> None:
    result = sh("exit 3")
    assert (result.outcome, result.code) == (Outcome.FAILED, 3)
    assert result.how_it_ended == "ended with exit status 3"


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "KILL", "ILL"])
def test_a_signal_is_a_crash(name: str) -> None:
    result = sh(f"kill -{name} $$")
    assert result.outcome is Outcome.CRASHED
    assert result.how_it_ended == f"was ended by SIG{name}"


@pytest.mark.parametrize("code", [134, 139])
def test_a_shell_that_passes_a_crash_on_counts_as_one(code: int) -> None:
    assert sh(f"exit {code}").outcome is Outcome.CRASHED


def test_what_does_not_exist_was_not_started(tmp_path: Path) -> None:
    result = run([tmp_path / "absent"], deadline=5)
    assert (result.outcome, result.code) == (Outcome.NOT_STARTED, None)
    assert result.how_it_ended == "could not be started (No such file or directory)"


def test_a_folder_that_is_gone_is_a_reason_not_to_start(tmp_path: Path) -> None:
    result = run([tool("sh"), "-c", ":"], deadline=5, cwd=tmp_path / "absent")
    assert result.outcome is Outcome.NOT_STARTED


def test_what_hangs_is_stopped_at_its_deadline_and_its_output_kept() -> None:
    started = time.monotonic()
    result = sh("echo before; exec tail -f /dev/null", deadline=0.3)
    assert (result.outcome, result.code) == (Outcome.TIMED_OUT, None)
    assert result.stdout == "before\n"
    assert time.monotonic() - started < 5
    assert result.how_it_ended.startswith("did not answer within")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"


def wait_until_gone(pid: int) -> None:
    until(lambda: not alive(pid), what=f"the end of process {pid}")


@pytest.mark.parametrize("ending", ["wait", "exit 0"])
def test_grandchildren_do_not_survive(ending: str) -> None:
    """Neither at the deadline nor when their parent ends before them."""
    result = sh(f"tail -f /dev/null & echo $!; {ending}", deadline=0.3)
    expected = Outcome.TIMED_OUT if ending == "wait" else Outcome.COMPLETED
    assert result.outcome is expected
    wait_until_gone(int(result.stdout))


def test_a_child_that_ignores_polite_signals_is_stopped_too() -> None:
    result = sh("trap '' TERM INT HUP; echo $$; while :; do read -r x < /dev/zero; done", 0.3)
    assert result.outcome is Outcome.TIMED_OUT
    wait_until_gone(int(result.stdout))


def test_an_interruption_of_ours_stops_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def interrupted(text: str) -> None:
        seen.append(int(text))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            [tool("sh"), "-c", "echo $$; exec tail -f /dev/null"],
            deadline=20,
            watch=interrupted,
        )
    wait_until_gone(seen[0])


def test_input_is_passed_on_and_is_empty_by_default() -> None:
    assert run([tool("cat")], deadline=5, stdin="käse\n").stdout == "käse\n"
    assert run([tool("cat")], deadline=5).stdout == ""


def test_the_environment_is_exactly_what_is_given() -> None:
    result = run([tool("env")], deadline=5, environ={"A": "1"})
    assert result.stdout.splitlines() == ["A=1"]


def test_output_that_is_not_text_does_no_harm() -> None:
    assert "�" in sh(r"printf '\377\376'").stdout


def test_only_the_end_of_endless_output_is_kept() -> None:
    result = sh(f"head -c {OUTPUT_LIMIT + 1000} /dev/zero | tr '\\0' x; echo end")
    assert len(result.stdout) == OUTPUT_LIMIT and result.stdout.endswith("x\nend\n".lstrip("x\n"))


def test_progress_is_told_completely_and_in_order() -> None:
    told: list[str] = []
    count = 40_000
    result = run([tool("seq"), str(count)], deadline=20, watch=told.append)
    assert result.outcome is Outcome.COMPLETED
    assert "".join(told) == result.stdout == "".join(f"{n}\n" for n in range(1, count + 1))


def test_progress_of_a_child_that_hangs_ends_at_the_deadline() -> None:
    told: list[str] = []
    command = [tool("sh"), "-c", "echo one; exec tail -f /dev/null"]
    result = run(command, deadline=0.4, watch=told.append)
    assert (result.outcome, told) == (Outcome.TIMED_OUT, ["one\n"])


def test_an_unknown_signal_has_a_name_too() -> None:
    result = Result(Outcome.CRASHED, -(signal.NSIG + 5), "", "", 0)
    assert result.how_it_ended == f"was ended by signal {signal.NSIG + 5}"


# ---- what Windows does differently ---------------------------------------------------------------


@pytest.mark.parametrize(
    "code, outcome, ended",
    [
        (0xC0000005, Outcome.CRASHED, "was ended by exception 0xC0000005 (access violation)"),
        (0xC000001D, Outcome.CRASHED, "was ended by exception 0xC000001D (illegal instruction)"),
        (0xC0000999, Outcome.CRASHED, "was ended by exception 0xC0000999"),
        (0xFFFFFFFF, Outcome.FAILED, "ended with exit status 4294967295"),
        (1, Outcome.FAILED, "ended with exit status 1"),
    ],
)
def test_an_exception_is_a_crash_with_a_name(code: int, outcome: Outcome, ended: str) -> None:
    assert _outcome(code) is outcome
    assert Result(outcome, code, "", "", 0).how_it_ended == ended


@pytest.mark.parametrize(
    "raw, text",
    [
        ("käse 用户".encode(), "käse 用户"),
        ("käse".encode()[:2], "k"),  # stopped within a character
        ("适用于 Linux\r\n的子系统\r\n".encode("utf-16-le"), "适用于 Linux\r\n的子系统\r\n"),
        (b"A=1\0B=2\0", "A=1\0B=2\0"),
    ],
)
def test_what_programs_print_is_read_in_their_encoding(raw: bytes, text: str) -> None:
    assert decoded(raw) == text


def test_the_code_page_of_the_console_is_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tfgpu_tray.observe.child.OEM", "gbk")
    assert decoded("'用户' 不是内部或外部命令".encode("gbk")) == "'用户' 不是内部或外部命令"
