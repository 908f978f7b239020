"""The words of the project as frozen values. Imports nothing of ours.

Everywhere, ``None`` means "could not be seen" and comes with a note; it never means "no".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PureWindowsPath
from typing import Any


class Depth(IntEnum):
    """How closely to look; each depth contains the ones before it and costs more."""

    FINGERPRINT = 0
    STATIC = 1
    LOADER = 2
    TENSORFLOW = 3
    COMPUTE = 4

    @property
    def word(self) -> str:
        return self.name.lower()


class Verdict(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    BROKEN = "broken"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        return {"ok": 0, "degraded": 1, "broken": 2, "unknown": 3}[self.value]

    @property
    def badness(self) -> int:
        """0 is best. An unknown is worse than a known blemish and better than a known break."""
        return {"ok": 0, "degraded": 1, "unknown": 2, "broken": 3}[self.value]


class Role(StrEnum):
    PRIMARY = "primary"
    CONTRIBUTING = "contributing"
    POSSIBLE = "possible"


class Confidence(StrEnum):
    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


class Kind(StrEnum):
    CONDA = "conda"
    VENV = "venv"
    SYSTEM = "system"


class Outcome(StrEnum):
    """How a child process ended."""

    COMPLETED = "completed"
    FAILED = "failed"  # it ended by itself, with an error
    CRASHED = "crashed"  # a signal or an abnormal exit ended it
    TIMED_OUT = "timed-out"
    NOT_STARTED = "not-started"


# ---- the machine -----------------------------------------------------------------------------


class Pending(StrEnum):
    """What on Windows waits for a restart."""

    NVIDIA_DRIVER = "NVIDIA driver"  # files of it are to be replaced or removed
    WINDOWS_UPDATE = "Windows Update"
    SERVICING = "component servicing"  # parts of Windows were added or removed


@dataclass(frozen=True, slots=True)
class WslGpu:
    """How far the driver of Windows reaches into one WSL distribution, seen from inside."""

    device: bool | None = None  # /dev/dxg, through which WSL 2 passes the GPU on
    driver: bool | None = None  # libcuda.so.1 of the driver of Windows, in /usr/lib/wsl/lib
    linux_driver: tuple[str, ...] = ()  # packages and files of an NVIDIA driver for Linux
    libcuda: str | None = None  # the libcuda.so.1 that a program gets; "" when none opens
    libcuda_error: str | None = None
    cuinit: int | None = None  # result of cuInit(0), 0 is success


@dataclass(frozen=True, slots=True)
class WslDistribution:
    """One distribution, seen from Windows."""

    name: str
    version: int  # 1 or 2
    default: bool = False
    running: bool | None = None
    gpu: WslGpu | None = None  # None: not looked into
    error: str | None = None  # why a look inside failed


@dataclass(frozen=True, slots=True)
class Host:
    system: str  # "linux", "windows", "darwin"
    architecture: str
    release: str | None = None  # distribution or Windows edition
    kernel: str | None = None
    glibc: str | None = None
    windows_build: int | None = None
    wsl: int | None = None  # 1 or 2 inside WSL
    wsl_gpu: WslGpu | None = None  # inside WSL
    wsl_installed: bool | None = None  # on Windows
    wsl_distributions: tuple[WslDistribution, ...] | None = None  # on Windows, of this user
    container: str | None = None
    nvidia_devices: int | None = None  # NVIDIA display controllers on the PCI bus
    avx: bool | None = None
    reboot_pending: tuple[str, ...] | None = None  # `Pending` on Windows, where it can be told
    notes: tuple[str, ...] = ()

    @property
    def driver_system(self) -> str:
        """Whose NVIDIA driver it is: WSL 2 uses, and NVML names there, that of Windows."""
        return "windows" if self.wsl == 2 else self.system


@dataclass(frozen=True, slots=True)
class Gpu:
    index: int
    name: str
    compute_capability: str | None = None
    memory_mib: int | None = None
    memory_free_mib: int | None = None
    utilization: int | None = None  # per cent of the last moments in which it was at work


@dataclass(frozen=True, slots=True)
class Driver:
    """What NVML and the kernel say of the NVIDIA driver."""

    probe: Outcome
    version: str | None = None  # the user-space driver
    kernel_module: str | None = None  # the loaded module
    library_version: str | None = None  # of the driver that is installed, without loading it
    cuda: str | None = None  # newest CUDA the driver supports, not an installed toolkit
    gpus: tuple[Gpu, ...] | None = None
    nvml_error: int | None = None
    nvml_error_text: str | None = None
    library: str | None = None  # path of libnvidia-ml / nvml.dll, where known
    files: tuple[str, ...] | None = None  # Windows: those of nvcuda.dll and nvml.dll that are there
    notes: tuple[str, ...] = ()


# ---- one environment -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Environment:
    """One Python prefix."""

    prefix: Path
    kind: Kind
    python: Path | None = None  # the interpreter; None when it is missing
    python_version: str | None = None  # "3.10"
    site_packages: Path | None = None
    user_site: Path | None = None  # None when this environment never looks there
    found_by: str = ""
    pin: str | None = None  # the TensorFlow specifier the configuration asks for, e.g. "==2.10.*"
    distribution: str | None = None  # the WSL distribution it lies in, seen from Windows
    packaged_python: bool = False  # Microsoft Store's Python: PATH is not searched for DLLs

    @property
    def name(self) -> str:
        return self.prefix.name

    def typed(self, path: Path) -> str:
        """*path* of this environment as one types it where the environment lives."""
        if self.distribution is None:
            return str(path)
        return "/" + "/".join(PureWindowsPath(path).parts[1:])


@dataclass(frozen=True, slots=True)
class Distribution:
    name: str  # normalised, e.g. "nvidia-cudnn-cu12"
    version: str
    folder: Path  # the site-packages that holds it
    in_user_site: bool = False
    installer: str | None = None
    requested: bool = False
    direct: bool = False  # from a URL, a checkout or a file: never replaced by us
    missing_files: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packages:
    """Distributions that matter to TensorFlow, from metadata alone."""

    tensorflow: tuple[Distribution, ...] = ()  # every one that provides `import tensorflow`
    related: tuple[Distribution, ...] = ()  # numpy, protobuf, keras, nvidia-*, plug-ins
    leftovers: tuple[str, ...] = ()  # names of `~…` folders of interrupted runs
    shadowing: tuple[str, ...] = ()  # tensorflow folders that no metadata owns
    count: int = 0

    def find(self, name: str) -> Distribution | None:
        """The distribution of that name that `import` would see first."""
        matches = [d for d in (*self.tensorflow, *self.related) if d.name == name]
        return min(matches, key=lambda d: not d.in_user_site, default=None)

    @property
    def effective(self) -> Distribution | None:
        """The TensorFlow that `import tensorflow` would load."""
        return min(self.tensorflow, key=lambda d: not d.in_user_site, default=None)


@dataclass(frozen=True, slots=True)
class CondaPackage:
    name: str
    version: str
    build: str
    channel: str = ""
    requested: bool = False


@dataclass(frozen=True, slots=True)
class Conda:
    packages: tuple[CondaPackage, ...] = ()  # the ones that matter: CUDA, cuDNN, TensorFlow, Python
    pinned: tuple[str, ...] = ()
    frozen: bool = False
    mentions_tensorflow: bool = False  # conda-meta/history names it
    removed: tuple[str, ...] = ()  # of the same kind, once installed, by the history
    last_command: str | None = None
    notes: tuple[str, ...] = ()

    def find(self, name: str) -> CondaPackage | None:
        return next((p for p in self.packages if p.name == name), None)


EMPTY_ENTRY = "leaves an empty entry"  # how the one harmless problem of a hook begins


@dataclass(frozen=True, slots=True)
class HookScript:
    """One script of etc/conda/activate.d, read as text. The loader path is PATH on Windows."""

    path: Path
    shell: str  # "posix", "fish", "csh", "cmd", "powershell"
    ours: bool = False
    packaged: bool = False  # owned by a conda package
    loader_path: str | None = None  # what it does to it: "prepends", "appends", "overwrites"
    folders: tuple[str, ...] = ()  # the folders it names for the loader path
    masks_gpu: bool = False  # sets CUDA_VISIBLE_DEVICES to nothing or -1
    problems: tuple[str, ...] = ()
    stray: bool = False  # lies at a drive's root, where no activation reads it

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The problems that keep a shell from reading it as it was meant."""
        return tuple(p for p in self.problems if not p.startswith(EMPTY_ENTRY))


