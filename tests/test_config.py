"""config.toml: the defaults, and every mistake with its key and line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tfgpu_tray.config import Config, ConfigError, Notifications, Schedule, load, parse
from tfgpu_tray.observe.look import Deadlines

SHIPPED = Path(__file__).parent.parent / "config.toml"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c")
    return caught.value.problems


def test_the_shipped_file_shows_exactly_the_defaults() -> None:
    assert load(SHIPPED) == Config()


def test_the_shipped_file_shows_every_setting() -> None:
    """What it shows is read, not ignored: a changed value of each line changes the Config."""
    text = SHIPPED.read_text(encoding="utf-8")
    seen = 0
    for line in text.splitlines():
        if match := re.match(r"(\w+) = (\S+)", line):
            changed = other_value(match[1], match[2])
            assert parse(text.replace(line, f"{match[1]} = {changed}", 1)) != Config(), line
            seen += 1
    assert seen == 17


def other_value(name: str, value: str) -> str:
    if re.fullmatch(r'"\d+[smh]"', value):
        return '"7m"'
    if value == '"auto"':
        return {"cuda": '"wheels"', "panel": '"dark"'}[name]
    known = {"true": "false", "[]": '["/x"]'}
    return known.get(value) or ('"other"' if value.startswith('"') else value + "9")


def test_the_commented_example_is_right() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    example = re.sub(r"^# (\[\[environment\]\]|prefix|tensorflow)", r"\1", text, flags=re.M)
    assert parse(example).pins == {Path("/home/me/miniforge3/envs/tf"): "==2.10.*"}


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml") == Config()


def test_every_setting_is_taken() -> None:
    config = parse(
        """
        environments = { discover = false, include = ["/a", "~/b"], exclude = ["/c"] }
        [install]
        channel = "https://mirror.example/conda-forge"
        conda = "micromamba"
        cuda = "wheels"
        [schedule]
        fingerprint = "30s"
        static = "1.5m"
        tensorflow = "2h"
        [notifications]
        enabled = false
        remind = "12h"
        [tray]
        panel = "light"
        [deadlines]
        driver = 1
        activation = 2.5
        loader = 3
        tensorflow = 4
        compute = 5
        [[environment]]
        prefix = "/a"
        tensorflow = ">=2.8,<2.11"
        [[environment]]
        prefix = "/b"
        """
    )
    assert config == Config(
        discover=False,
        include=(Path("/a"), Path.home() / "b"),
        exclude=(Path("/c"),),
        pins={Path("/a"): "<2.11,>=2.8", Path("/b"): ""},
        channel="https://mirror.example/conda-forge",
        conda="micromamba",
        cuda="wheels",
        schedule=Schedule(30, 90, 7200),
        deadlines=Deadlines(1, 2.5, 3, 4, 5),
        notifications=Notifications(False, 12 * 3600),
        panel="light",
    )


@pytest.mark.parametrize(
    "text, remind", [('"never"', None), ('"1h"', 3600), ('"30m"', 1800), ('"90s"', 90)]
)
def test_reminders_come_by_age_or_never(text: str, remind: float | None) -> None:
    config = parse(f"[notifications]\nremind = {text}\n")
    assert config.notifications == Notifications(True, remind)


@pytest.mark.parametrize("panel", ["auto", "light", "dark"])
def test_the_panel_is_as_it_says_itself_or_as_written(panel: str) -> None:
    expected = None if panel == "auto" else panel
    assert parse(f'[tray]\npanel = "{panel}"\n').panel == expected


def test_all_mistakes_are_reported_at_once_each_with_its_line() -> None:
    text = """[environments]
discover = "yes"
include = ["relative/path"]
exclude = "/one"

[install]
channel = "-c evil"
conda = 3
cuda = "apt"

[schedule]
fingerprint = "60"
static = 900
tensorflow = "0h"

[deadlines]
driver = "5s"
activation = 0
loader = -1
tensorflow = true

[notifications]
enabled = "yes"
remind = "always"
sound = true

