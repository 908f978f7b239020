"""How fast `check` answers, whole process. `uv run python -m tests.benchmark` prints a table.

Environments are made of small files: conda environments with TensorFlow 2.10.1's metadata, CUDA
libraries and 300 distributions each. Exit status 1 when a budget is exceeded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DISTRIBUTIONS = 300
CUDA = ["cudart.so.11.0", "cublas.so.11", "cublasLt.so.11", "cufft.so.10", "curand.so.10"]
CUDA += ["cusolver.so.11", "cusparse.so.11", "cudnn.so.8"]
# (depth, environments) → milliseconds
BUDGETS = {
    ("fingerprint", 1): 150,
    ("static", 1): 300,
    ("static", 50): 1500,
}


def make_environment(prefix: Path) -> None:
    site = prefix / "lib" / "python3.10" / "site-packages"
    for number in range(DISTRIBUTIONS - 2):
        _distribution(site, f"package_{number:03}", "1.0")
    _distribution(site, "tensorflow", "2.10.1")
    _distribution(site, "numpy", "1.26.4")
    (site / "tensorflow").mkdir()
    meta = prefix / "conda-meta"
    meta.mkdir()
    (meta / "history").write_text("==> 2026-01-01 00:00:00 <==\n# cmd: conda create\n")
    for number in range(60):
        record = f'{{"name": "lib{number}", "version": "1", "files": ["etc/x", "lib/y"]}}'
        (meta / f"lib{number}-1-0.json").write_text(record)
    (meta / "cudatoolkit-11.2.2-0.json").write_text('{"channel": "conda-forge"}')
    (meta / "cudnn-8.1.0.77-0.json").write_text('{"channel": "conda-forge"}')
    for name in CUDA:
        (prefix / "lib" / f"lib{name}").write_bytes(b"\x7fELF" + bytes(100))
    hooks = prefix / "etc" / "conda" / "activate.d"
    hooks.mkdir(parents=True)
    (hooks / "env_vars.sh").write_text('export LD_LIBRARY_PATH="$CONDA_PREFIX/lib"\n')
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(sys.executable)


def _distribution(site: Path, name: str, version: str) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    requires = "Requires-Dist: numpy>=1.20\n" * 5
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}\n{'text ' * 400}"
    (info / "METADATA").write_text(text)
    (info / "INSTALLER").write_text("pip\n")
    rows = (f"{name}/module_{n}.py,sha256=x,100\n" for n in range(50))
    (info / "RECORD").write_text("".join(rows))


def measure(home: Path, depth: str, count: int, runs: int) -> list[float]:
    environments = [str(home / f"env{n}") for n in range(count)]
    named = [word for prefix in environments for word in ("--env", prefix)]
    environ = os.environ | {"HOME": str(home), "TFGPU_DATA_DIR": str(home / "data")}
    command = [sys.executable, "-m", "tfgpu_tray", "check", "--depth", depth, "--json", *named]
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=False)
        taken.append((time.perf_counter() - start) * 1000)
    return taken[1:]  # the first run fills the page cache


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    exceeded = False
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for number in range(max(count for _, count in BUDGETS)):
            make_environment(home / f"env{number}")
        print(f"{'depth':<12} {'environments':>12} {'median ms':>10} {'worst ms':>9} {'budget':>7}")
        for (depth, count), budget in BUDGETS.items():
            taken = measure(home, depth, count, runs)
            median = statistics.median(taken)
            exceeded |= median > budget
            print(f"{depth:<12} {count:>12} {median:>10.0f} {max(taken):>9.0f} {budget:>7}")
    return int(exceeded)


if __name__ == "__main__":
    sys.exit(main())
