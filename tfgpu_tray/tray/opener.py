"""Opens a text file with whatever the desktop opens such a file with.

That is no child of the program that stays, which ends its children when it ends: what stands
between the two has gone by then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SECONDS = 20.0  # for what stands in between


def open_file(path: Path) -> None:
    """Raises OSError when nothing opens it."""
    if sys.platform == "win32":
        words = [sys.executable, "-P", "-m", "tfgpu_tray.tray.opener", str(path)]
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
            timeout=SECONDS,
        )
        if done.returncode:
            raise OSError(f"Windows does not open it; this one is {path}")
        return
    opener = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    if opener is None:
        raise FileNotFoundError(f"nothing here opens files; this one is {path}")
    subprocess.run(
        ["/bin/sh", "-c", '"$0" "$1" &', opener, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )


def main(path: str) -> None:
    if sys.platform == "win32":
        try:
            os.startfile(path)
        except OSError:  # nothing is set to open files of that name; config.toml is text as well
            subprocess.Popen(["notepad.exe", path])


if __name__ == "__main__":
    main(sys.argv[1])
