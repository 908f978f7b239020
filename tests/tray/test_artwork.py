"""Pictures drawn by a child and kept as files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fakes import FailingRunner, FakeRunner, failed, timed_out
from tfgpu_tray.observe.child import Result, run
from tfgpu_tray.tray.artwork import RING, Artwork, CannotDraw, draw_all, stepped
from tfgpu_tray.tray.drawing import draw
from tfgpu_tray.tray.pixmap import SIZES
from tfgpu_tray.tray.status import Status


@dataclass
class Counting:
    """The real runner, and how often it ran."""

    runs: list[list[str]] = field(default_factory=list)

    def __call__(
        self,
        command: Sequence[str | Path],
        *,
        deadline: float,
        environ: Mapping[str, str] | None = None,
        stdin: str | None = None,
        cwd: Path | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Result:
        self.runs.append([str(word) for word in command])
        return run(command, deadline=deadline, environ=environ)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Artwork:
    """Drawn once for all that only read."""
    artwork = Artwork(tmp_path_factory.mktemp("artwork"))
    artwork.pictures(Status.OK)
    return replace(artwork, runner=FailingRunner())


@pytest.fixture
def counting() -> Counting:
    return Counting()


# ---- what is drawn -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", Status)
def test_every_state_has_pictures_of_every_size(drawn: Artwork, status: Status) -> None:
    pictures = drawn.pictures(status)
    assert [(w, h) for w, h, _ in pictures] == [(size, size) for size in SIZES]
    assert all(len(data) == 4 * w * h for w, h, data in pictures)


def test_pictures_are_argb(drawn: Artwork) -> None:
    (width, height, data) = drawn.pictures(Status.BROKEN)[3]
    alpha, red, green, blue = Image.frombytes("RGBA", (width, height), data).split()
    assert Image.merge("RGBA", (red, green, blue, alpha)) == draw(Status.BROKEN, 32, dark=False)


def test_a_repair_has_a_picture_for_every_step(drawn: Artwork) -> None:
    pictures = {tuple(drawn.pictures(Status.REPAIRING, n / RING)) for n in range(RING + 1)}
    assert len(pictures) == RING + 1
    assert drawn.pictures(Status.REPAIRING, 2.0) == drawn.pictures(Status.REPAIRING, 1.0)
    assert drawn.pictures(Status.REPAIRING, -1.0) == drawn.pictures(Status.REPAIRING, 0.0)
    assert drawn.pictures(Status.OK, 0.5) == drawn.pictures(Status.OK)


@pytest.mark.parametrize("progress", [0.0, 0.3, 0.999, 1.0])
def test_progress_is_shown_in_steps(progress: float) -> None:
    near = stepped(progress)
    assert near is not None and abs(near - progress) <= 0.5 / RING
    assert stepped(near) == near
    assert stepped(None) is None


def test_an_emblem_is_a_png(drawn: Artwork) -> None:
    for status in Status:
        with Image.open(drawn.emblem(status)) as picture:
            assert picture.format == "PNG" and picture.size == (128, 128)


# ---- when ---------------------------------------------------------------------------------------


def test_it_is_drawn_once_and_found_again(tmp_path: Path, counting: Counting) -> None:
    for _ in range(2):
        artwork = Artwork(tmp_path / "new" / "folder", runner=counting)
        artwork.pictures(Status.OK)
        artwork.emblem(Status.BROKEN)
    assert len(counting.runs) == 1
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == [artwork.place.name]


def test_dark_and_light_panels_have_their_own(tmp_path: Path, counting: Counting) -> None:
    light, dark = Artwork(tmp_path, runner=counting), Artwork(tmp_path, True, counting)
    assert light.pictures(Status.UNKNOWN) != dark.pictures(Status.UNKNOWN)
    assert [words[-1] for words in counting.runs] == ["light", "dark"]


def test_a_picture_that_was_damaged_is_drawn_anew(tmp_path: Path, counting: Counting) -> None:
    artwork = Artwork(tmp_path, runner=counting)
    before = artwork.pictures(Status.OK)
    (artwork.place / "ok.argb").write_bytes(b"half")
    assert artwork.pictures(Status.OK) == before
    artwork.emblem(Status.OK).unlink()
    assert artwork.emblem(Status.OK).exists()
    assert len(counting.runs) == 3


def test_what_a_child_that_was_ended_left_is_in_nobodys_way(
    tmp_path: Path, counting: Counting
) -> None:
    artwork = Artwork(tmp_path, runner=counting)

    def dies(command: Sequence[str | Path], **_: Any) -> Result:
        draft = Path(command[4])
        draft.mkdir(parents=True)
        (draft / "ok.argb").write_bytes(b"half")
        return timed_out()

    with pytest.raises(CannotDraw, match="did not answer"):
        replace(artwork, runner=dies).pictures(Status.OK)
    assert list(tmp_path.iterdir()) == []
    draft = artwork.place.with_name(f"{artwork.place.name}.{os.getpid()}")
    draft.mkdir()
    assert len(artwork.pictures(Status.OK)) == len(SIZES)


@pytest.mark.parametrize(
    "result, why",
    [
        (failed(1, stderr="Traceback\nModuleNotFoundError: PIL\n"), "ModuleNotFoundError: PIL"),
        (failed(1), "ended with exit status 1"),
        (timed_out(), "did not answer"),
    ],
)
def test_what_cannot_be_drawn_is_told(tmp_path: Path, result: Result, why: str) -> None:
    artwork = Artwork(tmp_path, runner=FakeRunner({"tfgpu_tray.tray.artwork": result}))
    with pytest.raises(CannotDraw, match=why):
        artwork.pictures(Status.OK)
    with pytest.raises(CannotDraw, match=why):
        artwork.emblem(Status.OK)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotDraw):
        Artwork(tmp_path / "file").pictures(Status.OK)


def test_drawing_never_writes_over_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        draw_all(tmp_path, dark=False)
