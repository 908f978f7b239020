"""What TensorFlow itself answers, and what is made of no answer."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import (
    FailingRunner,
    FakeRunner,
    completed,
    crashed,
    environment,
    facts,
    failed,
    timed_out,
    write,
)
from tfgpu_tray.model import Compute, Outcome, TensorFlow
from tfgpu_tray.observe.child import Result
from tfgpu_tray.observe.compute import compute_something
from tfgpu_tray.observe.tensorflow import ask_tensorflow

ENVIRONMENT = environment(Path("/envs/tf"))
IMPORTED: dict[str, object] = {"stage": "imported", "version": "2.10.1", "file": "/x/__init__.py"}
BUILD: dict[str, object] = {"build_cuda": "11.2", "rocm_build": False, "cuda_build": True}
GPUS: dict[str, object] = {"gpus": ["/physical_device:GPU:0"], "stage": "details"}
DONE: dict[str, object] = {"capabilities": ["8.6"], "stage": "done"}


def asked(result: Result) -> TensorFlow:
    return ask_tensorflow(ENVIRONMENT, {}, runner=FakeRunner({"tensorflow_probe.py": result}))


def test_a_whole_answer() -> None:
    answer = asked(completed(facts({"stage": "import"}, IMPORTED, BUILD, GPUS, DONE)))
    assert answer.outcome is Outcome.COMPLETED and answer.error is None
    assert (answer.version, answer.stage, answer.cuda_build) == ("2.10.1", "done", True)
    assert (answer.gpus, answer.capabilities) == (("/physical_device:GPU:0",), ("8.6",))


def test_no_gpu_is_an_answer() -> None:
    answer = asked(completed(facts(IMPORTED, {"gpus": [], "stage": "details"}, {"stage": "done"})))
    assert (answer.outcome, answer.gpus) == (Outcome.COMPLETED, ())


def test_an_import_that_fails_is_a_failure_with_its_words() -> None:
    said = facts({"stage": "import"}, {"error_type": "ImportError", "error": "libx.so: no"})
    answer = asked(completed(said))
    assert (answer.outcome, answer.stage, answer.version) == (Outcome.FAILED, "import", None)
    assert (answer.error_type, answer.error, answer.gpus) == ("ImportError", "libx.so: no", None)


@pytest.mark.parametrize(
    "result, outcome, error",
    [
        (crashed(4, facts({"stage": "import"})), Outcome.CRASHED, "Python was ended by SIGILL"),
        (failed(1, facts({"stage": "import"})), Outcome.FAILED, "Python ended with exit status 1"),
        (completed(facts({"stage": "import"})), Outcome.CRASHED, "Python ended with exit status 0"),
        (
            timed_out(facts(IMPORTED, {"stage": "devices"})),
            Outcome.TIMED_OUT,
            "Python did not answer within 5 s and was stopped",
        ),
    ],
)
def test_an_end_without_an_answer_is_a_fact(result: Result, outcome: Outcome, error: str) -> None:
    answer = asked(result)
    assert (answer.outcome, answer.error, answer.gpus) == (outcome, error, None)
    assert answer.stage in ("import", "devices")


def test_what_was_said_before_a_hang_counts() -> None:
    answer = asked(timed_out(facts(IMPORTED, BUILD, GPUS)))
    assert answer.gpus == ("/physical_device:GPU:0",) and answer.version == "2.10.1"


def test_silence_is_a_fact() -> None:
    answer = ask_tensorflow(ENVIRONMENT, {}, runner=FailingRunner())
    assert (answer.outcome, answer.stage, answer.gpus) == (Outcome.TIMED_OUT, "start", None)


def test_without_an_interpreter_nothing_is_run() -> None:
    runner = FakeRunner({})
    lost = replace(ENVIRONMENT, python=None)
    assert ask_tensorflow(lost, {}, runner=runner).outcome is Outcome.NOT_STARTED
    assert compute_something(lost, {}, runner=runner).outcome is Outcome.NOT_STARTED
    assert runner.calls == []


def test_only_telling_lines_of_the_log_are_kept() -> None:
    line = "W dso_loader.cc:64] Could not load dynamic library 'libcudnn.so.8'; dlerror: no"
    stderr = f"I cpu_feature_guard.cc: AVX2\n{line}\n{line}\nhttp://user:secret@proxy\n"
    assert asked(completed(facts(IMPORTED, DONE), stderr)).log == (line,)


def test_it_is_asked_as_activated_with_logging_on() -> None:
    runner = FakeRunner({"tensorflow_probe.py": completed()})
    ask_tensorflow(ENVIRONMENT, {"A": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}, runner=runner)
    (environ,) = runner.environs
    assert (environ["A"], environ["TF_CPP_MIN_LOG_LEVEL"]) == ("1", "0")
    assert runner.calls[0][0] == "/envs/tf/bin/python"


# ---- the probe, with a TensorFlow that we wrote ------------------------------------------------

FAKE_TENSORFLOW = """
class _Device:
    name = "/physical_device:GPU:0"
