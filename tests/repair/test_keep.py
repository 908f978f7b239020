"""What a transaction keeps comes back exactly."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import write
from tfgpu_tray.repair.keep import COPY_BELOW, Keep, KeepFailed, RestoreFailed

BIG = b"\x7fELF" + bytes(COPY_BELOW)


def tree_hash(root: Path) -> str:
    """Everything about a tree that a user could miss: names, kinds, modes, content, links."""
    digest = hashlib.sha256()

    def add(path: Path) -> None:
        status = path.lstat()
        line = [os.path.relpath(path, root), stat.filemode(status.st_mode)]
        if path.is_symlink():
            line[1:] = ["link", os.readlink(path)]
        elif path.is_file():
            line.append(hashlib.sha256(path.read_bytes()).hexdigest())
            line.append(str(status.st_mtime_ns))
        digest.update("\0".join(line).encode("utf-8", "surrogateescape") + b"\n")
        if path.is_dir() and not path.is_symlink():
            for child in sorted(path.iterdir()):
                add(child)

    if os.path.lexists(root):
        add(root)
    return digest.hexdigest()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An environment in small: everything that a prefix may hold."""
    root = tmp_path / "envs" / "it's 用户's tf"
    write(root / "bin" / "pip", "#!/bin/sh\n").chmod(0o755)
    (root / "bin" / "python3").symlink_to("python3.10")
    write(root / "bin" / "python3.10", BIG).chmod(0o755)
    write(root / "lib" / "libcudart.so.11.0", BIG + b"cudart")
    (root / "lib" / "libcudart.so").symlink_to("libcudart.so.11.0")
    (root / "lib" / "dangling").symlink_to("/nowhere")
    (root / "lib" / "empty").mkdir()
    write(root / "lib" / "__init__.py")
    write(root / "lib" / 'a "quoted" naïve name.txt', "käse")
    write(root / "lib" / "read-only", "x").chmod(0o444)
    write(root / "lib" / "private" / "key", "x")
    (root / "lib" / "private").chmod(0o700)
    return root


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    return Keep(tmp_path / "data" / "repairs" / "000001")


def leftovers(root: Path) -> list[Path]:
    return list(root.rglob("*.tfgpu-restore"))


