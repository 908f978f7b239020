"""The hooks in every shell, and the preload in every Python, that is installed here."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import shared_library, write
from tests.needs import every_python, tool
from tfgpu_tray.installer import hook_texts

POSIX = ("bash", "dash", "zsh")
PREFIXES = ("/opt/envs/tf", "/home/me/my envs/tf", '/home/it\'s "$HOME" `x`/tf', "/home/用户/环境")
BEFORE = (
    None,
    "",
    "/opt/lib",
    "/opt/lib:/usr/local/cuda/lib64",
    "/with space:/用户",
    "/trailing:",
    ":/leading",
    "/a::/b",
)
FOLDERS = ["lib", "lib/python3.10/site-packages/nvidia/cudnn/lib"]


@dataclass(frozen=True)
class Shell:
    """Runs scripts that source the hooks, as conda's shell function does."""

    name: str
    folder: Path

    @property
    def command(self) -> list[str]:
        options = {"bash": ["--noprofile", "--norc"], "zsh": ["-f"], "fish": ["--no-config"]}
        return [tool(self.name), *options.get(self.name, [])]

    def values(self, steps: str, prefix: str, before: str | None) -> list[str | None]:
        """LD_LIBRARY_PATH, as programs see it, after each step; a = activate, d = deactivate,
        anything else is a line of shell."""
        show = 'printenv LD_LIBRARY_PATH && echo "^set" || echo "^unset"'
        if self.name == "fish":
            show = "printenv LD_LIBRARY_PATH; and echo ^set; or echo ^unset"
        lines = []
        for step in steps.split(";"):
            source = {"a": f". {self.quoted('activate')}", "d": f". {self.quoted('deactivate')}"}
            lines += [source.get(step.strip(), step), show]
        environ = {"PATH": "/usr/bin:/bin", "CONDA_PREFIX": prefix, "LANG": "C.UTF-8"}
        environ["HOME"] = str(self.folder)
        if before is not None:
            environ["LD_LIBRARY_PATH"] = before
        done = subprocess.run(
            [*self.command, "-c", "\n".join(lines)], env=environ, capture_output=True, text=True
        )
        assert done.stderr == "", done.stderr
        return [
            block.rpartition("\n")[0].removesuffix("\n") if block.endswith("^set") else None
            for block in blocks(done.stdout)
        ]

    def quoted(self, name: str) -> str:
        return shlex.quote(str(self.folder / name))


def blocks(text: str) -> list[str]:
    found, current = [], ""
    for line in text.splitlines():
        current += line
        if line in ("^set", "^unset"):
            found.append(current)
            current = ""
        else:
            current += "\n"
    return found


@pytest.fixture(params=POSIX)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    tool(request.param)
    write(tmp_path / "activate", hook_texts.sh_activate(FOLDERS))
    write(tmp_path / "deactivate", hook_texts.SH_DEACTIVATE)
    return Shell(request.param, tmp_path)


@pytest.fixture
def fish(tmp_path: Path) -> Shell:
    tool("fish")
    write(tmp_path / "activate", hook_texts.fish_activate(FOLDERS))
    write(tmp_path / "deactivate", hook_texts.FISH_DEACTIVATE)
    return Shell("fish", tmp_path)


def ours(prefix: str) -> str:
    return ":".join(f"{prefix}/{folder}" for folder in FOLDERS)


def in_front(prefix: str, before: str | None) -> str:
    return f"{ours(prefix)}:{before}" if before else ours(prefix)


def unset_when_empty(value: str | None) -> str | None:
    """ld.so treats both alike."""
    return value or None


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("before", BEFORE)
def test_activating_puts_our_folders_in_front_and_leaving_takes_them_out(
    shell: Shell, prefix: str, before: str | None
) -> None:
    activated, left = shell.values("a;d", prefix, before)
    assert activated == in_front(prefix, before)
    assert unset_when_empty(left) == unset_when_empty(before)


@pytest.mark.parametrize("before", BEFORE)
def test_activating_twice_is_activating_once(shell: Shell, before: str | None) -> None:
    once, twice, left, again = shell.values("a;a;d;d", "/envs/tf", before)
    assert once == twice == in_front("/envs/tf", before)
    assert unset_when_empty(left) == unset_when_empty(again) == unset_when_empty(before)


