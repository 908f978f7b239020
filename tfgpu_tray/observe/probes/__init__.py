"""Programs for child processes: standard library only, Python 3.7 to 3.14, never imported by us.

Each prints its facts as lines ``@tfgpu {json}`` on standard output, the moment it knows them, so
that what was learnt before a hang or a crash is not lost. `tfgpu_tray.observe.probing` reads them.
"""