def replace_file(path: Path, content: bytes) -> None:
    """As installers do: a new file takes the name."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)


def disturb(root: Path) -> None:
    """What a package manager in full swing may do."""
    replace_file(root / "lib" / "libcudart.so.11.0", BIG + b"another")
    (root / "lib" / "libcudart.so").unlink()
    (root / "lib" / "libcudart.so").symlink_to("libcudart.so.12")
    write(root / "lib" / "new" / "deep" / "file", "new")
    (root / "bin" / "pip").unlink()
    (root / "bin" / "python3").unlink()
    write(root / "bin" / "python3", "now a file")
    shutil.rmtree(root / "lib" / "empty")
    (root / "lib" / "empty").symlink_to("/tmp")
    shutil.rmtree(root / "lib" / "private")
    write(root / "lib" / "private", "now a file")
    (root / "lib" / "__init__.py").unlink()
    write(root / "lib" / "__init__.py" / "now a folder", "x")
    (root / "lib" / "read-only").rename(root / "lib" / "renamed")
    (root / "lib" / 'a "quoted" naïve name.txt').chmod(0o600)
    (root / "bin" / "python3.10").chmod(0o644)


def test_an_undisturbed_tree_stays_as_it_is(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree])
    assert keep.complete
    keep.restore()
    assert tree_hash(tree) == before


def test_everything_comes_back_after_a_change(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree])
    disturb(tree)
    assert tree_hash(tree) != before
    keep.restore()
    assert tree_hash(tree) == before
    assert not leftovers(tree)


def test_everything_comes_back_after_a_change_that_stood(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree])
    disturb(tree)
    keep.seal()
    assert keep.changed_since() == []
    keep.restore()
    assert tree_hash(tree) == before


def test_a_whole_tree_that_was_removed_comes_back(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree])
    shutil.rmtree(tree)
    keep.restore()
    assert tree_hash(tree) == before


def test_a_tree_that_was_not_there_is_taken_away_again(tmp_path: Path, keep: Keep) -> None:
    root = tmp_path / "envs" / "fresh"
    keep.take([root])
    write(root / "bin" / "python", "x")
    write(root / "conda-meta" / "history", "x")
    keep.seal()
    keep.restore()
    assert not root.exists()


def test_restoring_twice_is_restoring_once(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree])
    disturb(tree)
    keep.restore()
    keep.restore()
    assert tree_hash(tree) == before


def test_a_small_file_edited_in_place_comes_back(tree: Path, keep: Keep) -> None:
    """Same inode and same size: a hook in which 1 became 0."""
    path = write(tree / "etc" / "hook.sh", "export CUDA_VISIBLE_DEVICES=0\n")
    keep.take([tree])
    with path.open("r+") as file:
        file.write("export CUDA_VISIBLE_DEVICES=1\n")
    keep.restore()
    assert path.read_text() == "export CUDA_VISIBLE_DEVICES=0\n"


@pytest.mark.parametrize("by", ["a file", "a link"])
def test_a_file_comes_back_from_one_that_took_its_inode_number(
    tree: Path, keep: Keep, by: str
) -> None:
    """File systems hand the number of a removed file to the next: pip's new version.py."""
    path = write(tree / "lib" / "version.py", "" if by == "a link" else "'2.10.0'")
    number = path.stat().st_ino
    keep.take([tree])
    path.unlink()
    for attempt in range(50):
        fresh = path if attempt == 0 else path.with_name(f"fresh {attempt}")
        fresh.symlink_to("pip") if by == "a link" else fresh.write_text("'2.16.1'")
        if fresh.lstat().st_ino == number:
            break
    fresh.replace(path)
    keep.restore()
    assert not path.is_symlink()
    assert path.read_text() == ("" if by == "a link" else "'2.10.0'")


def test_a_small_file_appended_to_in_place_comes_back(tree: Path, keep: Keep) -> None:
    path = write(tree / "conda-meta" / "history", "==> one <==\n")
    keep.take([tree])
    with path.open("a") as file:
        file.write("==> two <==\n")
    keep.restore()
    assert path.read_text() == "==> one <==\n"


@pytest.mark.parametrize("grown", [False, True])
def test_a_large_file_edited_in_place_is_never_called_put_back(
    tree: Path, keep: Keep, grown: bool
) -> None:
    """It is kept as a hard link, so its old content is gone; saying so is the least."""
    path = tree / "lib" / "libcudart.so.11.0"
    before = path.read_bytes()
    keep.take([tree])
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END if grown else os.SEEK_SET)
        file.write(b"overwritten")
    try:
        keep.restore()
    except RestoreFailed as error:
        assert str(path) in str(error)
    else:
        assert path.read_bytes() == before
    assert not leftovers(tree)


def test_a_root_that_is_a_link_keeps_what_it_leads_to(tree: Path, keep: Keep) -> None:
    """Environments are moved to a larger disk and linked; installers write through the link."""
    link = tree.parent / "tf"
    link.symlink_to(tree)
    before = tree_hash(tree)
    keep.take([link])
    disturb(tree)
    keep.restore()
    assert tree_hash(tree) == before
    assert link.is_symlink()


def test_links_inside_a_tree_are_not_followed(tree: Path, keep: Keep, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "mine", "mine")
    (tree / "lib" / "elsewhere").symlink_to(outside.parent)
    keep.take([tree])
    outside.write_text("changed by me")
    keep.restore()
    assert outside.read_text() == "changed by me"


def test_roots_may_lie_within_each_other(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree / "lib", tree, tree / "lib" / "private" / "key", tree / "absent"])
    disturb(tree)
    write(tree / "absent", "x")
    keep.restore()
    assert tree_hash(tree) == before


