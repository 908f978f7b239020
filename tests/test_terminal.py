"""What is printed where streams are missing, or speak an old code page."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tfgpu_tray import cli
from tfgpu_tray.arguments import parser
from tfgpu_tray.terminal import prepare_streams, speak_utf8

SENTENCE = "✓ ok  tf → 2.10 “größe 训练” …"


def redirected(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    """Standard output as a file of Windows' code page."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    return raw


@pytest.mark.parametrize(
    ("encoding", "seen"),
    [
        ("gbk", "+ ok  tf → 2.10 “gr??e 训练” …"),
        ("cp1252", "+ ok  tf -> 2.10 “größe ??” …"),
        ("cp437", '+ ok  tf -> 2.10 "größe ??" ...'),
        ("ascii", '+ ok  tf -> 2.10 "gr??e ??" ...'),
        ("utf-8", SENTENCE),
    ],
)
def test_what_a_code_page_lacks_is_said_more_plainly(
    monkeypatch: pytest.MonkeyPatch, encoding: str, seen: str
) -> None:
    raw = redirected(monkeypatch, encoding)
    prepare_streams()
    print(SENTENCE, flush=True)
    assert raw.getvalue().decode(encoding).strip() == seen


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "ascii"])
def test_json_is_utf_8_whatever_the_code_page(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    raw = redirected(monkeypatch, encoding)
    prepare_streams()
    speak_utf8()
    cli._print_json({"prefix": "C:\\Users\\训练\\envs\\größe ✓", "odd": "\udcff"})
    said = json.loads(raw.getvalue().decode("utf-8"))
    assert said == {"prefix": "C:\\Users\\训练\\envs\\größe ✓", "odd": "?"}


def test_without_streams_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    prepare_streams()
    print("lost", flush=True)
    cli._print_json({"lost": True})
    assert not sys.stdout.isatty()


def test_without_a_keyboard_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    options = parser().parse_args(["undo"])
    options.json = False
    with pytest.raises(cli.NobodyToAsk):
        cli._agreed(options)
