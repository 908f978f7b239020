"""The icon over D-Bus: what a panel reads of it, and what it outlives."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

if sys.platform != "linux":
    pytest.skip("the session bus is Linux's", allow_module_level=True)

from dbus_fast import Variant

from tests.tray.fake_host import ITEM, MENU, SECONDS, Bus, Panel
from tests.until import until
from tfgpu_tray.tray import sni
from tfgpu_tray.tray.sni import SEPARATOR, Icon, Menu, MenuItem, NoBus, tray_host_present
from tfgpu_tray.tray.statusnotifier import pixmaps, session_address

RED = Image.new("RGBA", (32, 32), (255, 0, 0, 128))
GREEN = Image.new("RGBA", (32, 32), (0, 255, 0, 255))
NOTHING = Variant("i", 0)


@pytest.fixture(scope="module")
def shared_bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    bus = Bus(tmp_path_factory.mktemp("bus"))
    bus.start()
    yield bus
    bus.kill()


@pytest.fixture
def own_bus(tmp_path: Path) -> Iterator[Bus]:
    bus = Bus(tmp_path)
    bus.start()
    yield bus
    bus.kill()


@pytest.fixture
def panel(shared_bus: Bus) -> Iterator[Panel]:
    panel = Panel(shared_bus.address)
    yield panel
    panel.close()


Show = Callable[..., Icon]


@pytest.fixture
def show(shared_bus: Bus) -> Iterator[Show]:
    """Icons that run until the test ends."""
    icons: list[Icon] = []

    def show(menu: Menu | None = None, **options: Any) -> Icon:
        given: dict[str, Any] = {"icon": GREEN, "title": "GPU", "bus_address": shared_bus.address}
        icons.append(Icon("tfgpu-tray", menu=menu, **given | options))
        icons[-1].run_detached()
        return icons[-1]

    yield show
    for icon in icons:
        icon.stop()


# ---- the icon ----------------------------------------------------------------------------------


def test_pixels_are_argb_in_network_order() -> None:
    ((width, height, data),) = pixmaps([Image.new("RGB", (3, 2), (1, 2, 3))])
    assert (width, height, data) == (3, 2, b"\xff\x01\x02\x03" * 6)


def test_one_picture_is_offered_in_several_sizes() -> None:
    assert [size for size, _, _ in pixmaps(RED)] == [16, 22, 24, 32]
    assert [size for size, _, _ in pixmaps(RED.resize((256, 256)))] == [16, 22, 24, 32, 48, 64]
    assert [size for size, _, _ in pixmaps(RED.resize((8, 8)))] == [8]


def test_a_panel_reads_the_icon(panel: Panel, show: Show) -> None:
    show(title="GPU ready\n2 in </opt/tf>")
    read = panel.wait().get_all(ITEM, "/StatusNotifierItem")
    assert [(w, h) for w, h, _ in read["IconPixmap"]] == [(16, 16), (22, 22), (24, 24), (32, 32)]
    assert all(data == b"\xff\x00\xff\x00" * (w * h) for w, h, data in read["IconPixmap"])
    assert read["ToolTip"] == ("", [], "GPU ready", "2 in &lt;/opt/tf&gt;")
    assert (read["Id"], read["Title"], read["Status"]) == ("tfgpu-tray", "GPU ready", "Active")
    assert (read["Category"], read["ItemIsMenu"]) == ("Hardware", False)


def test_pictures_of_several_sizes_are_taken_as_they_are(panel: Panel, show: Show) -> None:
    show(icon=[RED.resize((22, 22)), GREEN])
    small, large = panel.wait().get("IconPixmap")
    assert small == (22, 22, b"\x80\xff\x00\x00" * 22 * 22)
    assert large == (32, 32, b"\xff\x00\xff\x00" * 32 * 32)


def test_changes_are_signalled_and_read_once(panel: Panel, show: Show) -> None:
    icon = show()
    panel.wait()
    icon.icon = RED
    icon.title = "GPU lost"
    icon.visible = False
    until(lambda: panel.heard("NewStatus")[-1:] == [["Passive"]])
    assert panel.get("IconPixmap")[-1] == (32, 32, b"\x80\xff\x00\x00" * 32 * 32)
    assert panel.get("ToolTip")[2] == panel.get("Title") == "GPU lost"
    assert panel.get("Status") == "Passive"
    panel.signals.clear()
    icon.icon = RED.copy()
    icon.title = "GPU lost"
    icon.visible = False
    assert panel.quiet() == []


def test_an_icon_without_a_picture_cannot_be_seen(panel: Panel, show: Show) -> None:
    icon = show(icon=None)
    assert panel.wait().get("Status") == "Passive"
    with pytest.raises(ValueError, match="picture"):
        icon.visible = True
    icon.icon = RED
    icon.visible = True
    until(lambda: panel.get("Status") == "Active")
    icon.icon = None
    until(lambda: panel.get("Status") == "Passive")


def test_a_click_on_the_icon_runs_the_default_item(panel: Panel, show: Show) -> None:
    clicked: list[str] = []
    first = MenuItem("First", lambda _: clicked.append("first"))
    second = MenuItem("Second", lambda _: clicked.append("second"), default=True)
    icon = show((first, second))
    panel.wait().on_item("Activate", "ii", 0, 0)
    until(lambda: clicked == ["second"])
    icon.menu = (first,)
    panel.on_item("Activate", "ii", 0, 0)
    panel.on_item("SecondaryActivate", "ii", 0, 0)
    panel.on_item("ContextMenu", "ii", 0, 0)
    panel.on_item("Scroll", "is", 120, "vertical")
    panel.click("First")
    until(lambda: clicked == ["second", "first"])


# ---- the menu ----------------------------------------------------------------------------------


def test_a_panel_reads_the_menu(panel: Panel, show: Show) -> None:
    show(
        (
            SEPARATOR,
            MenuItem("Status of tf_gpu…"),
            MenuItem("Hidden", visible=False),
            SEPARATOR,
            SEPARATOR,
            MenuItem("Repairs", submenu=(MenuItem("Undo", enabled=False), MenuItem("Redo"))),
            MenuItem("Automatic", checked=True),
            MenuItem("Hourly", checked=False, radio=True),
            SEPARATOR,
        )
    )
    root = panel.wait().menu()
    status, line, repairs, automatic, hourly = root.rows
    assert status.properties == {"label": "Status of tf__gpu…", "enabled": True}
    assert line.properties == {"type": "separator"}
    assert repairs.properties["children-display"] == "submenu"
    undo, redo = repairs.rows
    assert (undo.label, undo.properties["enabled"]) == ("Undo", False)
    assert (redo.label, redo.properties["enabled"]) == ("Redo", True)
    assert automatic.properties.items() >= {"toggle-type": "checkmark", "toggle-state": 1}.items()
    assert hourly.properties.items() >= {"toggle-type": "radio", "toggle-state": 0}.items()
    assert len({row.id for row in root.all()}) == 8


def test_parts_of_the_menu_can_be_asked_for(panel: Panel, show: Show) -> None:
    show((MenuItem("Sub", submenu=(MenuItem("Below"),)),))
    sub = panel.wait().menu().find("Sub")
    assert panel.menu(depth=1).find("Sub").rows == ()
    assert [row.label for row in panel.menu(sub.id).rows] == ["Below"]
    assert panel.on_menu("GetProperty", "is", sub.id, "label")[0].value == "Sub"
    (some,) = panel.on_menu("GetGroupProperties", "aias", [sub.id, 999], ["label"])
    assert [(id, list(properties)) for id, properties in some] == [(sub.id, ["label"])]
    (everything,) = panel.on_menu("GetGroupProperties", "aias", [], [])
    assert len(everything) == 3
    with pytest.raises(AssertionError, match="no item 999"):
        panel.menu(999)
    about = panel.get_all(MENU, "/MenuBar")
    assert (about["Version"], about["Status"], about["TextDirection"]) == (3, "normal", "ltr")


def test_a_click_is_for_the_item_and_knows_the_icon(panel: Panel, show: Show) -> None:
    clicked: list[object] = []
    icon = show((MenuItem("Sub", submenu=(MenuItem("Below", clicked.append),)),))
    panel.wait().click("Below")
    until(lambda: clicked == [icon])


def test_clicks_on_what_is_disabled_or_gone_do_nothing(panel: Panel, show: Show) -> None:
    clicked: list[str] = []
    off = MenuItem("Off", lambda _: clicked.append("off"), enabled=False)
    on = MenuItem("On", lambda _: clicked.append("on"))
    show((off, SEPARATOR, on))
    root = panel.wait().menu()
    _, line, at = root.rows
    for id, kind in ((999, "clicked"), (0, "opened"), (line.id, "clicked"), (at.id, "hovered")):
        panel.event(id, kind)
        panel.send("/MenuBar", MENU, "Event", "isvu", id, kind, NOTHING, 0)
    events = [[root.find("Off").id, "clicked", NOTHING, 0], [77, "clicked", NOTHING, 0]]
    assert panel.on_menu("EventGroup", "a(isvu)", events) == [[77]]
    panel.click("On")
    until(lambda: clicked == ["on"])


def test_calls_that_make_no_sense_and_want_no_answer_do_no_harm(panel: Panel, show: Show) -> None:
    show((MenuItem("A"),))
    panel.wait()
    panel.send("/MenuBar", MENU, "GetProperty", "is", 999, "label")
    panel.send("/MenuBar", MENU, "GetLayout", "iias", 999, -1, [])
    panel.send("/MenuBar", MENU, "Event", "s", "clicked")
    panel.send("/nowhere", ITEM, "Activate", "ii", 0, 0)
    assert panel.menu().find("A") and len(panel.watcher.items) == 1


def test_pystrays_own_menus_are_taken(
    panel: Panel, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYSTRAY_BACKEND", "dummy")
    pystray = pytest.importorskip("pystray")
    clicked: list[tuple[object, str]] = []
    names = ["tf_a"]
    icon = show(
        pystray.Menu(
            lambda: (
                *(pystray.MenuItem(n, lambda i, it: clicked.append((i, it.text))) for n in names),
                pystray.Menu.SEPARATOR,
                pystray.MenuItem("Automatic", None, checked=lambda _: len(names) == 2),
                pystray.MenuItem("More", pystray.Menu(pystray.MenuItem("Less", None))),
            )
        )
    )
    root = panel.wait().menu()
    assert [row.label for row in root.all()[1:]] == [
        "tf__a",
        "separator",
        "Automatic",
        "More",
        "Less",
    ]
    panel.click("tf__a")
    until(lambda: clicked == [(icon, "tf_a")])
    names.append("tf_b")
    icon.update_menu()
    until(lambda: panel.heard("LayoutUpdated"))
    assert panel.menu().find("Automatic").properties["toggle-state"] == 1
    assert panel.menu().find("tf__b").properties["enabled"] is True


# ---- changes of the menu -----------------------------------------------------------------------


def test_nothing_is_told_when_nothing_changed(panel: Panel, show: Show) -> None:
    icon = show(lambda: (MenuItem("A"), SEPARATOR, MenuItem("B", submenu=(MenuItem("C"),))))
    panel.wait()
    panel.quiet()
    panel.signals.clear()
    icon.update_menu()
    assert panel.on_menu("AboutToShow", "i", 0) == [False]
    assert panel.quiet() == []


def test_labels_and_ticks_change_in_place(panel: Panel, show: Show) -> None:
    item = MenuItem("1 problem", checked=False)
    icon = show(lambda: (MenuItem("Fixed"), MenuItem("Sub", submenu=(item,))))
    before = panel.wait().menu()
    item = replace(item, text="2 problems", checked=True, enabled=False)
    icon.update_menu()
    until(lambda: panel.heard("ItemsPropertiesUpdated"))
    (((id, properties),), removed) = panel.heard("ItemsPropertiesUpdated")[0]
    assert id == before.find("1 problem").id and removed == []
    values = {name: variant.value for name, variant in properties.items()}
    assert values == {"label": "2 problems", "enabled": False, "toggle-state": 1}
    item = replace(item, checked=None)
    icon.update_menu()
    until(lambda: len(panel.heard("ItemsPropertiesUpdated")) == 2)
    assert panel.heard("ItemsPropertiesUpdated")[1] == [[], [(id, ["toggle-state", "toggle-type"])]]
    assert panel.heard("LayoutUpdated") == []
    assert [row.id for row in panel.menu().all()] == [row.id for row in before.all()]


def test_items_that_come_and_go_change_the_layout_where_they_do(panel: Panel, show: Show) -> None:
    items = [MenuItem("A"), MenuItem("B", submenu=(MenuItem("C"),))]
    inner = [MenuItem("Y")]
    icon = show(lambda: [*items, MenuItem("X", submenu=inner)])
    before = panel.wait().menu()
    inner.append(MenuItem("Z"))
    icon.update_menu()
    until(lambda: panel.heard("LayoutUpdated") == [[3, before.find("X").id]])
    items.insert(0, MenuItem("New"))
    assert panel.on_menu("AboutToShow", "i", 0) == [True]
    assert panel.heard("LayoutUpdated")[-1] == [4, 0]
    now = panel.menu()
    assert [row.label for row in now.rows] == ["New", "A", "B", "X"]
    assert [now.find(x).id for x in "ABCXY"] == [before.find(x).id for x in "ABCXY"]
    assert now.find("New").id not in {row.id for row in before.all()}
    del items[:2]
    assert panel.on_menu("AboutToShowGroup", "ai", [0, now.find("New").id]) == [
        [0],
        [now.find("New").id],
    ]


def test_a_menu_that_cannot_be_read_stays_as_it_was(
    panel: Panel, show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    items: list[Any] = [MenuItem("A")]
    icon = show(lambda: items)
    panel.wait()
    items.append(None)
    with caplog.at_level(logging.ERROR, "tfgpu_tray.tray.sni"):
        icon.update_menu()
        until(lambda: caplog.records)
    assert [row.label for row in panel.menu().rows] == ["A"]
    items[1:] = [MenuItem("B")]
    icon.update_menu()
    until(lambda: [row.label for row in panel.menu().rows] == ["A", "B"])


# ---- slow and failing actions ------------------------------------------------------------------


def test_a_slow_action_holds_up_neither_menu_nor_icon(panel: Panel, show: Show) -> None:
    may_end, order = threading.Event(), list[str]()

    def slow(_: object) -> None:
        order.append("began")
        assert may_end.wait(SECONDS)
        order.append("ended")

    icon = show((MenuItem("Slow", slow), MenuItem("Next", lambda _: order.append("next"))))
    panel.wait().click("Slow")
    until(lambda: order == ["began"])
    panel.click("Next")
    icon.title = "at work"
    assert panel.menu().find("Slow")
    until(lambda: panel.get("Title") == "at work")
    assert order == ["began"]
    may_end.set()
    until(lambda: order == ["began", "ended", "next"])


def test_an_action_that_raises_is_logged_and_the_next_one_runs(
    panel: Panel, show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    clicked: list[object] = []
    bad, end = MenuItem("Bad", lambda _: 1 / 0), MenuItem("End", sys.exit)
    show((bad, end, MenuItem("Good", clicked.append)))
    with caplog.at_level(logging.ERROR, "tfgpu_tray.tray.sni"):
        for label in ("Bad", "End", "Good"):
            panel.wait().click(label)
        until(lambda: clicked)
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert kinds == [ZeroDivisionError, SystemExit]


def test_the_menu_is_read_anew_after_an_action(panel: Panel, show: Show) -> None:
    ticked = [False]

    def toggle(_: object) -> None:
        ticked[0] = not ticked[0]

    show(lambda: (MenuItem("Automatic", toggle, checked=ticked[0]),))
    panel.wait().click("Automatic")
    until(lambda: panel.menu().find("Automatic").properties["toggle-state"] == 1)


# ---- panels that come and go -------------------------------------------------------------------


def test_a_panel_that_comes_later_gets_the_icon(shared_bus: Bus, show: Show) -> None:
    told: list[bool] = []
    icon = show(on_hosted=told.append)
    until(lambda: told == [False])
    assert not icon.hosted and not tray_host_present(shared_bus.address)
    for _ in range(2):  # it comes, crashes, and is started again
        told.clear()
        panel = Panel(shared_bus.address)
        until(lambda: told == [True])
        assert icon.hosted and tray_host_present(shared_bus.address)
        assert panel.wait().get("Title") == "GPU"
        assert len(panel.watcher.items) == 1
        panel.close()
        until(lambda: told == [True, False])
    assert not icon.hosted


def test_a_watcher_without_a_panel_shows_nothing(shared_bus: Bus, show: Show) -> None:
    panel = Panel(shared_bus.address, has_panel=False)
    told: list[bool] = []
    icon = show(on_hosted=told.append)
    panel.wait()
    until(lambda: told == [False])
    assert not tray_host_present(shared_bus.address)
    panel.appear()
    until(lambda: told == [False, True])
    assert icon.hosted and len(panel.watcher.items) == 1
    panel.close()


def test_a_panel_that_takes_the_place_of_another_gets_the_icon(panel: Panel, show: Show) -> None:
    show()
    panel.wait()
    other = Panel(panel.address)
    assert other.wait().get("Title") == "GPU"
    assert len(panel.watcher.items) == 1
    other.close()


def test_two_icons_have_names_of_their_own(panel: Panel, show: Show) -> None:
    show()
    show()
    until(lambda: len(set(panel.watcher.items)) == 2)


# ---- the bus -----------------------------------------------------------------------------------


def test_without_a_bus_it_says_so(tmp_path: Path) -> None:
    for address in (f"unix:path={tmp_path}/none", "autolaunch:", "nonsense"):
        for start in (
            Icon("x", RED, bus_address=address).run,
            Icon("x", bus_address=address).run_detached,
        ):
            with pytest.raises(NoBus, match="cannot be reached"):
                start()
        assert not tray_host_present(address)


def test_a_bus_that_does_not_answer_has_a_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "bus"))
        deaf.listen()
        assert not tray_host_present(f"unix:path={tmp_path}/bus", timeout=0.05)


def test_systemds_bus_is_found_without_the_variable(own_bus: Bus, tmp_path: Path) -> None:
    assert session_address({"XDG_RUNTIME_DIR": str(tmp_path)}) == own_bus.address
    assert session_address({"XDG_RUNTIME_DIR": f"{tmp_path}/none"}) is None
    known = {"XDG_RUNTIME_DIR": str(tmp_path), "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}
    assert session_address(known) == "unix:path=/x"


def test_the_icon_outlives_the_bus(
    own_bus: Bus, show: Show, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[bool] = []
    panel = Panel(own_bus.address)
    icon = show(bus_address=own_bus.address, on_hosted=told.append, pauses=(0.02,))
    panel.wait()
    until(lambda: told == [True])
    own_bus.kill()
    panel.close()
    until(lambda: told == [True, False])
    icon.title = "changed meanwhile"
    own_bus.start()
    panel = Panel(own_bus.address)
    assert panel.wait().get("Title") == "changed meanwhile"
    until(lambda: told == [True, False, True])
    panel.close()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_it_can_wait_for_the_first_bus(tmp_path: Path, show: Show) -> None:
    bus = Bus(tmp_path)
    told: list[bool] = []
    icon = show(bus_address=bus.address, wait=True, pauses=(0.02,), on_hosted=told.append)
    until(lambda: told == [False])
    assert icon.visible
    bus.start()
    panel = Panel(bus.address)
    assert panel.wait().get("Status") == "Active"
    panel.close()
    icon.stop()
    bus.kill()


def test_attempts_are_made_at_growing_pauses(
    tmp_path: Path, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    show(bus_address=f"unix:path={tmp_path}/none", wait=True)
    until(lambda: len(slept) > 7)
    assert slept[:8] == [1, 2, 5, 15, 30, 60, 60, 60]


# ---- notifications -----------------------------------------------------------------------------


def test_a_notification_takes_the_place_of_the_last_and_can_be_taken_back(
    panel: Panel, show: Show
) -> None:
    icon = show(title="GPU lost\nin </opt/tf>")
    panel.wait()
    icon.remove_notification()
    icon.notify("first of all", "Checking")
    icon.notify("see </opt/tf>")
    until(lambda: panel.notifications.shown == {1: ("GPU lost", "see &lt;/opt/tf&gt;")})
    icon.notify("all well", "Repaired")
    until(lambda: panel.notifications.shown == {1: ("Repaired", "all well")})
    icon.remove_notification()
    until(lambda: panel.notifications.shown == {})


# ---- the end -----------------------------------------------------------------------------------


def test_stop_leaves_no_thread_and_no_icon(panel: Panel, show: Show) -> None:
    before = set(threading.enumerate())
    clicked: list[object] = []
    icon = show((MenuItem("A", clicked.append),))
    panel.wait().click("A")
    until(lambda: clicked)
    assert len(set(threading.enumerate()) - before) == 2
    icon.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(AssertionError, match="not provided"):
        panel.get("Id")
    icon.stop()
    icon.title = "too late"
    icon.update_menu()


@pytest.mark.parametrize("detached", [False, True])
def test_an_item_can_stop_the_icon(
    detached: bool, panel: Panel, shared_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sni, "STOP_SECONDS", 2 * SECONDS)  # threads that wait for each other
    before = set(threading.enumerate())
    icon = Icon("x", RED, None, (MenuItem("Quit", Icon.stop),), bus_address=shared_bus.address)
    if detached:
        icon.run_detached()
    else:
        threading.Thread(target=icon.run, daemon=True).start()
    panel.wait().click("Quit")
    until(lambda: set(threading.enumerate()) == before)


def test_an_icon_stopped_before_it_runs_does_not_run(shared_bus: Bus) -> None:
    icon = Icon("x", RED, bus_address=shared_bus.address)
    icon.stop()
    icon.run()


def test_setup_runs_beside_the_icon_and_decides_when_it_is_seen(
    panel: Panel, shared_bus: Bus
) -> None:
    ready = threading.Event()

    def setup(icon: Icon) -> None:
        assert ready.wait(SECONDS)
        icon.visible = True

    icon = Icon("x", RED, bus_address=shared_bus.address)
    icon.run_detached(setup)
    assert panel.wait().get("Status") == "Passive"
    ready.set()
    until(lambda: panel.get("Status") == "Active")
    icon.stop()


def test_it_runs_on_a_loop_of_the_programs(panel: Panel, shared_bus: Bus) -> None:
    icon = Icon("x", RED, bus_address=shared_bus.address)

    async def program() -> None:
        task = asyncio.create_task(icon.serve())
        await asyncio.to_thread(until, lambda: icon.hosted)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(program())
    assert not icon.hosted
