"""How soon the icon tells, in few runs; `python -m tests.lab.latency` measures properly."""

from __future__ import annotations

from pathlib import Path

from tests.lab import latency
from tests.lab.desktop import Desktop
from tests.lab.lab import Lab
from tests.needs import lacking


def test_the_icon_tells_soon_after_pip_and_never_while_it_works(lab: Lab, tmp_path: Path) -> None:
    if reason := Desktop.missing():
        lacking(reason)
    with latency.bench(lab, tmp_path) as bench:
        figures = latency.with_toys(bench, tmp_path / "shelf", runs=6)
    print(figures)
    assert not figures.alarms
    # Other tests share the machine.
    assert figures.p95 <= 4 * latency.BUDGET, figures.seconds