class config:
    @staticmethod
    def list_physical_devices(kind): return [_Device()]
    class experimental:
        @staticmethod
        def get_device_details(device): return {"compute_capability": (8, 6)}
class sysconfig:
    @staticmethod
    def get_build_info(): return {"cuda_version": "11.2", "cudnn_version": "8"}
class test:
    @staticmethod
    def is_built_with_cuda(): return True
__version__ = "2.10.1"
print("a word on standard output", end="")
"""


def really(tmp_path: Path, source: str) -> TensorFlow:
    write(tmp_path / "site" / "tensorflow.py", source)
    ours = replace(ENVIRONMENT, prefix=tmp_path, python=Path(sys.executable))
    return ask_tensorflow(ours, {"PYTHONPATH": str(tmp_path / "site")}, deadline=30)


def test_the_probe_understands_a_tensorflow(tmp_path: Path) -> None:
    answer = really(tmp_path, FAKE_TENSORFLOW)
    assert answer.error is None
    assert (answer.outcome, answer.version) == (Outcome.COMPLETED, "2.10.1")
    assert (answer.build_cuda, answer.cuda_build) == ("11.2", True)
    assert (answer.gpus, answer.capabilities) == (("/physical_device:GPU:0",), ("8.6",))


def test_the_probe_understands_the_oldest_tensorflow(tmp_path: Path) -> None:
    """2.0 has the list under experimental, no build info and no details."""
    source = FAKE_TENSORFLOW.replace(
        "    @staticmethod\n    def list_",
        "    class experimental:\n      @staticmethod\n      def list_",
        1,
    )
    source = source.replace(
        """    class experimental:
        @staticmethod
        def get_device_details(device): return {"compute_capability": (8, 6)}
""",
        "",
    ).replace("def get_build_info", "def other")
    answer = really(tmp_path, source)
    assert (answer.error, answer.gpus) == (None, ("/physical_device:GPU:0",))
    assert (answer.capabilities, answer.build_cuda, answer.cuda_build) == ((), None, True)


@pytest.mark.parametrize(
    "source, outcome",
    [
        ("raise SystemExit(0)", Outcome.FAILED),
        ("raise ImportError('no libx')", Outcome.FAILED),
        ("import os; os._exit(0)", Outcome.CRASHED),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Outcome.CRASHED),
        ("def broken(:", Outcome.FAILED),
        ("__version__ = '2.10.1'", Outcome.FAILED),
    ],
)
def test_whatever_an_import_does_is_a_fact(tmp_path: Path, source: str, outcome: Outcome) -> None:
    answer = really(tmp_path, source)
    assert (answer.outcome, answer.gpus) == (outcome, None)
    assert answer.error


# ---- computing ---------------------------------------------------------------------------------


def computed(result: Result) -> Compute:
    return compute_something(ENVIRONMENT, {}, runner=FakeRunner({"compute_probe.py": result}))


def test_a_gpu_that_computes() -> None:
    said: list[dict[str, object]] = [
        {"stage": "driver"},
        {"driver_kernel": True},
        {"matmul": True, "stage": "convolution"},
        {"convolution": True, "stage": "done"},
    ]
    found = computed(completed(facts(*said)))
    assert (found.driver_kernel, found.matmul, found.convolution) == (True, True, True)
    assert found.error is None


def test_a_gpu_that_hangs_while_computing() -> None:
    found = computed(timed_out(facts({"driver_kernel": True}, {"stage": "matmul"})))
    assert (found.outcome, found.matmul) == (Outcome.TIMED_OUT, None)
    assert found.error == ("the compute probe did not answer within 5 s and was stopped at matmul")
