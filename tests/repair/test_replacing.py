"""What Windows does to files that are in use, acted out, and what is made of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import write
from tests.repair.test_keep import BIG, leftovers, tree_hash
from tfgpu_tray.installer.files import Patience
from tfgpu_tray.installer.files import remove as remove_file
from tfgpu_tray.installer.files import write as write_file
from tfgpu_tray.installer.step import StepFailed
from tfgpu_tray.repair.keep import Keep
from tfgpu_tray.repair.replacing import Replacer, long_form, plain_form, remove_tree, sweep

DENIED = PermissionError(13, "Access is denied")


@dataclass
class Windows:
    """os.replace, os.unlink and os.rename as Windows has them for files that are in use."""

    loaded: set[str] = field(default_factory=set)  # may be renamed, not replaced or removed
    held: dict[str, int] = field(default_factory=dict)  # nothing goes, for so many attempts
    calls: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._guarded(name, getattr(os, name)))

    def _guarded(self, name: str, really: Callable[..., None]) -> Callable[..., None]:
        def call(*paths: Any, **options: Any) -> None:
            self.calls += 1
            *sources, target = (os.path.abspath(p) for p in paths)
            for path in (*sources, target):
                if self.held.get(path, 0) > 0:
                    self.held[path] -= 1
                    raise DENIED
            if name != "rename" and target in self.loaded:
                raise DENIED
            really(*paths, **options)
            if name == "rename":
                self.loaded.discard(sources[0])

        return call


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    found = Windows()
    found.install(monkeypatch)
    return found


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def replacer(tmp_path: Path, pauses: list[float]) -> Replacer:
    return Replacer(tmp_path / "held", Patience((1.0, 2.0), pauses.append), windows=True)


def test_a_loaded_file_is_moved_out_of_the_way(
    tmp_path: Path, windows: Windows, replacer: Replacer, pauses: list[float]
) -> None:
    old, fresh = write(tmp_path / "a.dll", "old"), write(tmp_path / "fresh", "new")
    windows.loaded.add(str(old))
    replacer.replace(str(fresh), str(old))
    assert old.read_text() == "new" and not fresh.exists()
    assert [p.read_text() for p in (tmp_path / "held").iterdir()] == ["old"]
    assert pauses == [], "nobody is waited for who does not let go"


def test_a_loaded_file_is_removed_by_moving_it(
    tmp_path: Path, windows: Windows, replacer: Replacer
) -> None:
    for number in range(3):
        path = write(tmp_path / f"{number}.dll", str(number))
        windows.loaded.add(str(path))
        replacer.remove(str(path))
        assert not path.exists()
    assert len(list((tmp_path / "held").iterdir())) == 3


def test_what_is_held_for_a_moment_is_waited_for(
    tmp_path: Path, windows: Windows, replacer: Replacer, pauses: list[float]
) -> None:
    old, fresh = write(tmp_path / "a", "old"), write(tmp_path / "fresh", "new")
    windows.held[str(old)] = 4  # the move, both ways aside, and one more attempt
    replacer.replace(str(fresh), str(old))
    assert old.read_text() == "new"
    assert pauses == [1.0]


def test_what_is_held_for_good_is_said(
    tmp_path: Path, windows: Windows, replacer: Replacer, pauses: list[float]
) -> None:
    old, fresh = write(tmp_path / "a", "old"), write(tmp_path / "fresh", "new")
    windows.held[str(old)] = 99
    with pytest.raises(PermissionError):
        replacer.replace(str(fresh), str(old))
    assert (old.read_text(), fresh.read_text(), pauses) == ("old", "new", [1.0, 2.0])


def test_where_the_folder_is_on_another_volume_it_stays_beside(
    tmp_path: Path, windows: Windows, replacer: Replacer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def across(source: str, target: str) -> None:
        if Path(target).is_relative_to(tmp_path / "held"):
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    path = write(tmp_path / "a.dll", "old")
    windows.loaded.add(str(path))
    replacer.remove(str(path))
    assert not path.exists()
    beside = tmp_path / "a.dll.tfgpu-held"
    assert beside.read_text() == "old"
    sweep(tmp_path / "held")
    assert not beside.exists() and not (tmp_path / "held").exists()


def test_on_linux_a_refusal_is_a_refusal(
    tmp_path: Path, windows: Windows, pauses: list[float]
) -> None:
    path = write(tmp_path / "a", "old")
    windows.loaded.add(str(path))
    with pytest.raises(PermissionError):
        Replacer(tmp_path / "held", Patience((), pauses.append), windows=False).remove(str(path))
    assert path.exists() and not (tmp_path / "held").exists()


def test_a_read_only_file_is_made_writable(tmp_path: Path, replacer: Replacer) -> None:
    """Windows refuses to replace one; acted out by a refusal while it is read-only."""
    path, fresh = write(tmp_path / "a", "old"), write(tmp_path / "fresh", "new")
    path.chmod(0o444)
    replace = os.replace

    def strict(source: str, target: str) -> None:
        if not os.stat(target).st_mode & stat.S_IWRITE:
            raise DENIED
        replace(source, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", strict)
        replacer.replace(str(fresh), str(path))
    assert path.read_text() == "new"
    assert not (tmp_path / "held").exists(), "it was not in use"


# ---- within a transaction ----------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "envs" / "我的 tf"
    write(root / "Library" / "bin" / "cudnn64_8.dll", BIG + b"8.1")
    write(root / "Lib" / "site-packages" / "tensorflow" / "x.pyd", b"small")
    write(root / "Lib" / "site-packages" / "tensorflow" / "__init__.py", "import x")
    return root


def test_what_is_in_use_is_put_back_all_the_same(
    tmp_path: Path, tree: Path, windows: Windows, pauses: list[float]
) -> None:
    """No half state: the new files go, the old ones come, and the program keeps what it loaded."""
    data = tmp_path / "data"
    keep = Keep(data, Replacer(data / "held", Patience((), pauses.append), windows=True))
    before = tree_hash(tree)
    keep.take([tree])
    for name in ("Library/bin/cudnn64_8.dll", "Lib/site-packages/tensorflow/x.pyd"):
        (tree / name).rename(tmp_path / "gone")
        write(tree / name, BIG + b"new")
        windows.loaded.add(str(tree / name))
    added = write(tree / "Library" / "bin" / "zlibwapi.dll", "added")
    windows.loaded.add(str(added))
    keep.restore()
    assert tree_hash(tree) == before
    assert not leftovers(tree)
    assert len(list((data / "held").iterdir())) == 3
    keep.discard()
    assert not data.exists(), "the program has ended meanwhile"


def test_a_keep_goes_as_far_as_its_files_are_free(
    tmp_path: Path, tree: Path, windows: Windows
) -> None:
    """A kept file is another name of one that a program has loaded."""
    keep = Keep(tmp_path / "data")
    keep.take([tree])
    stored = next(
        p for p in (tmp_path / "data").rglob("*") if p.is_file() and p.stat().st_nlink > 1
    )
    windows.loaded.add(str(stored))
    keep.seal()
    assert keep.complete and keep.changed_since() == []
    keep.discard()
    assert not keep.complete


def test_an_interrupted_restore_can_be_repeated(tmp_path: Path, tree: Path) -> None:
    keep = Keep(tmp_path / "data")
    before = tree_hash(tree)
    keep.take([tree])
    path = tree / "Library" / "bin" / "cudnn64_8.dll"
    path.unlink()
    kept = (p for p in (tmp_path / "data").rglob("*") if p.is_file())
    stored = next(p for p in kept if p.read_bytes() == BIG + b"8.1")
    os.link(stored, f"{path}.tfgpu-restore")  # it stopped between the copy and the move
    keep.restore()
    assert tree_hash(tree) == before


# ---- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plain, long",
    [
        (r"C:\Users\王 小明\envs\tf", r"\\?\C:\Users\王 小明\envs\tf"),
        (r"\\server\share\tf", r"\\?\UNC\server\share\tf"),
        (r"D:\x", r"\\?\D:\x"),
    ],
)
def test_paths_have_a_form_without_a_limit(plain: str, long: str) -> None:
    assert long_form(plain, windows=True) == long
    assert long_form(long, windows=True) == long
    assert plain_form(long) == plain == plain_form(plain)
    assert long_form("/home/me", windows=False) == "/home/me"


def test_a_tree_goes_with_all_that_can_go(tmp_path: Path, windows: Windows) -> None:
    kept = write(tmp_path / "x" / "kept", "x")
    write(tmp_path / "x" / "y" / "z", "z")
    remove_tree(tmp_path / "x" / "absent")
    remove_tree(tmp_path / "x" / "y")
    assert kept.exists() and not (tmp_path / "x" / "y").exists()


# ---- small files -------------------------------------------------------------------------------


def test_a_small_file_is_written_when_it_is_free(tmp_path: Path) -> None:
    waited: list[float] = []
    path = write(tmp_path / "a.bat", "old")
    refusals = [DENIED, DENIED]
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return replace(self, target)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "replace", busy)
        write_file(path, "new", Patience((0.1, 0.2, 0.4), waited.append))
    assert (path.read_text(), waited) == ("new", [0.1, 0.2])
    assert [p.name for p in tmp_path.iterdir()] == ["a.bat"]


def test_a_small_file_that_stays_held_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bat", "old")

    def refuse(*_: Any, **__: Any) -> None:
        raise DENIED

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        with pytest.raises(StepFailed, match=r"a\.bat could not be written: Access is denied"):
            write_file(path, "new", Patience((0.1,), lambda _: None))
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(StepFailed, match=r"a\.bat could not be removed: Access is denied"):
            remove_file(path, Patience((0.1,), lambda _: None))
    assert path.read_text() == "old"
