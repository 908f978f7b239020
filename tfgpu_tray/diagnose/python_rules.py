"""Rules about the Python side: is a TensorFlow there, whole, alone, and can it be imported?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from tfgpu_tray.diagnose.case import Case, Finding, blemish, certain, likely
from tfgpu_tray.knowledge.releases import releases
from tfgpu_tray.model import Depth, Distribution, Outcome

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

INTEL = "tensorflow-intel"
# What a failed import says → cause. Source: the messages of the named libraries; each has a case
# in public issue trackers (protobuf 4, NumPy 2, GLIBCXX, MSVC runtime).
IMPORT_ERRORS = (
    (r"Descriptors cannot (not )?be created directly", "protobuf-too-new"),
    (r"cannot import name 'builder' from 'google\.protobuf", "protobuf-too-old"),
    (r"_ARRAY_API not found|compiled using NumPy 1\.x", "numpy2-abi"),
    (r"Unable to convert function return value to a Python type", "numpy2-abi"),
    (r"numpy\.core\.multiarray failed|module compiled against (ABI|API) version", "numpy2-abi"),
    (
        r"module 'numpy' has no attribute '(object|bool|int|float|typeDict)'",
        "numpy-version-mismatch",
    ),
    (r"GLIBCXX_[\d.]+' not found|GLIBC_[\d.]+' not found", "libstdcxx-too-old"),
    (r"keras", "keras-version-mismatch"),
    (
        r"No module named 'tensorflow\.|cannot import name '\w+' from 'tensorflow|"
        r"_pywrap_\w+.*(cannot open|No such file)|libtensorflow\w*\.so\S*: cannot open|"
        r"file too short",
        "tensorflow-files-damaged",
    ),
    # Windows adds its own words in the user's language; what else it can mean, `_no_dll` tells.
    (r"Could not find (the DLL\(s\) )?'?msvcp140", "msvc-runtime-missing"),
)
NO_DLL = re.compile(r"DLL load failed while importing (?P<module>\w+)")


def environment_unusable(case: Case) -> Iterator[Finding]:
    environment, answer = case.snapshot.environment, case.snapshot.tensorflow
    if environment.python is None:
        yield certain("environment-unusable", f"{environment.prefix} has no Python interpreter")
    elif answer is not None and answer.stage == "start" and answer.outcome is not Outcome.TIMED_OUT:
        yield certain("environment-unusable", answer.error or "its Python did not start")


def tensorflow_missing(case: Case) -> Iterator[Finding]:
    packages, environment = case.snapshot.packages, case.snapshot.environment
    if packages.tensorflow or case.snapshot.depth < Depth.STATIC or environment.python is None:
        return
    if packages.shadowing:
        where = packages.shadowing[0]
        yield certain("tensorflow-files-damaged", f"{where} has files but no installation record")
        return
    yield certain(
        "tensorflow-missing",
        f"no TensorFlow among the {packages.count} packages of {environment.prefix}",
        *(f"leftover folder {name}" for name in packages.leftovers),
    )
    yield from _python(case, certain)


def python_without_gpu(case: Case) -> Iterator[Finding]:
    """A TensorFlow is there that must be replaced, and this Python has none to put in its place."""
    if case.beyond_windows:
        yield from _python(case, blemish)


def _python(case: Case, finding: Callable[..., Finding]) -> Iterator[Finding]:
    python = case.snapshot.environment.python_version
    kind = " with a GPU on Windows" if case.on_windows else ""
    fitting = [r for r in releases() if r.windows_gpu or not case.on_windows]
    if python and not any(python in r.python for r in fitting):
        evidence = f"no TensorFlow{kind} exists for Python {python}"
        yield finding("python-version-unsupported", evidence)


def files_damaged(case: Case) -> Iterator[Finding]:
    effective = case.tensorflow
    if effective is not None and effective.missing_files:
        missing = effective.missing_files
        finding = blemish if case.gpu_visible else certain
        yield finding(
            "tensorflow-files-damaged",
            f"{len(missing)} of the files recorded for {_label(effective)} are gone, "
            f"for example {missing[0]}",
        )


def shadowed(case: Case) -> Iterator[Finding]:
    found = case.snapshot.packages.tensorflow
    effective = case.tensorflow
    if effective is None:
        return
    user = [d for d in found if d.in_user_site]
    others = [d for d in found if d is not effective and not _belong_together(d, effective)]
    if user:
        evidence = [f"{_label(d)} is in the user site {d.folder}" for d in user]
        evidence.append("the user site comes before the environment's own packages")
        finding = blemish if case.gpu_visible else certain
        yield finding("multiple-tensorflow-shadowing", *evidence)
    elif others:
        names = ", ".join(sorted(_label(d) for d in found))
        yield blemish(
            "multiple-tensorflow-shadowing",
            f"{names} are installed over each other: they share the folder tensorflow/",
        )


def _belong_together(one: Distribution, other: Distribution) -> bool:
    """On Windows, tensorflow 2.11 to 2.18 is empty and brings tensorflow-intel, which is not."""
    return {one.name, other.name} == {"tensorflow", INTEL} and one.version == other.version


def local_file(case: Case) -> Iterator[Finding]:
    answer, environment = case.snapshot.tensorflow, case.snapshot.environment
    if answer is None or answer.file is None:
        return
    homes = [str(p) for p in (environment.site_packages, environment.user_site) if p]
    if not any(case.within(answer.file, home) for home in homes):
        yield likely("local-file-shadows-tensorflow", f"`import tensorflow` loaded {answer.file}")


def numpy(case: Case) -> Iterator[Finding]:
    installed, release = case.snapshot.packages.find("numpy"), case.release
    if installed is None or release is None or _fits(installed.version, release.numpy):
        return
    evidence = (
        f"numpy {installed.version} is installed; TensorFlow {case.version} needs numpy"
        f"{release.numpy}"
    )
    if installed.version.partition(".")[0] >= "2" and "2.0" not in release.numpy:
        if case.gpu_visible is None or case.import_error:
            yield certain("numpy2-abi", evidence, *_error_line(case))
        else:
            yield blemish("numpy2-abi", evidence)
    elif case.import_error and "numpy" in case.import_error.lower():
        yield certain("numpy-version-mismatch", evidence, *_error_line(case))


def protobuf(case: Case) -> Iterator[Finding]:
    installed, release = case.snapshot.packages.find("protobuf"), case.release
    if installed is None or release is None or _fits(installed.version, release.protobuf):
        return
    if case.was_asked and not case.import_error:
        return  # it works; the table does not overrule that
    evidence = f"protobuf {installed.version} is installed; TensorFlow needs {release.protobuf}"
    ceilings = [s.version for s in release.protobuf if s.operator in ("<", "<=")]
    too_new = any(_newer(installed.version, ceiling) for ceiling in ceilings)
    cause = "protobuf-too-new" if too_new else "protobuf-too-old"
    finding = certain if case.import_error and "protobuf" in case.import_error else likely
    yield finding(cause, evidence, *_error_line(case))


def keras(case: Case) -> Iterator[Finding]:
    """Keras 3 beside TensorFlow < 2.16: the import works, tf.keras does not."""
    installed, release = case.snapshot.packages.find("keras"), case.release
    if installed is None or release is None or not release.keras or not installed.version:
        return
    if not _fits(installed.version, release.keras):
        yield blemish(
            "keras-version-mismatch",
            f"keras {installed.version} is installed; TensorFlow {case.version} needs keras"
            f"{release.keras}",
        )


def glibc(case: Case) -> Iterator[Finding]:
    have, release = case.snapshot.host.glibc, case.release
    if have and release and case.gpu_visible is not True and _newer(release.glibc, have):
        yield certain(
            "libstdcxx-too-old",
            f"glibc {have} is installed; TensorFlow {case.version} needs {release.glibc}",
        )


def import_failed(case: Case) -> Iterator[Finding]:
    error = case.import_error
    answer = case.snapshot.tensorflow
    if error is None or answer is None or answer.stage == "start":
        return
    if answer.outcome is Outcome.CRASHED and ("SIGILL" in error or case.snapshot.host.avx is False):
        told = ["this processor has no AVX"] if case.snapshot.host.avx is False else []
        yield likely("cpu-lacks-avx", error, *told)
        return
    if case.on_windows and (no_dll := NO_DLL.search(error)):
        yield _no_dll(case, no_dll["module"])
        return
    for pattern, cause in IMPORT_ERRORS:
        if re.search(pattern, error, re.IGNORECASE):
            yield certain(cause, *_error_line(case))
            return
    if answer.error_type is not None:
        yield likely("tensorflow-files-damaged", *_error_line(case))


def _no_dll(case: Case, module: str) -> Finding:
    """Windows refused one of TensorFlow's own modules: a DLL that it needs is missing or cannot
    start here. Microsoft's runtime is what a fresh Windows lacks."""
    if case.snapshot.host.avx is False:
        return likely("cpu-lacks-avx", "this processor has no AVX", *_error_line(case))
    if module.startswith("_pywrap"):
        return likely("msvc-runtime-missing", *_error_line(case))
    return likely("tensorflow-files-damaged", *_error_line(case))


def leftovers(case: Case) -> Iterator[Finding]:
    names = case.snapshot.packages.leftovers
    if names:
        shown = ", ".join(names[:5])
        yield blemish("corrupt-dist-info", f"an interrupted installation left {shown}")


def conda_and_pip(case: Case) -> Iterator[Finding]:
    conda, effective = case.snapshot.conda, case.tensorflow
    record = conda.find("tensorflow-base") or conda.find("tensorflow") if conda else None
    if record and effective and effective.installer != "conda":
        yield blemish(
            "conda-pip-mixed-packages",
            f"{effective.installer or 'another tool'} put {_label(effective)} over conda's "
            f"{record.name} {record.version}",
        )


def _label(distribution: Distribution) -> str:
    return f"{distribution.name} {distribution.version}"


def _error_line(case: Case) -> list[str]:
    """The last line of the import error, which names what failed."""
    if case.import_error is None:
        return []
    lines = [line.strip() for line in case.import_error.splitlines() if line.strip()]
    return [f"import tensorflow: {lines[0][:200]}"] if lines else []


def _fits(version: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return True


def _newer(version: str, than: str) -> bool:
    try:
        return Version(version) >= Version(than) and version != than
    except InvalidVersion:
        return False
