"""The texts of the hooks and of the preload.

The shell hooks add folders in front of LD_LIBRARY_PATH, once, and take exactly those away again.
Folders are written relative to $CONDA_PREFIX, so a renamed prefix keeps working and no quoting of
its characters is ever needed.
"""

from __future__ import annotations

from collections.abc import Sequence

NOTE = "Written by tfgpu-tray so that TensorFlow finds its CUDA libraries; safe to delete."


def sh_activate(folders: Sequence[str]) -> str:
    """For bash, zsh and other POSIX shells."""
    added = ":".join(f"$CONDA_PREFIX/{folder}" for folder in folders)
    return f"""# {NOTE}
# Its twin in deactivate.d takes the folders out again.
_tfgpu_add="{added}"
case ":${{LD_LIBRARY_PATH-}}:" in
  ":$_tfgpu_add:"*) ;;
  *)
    export TFGPU_LD_ADDED="$_tfgpu_add"
    export LD_LIBRARY_PATH="$_tfgpu_add${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
    ;;
esac
unset _tfgpu_add
"""


SH_DEACTIVATE = f"""# {NOTE}
if [ -n "${{TFGPU_LD_ADDED-}}" ]; then
  case ":${{LD_LIBRARY_PATH-}}:" in
    ":$TFGPU_LD_ADDED:")
      unset LD_LIBRARY_PATH
      ;;
    *":$TFGPU_LD_ADDED:"*)
      _tfgpu_path=":$LD_LIBRARY_PATH:"
      _tfgpu_path="${{_tfgpu_path%%":$TFGPU_LD_ADDED:"*}}:${{_tfgpu_path#*":$TFGPU_LD_ADDED:"}}"
      _tfgpu_path="${{_tfgpu_path#:}}"
      export LD_LIBRARY_PATH="${{_tfgpu_path%:}}"
      unset _tfgpu_path
      ;;
  esac
  unset TFGPU_LD_ADDED
fi
"""


def fish_activate(folders: Sequence[str]) -> str:
    """For fish, where LD_LIBRARY_PATH is a list."""
    added = " ".join(f'"$CONDA_PREFIX/{folder}"' for folder in folders)
    return f"""# {NOTE}
# Its twin in deactivate.d takes the folders out again.
set -q __tfgpu_ld_added; or set -g __tfgpu_ld_added
for folder in {added}
    if not contains -- $folder $LD_LIBRARY_PATH
        set -a __tfgpu_ld_added $folder
    end
end
test -z "$LD_LIBRARY_PATH"; and set -e LD_LIBRARY_PATH
for folder in $__tfgpu_ld_added[-1..1]
    contains -- $folder $LD_LIBRARY_PATH; or set -gx --path -p LD_LIBRARY_PATH $folder
end
"""


FISH_DEACTIVATE = f"""# {NOTE}
for folder in $__tfgpu_ld_added
    if set -l index (contains -i -- $folder $LD_LIBRARY_PATH)
        set -e LD_LIBRARY_PATH[$index]
    end
end
if test (count $LD_LIBRARY_PATH) -eq 0
    set -e LD_LIBRARY_PATH
end
set -e __tfgpu_ld_added
"""

_VARIABLE = {False: "LD_LIBRARY_PATH", True: "their folder on PATH"}

PRELOAD_PTH = "import _tfgpu_tray_preload\n"


# Opened libraries are found again by their bare name, by glibc and by Windows.
_OPEN = """
    for soname in SONAMES:
        for folder in FOLDERS:
            path = os.path.join(sys.prefix, folder, soname)
            if os.path.exists(path):
                try:
                    ctypes.CDLL(path)
                except OSError:
                    continue
                break
"""
_OPEN_ON_WINDOWS = """
    folders = [os.path.join(sys.prefix, folder) for folder in FOLDERS]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    # What is opened here opens more by bare name. That is looked for on PATH, and by some callers
    # only in folders that were named to Windows.
    others = [p for p in os.environ.get("PATH", "").split(os.pathsep) if p and p not in folders]
    os.environ["PATH"] = os.pathsep.join(folders + others)
    for folder in folders:
        if hasattr(os, "add_dll_directory"):  # Python 3.8
            os.add_dll_directory(folder)
    for soname in SONAMES:
        for folder in folders:
            path = os.path.join(folder, soname)
            if os.path.exists(path):
                try:
                    ctypes.WinDLL(path)
                except OSError:
                    continue
                break
"""


def preload_module(sonames: Sequence[str], folders: Sequence[str], system: str = "linux") -> str:
    """Python 3.7 and later, standard library only; runs at every start, so it does next to nothing
    until `tensorflow` is imported. *folders* are relative to sys.prefix."""
    windows = system == "windows"
    return f'''"""{NOTE}

When `tensorflow` is imported, its CUDA libraries are opened by their full path first, in the order
in which they need each other. TensorFlow then finds them without {_VARIABLE[windows]}, also in
programs that start this Python without activating the environment (editors, Jupyter kernels).
TFGPU_NO_PRELOAD=1 turns it off.
"""

import sys

SONAMES = {_literal(sonames)}
FOLDERS = {_literal(folders)}


class _Preload:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tensorflow":
            sys.meta_path[:] = [f for f in sys.meta_path if f is not _Preload]
            try:
                _open_all()
            except Exception:  # never stand in the way of an import
                pass
        return None


def _open_all():
    import ctypes
    import os

    if os.environ.get("TFGPU_NO_PRELOAD"):
        return
{(_OPEN_ON_WINDOWS if windows else _OPEN).strip(chr(10))}


if _Preload not in sys.meta_path:
    sys.meta_path.insert(0, _Preload)
'''


def _literal(items: Sequence[str]) -> str:
    return "[\n" + "".join(f"    {item!r},\n" for item in items) + "]"