def test_only_the_named_paths_are_restored(tree: Path, keep: Keep) -> None:
    keep.take([tree])
    write(tree / "lib" / "new", "new")
    (tree / "lib" / "__init__.py").write_text("changed")
    write(tree / "library", "not under lib")
    (tree / "bin" / "pip").write_text("changed")
    stamp = (tree / "bin").stat().st_mtime_ns
    keep.restore([tree / "lib"])
    assert not (tree / "lib" / "new").exists()
    assert (tree / "lib" / "__init__.py").read_text() == ""
    assert (tree / "library").exists()
    assert (tree / "bin" / "pip").read_text() == "changed"
    assert (tree / "bin").stat().st_mtime_ns == stamp


def test_one_named_file_is_restored_alone(tree: Path, keep: Keep) -> None:
    keep.take([tree])
    (tree / "bin" / "pip").unlink()
    (tree / "bin" / "python3").unlink()
    keep.restore([tree / "bin" / "pip"])
    assert (tree / "bin" / "pip").stat().st_mode & 0o777 == 0o755
    assert not (tree / "bin" / "python3").is_symlink()


def test_what_others_added_after_the_change_stays(tree: Path, keep: Keep) -> None:
    keep.take([tree])
    write(tree / "lib" / "pkg" / "ours", "ours")
    keep.seal()
    mine = write(tree / "lib" / "mine", "mine")
    within = write(tree / "lib" / "pkg" / "mine", "mine in a folder of the change")
    keep.restore()
    assert mine.read_text() == "mine"
    assert within.exists() and not (tree / "lib" / "pkg" / "ours").exists()


def test_before_the_change_stands_everything_added_goes(tree: Path, keep: Keep) -> None:
    before = tree_hash(tree)
    keep.take([tree])
    write(tree / "lib" / "pkg" / "half done", "x")
    keep.restore()
    assert tree_hash(tree) == before


def test_files_of_the_change_that_changed_again_are_named(tree: Path, keep: Keep) -> None:
    keep.take([tree])
    disturb(tree)
    keep.seal()
    assert keep.changed_since() == []
    replace_file(tree / "lib" / "libcudart.so.11.0", b"by somebody else")
    (tree / "lib" / "new" / "deep" / "file").unlink()
    write(tree / "lib" / "unrelated", "x")
    write(tree / "lib" / "__pycache__" / "x.pyc", "x")
    assert keep.changed_since() == [
        str(tree / "lib" / "libcudart.so.11.0"),
        str(tree / "lib" / "new" / "deep" / "file"),
    ]


def test_unchanged_files_are_no_longer_stored_once_the_change_stands(
    tree: Path, keep: Keep, tmp_path: Path
) -> None:
    keep.take([tree])
    replace_file(tree / "lib" / "libcudart.so.11.0", BIG + b"another")
    stored = tmp_path / "data"
    assert len([p for p in stored.rglob("*") if p.is_file()]) > 4
    keep.seal()
    names = sorted(p.name for p in stored.rglob("*") if p.is_file())
    assert names[-2:] == ["after.json", "before.json"] and len(names) == 3


def test_large_files_cost_no_room(tree: Path, keep: Keep, tmp_path: Path) -> None:
    keep.take([tree])
    kept = [p.stat() for p in (tmp_path / "data").rglob("*") if p.is_file()]
    assert sum(s.st_nlink == 2 for s in kept) == 2
    assert all(s.st_nlink == 2 for s in kept if s.st_size >= COPY_BELOW)


