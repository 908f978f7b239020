"""Reports and plans as text with rich's markup; nothing is judged here. `answers` has the JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tfgpu_tray.knowledge.cuda import nvml_error
from tfgpu_tray.model import (
    Condition,
    Diagnosis,
    Driver,
    Event,
    Host,
    Report,
    Role,
    Verdict,
    Way,
)

if TYPE_CHECKING:
    from tfgpu_tray.installer.wsl import Installation
    from tfgpu_tray.repair.plan import Plan
    from tfgpu_tray.store.board import Silence, Standing
    from tfgpu_tray.subsystem import Subsystem
    from tfgpu_tray.survey import Overview

MARKS = {
    Verdict.OK: ("✓", "green"),
    Verdict.DEGRADED: ("!", "yellow"),
    Verdict.BROKEN: ("✗", "red"),
    Verdict.UNKNOWN: ("?", "cyan"),
}


def overview_text(overview: Overview) -> Iterator[str]:
    yield f"[bold]Machine[/]  {_escape(host_line(overview.host))}"
    yield f"[bold]Driver [/]  {_escape(driver_line(overview.driver))}"
    for note in (*overview.host.notes, *overview.driver.notes):
        yield f"         {_escape(note)}"
    if overview.wsl is not None:
        yield from _wsl_text(overview.wsl)
    yield ""
    if not overview.reports:
        yield "No environment with TensorFlow was found."
        yield "Name one with --env PREFIX, or list it in config.toml under environments.include."
    for report in overview.reports:
        yield from report_text(report)
    if overview.others:
        names = ", ".join(str(e.prefix) for e in overview.others[:8])
        more = f" and {len(overview.others) - 8} more" if len(overview.others) > 8 else ""
        yield f"[dim]Without TensorFlow, not judged: {_escape(names)}{more}[/]"


def _wsl_text(wsl: Subsystem) -> Iterator[str]:
    """A line for each distribution; what to do about it only where somebody asked for WSL."""
    for judged in wsl.distributions:
        told = judged.distribution
        line = f"{told.name} (WSL {told.version}): {judged.headline}"
        yield f"[bold]WSL    [/]  {_escape(line)}"
        for diagnosis in judged.diagnoses if wsl.asked else ():
            yield from _diagnosis_text(diagnosis)
    for diagnosis in wsl.diagnoses if wsl.asked else ():
        yield f"[bold]WSL    [/]  {_escape(diagnosis.evidence[0])}"
        yield from _diagnosis_text(diagnosis)
    if wsl.asked and wsl.host.wsl_distributions is None:
        yield "[bold]WSL    [/]  neither the registry nor wsl.exe says what there is of it"


def _diagnosis_text(diagnosis: Diagnosis) -> Iterator[str]:
    for line in diagnosis.evidence:
        yield f"         · {_escape(line)}"
    yield f"         {_escape(diagnosis.remedy.title)}:"
    for number, step in enumerate(diagnosis.remedy.steps, start=1):
        yield f"         {number}. {_escape(step)}"


def installation_text(installation: Installation) -> Iterator[str]:
    if installation.step is not None:
        yield f"[bold]{_escape(installation.step.title)}[/]: {_escape(installation.step.why)}"
        for command in installation.step.commands:
            yield f"   [dim]{_escape(command)}[/]"
    yield f"{_escape(installation.note)}."
    if installation.steps:
        yield "[bold]Afterwards[/]" if installation.step else "[bold]What you can do[/]"
        for number, line in enumerate(installation.steps, start=1):
            yield f"  {number}. {_escape(line)}"


def report_text(report: Report, *, remedy: bool = True) -> Iterator[str]:
    """*remedy* is left out where a plan follows."""
    mark, colour = MARKS[report.verdict]
    yield f"[{colour} bold]{mark} {report.verdict.value}[/]  {_escape(str(report.prefix))}"
    if report.primary is None or report.primary.summary != report.headline:
        yield f"   {_escape(report.headline)}"
    for diagnosis in report.diagnoses:
        label = {
            Role.PRIMARY: "Cause",
            Role.CONTRIBUTING: "Also",
            Role.POSSIBLE: "Note",
        }[diagnosis.role]
        sure = "" if diagnosis.confidence.value == "certain" else f", {diagnosis.confidence.value}"
        yield (
            f"   [bold]{label}[/]: {_escape(diagnosis.summary)} [dim]({diagnosis.cause}{sure})[/]"
        )
        for line in diagnosis.evidence[:8]:
            yield f"      · {_escape(line)}"
        if len(diagnosis.evidence) > 8:
            yield f"      · and {len(diagnosis.evidence) - 8} more"
    for note in report.snapshot.notes:
        yield f"   [bold]Note[/]: {_escape(note)}"
    first = report.primary or next(
        (d for d in report.diagnoses if d.role is Role.CONTRIBUTING), None
    )
    if first is not None and remedy:
        yield f"   [bold]Remedy[/]: {_escape(first.remedy.title)}"
        inside = report.snapshot.environment.distribution
        if first.remedy.safety == "reversible" and inside is None:
            repair = f"tfgpu-tray repair --env {_escape(_quoted(str(report.prefix)))}"
            yield from _ways_text(first.remedy.ways, repair) or (f"      {repair}",)
        else:
            if inside is not None:
                name = _escape(inside)
                yield f"      Inside {name}, which `wsl -d {name}` starts:"
            for number, step in enumerate(first.remedy.steps, start=1):
                yield f"      {number}. {_escape(step)}"
    yield ""


def _ways_text(ways: Sequence[Way], repair: str) -> list[str]:
    """Where there is a choice: each way with its price; *repair* goes the first one."""
    lines = []
    for number, way in enumerate(ways, start=1):
        lines.append(f"      {number}. {_escape(way.title)}: {_escape(way.costs)}")
        steps = (repair,) if number == 1 else tuple(_escape(step) for step in way.steps)
        lines += [f"         {step}" for step in steps]
    return lines


def plan_text(plan: Plan) -> Iterator[str]:
    if plan.steps:
        size = plan.download_mb
        known = f", downloads about {size} MB" if size else ""
        yield f"[bold]Plan[/] for {_escape(str(plan.environment.prefix))}{known}"
        for number, step in enumerate(plan.steps, start=1):
            told = step.describe()
            size_text = f" [dim](about {told.download_mb} MB)[/]" if told.download_mb else ""
            yield f"  {number}. [bold]{_escape(told.title)}[/]{size_text}"
            yield f"     {_escape(told.why)}"
            for command in told.commands:
                yield f"     [dim]{_escape(command)}[/]"
        yield "  Then TensorFlow is asked. Unless things are better, everything is put back;"
        yield "  `tfgpu-tray undo` takes it back later, too."
    elif plan.reason:
        yield f"Nothing to do here: {_escape(plan.reason)}."
    for way in plan.instead:
        yield f"[bold]Instead[/] {_escape(way.title)}: {_escape(way.costs)}"
        for number, line in enumerate(way.steps, start=1):
            yield f"  {number}. {_escape(line)}"
    if plan.guidance:
        yield "[bold]What you can do[/]"
        for number, line in enumerate(plan.guidance, start=1):
            yield f"  {number}. {_escape(line)}"


def standing_text(standing: Standing) -> Iterator[str]:
    """With rich's markup."""
    if standing.paused_until is not None:
        yield f"The watcher is paused until {_moment(standing.paused_until)}."
    elif standing.running:
        yield "The watcher is running."
    else:
        yield "No watcher is running; this is what the last one saw. `tfgpu-tray` starts one."
    for repair in standing.repairs:
        yield f"A repair of {_escape(str(repair.prefix))} is at work: {_escape(repair.phase)}"
    yield ""
    if not standing.conditions:
        yield "No environment with TensorFlow has been seen yet."
    for line in details_text(standing.conditions, standing.silence):
        yield _escape(line)


