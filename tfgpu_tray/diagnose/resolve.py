"""Runs every rule, ranks what they found, gives roles and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from tfgpu_tray.diagnose import (
    build_rules,
    dll_rules,
    library_rules,
    machine_rules,
    python_rules,
    wsl_rules,
)
from tfgpu_tray.diagnose.case import Case, Finding, Weight, certain
from tfgpu_tray.diagnose.remedies import remedy
from tfgpu_tray.knowledge.causes import cause
from tfgpu_tray.model import (
    Confidence,
    Depth,
    Diagnosis,
    Outcome,
    Report,
    Role,
    Snapshot,
    Verdict,
)

Rule = Callable[[Case], Iterator[Finding]]

# Every rule, in the order of the chain's links.
RULES: tuple[Rule, ...] = (
    python_rules.environment_unusable,
    python_rules.tensorflow_missing,
    python_rules.python_without_gpu,
    python_rules.files_damaged,
    python_rules.shadowed,
    python_rules.local_file,
    python_rules.numpy,
    python_rules.protobuf,
    python_rules.keras,
    python_rules.glibc,
    python_rules.import_failed,
    python_rules.leftovers,
    python_rules.conda_and_pip,
    machine_rules.wsl1,
    wsl_rules.way_in,
    machine_rules.driver_error,
    machine_rules.no_gpu,
    machine_rules.driver_mismatch,
    machine_rules.driver_too_old,
    machine_rules.cuinit_failed,
    machine_rules.masked,
    machine_rules.probe_failed,
    build_rules.native_windows,
    build_rules.cpu_only,
    build_rules.removed_package,
    build_rules.outside_pin,
    build_rules.capability,
    build_rules.cannot_compute,
    library_rules.hook_fails,
    library_rules.hook_unreadable,
    library_rules.hook_sloppy,
    library_rules.hidden,
    library_rules.not_reached,
    library_rules.missing,
    library_rules.damaged,
    library_rules.cudnn_too_old,
    library_rules.only_when_activated,
    dll_rules.not_reached,
    dll_rules.foreign_cudnn,
    dll_rules.zlib_missing,
    dll_rules.stray_hook,
)

# Which of several sufficient causes is the root: the earlier one, because the later ones cannot be
# seen or cured before it. A TensorFlow that does not import says nothing of GPUs; without a driver
# no build helps; the wrong build makes talk of its libraries idle; and so on.
PRECEDENCE: tuple[str, ...] = (
    "environment-unusable",
    "tensorflow-missing",
    "python-version-unsupported",
    "multiple-tensorflow-shadowing",
    "local-file-shadows-tensorflow",
    "tensorflow-gpu-package-removed",
    "numpy2-abi",
    "numpy-version-mismatch",
    "protobuf-too-new",
    "protobuf-too-old",
    "libstdcxx-too-old",
    "msvc-runtime-missing",
    "keras-version-mismatch",
    "cpu-lacks-avx",
    "tensorflow-files-damaged",
    "wsl1-not-wsl2",
    "wsl-does-not-start",
    "docker-no-gpu-access",
    "nvidia-container-toolkit-missing",
    "container-gpu-cgroup-revoked",
    "wsl-linux-driver-installed",
    "wsl-gpu-not-passed-on",
    "wsl-gpu-in-tcc-mode",
    "wsl-windows-build-bug",
    "wsl-libcuda-not-on-path",
    "driver-reboot-pending",
    "nvidia-driver-missing",
    "no-nvidia-gpu",
    "cuda-compat-libcuda-shadowing",
    "driver-library-mismatch",
    "kernel-module-not-loaded",
    "windows-driver-not-running",
    "gpu-fallen-off-bus",
    "device-node-permission",
    "hybrid-gpu-powered-off",
    "mig-misconfigured",
    "vgpu-unlicensed",
    "gpu-out-of-memory",
    "windows-native-tf-ge-2.11",
    "cpu-only-build",
    "cuda-visible-devices-masked",
    "tensorflow-outside-pin",
    "gpu-compute-capability-too-old",
    "gpu-compute-capability-too-new",
    "driver-too-old",
    "nvidia-uvm-unusable",
    "activate-hook-broken",
    "activate-hook-harmful",
    "ld-library-path-broken",
    "cuda-toolkit-version-mismatch",
    "cuda-runtime-missing",
    "cuda-library-damaged",
    "cuda-libs-incomplete-or-mixed",
    "cudnn-missing",
    "pip-nvidia-libs-not-on-path",
    "ld-library-path-unset",
    "windows-dll-dir-not-searched",
    "cudnn-version-mismatch",
    "zlibwapi-missing",
    "gpu-cannot-compute",
    # after every other explanation:
    "gpu-not-visible",
    "probe-did-not-complete",
)


CAN_BREAK_A_LISTED_GPU = frozenset(
    {"gpu-cannot-compute", "gpu-compute-capability-too-new", "zlibwapi-missing"}
)


# What keeps a TensorFlow from being imported, and goes when it is replaced.
GO_WITH_IT = frozenset(
    {
        "numpy2-abi",
        "numpy-version-mismatch",
        "protobuf-too-new",
        "protobuf-too-old",
        "keras-version-mismatch",
        "tensorflow-files-damaged",
    }
)


def diagnose(snapshot: Snapshot, rules: Iterable[Rule] = RULES) -> Report:
    """Judge one snapshot. Pure; the same snapshot always gives the same report."""
    case = Case(snapshot)
    findings = _merged(_weighed(case, f) for rule in rules for f in rule(case))
    explaining = [f for f in findings if f.weight is Weight.EXPLAINS]
    if case.gpu_visible is False and not explaining:
        findings = [unexplained(case), *findings]
    ranked = sorted(findings, key=_rank)
    primary = _primary(ranked)
    diagnoses = tuple(_diagnosis(case, f, _role(f, primary)) for f in ranked)
    verdict = _verdict(case, diagnoses)
    return Report(snapshot, verdict, diagnoses, _headline(case, verdict, diagnoses))


def _weighed(case: Case, finding: Finding) -> Finding:
    """With a GPU that TensorFlow lists nothing else explains its absence: whatever the rules
    found is a blemish, unless the GPU was tried and computes nothing. So is what ails a TensorFlow
    that would have no GPU if it were sound: pip's upgrade past 2.10 leaves one behind on Windows,
    because it removes the old files after tensorflow-intel has written its own."""
    listed = case.gpu_visible and finding.cause not in CAN_BREAK_A_LISTED_GPU
    if listed or (case.beyond_windows and finding.cause in GO_WITH_IT):
        return replace(finding, weight=min(finding.weight, Weight.BLEMISH))
    return finding


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding a cause: the strongest, with the evidence of all."""
    best: dict[str, Finding] = {}
    for finding in findings:
        held = best.get(finding.cause)
        if held is None:
            best[finding.cause] = finding
            continue
        first, second = sorted((held, finding), key=lambda f: (-f.weight, _sureness(f)))
        evidence = tuple(dict.fromkeys((*first.evidence, *second.evidence)))
        best[finding.cause] = Finding(
            first.cause, first.confidence, evidence, first.weight, first.summary or second.summary
        )
    return list(best.values())


