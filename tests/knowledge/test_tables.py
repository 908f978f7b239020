"""The tables load, agree with each other, and answer."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tfgpu_tray import knowledge
from tfgpu_tray.knowledge.causes import cause, cause_ids
from tfgpu_tray.knowledge.cuda import (
    component,
    conda_specs,
    cuda11_wheels,
    cuda_error,
    driver_floor,
    needs_zlibwapi,
    nvml_error,
    older,
)
from tfgpu_tray.knowledge.log_lines import signs, worth_keeping
from tfgpu_tray.knowledge.providers import conda_build_has_gpu, gpu_kind, providers
from tfgpu_tray.knowledge.releases import (
    NATIVE_WINDOWS_LAST,
    download_mb,
    installs_soundly,
    known_fault,
    missing_runpath,
    release,
    releases,
)
from tfgpu_tray.knowledge.tables import table

FOLDER = Path(knowledge.__file__).parent
SERIES = sorted(table("tensorflow")["release"], key=Version)
PLACEHOLDERS = {
    *("prefix", "python", "tensorflow", "requirements", "libraries", "channel", "hook"),
    *("driver", "user_site", "fresh", "distribution"),
}
CHAPTERS = {"tensorflow", "cuda", "hooks"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_table_loads_and_tells_its_schema(path: Path) -> None:
    content = table(path.stem)
    assert content
    assert path.stem == "causes" or content["schema"] == 1


def test_a_table_that_is_not_there_is_a_broken_install() -> None:
    with pytest.raises(FileNotFoundError):
        table("absent")


# ---- releases ----------------------------------------------------------------------------------


@pytest.mark.parametrize("series", SERIES)
def test_every_release_answers_in_full(series: str) -> None:
    found = release(series)
    assert found is not None and found.series == series
    row = table("tensorflow")["release"][series]
    assert found.latest in row["patches"]
    assert all(p == series or p.startswith((f"{series}.", f"{series}rc")) for p in row["patches"])
    assert found.python and all(re.fullmatch(r"3\.\d+", p) for p in found.python)
    assert list(found.python) == sorted(found.python, key=Version)
    Version(found.cuda), Version(found.cudnn), Version(found.glibc)
    assert any(s.startswith("libcudart.so.") for s in found.libs)
    assert any(s.startswith("libcudnn.so.") for s in found.libs)
    assert driver_floor(found.cuda, "linux") and driver_floor(found.cuda, "windows")
    assert found.opened_on("linux") == found.libs and found.opened_on("windows") == found.dlls
    assert bool(found.dlls) is found.windows_gpu is (Version(series) <= NATIVE_WINDOWS_LAST)
    for text in found.extra_requirements:
        Requirement(text)
    named = (found.gpu_none, found.gpu_broken, found.gpu_works)
    assert sum(map(len, named)) == len(frozenset().union(*named)), "a GPU in two groups"
    assert frozenset().union(*named) <= table("cuda")["arch"].keys()


@pytest.mark.parametrize("series", SERIES)
def test_every_library_of_a_release_is_a_known_component(series: str) -> None:
    found = release(series)
    assert found is not None
    known = table("cuda")["soname"]
    others = {"libnvidia-ml.so.1"}
    opened = (*found.libs, *found.dlls)
    assert {s for s in opened if component(s) not in known} <= others


@pytest.mark.parametrize("series", SERIES)
def test_every_patch_belongs_to_its_release(series: str) -> None:
    for patch in table("tensorflow")["release"][series]["patches"]:
        found = release(patch)
        assert found is not None and found.series == series


def test_releases_are_the_stable_ones_oldest_first() -> None:
    listed = [r.series for r in releases()]
    assert listed == sorted(listed, key=Version)
    assert not any(r.prerelease for r in releases()) and len(listed) >= 22


@pytest.mark.parametrize("text", ["", "two", "1.15.0", "9.9", "2.10.x"])
def test_what_is_not_in_the_table_is_not_known(text: str) -> None:
    assert release(text) is None


def test_a_local_or_development_version_belongs_to_its_series() -> None:
    for text in ("2.10.1+nv22.12", "2.10.0rc1", "2.10"):
        found = release(text)
        assert found is not None and found.series == "2.10"


def test_a_release_inherits_what_it_does_not_state() -> None:
    old, new = release("2.9"), release("2.10")
    assert old is not None and new is not None
    assert (new.cuda, new.libs) == (old.cuda, old.libs) == ("11.2", new.libs)
    assert new.uses_rpath is False and release("2.6") is not None
    assert new.cuda_family == "11"


def test_faults_name_versions_of_the_table() -> None:
    for version, row in table("tensorflow")["patch"].items():
        found = release(version)
        assert found is not None and release(row["fixed_in"]) is not None
        assert version in table("tensorflow")["release"][found.series]["patches"]
        assert not installs_soundly(version)
        assert bool(known_fault(version)) == (row["kind"] == "loader") == missing_runpath(version)
    assert known_fault("2.10.1") is None and installs_soundly("2.10.1")


@pytest.mark.parametrize("found", releases(), ids=lambda r: str(r.series))
def test_the_size_of_every_release_is_known(found: object) -> None:
    latest = getattr(found, "latest", "")
    size = download_mb(f"tensorflow=={latest}")
    assert size is not None and 200 < size < 1000
    if getattr(found, "and_cuda", False):
        whole = download_mb(f"tensorflow[and-cuda]=={latest}")
        assert whole is not None and whole > size + 1000


def test_a_size_that_is_not_known_is_none() -> None:
    assert download_mb("numpy<2") is None and download_mb("tensorflow==9.9.9") is None
    assert download_mb("numpy<2", "windows") is None
    assert download_mb("tensorflow==2.10.1", "windows") == 456


# ---- CUDA --------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", releases(), ids=lambda r: str(r.series))
def test_conda_serves_what_does_not_bring_its_own(found: object) -> None:
    series = getattr(found, "series", "")
    specs = conda_specs(series)
    assert len(specs) == (2 if Version(series) < Version("2.15") else 0)
    if specs:
        toolkit = specs[0].removeprefix("cudatoolkit=")
        assert Version(toolkit) >= Version(getattr(found, "cuda", "0"))
        assert specs[1].startswith("cudnn=")


def test_the_wheels_bring_every_library_of_the_releases_they_stand_in_for() -> None:
    brought = {s for w in cuda11_wheels() for s in w.sonames}
    for found in releases():
        if Version("2.5") <= Version(found.series) <= Version("2.13"):
            assert set(found.libs) <= brought, found.series
    for wheel in cuda11_wheels():
        assert download_mb(wheel.requirement) is not None


def test_the_same_wheels_bring_every_dll_on_windows() -> None:
    wheels = cuda11_wheels("windows")
    brought = {name for wheel in wheels for name in wheel.dlls}
    for found in releases():
        if Version("2.5") <= Version(found.series) <= Version("2.10"):
            assert set(found.dlls) == brought, found.series
    assert "nvidia-cudnn-cu11==8.9.5.29" in [wheel.requirement for wheel in wheels]


@pytest.mark.parametrize(
    "cuda, system, floor",
    [
        ("11.2", "linux", "450.80.02"),
        ("11.8", "windows", "452.39"),
        ("10.1", "linux", "418.39"),
        ("12.3", "linux", "525.60.13"),
        ("12", "linux", "525.60.13"),
        ("9.0", "linux", None),
    ],
)
def test_the_oldest_driver_of_a_cuda(cuda: str, system: str, floor: str | None) -> None:
    assert driver_floor(cuda, system) == floor


def test_driver_versions_are_compared_as_versions() -> None:
    assert older("450.80", "450.80.02") is True
    assert older("1000.1", "450.80.02") is False
    assert older("450.80.02", "450.80.02") is False
    assert older("unknown", "450.80.02") is None


@pytest.mark.parametrize(
    "cudnn, needed",
    [
        *(("8.1.0.77", False), ("8.2.4", False), ("8.3.0", True), ("8.9.5.29", True)),
        *(("9.1.1", True), ("9.2.0", False), ("unknown", None)),
    ],
)
def test_which_cudnn_needs_a_helper_on_windows(cudnn: str, needed: bool | None) -> None:
    assert needs_zlibwapi(cudnn) is needed


def test_components_of_libraries() -> None:
    assert component("libcudart.so.11.0") == "cudart"
    assert component("libcublasLt.so.12") == "cublasLt"
    assert component("libmine.so.3") == "mine"
    assert component("cudnn64_8.dll") == "cudnn"
    assert component("cublasLt64_11.dll") == "cublasLt"
    assert component("cupti64_112.dll") == "cupti"
    assert component("zlibwapi.dll") == "zlibwapi"


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["nvml", "cuda"])
def test_every_error_has_a_meaning_and_causes_that_exist(source: str) -> None:
    known = set(cause_ids())
    for code, row in table("errors")[source].items():
        int(code)
        assert row["meaning"]
        named = [row["cause"], *row.get("also", ()), row.get("wsl"), row.get("container")]
        assert {name for name in named if name} <= known, code


def test_a_place_changes_the_likeliest_cause() -> None:
    assert nvml_error(12).cause == "nvidia-driver-missing"
    assert nvml_error(12, wsl=True).cause == "wsl-libcuda-not-on-path"
    assert nvml_error(12, container=True).cause == "docker-no-gpu-access"
    assert nvml_error(18, wsl=True).cause == "driver-library-mismatch"
    assert cuda_error(802).cause is None


def test_an_unknown_code_keeps_its_number() -> None:
    unknown = cuda_error(4711)
    assert (unknown.text, unknown.cause) == ("cuda error 4711", None)


# ---- causes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("identifier", cause_ids())
def test_every_cause_is_complete(identifier: str) -> None:
    found = cause(identifier)
    assert re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)*", identifier)
    assert found.link in {"host", "driver", "wsl", "cuda", "loader", "tensorflow", "gpu"}
    assert found.safety in {"reversible", "guided", "reboot", "none"}
    assert found.scope in {"machine", "environment"}
    assert set(found.chapters) <= CHAPTERS
    assert (found.safety == "reversible") == bool(found.chapters)
    assert not (found.scope == "machine" and found.chapters), "no step of ours changes a machine"


@pytest.mark.parametrize("identifier", cause_ids())
def test_the_steps_of_every_cause_can_be_filled_in(identifier: str) -> None:
    values = {name: f"<{name}>" for name in PLACEHOLDERS}
    for step in cause(identifier).steps:
        fields = {name for _, name, _, _ in Formatter().parse(step) if name is not None}
        assert fields <= PLACEHOLDERS
        assert step.format_map(values)


def test_no_such_cause_is_a_bug_of_ours() -> None:
    with pytest.raises(KeyError):
        cause("no-such-cause")


# ---- log lines, providers ----------------------------------------------------------------------

LOG = {
    "W tensorflow/dso_loader.cc:64] Could not load dynamic library 'libcudnn.so.8'; dlerror: "
    "libcudnn.so.8: cannot open shared object file: No such file or directory; "
    "LD_LIBRARY_PATH: /opt/lib": (
        "library-not-loaded",
        {
            "library": "libcudnn.so.8",
            "error": "libcudnn.so.8: cannot open shared object file: No such file or directory",
        },
    ),
    "Could not load dynamic library 'libcudart.so.10.1'": (
        "library-not-loaded",
        {"library": "libcudart.so.10.1"},
    ),
    "E cuda_driver.cc:271] failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device": (
        "cuinit-failed",
        {"error": "CUDA_ERROR_NO_DEVICE: no CUDA-capable device"},
    ),
    "W gpu_device.cc:2348] Cannot dlopen some GPU libraries. Please make sure": (
        "gpu-libraries-not-opened",
        {},
    ),
    "E cuda_diagnostics.cc:313] kernel version 535.54.3 does not match DSO version 550.120.0": (
        "version-mismatch",
        {"kernel": "535.54.3", "library": "550.120.0"},
    ),
}


@pytest.mark.parametrize("line", LOG)
def test_lines_are_understood(line: str) -> None:
    identifier, groups = LOG[line]
    (sign,) = signs([line])
    assert (sign.id, sign.groups) == (identifier, groups)


@pytest.mark.parametrize(
    "line",
    [
        "Could not load dynamic library 'libnvinfer.so.7'; dlerror: libnvinfer.so.7: cannot open",
        "I cpu_feature_guard.cc:142] This TensorFlow binary is optimized with oneDNN",
        "",
    ],
)
def test_lines_that_mean_nothing_are_passed_over(line: str) -> None:
    assert list(signs([line])) == []


def test_a_missing_library_beside_tensorrt_on_the_loader_path_still_counts() -> None:
    """The path is part of the message; what stands in it decides nothing."""
    line = (
        "Could not load dynamic library 'libcudnn.so.8'; dlerror: libcudnn.so.8: cannot open; "
        "LD_LIBRARY_PATH: /opt/libnvinfer/lib"
    )
    (sign,) = signs([line])
    assert sign.groups["library"] == "libcudnn.so.8"


def test_only_what_means_something_is_kept_once() -> None:
    line = "Cannot dlopen some GPU libraries."
    assert worth_keeping(f"secret\n  {line}\n{line}\n") == (line,)
    many = "\n".join(f"failed call to cuInit: {n}" for n in range(100))
    assert len(worth_keeping(many)) == 40


def test_providers_and_what_they_can() -> None:
    assert {"tensorflow", "tensorflow-cpu", "tf-nightly"} <= providers()
    assert gpu_kind("tensorflow") == "cuda" and gpu_kind("tensorflow-cpu") == "none"
    assert gpu_kind("unheard-of") == "none"
    known = {"cuda", "none", "rocm", "directml", "metal", "stub", "broken"}
    assert {gpu_kind(name) for name in providers()} <= known


@pytest.mark.parametrize(
    "build, has_gpu",
    [
        ("cuda112py310he87a039_0", True),
        ("cuda120h1234567_203", True),
        ("gpu_py39h8236f22_0", True),
        ("cpu_py310hd1aba9c_0", False),
        ("mkl_py310h24f4fea_0", False),
        ("eigen_py310hd3b6d4c_0", False),
        ("py310h1234567_0", None),
    ],
)
def test_condas_build_strings(build: str, has_gpu: bool | None) -> None:
    assert conda_build_has_gpu(build) is has_gpu


def test_specifiers_of_the_tables_are_specifiers() -> None:
    for text in table("packages")["conda_cuda"]:
        SpecifierSet(text)
    for name, row in table("packages")["addon"].items():
        Requirement(name)
        assert "requires" not in row or Requirement(row["requires"])