def test_without_hard_links_large_files_are_copied(
    tree: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    before = tree_hash(tree)
    keep.take([tree])
    disturb(tree)
    keep.restore()
    assert tree_hash(tree) == before


def test_a_full_disk_is_noticed_before_anything_is_changed(
    tree: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tree)._replace(free=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(KeepFailed, match="0 MB free"):
        keep.take([tree])
    assert not keep.complete


def test_a_file_that_cannot_be_kept_is_a_reason_not_to_start(
    tree: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "copyfileobj", refuse)
    with pytest.raises(KeepFailed, match="Permission denied"):
        keep.take([tree])
    assert not keep.complete


def test_a_folder_that_cannot_be_read_is_a_reason_not_to_start(
    tree: Path, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not listed would not come back."""
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(KeepFailed, match="private"):
        keep.take([tree])


def test_what_cannot_be_put_back_is_named_and_the_rest_is_put_back(
    tree: Path, keep: Keep, tmp_path: Path
) -> None:
    keep.take([tree])
    first, second = tree / "bin" / "pip", tree / "lib" / "read-only"
    first.unlink()
    second.unlink()
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file() and path.read_bytes() == b"#!/bin/sh\n":
            path.unlink()
    with pytest.raises(RestoreFailed, match="bin/pip"):
        keep.restore()
    assert second.read_text() == "x"


def test_names_that_are_not_text_are_kept_too(tree: Path, keep: Keep) -> None:
    odd = os.fsencode(tree) + b"/lib/\xff\xfe.txt"
    with open(odd, "wb") as file:
        file.write(b"odd")
    keep.take([tree])
    os.unlink(odd)
    keep.restore()
    with open(odd, "rb") as file:
        assert file.read() == b"odd"


def test_discarding_removes_the_kept_copies(tree: Path, keep: Keep, tmp_path: Path) -> None:
    keep.take([tree])
    keep.discard()
    assert not keep.complete
    assert not (tmp_path / "data" / "repairs" / "000001").exists()


# ---- any tree, any changes ---------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b b", "c'\"", "ä", "用户", "d.so.1", "$HOME", "-x"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/".join(parts))
NODES = st.tuples(st.sampled_from(["small", "small", "large", "link", "folder"]), st.integers(0, 3))
CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "put", "delete", "rename", "append", "chmod"]), PATHS, NODES),
    max_size=8,
)


def put(root: Path, name: str, node: tuple[str, int]) -> None:
    """Make *name* what *node* says, whatever stood there or in its way."""
    path, (kind, number) = root / name, node
    for parent in reversed(path.relative_to(root).parents):
        if (place := root / parent).is_symlink() or place.is_file():
            place.unlink()
        place.mkdir(exist_ok=True)
    remove(path)
    if kind == "link":
        path.symlink_to(("a", "../b b", "/nowhere", ".")[number])
    elif kind == "folder":
        path.mkdir(mode=(0o755, 0o700, 0o775, 0o711)[number])
    else:
        path.write_bytes((BIG if kind == "large" else b"") + bytes([number] * number))
        path.chmod((0o644, 0o755, 0o600, 0o444)[number])


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def change(root: Path, what: str, name: str, node: tuple[str, int]) -> None:
    path = root / name
    if what == "put":
        put(root, name, node)
    elif what == "delete":
        remove(path)
    elif what == "rename" and os.path.lexists(path):
        if not os.path.lexists(fresh := path.with_name(f"renamed {node[1]}")):
            path.rename(fresh)
    elif what == "append" and path.is_file() and path.stat().st_size < COPY_BELOW:
        mode = path.stat().st_mode
        path.chmod(0o600)
        with path.open("ab") as file:
            file.write(b"more")
        path.chmod(mode)
    elif what == "chmod" and os.path.lexists(path) and not path.is_symlink():
        path.chmod(0o750)


@settings(max_examples=120, deadline=None)
@given(
    start=st.lists(st.tuples(PATHS, NODES), max_size=8),
    changes=CHANGES,
    sealed=st.booleans(),
    again=CHANGES,
)
def test_any_tree_comes_back_after_any_change(
    start: list[tuple[str, tuple[str, int]]],
    changes: list[tuple[str, str, tuple[str, int]]],
    sealed: bool,
    again: list[tuple[str, str, tuple[str, int]]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, data = Path(name, "tree"), Path(name, "data")
        root.mkdir()
        for path, node in start:
            put(root, path, node)
        before = tree_hash(root)
        keep = Keep(data)
        keep.take([root])
        for step in changes:
            change(root, *step)
        if sealed:
            keep.seal()
            assert keep.changed_since() == []
        else:
            for step in again:
                change(root, *step)
        keep.restore()
        assert tree_hash(root) == before
        assert not leftovers(root)
