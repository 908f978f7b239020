"""What `check --json` says becomes what a face shows; what it does not say is a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeRunner, completed, environment, failed, timed_out
from tfgpu_tray.model import Depth, Judgement, Offer, Outcome, Verdict
from tfgpu_tray.monitor.looking import CommandLooker, LookFailed, Sight
from tfgpu_tray.observe.child import Result

A, B = environment(Path("/envs/a")), environment(Path("/envs/b"))


def diagnosis(cause: str, role: str = "primary", **remedy: Any) -> dict[str, Any]:
    return {
        "cause": cause,
        "role": role,
        "summary": f"{cause} it is",
        "remedy": {"title": f"mend {cause}", "steps": [], **remedy},
    }


def entry(prefix: str = "/envs/a", **content: Any) -> dict[str, Any]:
    return {"prefix": prefix, "verdict": "ok", "headline": "fine", "diagnoses": [], **content}


def plan(*titles: str, download_mb: int | None = 700, guidance: tuple[str, ...] = ()) -> object:
    steps = [{"title": title} for title in titles]
    return {"steps": steps, "download_mb": download_mb, "guidance": list(guidance)}


def answer(*entries: dict[str, Any]) -> Result:
    return failed(2, json.dumps({"environments": list(entries)}))  # broken is exit status 2


def looked(result: Result, depth: Depth = Depth.STATIC) -> list[Sight]:
    looker = CommandLooker(("tfgpu-tray",), 60, FakeRunner({"check": result}))
    return list(looker([A], depth))


def judged(**content: Any) -> Judgement:
    (sight,) = looked(answer(entry(**content)))
    return sight.judgement


def test_files_of_all_environments_are_read_by_one_process() -> None:
    runner = FakeRunner({"check": answer(entry(), entry("/envs/b"))})
    sights = list(CommandLooker(("tfgpu-tray", "--x"), 60, runner)([A, B], Depth.STATIC))
    assert [s.prefix for s in sights] == [A.prefix, B.prefix]
    (call,) = runner.calls
    words = "tfgpu-tray --x check --json --plan --depth static --env /envs/a --env /envs/b"
    assert " ".join(call) == words


def test_tensorflow_is_asked_in_one_process_for_each_environment() -> None:
    runner = FakeRunner({"/envs/a": answer(entry()), "/envs/b": answer(entry("/envs/b"))})
    sights = CommandLooker(("tfgpu-tray",), 60, runner)([A, B], Depth.TENSORFLOW)
    assert [s.prefix for s in sights] == [A.prefix, B.prefix]
    assert [call[-3:] for call in runner.calls] == [
        ["tensorflow", "--env", "/envs/a"],
        ["tensorflow", "--env", "/envs/b"],
    ]


@pytest.mark.parametrize("depth", [Depth.STATIC, Depth.TENSORFLOW])
def test_the_deadline_is_one_for_each_environment(depth: Depth) -> None:
    deadlines: list[float] = []

    def runner(*_: object, deadline: float, **__: object) -> Result:
        deadlines.append(deadline)
        return answer(entry())

    list(CommandLooker(("tfgpu-tray",), 60, runner)([A, B], depth))
    assert sum(deadlines) == 120


def test_what_is_fine_offers_nothing() -> None:
    assert judged() == Judgement(Verdict.OK, "fine")


def test_a_repair_is_offered_with_its_steps_and_size() -> None:
    found = judged(
        verdict="broken",
        diagnoses=[diagnosis("leftovers", "contributing"), diagnosis("cudnn-missing")],
        plan=plan("install cudnn", "write the hook"),
    )
    assert found.cause == "cudnn-missing" and found.verdict is Verdict.BROKEN
    assert found.offer == Offer("mend cudnn-missing", ("install cudnn", "write the hook"), 700)
    assert found.also == ("leftovers it is",) and found.advice == ""


def test_where_no_step_mends_it_a_person_is_told_what_to_do() -> None:
    bad = {"verdict": "broken", "diagnoses": [diagnosis("driver-old", steps=["Update", "Reboot"])]}
    assert judged(**bad).advice == "Update Reboot"
    assert judged(**bad, plan=plan(guidance=("Ask your administrator.",))).advice == (
        "Ask your administrator."
    )
    assert judged(verdict="broken", diagnoses=[diagnosis("odd")]).advice == "mend odd"
    assert judged(**bad, plan=plan()).offer is None


def test_a_blemish_alone_is_the_cause() -> None:
    blemishes = [diagnosis("leftovers", "contributing"), diagnosis("stale", "contributing")]
    found = judged(verdict="degraded", diagnoses=blemishes, plan=plan("tidy up"))
    assert found.cause == "leftovers" and found.also == ("stale it is",)
    assert found.offer is not None and found.offer.title == "mend leftovers"


def test_what_is_only_possible_is_no_cause() -> None:
    assert judged(diagnoses=[diagnosis("perhaps", "possible")]).cause is None


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (completed("no JSON"), "^check .+"),
        (failed(1, "", "first\nlast word\n"), "^last word$"),
        (timed_out("", "Traceback"), "^check did not answer within 5 s and was stopped$"),
        (completed("[]"), "^check "),
        (completed("{}"), "^check "),
        (completed("null"), "^check "),
        (Result(Outcome.NOT_STARTED, None, "", "No such file", 0.0), "^No such file$"),
    ],
)
def test_what_is_no_answer_is_a_failure_that_says_why(result: Result, text: str) -> None:
    with pytest.raises(LookFailed, match=text):
        looked(result)


def test_of_several_ways_a_repair_offers_the_first_and_names_the_others() -> None:
    ways = [
        {"title": "Back to TensorFlow 2.10", "costs": "no restart", "steps": []},
        {"title": "TensorFlow inside WSL 2", "costs": "a restart", "steps": ["Install WSL."]},
    ]
    found = judged(
        verdict="broken", diagnoses=[diagnosis("too-new", ways=ways)], plan=plan("Install 2.10")
    )
    assert found.offer == Offer(
        "Back to TensorFlow 2.10", ("Install 2.10",), 700, ("TensorFlow inside WSL 2: a restart",)
    )
