"""Imports point one way, and the probes stand alone."""

from __future__ import annotations

import ast
import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import tfgpu_tray
from tests.needs import every_python

PACKAGE = Path(tfgpu_tray.__file__).parent
PROBES = PACKAGE / "observe" / "probes"

# A room may import rooms of earlier lines only, and itself; never a sibling of its own line.
ORDER: tuple[frozenset[str], ...] = tuple(
    frozenset(line.split())
    for line in (
        "__init__",  # the version
        "model",
        "knowledge",
        "observe diagnose",
        "examine config subsystem",
        "store",
        "survey installer",
        "repair",
        "words answers terminal arguments",
        "monitor autostart",
        "tray app",
        "face",
        "daemon",
        "cli",
        "__main__",
    )
)
# Faces may use `words`; what it shows may not.
FACES = frozenset({"cli", "daemon", "face", "tray", "page", "fleet"})


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def rank(name: str) -> int:
    found = [place for place, names in enumerate(ORDER) if name in names]
    assert found, f"the room {name} has no place in the order; give it one"
    return found[0]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything of ours that is imported, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "tfgpu_tray":
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            if node.module == "tfgpu_tray":
                yield from ((node.lineno, f"tfgpu_tray.{alias.name}") for alias in node.names)
            elif node.module and node.module.startswith("tfgpu_tray."):
                yield node.lineno, node.module


def parsed(path: Path) -> ast.Module:
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


@cache
def edges() -> tuple[tuple[str, int, str, str], ...]:
    """(file, line, room, imported room) for each import across rooms."""
    found = []
    gc.collect()  # CPython 3.11 fails when another test's leftovers are finalised inside ast.parse
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, name in imported(parsed(path)):
            target = name.split(".")[1] if "." in name else "__init__"
            if not (PACKAGE / target).exists() and not (PACKAGE / f"{target}.py").exists():
                target = "__init__"  # a name of the package itself, such as __version__
            if target != room(path):
                found.append((path.relative_to(PACKAGE).as_posix(), line, room(path), target))
    return tuple(found)


def test_the_graph_is_not_empty() -> None:
    assert len(edges()) > 50


def test_rooms_only_import_rooms_before_them() -> None:
    wrong = [
        f"{file}:{line}: {importer} imports {target}"
        for file, line, importer, target in edges()
        if rank(target) >= rank(importer)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_rooms_import_each_other() -> None:
    pairs = {(importer, target) for _, _, importer, target in edges()}
    assert not [(i, t) for i, t in pairs if (t, i) in pairs]


def test_only_faces_put_things_into_words() -> None:
    users = {importer for _, _, importer, target in edges() if target == "words"}
    assert users <= FACES


def test_diagnosing_and_observing_do_not_know_each_other() -> None:
    pairs = {(importer, target) for _, _, importer, target in edges()}
    assert ("diagnose", "observe") not in pairs
    assert ("observe", "diagnose") not in pairs


# ---- probes ------------------------------------------------------------------------------------

PROBE_FILES = sorted(path for path in PROBES.glob("*.py") if path.name != "__init__.py")
BEYOND_THE_STANDARD_LIBRARY = {
    "nvml_probe.py": {"pynvml"},
    "tensorflow_probe.py": {"tensorflow"},
    "compute_probe.py": {"tensorflow"},
    "loader_probe.py": set[str](),
    "dll_probe.py": set[str](),
    "wsl_probe.py": set[str](),
}


@pytest.mark.parametrize("probe", PROBE_FILES, ids=lambda path: path.name)
def test_a_probe_needs_nothing_but_the_standard_library(probe: Path) -> None:
    tree = ast.parse(probe.read_text(encoding="utf-8"))
    names: dict[str, bool] = {}  # module -> imported at the top
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            names.update({alias.name.split(".")[0]: top for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module
            names[node.module.split(".")[0]] = top
    foreign = {name: top for name, top in names.items() if name not in sys.stdlib_module_names}
    assert set(foreign) == BEYOND_THE_STANDARD_LIBRARY[probe.name]
    assert not any(foreign.values()), "imported before the probe could say anything"


@pytest.mark.parametrize("probe", PROBE_FILES, ids=lambda path: path.name)
def test_a_probe_is_written_in_python_3_7(probe: Path) -> None:
    ast.parse(probe.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_the_loader_probe_runs_under_every_python(tmp_path: Path) -> None:
    request = json.dumps({"names": [], "driver": True, "runpath": [], "legacy_rpath": False})
    for python in every_python():
        done = subprocess.run(
            [python, PROBES / "loader_probe.py", request],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, f"{python}: {done.stderr}"
        said = [json.loads(line[7:]) for line in done.stdout.splitlines()]
        assert said[0] == {"stage": "libcuda"} and said[-1] == {"stage": "done"}, python


def test_the_tensorflow_probe_reports_a_missing_tensorflow_under_every_python(
    tmp_path: Path,
) -> None:
    for python in every_python():
        done = subprocess.run(
            [python, "-I", PROBES / "tensorflow_probe.py"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, f"{python}: {done.stderr}"
        said = [json.loads(x[7:]) for x in done.stdout.splitlines() if x.startswith("@tfgpu ")]
        assert said[0] == {"stage": "import"}, python
        assert said[-1]["error_type"] == "ModuleNotFoundError", python