@pytest.mark.parametrize(
    "between, left",
    [
        ('export LD_LIBRARY_PATH="/mine:$LD_LIBRARY_PATH"', "/mine:/opt/lib"),
        ('export LD_LIBRARY_PATH="$LD_LIBRARY_PATH:/mine"', "/opt/lib:/mine"),
        ("export LD_LIBRARY_PATH=/mine", "/mine"),
        ("unset LD_LIBRARY_PATH", None),
        ("export LD_LIBRARY_PATH=", ""),
    ],
)
def test_what_the_user_changes_in_between_stays(
    shell: Shell, between: str, left: str | None
) -> None:
    values = shell.values(f"a;{between};d", "/envs/tf", "/opt/lib")
    assert values[-1] == left


def test_a_folder_that_only_starts_like_ours_stays(shell: Shell) -> None:
    *_, left = shell.values("a;d", "/envs/tf", "/envs/tf/lib64:/envs/tf/libs")
    assert left == "/envs/tf/lib64:/envs/tf/libs"


def test_leaving_an_environment_that_was_never_entered_changes_nothing(shell: Shell) -> None:
    assert shell.values("d", "/envs/tf", "/opt/lib") == ["/opt/lib"]


def test_folders_that_the_session_has_already_are_not_taken_from_it(shell: Shell) -> None:
    before = in_front("/envs/tf", "/opt/lib")
    assert shell.values("a;d", "/envs/tf", before) == [before, before]


@pytest.mark.parametrize("options", ["set -u", "set -e", "set -eu"])
def test_strict_shells_are_not_ended(shell: Shell, options: str) -> None:
    assert shell.values(f"{options};a;d", "/envs/tf", None)[1:] == [ours("/envs/tf"), None]


