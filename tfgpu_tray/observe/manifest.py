"""What an environment held at one moment, and what differs between two such moments.

Names of files tell nearly all of it, so a manifest of three hundred distributions takes a few
milliseconds and can be taken at every change. METADATA is only read where somebody asks for it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from tfgpu_tray.model import Environment
from tfgpu_tray.observe.packages import normalise

SCHEMA = 1
TENSORFLOW = re.compile(
    r"^(tensorflow(-(cpu|gpu|intel|macos|rocm|rocm-enhanced|cpu-aws|aarch64|directml))?"
    r"|tf-nightly(-\w+)?|intel-tensorflow(-avx512)?)$"
)
FAMILY = ("numpy", "protobuf", "keras")  # what breaks `import tensorflow` most often
PLAIN = 9  # the rank of what is only counted
_CONDA_TENSORFLOW = re.compile(r"^(tensorflow(-(base|cpu|gpu|mkl|eigen))?|libtensorflow\w*)$")
_CONDA_CUDA = re.compile(r"^(cudatoolkit|cudnn|cuda[-_]|libcu(?!rl)|libnvj|libnpp|nccl)")
_INFO = re.compile(r"^(?P<name>.+?)-(?P<version>[^-]+?)(?:-py[\d.]+)?\.(?:dist|egg)-info$")
_LIBRARY = re.compile(
    r"^lib(cud|cublas|cufft|curand|cusolver|cusparse|cupti|nvrtc|nvJitLink|nccl)\w*\.so\.\d+(\.\d+)?$"
    r"|^(cud|cublas|cufft|curand|cusolver|cusparse|cupti|nvrtc|nvJitLink)\w*\.dll$",
    re.IGNORECASE,
)
# Every TensorFlow since 1.6 installs this command, with pip and with conda. A package manager takes
# it along when it removes TensorFlow; whoever deletes folders leaves it behind.
_SCRIPT = ("bin/saved_model_cli", "Scripts/saved_model_cli.exe")


class Installed(NamedTuple):
    version: str
    installer: str | None = None  # what INSTALLER says; only read for what matters


@dataclass(frozen=True, slots=True)
class Manifest:
    distributions: Mapping[str, Installed] = field(default_factory=dict)
    user: Mapping[str, Installed] = field(default_factory=dict)  # of the user site
    conda: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # version and build
    hooks: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # size, mtime in ns
    folders: tuple[str, ...] = ()  # packages that can be imported, of TensorFlow and its family
    libraries: tuple[str, ...] = ()  # CUDA's, below the prefix ("lib/…") or site-packages
    leftovers: tuple[str, ...] = ()  # `~…` of interrupted pip runs
    script: bool = False  # TensorFlow's own command is there
    python: str | None = None  # its version; None when the interpreter is missing
    complete: bool = True  # False: a folder is there and could not be read


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. *old* and *new* are versions; None: it was not there, or is not any more."""

    source: str  # "site", "user", "conda", "hook", "files", "library" or "python"
    name: str
    old: str | None
    new: str | None
    became: str | None = None  # the distribution that took its place

    def __str__(self) -> str:
        if self.source == "files":
            return (
                f"files of {self.name} {self.old or self.new} {'deleted' if self.old else 'back'}"
            )
        if self.source in ("hook", "library"):
            end = "deleted" if self.new is None else "added" if self.old is None else "changed"
            return f"{'hook ' if self.source == 'hook' else ''}{self.name} {end}"
        if self.new is None:
            return f"{self.name} {self.old} removed"
        if self.old is None:
            return f"{self.name} {self.new} installed"
        return f"{self.name} {self.old} → {f'{self.became} ' if self.became else ''}{self.new}"


# ---- taking one --------------------------------------------------------------------------------


def read_manifest(environment: Environment) -> Manifest:
    prefix, site = environment.prefix, environment.site_packages
    interpreter = environment.python is not None and os.path.exists(environment.python)
    return Manifest(
        distributions=_distributions(site),
        user=_distributions(environment.user_site),
        conda=_conda(prefix),
        hooks=_hooks(prefix),
        folders=tuple(_importable(site)) if site else (),
        libraries=tuple(sorted(_libraries(prefix, site))),
        leftovers=tuple(
            sorted(n for s in (site, environment.user_site) for n in _names(s) if n[0] == "~")
        ),
        script=any(os.path.exists(prefix / name) for name in _SCRIPT),
        python=(environment.python_version or "") if interpreter else None,
        complete=all(map(_readable, (site, environment.user_site, prefix / "conda-meta"))),
    )