def details_text(
    conditions: Sequence[Condition],
    silence_of: Callable[[Condition], Silence | None],
    events: Sequence[Event] = (),
) -> Iterator[str]:
    """Plain text: what holds for each environment, and what happened, newest first."""
    for condition in conditions:
        shown, silence = condition.shown, silence_of(condition)
        verdict = f"{shown.verdict.value}, {silence.value}" if silence else shown.verdict.value
        yield f"{MARKS[shown.verdict][0]} {verdict}  {condition.prefix}"
        yield f"  {shown.headline}" + (f"  ({shown.cause})" if shown.cause else "")
        yield from (
            f"  {text}" for text in (shown.who, *(f"also: {a}" for a in shown.also)) if text
        )
        yield f"  since {_moment(condition.since)}, looked at {_moment(condition.seen)}"
        if shown.offer is not None:
            yield f"  A repair would: {shown.offer.title}"
            yield from (f"    {n}. {step}" for n, step in enumerate(shown.offer.steps, start=1))
            yield f"  tfgpu-tray repair --env {_quoted(str(condition.prefix))}"
            yield from (f"  Or by hand: {way}" for way in shown.offer.instead)
        elif shown.advice:
            yield f"  What you can do: {shown.advice}"
        yield ""
    for event in events:
        where = f"{event.prefix}: " if event.prefix else ""
        yield f"{_moment(event.at)}  {event.kind:10}  {where}{event.text}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def host_line(host: Host) -> str:
    parts = [host.release or host.system]
    if host.wsl:
        parts.append(f"WSL {host.wsl}")
    if host.container:
        parts.append(f"in a container ({host.container})")
    if host.windows_build:
        parts.append(f"build {host.windows_build}")
    if host.glibc:
        parts.append(f"glibc {host.glibc}")
    if host.nvidia_devices is not None:
        count = host.nvidia_devices
        parts.append(
            "no NVIDIA GPU on the PCI bus" if not count else f"{count} NVIDIA GPU on the PCI bus"
        )
    return " · ".join(parts)


def driver_line(driver: Driver) -> str:
    if driver.nvml_error is not None:
        return f"{nvml_error(driver.nvml_error).text} (NVML code {driver.nvml_error})"
    if driver.version is None:
        version = driver.kernel_module
        return f"{version} by the kernel's word" if version else "not known"
    parts = [driver.version]
    if driver.cuda:
        parts.append(f"up to CUDA {driver.cuda}")
    for gpu in driver.gpus or ():
        memory = f", {gpu.memory_mib} MiB" if gpu.memory_mib else ""
        parts.append(f"{gpu.name} ({gpu.compute_capability or 'capability not known'}{memory})")
    if driver.gpus == ():
        parts.append("no GPU")
    return " · ".join(parts)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _quoted(text: str) -> str:
    from tfgpu_tray.installer.step import shown

    return shown([text])
