"""What to link and unlink, and doing it; everything that py-rattler is used for."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rattler import Gateway, MatchSpec, PrefixRecord, RepoDataRecord, Subdir, install, solve
from rattler.exceptions import SolverError
from rattler.virtual_package import VirtualPackage, VirtualPackageOverrides

from .config import Config
from .errors import CondaError, conflicts_with_pins, not_in_channels, not_in_prefix
from .prefix import SUBDIR, Prefix, Record

__all__ = [
    "Transaction",
    "canonical_spec",
    "distribution",
    "execute",
    "plan_explicit",
    "plan_install",
    "plan_remove",
]

PLATFORMS = (Subdir(SUBDIR), Subdir("noarch"))


@dataclass(frozen=True)
class Transaction:
    """The change of one prefix. `final` is all that it will hold."""

    prefix: Prefix
    unlink: tuple[RepoDataRecord, ...]
    link: tuple[RepoDataRecord, ...]
    final: tuple[RepoDataRecord, ...]
    action: str  #: "update" or "remove", the word for `specs` in the history
    specs: tuple[str, ...]


def canonical_spec(spec: str) -> str:
    """The spec as conda writes it: cudnn=8.1 for "cudnn 8.1.*", zlib[version='<2'] for "zlib<2"."""
    try:
        parsed = _match(spec)
    except Exception as error:
        raise CondaError("InvalidMatchSpec", f"Invalid spec '{spec}': {error}") from error
    name, version, build = str(parsed.name.normalized), parsed.version, parsed.build
    if version is None:
        return name
    if version.startswith("=="):
        return f"{name}{version}" + (f"={build}" if build else "")
    if re.fullmatch(r"[\w.!]+\.\*", version):
        return f"{name}={version[:-2]}" + (f"={build}" if build else "")
    return f"{name}[version='{version}'" + (f",build='{build}']" if build else "]")


def _match(spec: str) -> MatchSpec:
    """Reads a spec of conda's without a channel before "::", which the sources decide about."""
    text = spec.rpartition("::")[2].strip()
    # name=version=build, which is exact in conda's language and an error in py-rattler's
    if exact := re.fullmatch(r"([\w.-]+)==?([^=<>!~ ]+)=([^= ]+)", text):
        text = " ".join(exact.groups())
    return MatchSpec(text)


def _name(record: RepoDataRecord) -> str:
    return str(record.name.normalized)


def _identity(record: RepoDataRecord) -> tuple[str, str, str]:
    return _name(record), str(record.version), str(record.build)


def _installed(prefix: Prefix) -> dict[str, RepoDataRecord]:
    records = [PrefixRecord.from_path(path) for path in prefix.record_files()]
    return {_name(record): record for record in records}


def _transaction(
    prefix: Prefix, final: Sequence[RepoDataRecord], action: str, specs: Sequence[str]
) -> Transaction:
    before = {_identity(record): record for record in _installed(prefix).values()}
    after = {_identity(record): record for record in final}
    return Transaction(
        prefix,
        tuple(record for key, record in before.items() if key not in after),
        tuple(record for key, record in after.items() if key not in before),
        tuple(final),
        action,
        tuple(specs),
    )


def _solve(
    channels: Sequence[str],
    specs: Sequence[str],
    installed: dict[str, RepoDataRecord],
    constraints: Sequence[str],
) -> list[RepoDataRecord]:
    virtual = VirtualPackage.detect(VirtualPackageOverrides.from_env())
    return asyncio.run(
        solve(
            list(channels),
            [_match(spec) for spec in specs],
            platforms=list(PLATFORMS),
            locked_packages=list(installed.values()),
            virtual_packages=virtual,
            constraints=[_match(constraint) for constraint in constraints],
        )
    )


def _query(channels: Sequence[str], specs: Sequence[str]) -> list[RepoDataRecord]:
    query = Gateway().query(
        list(channels), list(PLATFORMS), [_match(spec) for spec in specs], recursive=False
    )
    return [record for records in asyncio.run(query) for record in records]


def plan_install(
    prefix: Prefix, specs: Sequence[str], channels: Sequence[str], *, again: bool = False
) -> Transaction:
    """Solves for these specs, keeping what is installed and, where possible, requested earlier.

    With *again* (--force-reinstall) the named packages are unlinked and linked anew.
    """
    asked = [canonical_spec(spec) for spec in specs]
    missing = [spec for spec in asked if not _query(channels, [spec])]
    if missing:
        raise not_in_channels(missing, channels)
    installed = _installed(prefix)
    names = {str(_match(spec).name.normalized) for spec in asked}
    kept = [name for name in installed if name not in names]
    history = prefix.requested()
    pins = prefix.pins()
    constraints = list(pins)
    if "python" in kept:
        series = ".".join(str(installed["python"].version).split(".")[:2])
        constraints.append(f"python {series}.*")  # libmamba's own implicit pin
    # first with the earlier requests as they stand, then with those relaxed that stand in the way
    attempts = ([*asked, *(history.get(name, name) for name in kept)], [*asked, *kept], asked)
    failure: SolverError | None = None
    for attempt in attempts:
        try:
            final = _solve(channels, attempt, installed, constraints)
        except SolverError as error:
            failure = failure or error
        else:
            planned = _transaction(prefix, final, "update", asked)
            return _linked_anew(planned, names) if again else planned
    if pins and _solvable(channels, asked, installed):
        raise conflicts_with_pins(asked, pins, prefix.path)
    message = f"The following specifications were found to be incompatible:\n\n{failure}"
    raise CondaError("UnsatisfiableError", message)


