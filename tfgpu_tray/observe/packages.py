"""Python distributions that matter to TensorFlow, from metadata on disk alone.

`os.scandir` and plain reads instead of importlib.metadata: fifty environments of three hundred
distributions are read in well under a second, and `~…` leftovers of interrupted pip runs, which
importlib.metadata reports as if installed, are told apart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from tfgpu_tray.model import Distribution, Environment, Packages

RELATED = frozenset(
    [
        "numpy",
        "protobuf",
        "keras",
        "tf-keras",
        "h5py",
        "ml-dtypes",
        "tensorboard",
        "tensorflow-text",
        "tensorflow-addons",
        "tensorflow-metal",
        "tensorflow-directml-plugin",
        "tensorflow-estimator",
        "tensorflow-probability",
    ]
)
_INFO = re.compile(r"^(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist|egg)-info$")
# tensorflow/, tensorflow_cpu-2.10.1.dist-info, intel_tensorflow-…, tf_nightly-…, ~ensorflow; but
# not add-ons such as tensorflow_text.
_TENSORFLOW = re.compile(
    r"^(tensorflow$|[t~][-~.=%0-9]?e?nsorflow(-[\d.]+\S*)?(\.dist-info)?$|"
    r"(intel_)?tensorflow(_(cpu|gpu|intel|macos|rocm|cpu_aws|aarch64))?-.*-info$|tf_nightly.*-info$)"
)
_REQUIRES = re.compile(
    r"^Requires-Dist: *([A-Za-z0-9][A-Za-z0-9._-]*)(?!.*;.*\bextra *==)", re.MULTILINE
)


def normalise(name: str) -> str:
    """The canonical form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def holds_tensorflow(environment: Environment) -> bool:
    """Whether TensorFlow is, or visibly was, in the environment's own site-packages; by names."""
    try:
        names = os.listdir(environment.site_packages or "")
    except OSError:
        return False
    return any(_TENSORFLOW.match(name) for name in names)


def observe_packages(environment: Environment, providers: Collection[str]) -> Packages:
    """What is installed; *providers* are the distributions that contain `import tensorflow`."""
    folders = [(environment.user_site, True), (environment.site_packages, False)]
    tensorflow: list[Distribution] = []
    related: list[Distribution] = []
    leftovers: list[str] = []
    shadowing: list[str] = []
    infos: list[tuple[str, str]] = []
    for folder, user in folders:
        if folder is None:
            continue
        here, left, packages = _scan(folder)
        infos += [(name, path) for name, _, path in here]
        leftovers += left
        owned = False
        for name, version, path in here:
            if name in providers:
                tensorflow.append(_read(name, version, Path(path), user))
                owned = True
            elif name in RELATED or name.startswith("nvidia-"):
                related.append(_read(name, version, Path(path), user))
        if "tensorflow" in packages and not owned:
            shadowing.append(os.path.join(folder, "tensorflow"))
    if tensorflow:
        wanted = {d.name for d in tensorflow if not d.requested}
        tensorflow = [replace(d, required_by=_dependents(d, infos, wanted)) for d in tensorflow]
    return Packages(
        tensorflow=tuple(tensorflow),
        related=tuple(related),
        leftovers=tuple(sorted(leftovers)),
        shadowing=tuple(shadowing),
        count=len(infos),
    )


def _scan(folder: Path) -> tuple[list[tuple[str, str, str]], list[str], set[str]]:
    """Distributions (name, version, metadata folder), leftovers and package folders in *folder*."""
    infos, leftovers, packages = [], [], set()
    try:
        # `tensorflow-2.12.0` comes before the `tensorflow_intel-2.12.0` it brings in on Windows.
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return [], [], set()
    for entry in entries:
        if entry.name.startswith("~"):
            leftovers.append(entry.name)
        elif match := _INFO.match(entry.name):
            infos.append((normalise(match["name"]), match["version"], entry.path))
        elif entry.name == "tensorflow":
            packages.add(entry.name)
    return infos, leftovers, packages


def _read(name: str, version: str, info: Path, user: bool) -> Distribution:
    installer = _text(info / "INSTALLER").strip() or None
    return Distribution(
        name=name,
        version=version,
        folder=info.parent,
        in_user_site=user,
        installer=installer,
        requested=(info / "REQUESTED").exists(),
        direct=(info / "direct_url.json").exists(),
        missing_files=tuple(_missing(name, info)),
    )


def _missing(name: str, info: Path) -> Iterable[str]:
    """Files that RECORD lists and the disk lacks, for what breaks an import.

    Compiled files are left out: Python writes them anew. Checking a sample keeps this affordable:
    package entry points and every shared library.
    """
    record = _text(info / "RECORD")
    if not record:
        return
    folder = str(info.parent)
    for line in record.splitlines():
        path = line.rsplit(",", 2)[0].strip('"').replace("\\", "/")
        wanted = path.count("/") == 1 and path.endswith("/__init__.py")
        if not wanted and (".so" not in path and not path.endswith((".pyd", ".dll"))):
            continue
        if not os.path.lexists(os.path.join(folder, path)):
            yield path


def _dependents(
    target: Distribution, infos: Iterable[tuple[str, str]], wanted: Collection[str]
) -> tuple[str, ...]:
    """Who requires *target*; only asked for what the user did not request."""
    if target.name not in wanted:
        return ()
    return tuple(
        sorted(
            name
            for name, path in infos
            if name != target.name
            and target.name in {normalise(m) for m in _REQUIRES.findall(_header(path))}
        )
    )


def _header(info: str) -> str:
    """The headers of METADATA, without the description below them."""
    try:
        with open(os.path.join(info, "METADATA"), encoding="utf-8", errors="replace") as file:
            return file.read(64_000).partition("\n\n")[0]
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
