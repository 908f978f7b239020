"""`python -m tfgpu_tray`: the same program as the `tfgpu-tray` command."""

import sys

from tfgpu_tray.cli import main

if __name__ == "__main__":
    sys.exit(main())