def metadata_folders(site: Path | None) -> dict[str, tuple[str, str]]:
    """Version and metadata folder of each distribution in *site*, by normalised name."""
    found: dict[str, tuple[str, str]] = {}
    for name in _names(site):
        if name.startswith("~") or (match := _INFO.match(name)) is None:
            continue
        key, path = normalise(match["name"]), os.path.join(site or "", name)
        # Two of one name are what an overwritten installation leaves: the newer one counts.
        if key not in found or _stamp(path) >= _stamp(found[key][1]):
            found[key] = (match["version"], path)
    return found


def installer(info: str) -> str | None:
    """Who installed it: the first word of INSTALLER in lower case, such as "pip" or "poetry"."""
    words = _text(os.path.join(info, "INSTALLER"), 200).split()
    return words[0].lower() if words else None


def requirements(info: str) -> list[str]:
    """The values of Requires-Dist, without those of extras."""
    header = _text(os.path.join(info, "METADATA"), 64_000).partition("\n\n")[0]
    values = re.findall(r"^Requires-Dist: *(.+)$", header, re.MULTILINE)
    return [v for v in values if not re.search(r";.*\bextra *==", v)]


def is_cuda(name: str) -> bool:
    """Whether a conda package is one of those that hold CUDA's libraries."""
    return _CONDA_CUDA.match(name) is not None


def _distributions(site: Path | None) -> dict[str, Installed]:
    return {
        name: Installed(version, installer(info) if _rank_of(name) < PLAIN else None)
        for name, (version, info) in metadata_folders(site).items()
    }


