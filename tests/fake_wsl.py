"""A Windows with WSL: its part of the registry, and a wsl.exe that answers as told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes import facts
from tests.observe.fake_windows import FakeRegistry
from tfgpu_tray.model import Outcome, WslDistribution
from tfgpu_tray.observe.child import Result, decoded
from tfgpu_tray.observe.wsl import LXSS, SERVICES, Wsl

DATA = Path(__file__).parent / "observe" / "data" / "wsl"
FAILED = 0xFFFFFFFF  # how Windows tells -1
UBUNTU = WslDistribution("Ubuntu-22.04", 2, default=True)
DEBIAN = WslDistribution("Debian", 1)
ENCODINGS = ("utf-8", "utf-16-le")

# What a look inside finds where everything is right.
SYSTEM = {
    "release": "Ubuntu 22.04.5 LTS",
    "kernel": "5.15.153.1-microsoft-standard-WSL2",
    "glibc": "2.35",
    "architecture": "x86_64",
}
GPU = {"device": True, "driver": True, "linux_driver": []}
CUDA = {"libcuda": "/usr/lib/wsl/lib/libcuda.so.1", "stage": "cuinit"}
ENVIRONMENT = {
    "prefix": "/home/me/tf",
    "kind": "venv",
    "python": "/home/me/tf/bin/python",
    "python_version": "3.10",
    "site": "/home/me/tf/lib/python3.10/site-packages",
    "packages": [["numpy", "1.26.4"], ["nvidia_cudnn_cu12", "8.9.4.25"], ["tensorflow", "2.15.1"]],
}
HEALTHY = facts(SYSTEM, GPU, {"environment": ENVIRONMENT}, CUDA, {"cuinit": 0}, {"stage": "done"})
SEES_GPU = facts(
    {"stage": "imported", "version": "2.15.1", "file": "/home/me/tf/tensorflow/__init__.py"},
    {"gpus": ["/physical_device:GPU:0"], "stage": "details", "cuda_build": True},
    {"capabilities": ["8.6"], "stage": "done"},
    {"code": 0},
)


def recorded(name: str) -> str:
    return (DATA / f"{name}.txt").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Said:
    """What a program under wsl.exe says: wsl.exe itself, or one inside."""

    text: str = ""
    code: int = 0
    stderr: str = ""
    inside: bool = False  # a Linux program, whose output is passed on as it is


@dataclass
class FakeWslExe:
    """Answers by the first of *answers* whose words all stand in the command."""

    answers: Mapping[str, Said] = field(default_factory=dict)
    encoding: str = "utf-8"
    calls: list[list[str]] = field(default_factory=list)
    stdin: list[str | None] = field(default_factory=list)

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float,
        environ: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Result:
        program, *words = (str(word) for word in command)
        assert program.endswith(r"System32\wsl.exe") and environ and environ["WSL_UTF8"] == "1"
        self.calls.append(words)
        self.stdin.append(stdin)
        for key, said in self.answers.items():
            if set(key.split()) <= set(words):
                return self._result(said)
        return Result(Outcome.NOT_STARTED, None, "", "the file was not found", 0.0)

    def _result(self, said: Said) -> Result:
        outcome = Outcome.FAILED if said.code else Outcome.COMPLETED
        text = said.text
        if not said.inside:
            text = decoded(text.replace("\n", "\r\n").encode(self.encoding))
        return Result(outcome, said.code, text, said.stderr, 0.1)


def wsl_registry(*distributions: WslDistribution, service: str = "WSLService") -> FakeRegistry:
    made = FakeRegistry()
    if service:
        made.set(rf"{SERVICES}\{service}")
    for place, one in enumerate(distributions):
        identifier = f"{{0000000{place}-1111-2222-3333-444444444444}}"
        made.set(rf"{LXSS}\{identifier}", DistributionName=one.name, Version=one.version, State=1)
        if one.default:
            made.set(LXSS, DefaultDistribution=identifier)
    return made


def fake_wsl(
    registry: FakeRegistry, answers: Mapping[str, Said] | None = None, encoding: str = "utf-8"
) -> tuple[Wsl, FakeWslExe]:
    exe = FakeWslExe(answers or {}, encoding)
    return Wsl({"SYSTEMROOT": r"C:\Windows"}, registry, exe), exe


def running(*names: str) -> dict[str, Said]:
    return {"--running": Said("".join(f"{name}\n" for name in names))}


def inside(name: str, text: str, code: int = 0, stderr: str = "") -> dict[str, Said]:
    """What its python3 says."""
    return {f"-d {name} python3": Said(text, code, stderr, inside=True)}