def _sureness(finding: Finding) -> int:
    return list(Confidence).index(finding.confidence)


def _rank(finding: Finding) -> tuple[int, int, int, str]:
    known = finding.cause in PRECEDENCE
    place = PRECEDENCE.index(finding.cause) if known else len(PRECEDENCE) - 2
    return (-finding.weight, place, _sureness(finding), finding.cause)


def _primary(ranked: Sequence[Finding]) -> Finding | None:
    """The root: the first that explains why there is no GPU."""
    if ranked and ranked[0].weight is Weight.EXPLAINS:
        return ranked[0]
    return None


def _role(finding: Finding, primary: Finding | None) -> Role:
    if finding is primary:
        return Role.PRIMARY
    return Role.POSSIBLE if finding.weight is Weight.REMARK else Role.CONTRIBUTING


def unexplained(case: Case) -> Finding:
    """TensorFlow was asked, lists nothing, and no rule says why: never a silent green."""
    answer = case.snapshot.tensorflow
    log = answer.log[:5] if answer else ()
    return certain("gpu-not-visible", f"TensorFlow {case.version} lists no GPU", *log)


def _verdict(case: Case, diagnoses: Sequence[Diagnosis]) -> Verdict:
    primary = next((d for d in diagnoses if d.role is Role.PRIMARY), None)
    contributing = any(d.role is Role.CONTRIBUTING for d in diagnoses)
    if case.gpu_visible:
        if primary is not None:
            return Verdict.BROKEN  # it is listed and computes nothing
        return Verdict.DEGRADED if contributing else Verdict.OK
    if primary is not None:
        hung = primary.cause == "probe-did-not-complete" and not _crashed(case)
        return Verdict.UNKNOWN if hung else Verdict.BROKEN
    return Verdict.UNKNOWN  # nothing wrong seen, but TensorFlow was not asked


def _crashed(case: Case) -> bool:
    answer = case.snapshot.tensorflow
    return answer is not None and answer.outcome is Outcome.CRASHED


def _headline(case: Case, verdict: Verdict, diagnoses: Sequence[Diagnosis]) -> str:
    if verdict is Verdict.OK or (verdict is Verdict.DEGRADED and case.gpu_visible):
        gpus = len(case.snapshot.tensorflow.gpus or ()) if case.snapshot.tensorflow else 0
        seen = "a GPU" if gpus == 1 else f"{gpus} GPUs"
        text = f"TensorFlow {case.version} sees {seen}"
        first = next((d for d in diagnoses if d.role is Role.CONTRIBUTING), None)
        return f"{text}, but: {first.summary}" if first else text
    primary = next((d for d in diagnoses if d.role is Role.PRIMARY), None)
    if primary is not None:
        return primary.summary
    if case.snapshot.depth is Depth.FINGERPRINT:
        return "not looked at yet"
    return f"nothing wrong at depth “{case.snapshot.depth.word}”; TensorFlow itself was not asked"


def _diagnosis(case: Case, finding: Finding, role: Role) -> Diagnosis:
    text = cause(finding.cause, case.snapshot.host.system)
    return Diagnosis(
        cause=finding.cause,
        role=role,
        confidence=finding.confidence,
        summary=finding.summary or text.title,
        evidence=finding.evidence,
        remedy=remedy(case, text),
    )