def _conda(prefix: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for name in _names(prefix / "conda-meta"):
        parts = name.removesuffix(".json").rsplit("-", 2)
        if name.endswith(".json") and not name.startswith("._") and len(parts) == 3:
            found[parts[0]] = (parts[1], parts[2])
    return found


def _hooks(prefix: Path) -> dict[str, tuple[int, int]]:
    found = {}
    folder = prefix / "etc" / "conda" / "activate.d"
    for name in _names(folder):
        try:
            status = os.stat(folder / name)
        except OSError:
            continue
        found[name] = (status.st_size, status.st_mtime_ns)
    return found


def _importable(site: Path) -> Iterator[str]:
    for name in sorted(("tensorflow", *FAMILY)):
        folder = "google/protobuf" if name == "protobuf" else name
        if os.path.exists(os.path.join(site, folder, "__init__.py")):
            yield name


def _libraries(prefix: Path, site: Path | None) -> Iterator[str]:
    """CUDA's libraries that can be opened; a link whose file is gone is none."""
    folders = [(prefix, "lib"), (prefix, "Library/bin")]
    if site is not None:
        for name in _names(site / "nvidia"):
            folders += [(site, f"nvidia/{name}/lib"), (site, f"nvidia/{name}/bin")]
    for root, folder in folders:
        for name in _names(root / folder):
            if _LIBRARY.match(name) and os.path.exists(os.path.join(root, folder, name)):
                yield f"{folder}/{name}"


# ---- comparing two -----------------------------------------------------------------------------


def differences(before: Manifest, after: Manifest) -> list[Change]:
    """What changed, what matters most first; nothing where one of them is not complete."""
    if not (before.complete and after.complete):
        return []
    found = list(_packages("conda", _builds(before, after), _builds(after, before)))
    # Another Python has another site-packages: that it holds other things says nothing.
    if before.python == after.python or None in (before.python, after.python):
        sites = [
            *_packages("site", _versions(before.distributions), _versions(after.distributions)),
            *_packages("user", _versions(before.user), _versions(after.user)),
        ]
        twice = {change.name for change in sites if change.source == "site"}
        found = [change for change in found if change.name not in twice] + sites
        found += _files(before, after)
        if not any(_rank(change) in (2, 3) for change in found):
            found += _lost_libraries(before, after)
    elif not any(change.name == "python" for change in found):
        found.append(Change("python", "python", before.python, after.python))
    if after.python is None is not before.python and all(c.name != "python" for c in found):
        found.append(Change("python", "python", before.python, None))
    for name in sorted(before.hooks.keys() | after.hooks.keys()):
        if before.hooks.get(name) != after.hooks.get(name):
            old = "" if name in before.hooks else None
            found.append(Change("hook", name, old, "" if name in after.hooks else None))
    return sorted(found, key=lambda c: (_rank(c), c.old is None, c.source == "files", c.name))


def matters(change: Change) -> bool:
    """Whether it may bear on TensorFlow and its GPU; other packages are only counted."""
    return _rank(change) < PLAIN


def _rank(change: Change) -> int:
    """0 is what explains everything else."""
    if change.source == "python":
        return 8 if change.new is None else 0
    if change.source == "hook":
        return 7
    if change.source == "library":
        return 2
    if change.source == "conda":
        if _CONDA_TENSORFLOW.match(change.name):
            return 1
        if change.name == "python":
            return 8
        if is_cuda(change.name):
            return 2
    return _rank_of(change.name)


def _rank_of(distribution: str) -> int:
    if TENSORFLOW.match(distribution):
        return 1
    if distribution.startswith("nvidia-"):
        return 3
    return 4 + FAMILY.index(distribution) if distribution in FAMILY else PLAIN


def _versions(held: Mapping[str, Installed]) -> dict[str, str]:
    return {name: installed.version for name, installed in held.items()}


def _builds(one: Manifest, other: Manifest) -> dict[str, str]:
    """Versions of conda's packages, with the build where only that differs."""
    return {
        name: f"{version} ({build})"
        if name in other.conda and other.conda[name][0] == version and other.conda[name][1] != build
        else version
        for name, (version, build) in one.conda.items()
    }


def _packages(source: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    gone = [n for n in names if n not in new and source != "conda" and TENSORFLOW.match(n)]
    came = [n for n in names if n not in old and source != "conda" and TENSORFLOW.match(n)]
    swap = (gone[0], came[0]) if len(gone) == 1 and came else None
    for name in names:
        if swap and name == swap[0]:
            yield Change(source, name, old[name], new[swap[1]], swap[1])
        elif not swap or name != swap[1]:
            yield Change(source, name, old.get(name), new.get(name))


def _files(before: Manifest, after: Manifest) -> Iterator[Change]:
    """Packages whose folder went or came while the metadata stayed as it was."""
    for name, held in after.distributions.items():
        folder = "tensorflow" if TENSORFLOW.match(name) else name
        was, there = folder in before.folders, folder in after.folders
        kept = before.distributions.get(name)
        if was != there and kept is not None and kept.version == held.version:
            yield Change("files", name, *((held.version, None) if was else (None, held.version)))


def _lost_libraries(before: Manifest, after: Manifest) -> Iterator[Change]:
    lost = [p for p in before.libraries if p not in after.libraries]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        yield Change("library", f"{os.path.basename(lost[0])}{more}", lost[0], None)


# ---- keeping one -------------------------------------------------------------------------------


def to_json(manifest: Manifest) -> str:
    content = {f.name: getattr(manifest, f.name) for f in fields(Manifest)}
    return json.dumps({"schema": SCHEMA, **content}, separators=(",", ":"))


def from_json(text: str) -> Manifest | None:
    """The manifest that `to_json` wrote; None for anything else."""
    try:
        content = json.loads(text)
        if content.pop("schema") != SCHEMA or content.keys() != {f.name for f in fields(Manifest)}:
            return None
        return Manifest(
            distributions=_installed(content["distributions"]),
            user=_installed(content["user"]),
            conda={n: (_str(v), _str(b)) for n, (v, b) in _pairs(content["conda"])},
            hooks={n: (_int(s), _int(m)) for n, (s, m) in _pairs(content["hooks"])},
            folders=_strings(content["folders"]),
            libraries=_strings(content["libraries"]),
            leftovers=_strings(content["leftovers"]),
            script=_bool(content["script"]),
            python=_maybe(content["python"]),
            complete=_bool(content["complete"]),
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _installed(content: dict[str, Any]) -> dict[str, Installed]:
    return {name: Installed(_str(v), _maybe(who)) for name, (v, who) in _pairs(content)}


def _pairs(content: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    return ((name, _list(value)) for name, value in content.items())


def _strings(value: object) -> tuple[str, ...]:
    return tuple(map(_str, _list(value)))


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _maybe(value: object) -> str | None:
    return None if value is None else _str(value)


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


# ---- small readers -----------------------------------------------------------------------------


def _names(folder: Path | None) -> list[str]:
    try:
        return os.listdir(folder) if folder is not None else []
    except OSError:
        return []


def _readable(folder: Path | None) -> bool:
    """Whether it could be listed, or is not there."""
    try:
        os.scandir(folder or ".").close()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return True


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _text(path: str, limit: int) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(limit)
    except OSError:
        return ""