[tray]
panel = "auto dark"
"""
    assert problems(text) == [
        "c:2: environments.discover: must be true or false",
        "c:3: environments.include: must be a full path",
        "c:4: environments.exclude: must be a list of paths",
        "c:7: install.channel: must name a channel",
        "c:8: install.conda: must be text in quotes",
        "c:9: install.cuda: must be one of auto, conda, wheels, extra",
        'c:12: schedule.fingerprint: must be a duration such as "60s", "15m" or "6h"',
        'c:13: schedule.static: must be a duration such as "60s", "15m" or "6h"',
        'c:14: schedule.tensorflow: must be a duration such as "60s", "15m" or "6h"',
        "c:17: deadlines.driver: must be a number of seconds above 0",
        "c:18: deadlines.activation: must be a number of seconds above 0",
        "c:19: deadlines.loader: must be a number of seconds above 0",
        "c:20: deadlines.tensorflow: must be a number of seconds above 0",
        "c:23: notifications.enabled: must be true or false",
        'c:24: notifications.remind: must be "never" or a duration such as "60s", "15m" or "6h"',
        "c:28: tray.panel: must be one of auto, light, dark",
        "c:25: notifications.sound: there is no such setting",
    ]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0.0"])
def test_a_deadline_is_a_finite_time(value: str) -> None:
    assert problems(f"[deadlines]\ndriver = {value}\n") == [
        "c:2: deadlines.driver: must be a number of seconds above 0"
    ]


def test_unknown_settings_and_tables_are_mistakes() -> None:
    text = """surprise = 1
[environments]
discovr = true
[installl]
channel = "x"
[[environment]]
prefix = "/a"
tensorflw = "==2.10.*"
"""
    assert sorted(problems(text)) == [
        "c:1: surprise: there is no such setting",
        "c:3: environments.discovr: there is no such setting",
        "c:4: installl: there is no such setting",
        "c:8: environment.tensorflw: there is no such setting",
    ]


def test_a_table_written_as_a_value_is_a_mistake() -> None:
    assert problems("\ninstall = 3\n") == ["c:2: install: must be a table, written [install]"]
    assert problems("environment = 3\n") == [
        "c:1: environment: must be written [[environment]], once an environment"
    ]
    assert problems('[environment]\nprefix = "/a"\n') == [
        "c:1: environment: must be written [[environment]], once an environment"
    ]


PINS = """[[environment]]
prefix = "/a"
tensorflow = "==2.10.*"

[[environment]]
prefix = "b"

[[environment]]
tensorflow = "==2.9.*"

[[environment]]
prefix = "/c"
tensorflow = "two"
"""


def test_mistakes_in_pins_name_the_entry_they_stand_in() -> None:
    assert problems(PINS) == [
        "c:6: environment.prefix: must be a full path",
        "c:8: environment: needs a prefix",
        'c:13: environment.tensorflow: must be a version range such as "==2.10.*", not “two”',
    ]


def test_an_unknown_setting_of_a_later_entry_is_reported_there() -> None:
    text = '[[environment]]\nprefix = "/a"\n[[environment]]\nprefix = "/b"\npython = "3"\n'
    assert problems(text) == ["c:5: environment.python: there is no such setting"]
    twice = text.replace('"/a"\n', '"/a"\npython = "2"\n')
    assert [p.split(":")[1] for p in problems(twice)] == ["3", "6"]


def test_what_is_no_toml_is_reported_with_its_line() -> None:
    (problem,) = problems("[install]\nchannel = conda-forge\n")
    assert problem.startswith("c: not valid TOML: ") and "line 2" in problem


def test_how_a_path_of_windows_is_written_is_said() -> None:
    (problem,) = problems('[environments]\ninclude = ["C:\\Users\\me\\tf"]\n')
    assert problem.endswith("; write paths of Windows between single quotes")
    (other,) = problems("# 'C:\\Users'\nx = y\n")
    assert "Windows" not in other


def test_a_file_that_cannot_be_read_is_a_mistake_not_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)  # a folder


def test_a_file_in_another_encoding_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes('conda = "conda-für-mich"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path)


def test_a_byte_order_mark_of_a_windows_editor_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[environments]\ndiscover = false\n")
    assert load(path) == Config(discover=False)
