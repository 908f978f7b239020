"""Setting up an environment that does not exist yet."""

from __future__ import annotations

from dataclasses import replace

from tfgpu_tray.diagnose.resolve import diagnose
from tfgpu_tray.installer.step import Step
from tfgpu_tray.model import Depth, Driver, Environment, Host, Report, Snapshot
from tfgpu_tray.repair.plan import Plan


def blank_report(environment: Environment, machine: tuple[Host, Driver]) -> Report:
    """The report on an environment that holds nothing: it lacks TensorFlow, and so everything."""
    host, driver = machine
    return diagnose(Snapshot(depth=Depth.STATIC, host=host, driver=driver, environment=environment))


def with_creation(create: Step, plan: Plan) -> Plan:
    """*plan* with the creation of its environment in front; a plan without steps stays so."""
    return replace(plan, steps=(create, *plan.steps)) if plan.steps else plan
