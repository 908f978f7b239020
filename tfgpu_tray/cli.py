"""The command line. Thin: it reads arguments, calls the engine, prints, and sets the exit code.

Exit codes: 0 healthy, 1 degraded, 2 broken, 3 could not tell, 64 usage or configuration error.
Modules that only some commands need are imported where they are needed: `check` is often run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfgpu_tray import answers
from tfgpu_tray.app import App
from tfgpu_tray.arguments import USAGE, parser
from tfgpu_tray.config import ConfigError
from tfgpu_tray.model import Depth, Report, Verdict, plain
from tfgpu_tray.terminal import (
    Progress,
    console,
    prepare_streams,
    print_lines,
    speak_utf8,
    waiting,
)

if TYPE_CHECKING:
    from tfgpu_tray.repair.plan import Plan
    from tfgpu_tray.repair.transaction import Ended
    from tfgpu_tray.survey import Overview

COULD_NOT_TELL = 3
NO_WSL = "WSL is a part of Windows, and this is none"


class NobodyToAsk(Exception):
    """Consent is needed and no person is at the terminal."""


def main(
    arguments: Sequence[str] | None = None,
    start: Callable[[Path | None, Path | None], App] = App.start,
) -> int:
    """Run one command; *start* puts the program together from --config and --data-dir."""
    prepare_streams()
    given = argparse.Namespace(json=False, config=None, data_dir=None)
    options = parser().parse_args(arguments, given)
    if options.json:
        speak_utf8()
    try:
        app = start(options.config, options.data_dir)
        return COMMANDS[options.command](app, options)
    except ConfigError as error:
        return _fail(options, error.problems, USAGE)
    except KeyboardInterrupt:
        return _fail(options, ["stopped"], COULD_NOT_TELL)
    except Exception as error:
        code = _expected(error)
        if code is None:
            raise
        return _fail(options, [str(error)], code)


def _expected(error: Exception) -> int | None:
    """The exit code for an error that has a sentence for the user; None for a bug."""
    from tfgpu_tray.autostart.entry import AutostartError
    from tfgpu_tray.installer.target import NoTarget
    from tfgpu_tray.repair.transaction import Refused
    from tfgpu_tray.store.database import StoreUnusable
    from tfgpu_tray.survey import NoSuchEnvironment

    if isinstance(error, NoSuchEnvironment | NobodyToAsk):
        return USAGE
    if isinstance(error, Refused | StoreUnusable | NoTarget | AutostartError):
        return COULD_NOT_TELL
    return None


def _fail(options: argparse.Namespace, problems: list[str], code: int) -> int:
    if getattr(options, "json", False):
        _print_json({"schema": answers.SCHEMA, "error": problems})
    for problem in problems:
        print(f"tfgpu-tray: {problem}", file=sys.stderr)
    return code


# ---- commands ----------------------------------------------------------------------------------


def check(app: App, options: argparse.Namespace) -> int:
    from tfgpu_tray import words

    depth = Depth[options.depth.upper()]
    survey = app.survey()
    if options.wsl and survey.wsl is None:
        return _fail(options, [NO_WSL], USAGE)
    if options.json:
        overview = survey.check(depth, options.env, into_wsl=options.wsl)
        _print_json(answers.overview_json(overview, _plans(app, options, overview)))
    else:
        screen = console()
        with screen.status("Looking at the machine") as status:
            overview = survey.check(
                depth,
                options.env,
                lambda e: status.update(f"Looking at {e.prefix}"),
                into_wsl=options.wsl,
            )
        print_lines(screen, words.overview_text(overview))
        for plan in _plans(app, options, overview).values():
            print_lines(screen, words.plan_text(plan))
    return overview.verdict.exit_code


def _plans(app: App, options: argparse.Namespace, overview: Overview) -> dict[Path, Plan]:
    """What a repair would do wherever something is wrong."""
    if not options.plan:
        return {}
    from tfgpu_tray.repair.plan import plan_repair

    return {
        report.prefix: plan_repair(
            report, app.wishes(report.snapshot.environment), app.config.channel
        )
        for report in overview.reports
        if report.verdict in (Verdict.BROKEN, Verdict.DEGRADED)
        and report.diagnoses
        and report.snapshot.environment.distribution is None  # that is changed from inside
    }


def repair(app: App, options: argparse.Namespace) -> int:
    from tfgpu_tray.repair.plan import plan_repair

    survey = app.survey()
    environment = survey.named(options.env)
    _wait(app, options, environment.prefix)
    with waiting(options.json, f"Looking at {environment.prefix}"):
        _recover(app, environment.prefix)
        report = survey.check(Depth.TENSORFLOW, [environment.prefix]).reports[0]
        plan = plan_repair(report, app.wishes(environment), app.config.channel)
    return _carry_out(app, options, plan, report, "repair")


def install(app: App, options: argparse.Namespace) -> int:
    if options.wsl:
        return _install_wsl(app, options)
    from tfgpu_tray.repair.plan import plan_creation, plan_install
    from tfgpu_tray.repair.setup import blank_report, with_creation

    survey = app.survey()
    prefix = Path(options.env).expanduser().absolute()
    if prefix.is_file() or (prefix.is_dir() and any(prefix.iterdir())):
        environment = survey.named(prefix)
        _wait(app, options, prefix)
        with waiting(options.json, f"Looking at {prefix}"):
            _recover(app, prefix)
            report = survey.check(Depth.TENSORFLOW, [prefix]).reports[0]
            wishes = app.wishes(environment, fresh=True)
            plan = plan_install(report, wishes, app.config.channel)
        return _carry_out(app, options, plan, report, "install")
    with waiting(options.json, "Looking at the machine"):
        machine = app.observer.machine(Depth.TENSORFLOW)
        wishes = app.wishes(None, fresh=True)
        pin = survey.pin_for(prefix)
        environment, create = plan_creation(
            prefix, machine[0], wishes, pin, app.config.channel, app.environ, app.home
        )
        report = blank_report(environment, machine)
        plan = with_creation(create, plan_install(report, wishes, app.config.channel))
    return _carry_out(app, options, plan, report, "install")


def _install_wsl(app: App, options: argparse.Namespace) -> int:
    """WSL belongs to the machine, not to an environment, so there is no plan and no undo of it."""
    import time

    from tfgpu_tray import words
    from tfgpu_tray.installer.wsl import State

    installer = app.wsl_installer()
    if installer is None:
        return _fail(options, [NO_WSL], USAGE)
    host = app.observer.machine(Depth.FINGERPRINT)[0]
    told = installer.plan(host)
    if told.state is State.PLANNED and not options.dry_run:
        if not options.json:
            print_lines(console(), words.installation_text(told))
        if not _agreed(options):
            return COULD_NOT_TELL
        told = installer.apply(host, time.time())
    if options.json:
        _print_json(answers.installation_json(told))
    else:
        print_lines(console(), words.installation_text(told))
    return COULD_NOT_TELL if told.state in (State.REFUSED, State.DECLINED, State.FAILED) else 0


def undo(app: App, options: argparse.Namespace) -> int:
    prefix = options.env.expanduser().absolute() if options.env else None
    _recover(app, prefix)
    last = app.journal.last_done(prefix)
    if last is None:
        return _fail(options, ["there is no repair to take back"], COULD_NOT_TELL)
    if not options.json:
        import time

        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(last.started))
        print(f"Takes back the {last.command} of {when} in {last.prefix}.")
    if not _agreed(options):
        return COULD_NOT_TELL
    _wait(app, options, last.prefix)
    with Progress(quiet=options.json) as progress:
        ended = app.workshop(progress.telling).undo(last, force=options.force)
    return _tell_end(options, ended, None)


def run(app: App, options: argparse.Namespace) -> int:
    from tfgpu_tray.daemon import AlreadyRunning, stay

    def say(event: dict[str, Any]) -> None:
        if options.json:
            _print_json({"schema": answers.SCHEMA, **event})
        else:
            print(event["line"], flush=True)

    try:
        return stay(app, say, headless=options.headless)
    except AlreadyRunning:
        status(app, options)
        return 0


def status(app: App, options: argparse.Namespace) -> int:
    from tfgpu_tray import words

    standing = app.standing()
    if options.json:
        _print_json(answers.standing_json(standing))
    else:
        print_lines(console(), words.standing_text(standing))
    return standing.verdict.exit_code


def autostart(app: App, options: argparse.Namespace) -> int:
    entry = app.autostart()
    if options.wish == "enable":
        state = entry.enable(options.headless)
    else:
        state = entry.disable() if options.wish == "disable" else entry.status()
    if options.json:
        _print_json({"schema": answers.SCHEMA, **plain(state)})
        return 0
    if state.enabled:
        print(f"Starts at login: {state.command}\n({state.place})")
    elif options.wish == "disable":
        print("No longer starts at login. What runs now keeps running.")
    else:
        print("Does not start at login. `tfgpu-tray autostart enable` turns it on.")
    if state.enabled and options.headless and state.method == "systemd":
        print("Start it now: systemctl --user start tfgpu-tray")
    for note in state.notes:
        print(f"  {note}")
    return 0


COMMANDS: dict[str, Callable[[App, argparse.Namespace], int]] = {
    "check": check,
    "repair": repair,
    "install": install,
    "undo": undo,
    "run": run,
    "status": status,
    "autostart": autostart,
}


# ---- carrying out a plan -----------------------------------------------------------------------


def _carry_out(
    app: App, options: argparse.Namespace, plan: Plan, report: Report, command: str
) -> int:
    from tfgpu_tray import words
    from tfgpu_tray.installer.step import Work
    from tfgpu_tray.repair.plan import measured

    if plan.steps and not options.yes:  # somebody is going to read it
        with waiting(options.json, "Asking conda for sizes"):
            plan = measured(plan, Work(app.observer.session, app.observer.runner))
    if not options.json:
        shown = words.report_text(report, remedy=False) if plan.environment.prefix.exists() else ()
        print_lines(console(), [*shown, *words.plan_text(plan)])
    if options.dry_run or not plan.steps:
        if options.json:
            _print_json(
                {
                    "schema": answers.SCHEMA,
                    "state": "planned" if plan.steps else "nothing-to-do",
                    "before": answers.report_json(report),
                    "plan": answers.plan_json(plan),
                }
            )
        return int(report.verdict.exit_code)
    if not _agreed(options):
        return COULD_NOT_TELL
    with Progress(quiet=options.json) as progress:
        ended = app.workshop(progress.telling).run(plan, report, command)
    if ended.after is not None:
        app.looks.keep(ended.after)
    return _tell_end(options, ended, plan)


def _wait(app: App, options: argparse.Namespace, prefix: Path) -> None:
    """With --wait, until nobody uses *prefix*."""
    if options.wait is not None:
        with Progress(quiet=options.json) as progress:
            app.workshop(progress.telling).wait(prefix, options.wait * 60)


def _agreed(options: argparse.Namespace) -> bool:
    """Consent, from --yes or from the person at the terminal."""
    if options.yes:
        return True
    if options.json or sys.stdin is None or not sys.stdin.isatty():  # None: pythonw
        raise NobodyToAsk("nobody is here to ask; pass --yes to go ahead")
    return input("Go ahead? [y/N] ").strip().lower() in ("y", "yes")


def _tell_end(options: argparse.Namespace, ended: Ended, plan: Plan | None) -> int:
    from tfgpu_tray import words
    from tfgpu_tray.store.journal import State

    if options.json:
        content = {"schema": answers.SCHEMA, **answers.ended_json(ended)}
        _print_json(content | ({"plan": answers.plan_json(plan)} if plan else {}))
    else:
        screen = console()
        sentences = {
            State.DONE: "[bold]Done.[/] `tfgpu-tray undo` takes it back.",
            State.UNDONE: "[bold]Taken back.[/] Everything is as it was before the repair.",
            State.ROLLED_BACK: "[bold]Put back.[/] Nothing was changed in the end.",
            State.STUCK: "[bold red]Not everything could be put back.[/]",
        }
        print_lines(screen, [sentences[ended.state]])
        if ended.note and ended.state is not State.UNDONE:
            screen.print(f"   {ended.note}", markup=False, highlight=False, soft_wrap=True)
        if ended.after is not None and ended.state is not State.ROLLED_BACK:
            print_lines(screen, words.report_text(ended.after))
    if ended.state is State.STUCK:
        return Verdict.BROKEN.exit_code
    return ended.after.verdict.exit_code if ended.after else COULD_NOT_TELL


def _recover(app: App, prefix: Path | None) -> None:
    from tfgpu_tray.repair.transaction import Telling

    for repaired in app.workshop(Telling()).recover(prefix):
        print(
            f"tfgpu-tray: an interrupted {repaired.command} of {repaired.prefix} was put back",
            file=sys.stderr,
        )


# ---- printing ----------------------------------------------------------------------------------


def _print_json(content: dict[str, Any]) -> None:
    print(
        json.dumps(content, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