@dataclass(frozen=True, slots=True)
class Activation:
    """What activating the environment in a clean shell really did."""

    outcome: Outcome
    environ: Mapping[str, str] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)  # the same shell before activation
    failed_script: str | None = None
    messages: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Hooks:
    scripts: tuple[HookScript, ...] = ()
    deactivate: tuple[str, ...] = ()  # names of the scripts of deactivate.d
    variables: Mapping[str, str] = field(default_factory=dict)  # `conda env config vars`
    preload: bool = False  # our preload is installed in site-packages
    activation: Activation | None = None


class LibraryState(StrEnum):
    FOUND = "found"
    MISSING = "missing"  # nowhere
    UNREACHABLE = "unreachable"  # on disk, but the loader does not look there
    HIDDEN = "hidden"  # a file that cannot be loaded stands in front of one that can
    DAMAGED = "damaged"  # found, cannot be loaded
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Library:
    """One shared library this TensorFlow opens by name."""

    soname: str  # on Windows the DLL's file name
    state: LibraryState
    path: str | None = None  # what the loader takes, or trips over
    candidates: tuple[str, ...] = ()  # every file of that name on disk
    relatives: tuple[str, ...] = ()  # the same component of another version, e.g. libcudart.so.12
    error: str | None = None
    without_activation: bool | None = None  # found by a program started without activation