def _linked_anew(planned: Transaction, names: set[str]) -> Transaction:
    done = {_identity(record) for record in planned.link}
    anew = tuple(r for r in planned.final if _name(r) in names and _identity(r) not in done)
    return replace(planned, unlink=(*planned.unlink, *anew), link=(*planned.link, *anew))


def _solvable(
    channels: Sequence[str], specs: Sequence[str], installed: dict[str, RepoDataRecord]
) -> bool:
    try:
        _solve(channels, specs, installed, ())
    except SolverError:
        return False
    return True


def plan_explicit(prefix: Prefix, urls: Sequence[str], config: Config) -> Transaction:
    """Takes exactly these packages, given as URL or URL#md5; dependencies are not looked at."""
    final = _installed(prefix)
    specs: list[str] = []
    for item in urls:
        url, _, md5 = item.partition("#")
        channel, _, rest = url.rpartition("/")
        channel = channel.rpartition("/")[0]
        name = re.sub(r"-[^-]+-[^-]+$", "", rest)
        records = _query(config.urls([channel]), [name])
        record = next((record for record in records if record.url == url), None)
        if record is None:
            message = f"HTTP 404 NOT FOUND for url <{url}>\n"
            details = {"url": url, "status_code": 404, "reason": "NOT FOUND"}
            raise CondaError("CondaHTTPError", message, details)
        if md5 and record.md5 and md5 != record.md5.hex():
            message = f"Conda detected a mismatch between the expected content and url {url}\n"
            details = {"url": url, "expected_checksum": md5, "actual_checksum": record.md5.hex()}
            raise CondaError("ChecksumMismatchError", message, details)
        final[_name(record)] = record
        specs.append(
            f"{config.channel_name(channel)}/{record.subdir}::"
            f"{_name(record)}=={record.version}={record.build}"
        )
    return _transaction(prefix, list(final.values()), "update", specs)


def plan_remove(prefix: Prefix, specs: Sequence[str]) -> Transaction:
    """Removes these packages, what depends on them, and dependencies that nobody needs any more."""
    asked = [canonical_spec(spec) for spec in specs]
    records = _installed(prefix)
    gone: set[str] = set()
    for spec in asked:
        matching = {name for name, record in records.items() if _match(spec).matches(record)}
        if not matching:
            raise not_in_prefix([spec], prefix.path)
        gone |= matching
    needs = {
        name: {str(MatchSpec(dependency).name.normalized) for dependency in record.depends}
        for name, record in records.items()
    }
    while dependents := {name for name in records.keys() - gone if needs[name] & gone}:
        gone |= dependents
    wanted = set(prefix.requested())
    while orphans := {
        name
        for name in records.keys() - gone - wanted
        if any(name in needs[other] for other in gone)
        and not any(name in needs[other] for other in records.keys() - gone)
    }:
        gone |= orphans
    final = [record for name, record in records.items() if name not in gone]
    return _transaction(prefix, final, "remove", asked)


def execute(transaction: Transaction, config: Config, command: Sequence[str]) -> None:
    """Links and unlinks, then completes what py-rattler leaves out of conda-meta."""
    prefix = transaction.prefix
    asyncio.run(
        install(
            list(transaction.final),
            prefix.path,
            cache_dir=config.package_cache,
            reinstall_packages={_name(record) for record in transaction.unlink},
            show_progress=False,
        )
    )
    (prefix.path / "CACHEDIR.TAG").unlink(missing_ok=True)  # rattler's own habit, not conda's
    prefix.write_history(
        command,
        (distribution(record, config) for record in transaction.unlink),
        (distribution(record, config) for record in transaction.link),
        (transaction.action, transaction.specs),
    )
    requested = prefix.requested()
    linked = {_identity(record) for record in transaction.link}
    for path in prefix.record_files():
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        if (record["name"], record["version"], record["build"]) in linked:
            _complete(path, record, requested.get(record["name"]))


def _complete(path: Path, record: Record, spec: str | None) -> None:
    record["channel"] = record["url"].rpartition("/")[0]
    record["requested_specs"] = [spec] if spec else []
    if spec:
        record["requested_spec"] = spec
    path.write_text(json.dumps(record, indent=2), encoding="utf-8")


def distribution(record: RepoDataRecord, config: Config) -> str:
    """conda-forge/linux-64::cudnn-8.1.0.77-h90431f1_0, the name of a package in the history."""
    channel = config.channel_name(str(record.url).rsplit("/", 2)[0])
    return f"{channel}/{record.subdir}::{'-'.join(_identity(record))}"
