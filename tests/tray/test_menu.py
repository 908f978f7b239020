"""The menu as a pure function of what the store says, and what its items do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tray.conditions import (
    CPU,
    LEFTOVERS,
    NO_CUDNN,
    NO_DRIVER,
    NOW,
    OFFER,
    SILENT,
    TF,
    UNASKED,
    WELL,
    at_work,
    done,
    holds,
    ignored,
    view,
)
from tfgpu_tray.model import Condition, Event, Judgement, Offer
from tfgpu_tray.store.board import Silence
from tfgpu_tray.tray.items import SEPARATOR, Item, MenuItem
from tfgpu_tray.tray.menu import HISTORY, WIDTH, build, priced
from tfgpu_tray.tray.view import View, clock


@dataclass
class FakeActions:
    """Writes down what was asked of it."""

    done: list[tuple[object, ...]] = field(default_factory=list)

    def check_now(self) -> None:
        self.done.append(("check_now",))

    def repair(self, prefix: Path) -> None:
        self.done.append(("repair", prefix))

    def undo(self, prefix: Path) -> None:
        self.done.append(("undo", prefix))

    def details(self, prefix: Path | None) -> None:
        self.done.append(("details", prefix))

    def silence(self, prefix: Path, cause: str, kind: Silence | None) -> None:
        self.done.append(("silence", prefix, cause, kind))

    def pause(self, seconds: float | None) -> None:
        self.done.append(("pause", seconds))

    def pause_until_tomorrow(self) -> None:
        self.done.append(("pause_until_tomorrow",))

    def autostart(self, wanted: bool) -> None:
        self.done.append(("autostart", wanted))

    def open_configuration(self) -> None:
        self.done.append(("open_configuration",))

    def quit(self) -> None:
        self.done.append(("quit",))


class Opened:
    """A menu as its user has it open."""

    def __init__(self, shown: View, *, at_login: bool = False) -> None:
        self.actions = FakeActions()
        self.items = build(shown, self.actions, at_login=at_login)

    def texts(self, *way: str) -> list[str]:
        return [item.text for item in self._below(way)]

    def find(self, *way: str) -> Item:
        return next(i for i in self._below(way[:-1]) if i.text.startswith(way[-1]))

    def click(self, *way: str) -> list[tuple[object, ...]]:
        item = self.find(*way)
        assert item.enabled and item.submenu is None
        item(None)
        return self.actions.done

    def _below(self, way: Iterable[str]) -> list[Item]:
        items: Iterable[Item] = self.items
        for text in way:
            below = next(i for i in items if i.text.startswith(text)).submenu
            assert below is not None and not callable(below)
            items = below
        return list(items)


def every(items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        yield item
        if item.submenu is not None:
            assert not callable(item.submenu)
            yield from every(item.submenu)


# ---- the top -----------------------------------------------------------------------------------


def test_a_healthy_machine_has_a_short_menu() -> None:
    assert Opened(view(holds(WELL))).texts() == [
        "GPU visible · checked 3 min ago",
        SEPARATOR.text,
        "✓ tf: ok",
        SEPARATOR.text,
        "Check now",
        "What happened",
        "Pause",
        SEPARATOR.text,
        "Start at login",
        "Open configuration",
        "Quit",
    ]


@pytest.mark.parametrize(
    "settled, title",
    [
        (WELL, "✓ tf: ok"),
        (LEFTOVERS, "! tf: degraded"),
        (NO_CUDNN, "✗ tf: broken"),
        (SILENT, "? tf: unknown"),
        (None, "? tf: unknown"),
    ],
)
def test_each_verdict_has_its_mark(settled: Judgement | None, title: str) -> None:
    assert title in Opened(view(holds(settled))).texts()


def test_what_is_ignored_is_marked_as_such_and_not_as_well() -> None:
    lost = holds(NO_CUDNN)
    menu = Opened(view(lost, silenced=ignored(lost)))
    assert "– tf: broken, ignored" in menu.texts()
    assert not [text for text in menu.texts() if text.startswith("Repair now")]
    assert menu.find("– tf", "Repair now").enabled


def test_a_repair_is_offered_at_the_top() -> None:
    menu = Opened(view(holds(NO_CUDNN)))
    assert menu.texts()[2] == "Repair now: Install cuDNN (about 700 MB)"
    assert menu.click("Repair now") == [("repair", TF)]


def test_with_several_environments_the_offer_says_where() -> None:
    menu = Opened(view(holds(WELL, CPU), holds(NO_CUDNN), holds(NO_DRIVER, Path("/x"))))
    offers = [text for text in menu.texts() if text.startswith("Repair")]
    assert offers == ["Repair now in tf: Install cuDNN (about 700 MB)"]


@pytest.mark.parametrize(
    "size, text",
    [
        (700, "Install cuDNN (about 700 MB)"),
        (0, "Install cuDNN (nothing to download)"),
        (None, "Install cuDNN"),
    ],
)
def test_an_offer_says_its_size_where_it_is_known(size: int | None, text: str) -> None:
    assert priced(replace(OFFER, download_mb=size)) == text


def test_what_is_being_repaired_is_not_offered_again() -> None:
    for shown in (
        view(holds(NO_CUDNN), repairs=(at_work(),), undoable={TF: done()}),
        view(holds(NO_CUDNN), starting=frozenset({TF}), undoable={TF: done()}),
    ):
        menu = Opened(shown)
        about = menu.texts("✗ tf")
        assert menu.texts()[0].startswith("Repairing tf: ")
        assert any(text.startswith("being repaired: ") for text in about)
        assert not [t for t in menu.texts() + about if t.startswith(("Repair now", "Undo"))]


# ---- one environment ---------------------------------------------------------------------------


def test_what_is_known_of_a_broken_environment() -> None:
    menu = Opened(view(holds(NO_CUDNN)))
    assert menu.texts("✗ tf") == [
        "libcudnn.so.8 is missing",
        "`conda remove cudnn` took it away at 14:02",
        "also: libcublas.so.11 is old",
        "also: the hook is not found",
        f"since {clock(NOW - 3600, NOW)}",
        SEPARATOR.text,
        "Repair now: Install cuDNN (about 700 MB)",
        "    1. install cudnn 8.1.0.77",
        "    2. ask TensorFlow",
        SEPARATOR.text,
        "Acknowledge (no reminders)",
        "Ignore this here",
        "Details",
    ]
    assert menu.click("✗ tf", "Repair now") == [("repair", TF)]
    assert menu.click("✗ tf", "Details")[-1] == ("details", TF)


def test_where_there_is_a_choice_the_other_way_is_named() -> None:
    offer = Offer("Back to TensorFlow 2.10", ("install it",), 456, ("WSL 2: a restart",))
    menu = Opened(view(holds(replace(NO_CUDNN, offer=offer))))
    texts = menu.texts("✗ tf")
    assert texts[texts.index("    1. install it") + 1] == "Or by hand: WSL 2: a restart"
    assert menu.texts()[2] == "Repair now: Back to TensorFlow 2.10 (about 456 MB)"


def test_what_no_step_can_mend_comes_with_advice() -> None:
    assert "What you can do: Restart the computer." in Opened(view(holds(NO_DRIVER))).texts("✗ tf")


def test_nothing_is_to_be_done_for_a_healthy_one() -> None:
    about = Opened(view(holds(WELL))).texts("✓ tf")
    assert about[-1] == "Details"
    assert not [text for text in about if text.startswith(("Repair", "Undo", "Ack", "What you"))]


def test_a_repair_can_be_taken_back_where_there_is_one() -> None:
    shown = view(holds(WELL), holds(WELL, CPU), undoable={TF: done()})
    menu = Opened(shown)
    undo = f"Undo the repair of {clock(NOW - 7200, NOW)}"
    assert undo in menu.texts("✓ tf") and undo not in menu.texts("✓ cpu")
    assert menu.click("✓ tf", "Undo") == [("undo", TF)]


@pytest.mark.parametrize(
    "held, label, wanted",
    [
        (None, "Acknowledge", Silence.ACKNOWLEDGED),
        (None, "Ignore", Silence.IGNORED),
        (Silence.ACKNOWLEDGED, "Acknowledge", None),
        (Silence.ACKNOWLEDGED, "Ignore", Silence.IGNORED),
        (Silence.IGNORED, "Ignore", None),
        (Silence.IGNORED, "Acknowledge", Silence.ACKNOWLEDGED),
    ],
)
def test_a_cause_can_be_silenced_and_heard_again(
    held: Silence | None, label: str, wanted: Silence | None
) -> None:
    silenced = {(TF, "cudnn-missing"): held} if held else {}
    menu = Opened(view(holds(NO_CUDNN), silenced=silenced))
    entry = next(text for text in menu.texts() if " tf: broken" in text)
    ticks = {i.text.split()[0]: i.checked for i in menu._below([entry]) if i.checked is not None}
    assert ticks == {
        "Acknowledge": held is Silence.ACKNOWLEDGED,
        "Ignore": held is Silence.IGNORED,
    }
    assert menu.click(entry, label) == [("silence", TF, "cudnn-missing", wanted)]


@pytest.mark.parametrize("settled", [WELL, SILENT, None, replace(NO_CUDNN, cause=None)])
def test_only_a_known_fault_can_be_silenced(settled: Judgement | None) -> None:
    menu = Opened(view(holds(settled)))
    entry = next(text for text in menu.texts() if " tf: " in text and text[0] in "✓?✗")
    assert not [t for t in menu.texts(entry) if t.startswith(("Ack", "Ignore"))]


# ---- the rest ----------------------------------------------------------------------------------


def test_a_click_on_the_icon_checks() -> None:
    menu = Opened(view(holds(WELL)))
    (default,) = [item for item in every(menu.items) if item.default]
    assert default.text == "Check now" and default in menu.items
    default(None)
    assert menu.actions.done == [("check_now",)]


def test_the_history_is_short_and_tells_where() -> None:
    events = [Event("transition", TF, f"event {n}", NOW - n) for n in range(12)]
    events.insert(0, Event("tray", None, "two\nlines", NOW))
    menu = Opened(view(holds(WELL), events=tuple(events)))
    lines = menu.texts("What happened")
    assert lines[:2] == [f"{clock(NOW, NOW)}  two lines", f"{clock(NOW, NOW)}  tf: event 0"]
    assert lines[HISTORY:] == [SEPARATOR.text, "All of it, as text"]
    assert menu.click("What happened", "All of it") == [("details", None)]
    assert Opened(view()).texts("What happened")[0] == "nothing yet"


def test_watching_can_be_paused_and_resumed() -> None:
    menu = Opened(view())
    menu.click("Pause", "for 1 hour")
    assert menu.click("Pause", "until tomorrow") == [("pause", 3600.0), ("pause_until_tomorrow",)]
    paused = Opened(view(paused_until=NOW + 60))
    assert "Pause" not in paused.texts()
    assert paused.click("Go on watching") == [("pause", None)]


@pytest.mark.parametrize("at_login", [True, False])
def test_starting_at_login_is_turned_over(at_login: bool) -> None:
    menu = Opened(view(), at_login=at_login)
    assert menu.find("Start at login").checked is at_login
    assert menu.click("Start at login") == [("autostart", not at_login)]


def test_the_program_can_be_configured_and_ended() -> None:
    menu = Opened(view())
    menu.click("Open configuration")
    assert menu.click("Quit") == [("open_configuration",), ("quit",)]


LONG = replace(NO_CUDNN, headline="😀" * 90, who="x\ny", offer=Offer("y" * 99, ("z" * 99,)))
JUDGED = st.sampled_from([WELL, UNASKED, SILENT, LEFTOVERS, NO_CUDNN, NO_DRIVER, LONG])
CONDITIONS = st.lists(
    st.builds(
        Condition,
        st.sampled_from([TF, CPU, Path("/other/envs/tf")]),
        st.none() | JUDGED,
        st.just(NOW),
        st.just(NOW),
        st.none() | JUDGED,
    ),
    max_size=3,
    unique_by=lambda c: c.prefix,
)


@given(
    CONDITIONS,
    st.sets(st.sampled_from([TF, CPU])),
    st.dictionaries(
        st.sampled_from([(TF, "cudnn-missing"), (CPU, "leftovers")]), st.sampled_from(Silence)
    ),
    st.booleans(),
)
def test_every_menu_is_well_formed(
    conditions: list[Condition],
    starting: set[Path],
    silenced: dict[tuple[Path, str], Silence],
    paused: bool,
) -> None:
    shown = view(
        *conditions,
        starting=frozenset(starting),
        silenced=silenced,
        undoable={TF: done()},
        paused_until=NOW + 60 if paused else None,
    )
    menu = Opened(shown)
    items = list(every(menu.items))
    assert [item.text for item in items if item.default] == ["Check now"]
    for item in items:
        assert item.text and "\n" not in item.text
        assert len(item.text.encode("utf-16-le")) // 2 <= WIDTH
        assert isinstance(item, MenuItem)
        is_line = item is SEPARATOR or not item.enabled
        assert is_line or (item.action is None) is (item.submenu is not None)
