"""A stand-in for the conda command, which no package registry carries, built on py-rattler.

Mirrored, after conda 26.7 with the libmamba solver: the commands create, install, remove, list and
info with the options that cli.py names; the shape of their JSON; exit codes and exception names;
conda-meta/history, pinned, frozen and requested_spec; ~/.conda/environments.txt; channels from
.condarc, CONDA_CHANNELS and -c; __cuda as the driver or CONDA_OVERRIDE_CUDA has it. An install
keeps what is installed and what the history requests; a remove takes dependents and orphans along.

Not mirrored: activation, the shell, `run`, `update`, `config`, revisions, explicit files, channels
over a network, the wording of the solver's explanations. The package cache counts as empty (every
linked package is listed in FETCH) but for URLs named in <root>/pkgs/urls.txt. An existing
environment is never replaced by `create`. A failed link is not rolled back. What the solver cannot
satisfy is called UnsatisfiableError, which libmamba's own LibMambaUnsatisfiableError derives from.
"""
