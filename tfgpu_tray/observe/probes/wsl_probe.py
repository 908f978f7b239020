"""What a WSL distribution has for TensorFlow, seen from inside. Run by the distribution's python3.

It comes over standard input. Its argument is a request, JSON in base64, in which neither a shell
nor wsl.exe finds anything to take apart: {} to look around, or the environment whose TensorFlow is
to be asked, with the probe that asks it.
"""

from __future__ import annotations

import base64
import ctypes
import glob
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Optional

WINDOWS_DRIVER = "usr/lib/wsl/lib"
LOADER_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib")
DRIVER_PACKAGE = re.compile(
    r"(nvidia-(driver|utils|dkms|kernel)|libnvidia-compute|libcuda1|cuda-drivers)([-:]|$)"
)
CONDA_ROOTS = ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba")
INFO = re.compile(r"^(.+?)-([^-]+)\.dist-info$")
# What activating does, as far as libraries and the GPU depend on it: the folder and the hooks.
ACTIVATED = """
export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"
for hook in "$1"/etc/conda/activate.d/*.sh; do
    if [ -r "$hook" ]; then . "$hook" >&2; fi
done
exec "$2" "$3"
"""


def say(**facts: object) -> None:
    sys.stdout.write("\n@tfgpu " + json.dumps(facts) + "\n")
    sys.stdout.flush()


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# ---- the machine -------------------------------------------------------------------------------


def system() -> Dict[str, object]:
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.MULTILINE)
    return {
        "release": name.group(1) if name else None,
        "kernel": platform.release(),
        "glibc": platform.libc_ver()[1] or None,
        "architecture": platform.machine().lower(),
    }


def gpu(root: str = "/") -> Dict[str, Any]:
    """The GPU's way in, from files alone. *root* is the file system to read."""
    return {
        "device": os.path.exists(os.path.join(root, "dev/dxg")),
        "driver": os.path.exists(os.path.join(root, WINDOWS_DRIVER, "libcuda.so.1")),
        "linux_driver": driver_packages(root) + driver_files(root),
    }


def driver_packages(root: str) -> List[str]:
    """Debian's word; elsewhere the files have to do."""
    found = []
    for block in read(os.path.join(root, "var/lib/dpkg/status")).split("\n\n"):
        name = block[9 : block.find("\n")]
        if DRIVER_PACKAGE.match(name) and "\nStatus: install ok installed\n" in block + "\n":
            found.append(name)
    return sorted(found)


def driver_files(root: str) -> List[str]:
    found = []
    for folder in LOADER_FOLDERS:
        path = os.path.join(root, folder, "libcuda.so.1")
        own = os.path.realpath(os.path.join(root, WINDOWS_DRIVER))
        if os.path.exists(path) and not os.path.realpath(path).startswith(own):
            found.append("/" + folder + "/libcuda.so.1")
    return found


def try_cuda() -> None:
    """Last of all: this may hang or end the process."""
    say(stage="libcuda")
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        say(libcuda="", libcuda_error=str(error))
        return
    say(libcuda=mapped("libcuda"), stage="cuinit")
    say(cuinit=int(library.cuInit(0)))


def mapped(name: str) -> Optional[str]:
    for line in read("/proc/self/maps").splitlines():
        if "/" + name in line:
            return line.split(None, 5)[5].strip()
    return None


# ---- environments ------------------------------------------------------------------------------


def prefixes(home: str) -> Iterator[str]:
    for line in read(os.path.join(home, ".conda/environments.txt")).splitlines():
        if line.startswith("/"):
            yield line.strip()
    roots = ["/opt/conda"]
    roots += [os.path.join(place, name) for place in (home, "/opt") for name in CONDA_ROOTS]
    for root in roots:
        yield root
        yield from sorted(glob.glob(os.path.join(root, "envs", "*")))
    for pattern in ("*", ".*", "*/*", ".*/*"):
        for cfg in sorted(glob.glob(os.path.join(home, pattern, "pyvenv.cfg"))):
            yield os.path.dirname(cfg)


def environments(home: str) -> Iterator[Dict[str, Any]]:
    """Every environment with its distributions, each once; the system's Python last."""
    seen = set()
    for prefix in prefixes(home):
        conda = os.path.isfile(os.path.join(prefix, "conda-meta/history"))
        real = os.path.realpath(prefix)
        if real in seen or not (conda or os.path.isfile(os.path.join(prefix, "pyvenv.cfg"))):
            continue
        seen.add(real)
        for site in glob.glob(os.path.join(prefix, "lib/python3.*/site-packages")):
            if not os.path.islink(os.path.dirname(site)):  # conda has python3.1 -> python3.10
                python = os.path.join(prefix, "bin/python")
                yield described(prefix, "conda" if conda else "venv", python, site)
    version = "{}.{}".format(*sys.version_info)
    own = os.path.join(home, ".local/lib/python" + version, "site-packages")
    for site in (own, "/usr/local/lib/python" + version + "/dist-packages"):
        if os.path.isdir(site):
            yield described(sys.prefix, "system", sys.executable, site)


def described(prefix: str, kind: str, python: str, site: str) -> Dict[str, Any]:
    matches = [INFO.match(name) for name in os.listdir(site)]
    return {
        "prefix": prefix,
        "kind": kind,
        "python": python,
        "python_version": site.split("/")[-2][6:],
        "site": site,
        "packages": sorted([m.group(1), m.group(2)] for m in matches if m),
    }


def ask(prefix: str, python: str, probe: str, deadline: float) -> None:
    """Run *probe* with *python*, its environment activated, for at most *deadline* seconds."""
    environ = dict(os.environ)
    try:
        variables = json.loads(read(os.path.join(prefix, "conda-meta/state"))).get("env_vars", {})
        environ.update({str(k): str(v) for k, v in variables.items() if k.isidentifier()})
    except (ValueError, AttributeError):
        pass  # no conda environment, or no variables were set
    environ.update(PYTHONDONTWRITEBYTECODE="1", TF_CPP_MIN_LOG_LEVEL="0", TF_CPP_MAX_VLOG_LEVEL="1")
    shell = "bash" if os.path.exists("/bin/bash") else "sh"
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "probe.py")
        with open(script, "w", encoding="utf-8") as file:
            file.write(probe)
        process = subprocess.Popen(
            [shell, "-c", ACTIVATED, shell, prefix, python, script],
            stdin=subprocess.DEVNULL,
            cwd=prefix,
            env=environ,
            start_new_session=True,
        )
        try:
            say(code=process.wait(deadline))
        except subprocess.TimeoutExpired:
            if sys.platform != "win32":  # never; mypy reads this for Windows, too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            say(timed_out=True)


def main() -> None:
    request = json.loads(base64.b64decode(sys.argv[1])) if len(sys.argv) > 1 else {}
    if request:
        ask(**request)
        return
    say(**system())
    say(**gpu())
    for environment in environments(os.path.expanduser("~")):
        say(environment=environment)
    try_cuda()
    say(stage="done")


if __name__ == "__main__":
    main()