@pytest.mark.parametrize("before", BEFORE)
def test_nothing_of_ours_is_left_in_the_environment(shell: Shell, before: str | None) -> None:
    show = "env | grep -ci tfgpu || :"
    environ = {"PATH": "/usr/bin:/bin", "CONDA_PREFIX": "/envs/tf"}
    if before is not None:
        environ["LD_LIBRARY_PATH"] = before
    script = f". {shell.quoted('activate')}\n. {shell.quoted('deactivate')}\n{show}\n"
    done = subprocess.run(
        [*shell.command, "-c", script + "set | grep -c '^_tfgpu' || :"],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0", "0"]


def test_two_environments_within_each_other(shell: Shell) -> None:
    """conda activate --stack: the outer hook has run and stays."""
    steps = "a;CONDA_PREFIX=/envs/b;a;d"
    values = shell.values(steps, "/envs/a", None)
    assert values[-1] == ours("/envs/a")


# ---- fish --------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("before", [b for b in BEFORE if b is None or "::" not in f":{b}:"])
def test_fish_does_the_same(fish: Shell, prefix: str, before: str | None) -> None:
    activated, left = fish.values("a;d", prefix, before)
    assert activated == in_front(prefix, before)
    assert unset_when_empty(left) == unset_when_empty(before)


@pytest.mark.parametrize("before", ["", "/trailing:", ":/leading"])
def test_fish_leaves_a_path_with_empty_entries_as_it_was(fish: Shell, before: str) -> None:
    *_, left = fish.values("a;d", "/envs/tf", before)
    assert unset_when_empty(left) == unset_when_empty(before)


def test_fish_adds_no_empty_entry_to_an_empty_path(fish: Shell) -> None:
    """An empty entry is the current directory."""
    activated, _ = fish.values("a;d", "/envs/tf", "")
    assert activated is not None and "" not in activated.split(":")


@pytest.mark.parametrize("before", [None, "/opt/lib"])
def test_activating_twice_in_fish_is_activating_once(fish: Shell, before: str | None) -> None:
    once, twice, left = fish.values("a;a;d", "/envs/tf", before)
    assert once == twice == in_front("/envs/tf", before)
    assert left == before


@pytest.mark.parametrize(
    "between, left",
    [
        ("set -gx LD_LIBRARY_PATH /mine $LD_LIBRARY_PATH", "/mine:/opt/lib"),
        ("set -gx LD_LIBRARY_PATH /mine", "/mine"),
        ("set -e LD_LIBRARY_PATH", None),
    ],
)
def test_what_the_user_changes_in_between_stays_in_fish(
    fish: Shell, between: str, left: str | None
) -> None:
    assert fish.values(f"a;{between};d", "/envs/tf", "/opt/lib")[-1] == left


# ---- the preload -------------------------------------------------------------------------------

SONAMES = ["libtfgpua.so.11", "libtfgpub.so.8", "libtfgpuc.so.1"]
SHOW_MAPPED = """
import re
text = open("/proc/self/maps").read()
print(*dict.fromkeys(re.findall(r"(libtfgpu\\w)", text)))
"""


@dataclass(frozen=True)
class Preloaded:
    """A prefix whose site-packages holds the preload, and perhaps a tensorflow."""

    prefix: Path

    @property
    def site(self) -> Path:
        return self.prefix / "site-packages"

    def run(self, python: Path, code: str, **environ: str) -> str:
        """What *code* prints in *python*, started with our site folder as one of its own."""
        start = f"import site, sys; sys.prefix = {str(self.prefix)!r}; "
        start += f"site.addsitedir({str(self.site)!r})\n"
        done = subprocess.run(
            [python, "-I", "-c", start + code], env=environ, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{python}: {done.stderr}"
        return done.stdout


@pytest.fixture
def preloaded(tmp_path: Path) -> Preloaded:
    found = Preloaded(tmp_path / "it's 用户's env")
    text = hook_texts.preload_module(SONAMES, ["lib", "extra/lib"])
    write(found.site / "_tfgpu_tray_preload.py", text)
    write(found.site / "tfgpu_tray_preload.pth", hook_texts.PRELOAD_PTH)
    return found


def with_libraries(found: Preloaded) -> None:
    """Each needs the one before it, so only the right order can load them."""
    lib, extra = found.prefix / "lib", found.prefix / "extra" / "lib"
    options: list[str] = []
    for folder, soname in zip((lib, extra, lib), SONAMES, strict=True):
        path = shared_library(folder / soname, *options, source=f"int {soname[:8]};")
        options = ["-Wl,--no-as-needed", str(path)]


def with_tensorflow(found: Preloaded) -> None:
    write(found.site / "tensorflow" / "__init__.py", f"loaded = True\n{SHOW_MAPPED}")


def test_without_tensorflow_nothing_happens(preloaded: Preloaded) -> None:
    with_libraries(preloaded)
    code = f"import json\n{SHOW_MAPPED}\ntry:\n import tensorflow\nexcept ImportError: print('no')"
    for python in every_python():
        assert preloaded.run(python, code).split() == ["no"], python


def test_importing_tensorflow_opens_its_libraries_first_in_order(preloaded: Preloaded) -> None:
    with_libraries(preloaded)
    with_tensorflow(preloaded)
    for python in every_python():
        seen = preloaded.run(python, "import tensorflow; assert tensorflow.loaded").split()
        assert sorted(seen) == ["libtfgpua", "libtfgpub", "libtfgpuc"], python


def test_it_acts_once_and_leaves_no_trace_in_the_import_system(preloaded: Preloaded) -> None:
    with_tensorflow(preloaded)
    code = "import tensorflow, sys; print(*[f for f in sys.meta_path if 'Preload' in repr(f)])"
    for python in every_python():
        assert preloaded.run(python, code).split() == [], python


def test_it_can_be_turned_off(preloaded: Preloaded) -> None:
    with_libraries(preloaded)
    with_tensorflow(preloaded)
    for python in every_python():
        assert preloaded.run(python, "import tensorflow", TFGPU_NO_PRELOAD="1").strip() == ""


def test_libraries_that_are_missing_or_damaged_do_not_stand_in_the_way(
    preloaded: Preloaded,
) -> None:
    with_tensorflow(preloaded)
    write(preloaded.prefix / "lib" / SONAMES[0], b"\x7fELF")
    good = shared_library(preloaded.prefix / "extra" / "lib" / SONAMES[0])
    for python in every_python():
        assert preloaded.run(python, "import tensorflow").split() == ["libtfgpua"], (python, good)


def test_looking_tensorflow_up_is_enough(preloaded: Preloaded) -> None:
    """Some programs import it in a thread of their own; the loader probe only looks it up."""
    with_libraries(preloaded)
    with_tensorflow(preloaded)
    code = f"import importlib.util\nimportlib.util.find_spec('tensorflow')\n{SHOW_MAPPED}"
    for python in every_python():
        assert len(preloaded.run(python, code).split()) == 3, python


def test_other_packages_do_not_wake_it(preloaded: Preloaded) -> None:
    with_libraries(preloaded)
    write(preloaded.site / "tensorflow_text" / "__init__.py")
    code = f"import tensorflow_text\n{SHOW_MAPPED}"
    for python in every_python():
        assert preloaded.run(python, code).strip() == "", python
