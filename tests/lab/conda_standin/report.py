"""What the commands print, in conda's words and shapes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rattler import RepoDataRecord
from rattler.virtual_package import VirtualPackage, VirtualPackageOverrides

from .config import Config
from .packages import Transaction, distribution
from .prefix import SUBDIR, VERSION, Prefix, Record, known_environments

__all__ = ["actions", "info", "listing", "print_explicit", "print_json", "summary"]

Fields = dict[str, object]


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def _fields(record: RepoDataRecord, config: Config) -> Fields:
    """The short form that conda gives a package in LINK, UNLINK and `list`."""
    base = str(record.url).rsplit("/", 2)[0]
    return {
        "base_url": base,
        "build_number": record.build_number,
        "build_string": str(record.build),
        "channel": config.channel_name(base),
        "dist_name": distribution(record, config).rpartition("::")[2],
        "name": str(record.name.normalized),
        "platform": str(record.subdir),
        "version": str(record.version),
    }


def _download(record: RepoDataRecord, config: Config) -> Fields:
    """The long form of FETCH."""
    return _fields(record, config) | {
        "build": str(record.build),
        "depends": list(record.depends),
        "fn": record.file_name,
        "md5": record.md5.hex() if record.md5 else None,
        "sha256": record.sha256.hex() if record.sha256 else None,
        "size": record.size,
        "subdir": str(record.subdir),
        "url": record.url,
    }


def _downloads(transaction: Transaction, config: Config) -> list[RepoDataRecord]:
    urls = config.package_cache / "urls.txt"
    cached = set(urls.read_text(encoding="utf-8").split()) if urls.is_file() else set()
    return [record for record in transaction.link if record.url not in cached]


def actions(transaction: Transaction, config: Config) -> Fields:
    """The `actions` of a command's JSON; keys without packages are left out."""
    groups: dict[str, list[Fields]] = {
        "FETCH": [_download(record, config) for record in _downloads(transaction, config)],
        "UNLINK": [_fields(record, config) for record in transaction.unlink],
        "LINK": [_fields(record, config) for record in transaction.link],
    }
    filled: Fields = {key: records for key, records in groups.items() if records}
    return {"PREFIX": str(transaction.prefix.path), **filled}


def summary(transaction: Transaction, config: Config) -> str:
    """The plan that a person reads before the question."""
    lines = ["", "## Package Plan ##", "", f"  environment location: {transaction.prefix.path}", ""]
    if transaction.specs:
        verb = "added / updated" if transaction.action == "update" else "removed"
        lines += [f"  {verb} specs:", *(f"    - {spec}" for spec in transaction.specs), ""]
    if fetched := _downloads(transaction, config):
        lines += ["", "The following packages will be downloaded:", ""]
        total = sum(record.size or 0 for record in fetched)
        lines += [f"    {distribution(record, config)}  {record.size} B" for record in fetched]
        lines += [f"    {'-' * 60}", f"{'Total:':>50} {total} B"]
    for title, records in (
        ("The following packages will be REMOVED:", transaction.unlink),
        ("The following NEW packages will be INSTALLED:", transaction.link),
    ):
        if records:
            lines += ["", title, "", *(f"  {distribution(record, config)}" for record in records)]
    return "\n".join([*lines, "", ""])


def listing(prefix: Prefix, config: Config) -> list[Fields]:
    """`conda list --json`: conda's packages and pip's, by name."""
    found = [_from_record(record, config) for record in prefix.records().values()]
    for name, version in prefix.pip_packages().items():
        found.append(
            {
                "base_url": f"{config.channel_alias.rstrip('/')}/pypi",
                "build_number": 0,
                "build_string": "pypi_0",
                "channel": "pypi",
                "dist_name": f"{name}-{version}-pypi_0",
                "name": name,
                "platform": "pypi",
                "version": version,
            }
        )
    return sorted(found, key=lambda fields: str(fields["name"]))


def _from_record(record: Record, config: Config) -> Fields:
    base = str(record["url"]).rsplit("/", 2)[0]
    return {
        "base_url": base,
        "build_number": record["build_number"],
        "build_string": record["build"],
        "channel": config.channel_name(base),
        "dist_name": f"{record['name']}-{record['version']}-{record['build']}",
        "name": record["name"],
        "platform": record["subdir"],
        "version": record["version"],
    }


def print_explicit(prefix: Prefix, hash_name: str | None) -> None:
    """`conda list --explicit`, with "md5" or "sha256" after each URL where asked for."""
    print("# This file may be used to create an environment using:")
    print("# $ conda create --name <env> --file <this file>")
    print(f"# platform: {SUBDIR}\n# created-by: conda {VERSION}\n@EXPLICIT")
    for record in prefix.records().values():
        print(record["url"] + (f"#{record[hash_name]}" if hash_name else ""))


def info(config: Config, argv: Sequence[str]) -> Fields:
    """`conda info --json`, the keys that can be told without a conda."""
    lines = known_environments()
    listed = lines.read_text(encoding="utf-8").splitlines() if lines.is_file() else []
    prefixes = [Prefix(config.root), *(Prefix(Path(line)) for line in listed if line.strip())]
    active = os.environ.get("CONDA_PREFIX")
    virtual = VirtualPackage.detect(VirtualPackageOverrides.from_env())
    generic = [package.into_generic() for package in virtual]
    root, home = str(config.root), Path.home()
    return {
        "conda_version": VERSION,
        "conda_location": argv[0],
        "root_prefix": root,
        "conda_prefix": root,
        "default_prefix": active or root,
        "active_prefix": active,
        "root_writable": os.access(root, os.W_OK),
        "pkgs_dirs": [str(config.package_cache)],
        "envs_dirs": [str(config.root / "envs"), str(home / ".conda" / "envs")],
        "envs": [str(prefix.path) for prefix in prefixes if prefix.exists()],
        "envs_details": {
            str(prefix.path): {
                "name": "base" if prefix.path == config.root else prefix.path.name,
                "active": str(prefix.path) == active,
                "base": prefix.path == config.root,
                "frozen": (prefix.meta / "frozen").exists(),
                "writable": os.access(prefix.history, os.W_OK),
            }
            for prefix in prefixes
            if prefix.exists()
        },
        "channels": config.urls(config.channels),
        "platform": SUBDIR,
        "virtual_pkgs": [
            [str(package.name.normalized), str(package.version), str(package.build_string)]
            for package in generic
        ],
        "config_files": [str(config.root / ".condarc")],
        "rc_path": str(home / ".condarc"),
        "user_rc_path": str(home / ".condarc"),
        "solver": {"name": "libmamba", "user_agent": "", "default": True},
        "offline": False,
        "python_version": ".".join(map(str, sys.version_info)),
    }