@dataclass(frozen=True, slots=True)
class Libraries:
    method: str  # "predicted" from files, or "loaded" by the environment's Python
    outcome: Outcome
    libraries: tuple[Library, ...] = ()
    libcuda: str | None = None  # error text of opening libcuda, "" when it opened
    cuinit: int | None = None  # result of cuInit(0), 0 is success
    libcuda_path: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorFlow:
    """What the environment's own TensorFlow said when asked."""

    outcome: Outcome
    stage: str = ""  # the last stage reached: "start", "import", "devices", "details"
    version: str | None = None
    file: str | None = None
    cuda_build: bool | None = None
    rocm_build: bool | None = None
    build_cuda: str | None = None
    build_cudnn: str | None = None
    gpus: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] = ()
    error_type: str | None = None
    error: str | None = None
    log: tuple[str, ...] = ()  # the lines that matter
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Compute:
    """Whether the GPU really computes: first through the driver alone, then through TensorFlow."""

    outcome: Outcome
    driver_kernel: bool | None = None
    driver_error: str | None = None
    matmul: bool | None = None
    convolution: bool | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All facts about the machine and one environment at one moment."""

    depth: Depth
    host: Host
    driver: Driver
    environment: Environment
    fingerprint: str = ""
    packages: Packages = field(default_factory=Packages)
    conda: Conda | None = None
    hooks: Hooks = field(default_factory=Hooks)
    libraries: Libraries | None = None
    tensorflow: TensorFlow | None = None
    compute: Compute | None = None
    notes: tuple[str, ...] = ()


# ---- what follows from it --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """One of several ways to a GPU, where a person has to choose."""

    title: str  # "Back to TensorFlow 2.10"
    costs: str  # what it asks for: versions, downloads, a restart
    steps: tuple[str, ...] = ()  # by hand; empty where a repair goes this way


@dataclass(frozen=True, slots=True)
class Remedy:
    title: str
    steps: tuple[str, ...] = ()
    safety: str = "guided"  # "reversible", "guided", "reboot" or "none"
    ways: tuple[Way, ...] = ()  # where there is a choice; a repair goes the first


@dataclass(frozen=True, slots=True)
class Diagnosis:
    cause: str
    role: Role
    confidence: Confidence
    summary: str
    evidence: tuple[str, ...]
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Report:
    """One environment, looked at and judged."""

    snapshot: Snapshot
    verdict: Verdict
    diagnoses: tuple[Diagnosis, ...] = ()
    headline: str = ""

    @property
    def primary(self) -> Diagnosis | None:
        return next((d for d in self.diagnoses if d.role is Role.PRIMARY), None)

    @property
    def prefix(self) -> Path:
        return self.snapshot.environment.prefix


# ---- what is remembered ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """A repair that can be started now."""

    title: str  # "Install a TensorFlow of the right range"
    steps: tuple[str, ...] = ()
    download_mb: int | None = None  # None: not known
    instead: tuple[str, ...] = ()  # other ways, which a person would go by hand


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with all that a face shows of it."""

    verdict: Verdict
    headline: str
    cause: str | None = None  # of the first diagnosis
    also: tuple[str, ...] = ()  # what only follows from it or hurts less
    offer: Offer | None = None  # what a repair would do
    advice: str = ""  # what a person has to do, where no step of ours can mend it
    who: str = ""  # who changed the environment before it came to this, one sentence

    @property
    def key(self) -> tuple[Verdict, str | None]:
        """What makes it another condition when it changes."""
        return self.verdict, self.cause


NOT_LOOKED_AT = Judgement(Verdict.UNKNOWN, "not looked at yet")


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds now for one environment; times are seconds since the epoch."""

    prefix: Path
    settled: Judgement | None  # TensorFlow's own answer; None before the first
    since: float  # when the settled verdict for its cause began
    seen: float  # when it was last looked at
    glimpse: Judgement | None = None  # what files say, while TensorFlow is still to be asked
    fingerprint: str = ""

    @property
    def shown(self) -> Judgement:
        return self.glimpse or self.settled or NOT_LOOKED_AT


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, for the history; *kind* is one word such as "transition" or "changed"."""

    kind: str
    prefix: Path | None
    text: str
    at: float


def plain(value: object) -> Any:
    """A value of this module as JSON-ready data; paths become strings, tuples lists."""
    if isinstance(value, Enum):
        return value.word if isinstance(value, Depth) else value.value
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(v) for v in value]
    return value
