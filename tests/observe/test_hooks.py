"""Hooks as text, and what activating with them really does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes import (
    FailingRunner,
    conda_prefix,
    described,
    hook,
    interpreter,
    record,
    venv_prefix,
    write,
)
from tests.needs import tool
from tfgpu_tray.installer import hook_texts
from tfgpu_tray.model import Activation, Outcome
from tfgpu_tray.observe.activation import activate, session_environ
from tfgpu_tray.observe.hooks import PRELOAD, conda_variables, observe_hooks
from tfgpu_tray.observe.shell_text import predicted_loader_path

SESSION = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/me"}


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return conda_prefix(tmp_path / "my envs" / "tf")


# ---- scripts as text ---------------------------------------------------------------------------


def test_without_hooks_there_is_nothing(prefix: Path) -> None:
    hooks = observe_hooks(described(prefix))
    assert (hooks.scripts, dict(hooks.variables), hooks.preload) == ((), {}, False)


def test_scripts_are_listed_in_the_order_in_which_conda_runs_them(prefix: Path) -> None:
    for name in ("zz.sh", "a.sh", "~b.fish", "c.ps1", "readme.txt", "d.csh", "e.bat"):
        hook(prefix, name, "")
    scripts = observe_hooks(described(prefix)).scripts
    assert [s.path.name for s in scripts] == ["a.sh", "c.ps1", "d.csh", "e.bat", "zz.sh", "~b.fish"]
    assert [s.shell for s in scripts] == ["posix", "powershell", "csh", "cmd", "posix", "fish"]


def test_hooks_of_a_venv_are_not_looked_for(tmp_path: Path) -> None:
    prefix = venv_prefix(tmp_path / "venv")
    hook(prefix, "a.sh", "export LD_LIBRARY_PATH=/x")
    assert observe_hooks(described(prefix)).scripts == ()


EFFECTS = [
    ("export LD_LIBRARY_PATH=$CONDA_PREFIX/lib:$LD_LIBRARY_PATH", "prepends"),
    ("export LD_LIBRARY_PATH=/opt/cuda/lib64:${LD_LIBRARY_PATH}", "prepends"),
    ("export LD_LIBRARY_PATH=$CONDA_PREFIX/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}", "prepends"),
    ("export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$CONDA_PREFIX/lib/", "appends"),
    ('export LD_LIBRARY_PATH="${LD_LIBRARY_PATH}:$CONDA_PREFIX/lib"', "appends"),
    ('export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/opt/lib"', "appends"),
    ("export LD_LIBRARY_PATH=$CONDA_PREFIX/lib", "overwrites"),
    ("LD_LIBRARY_PATH=/opt/lib; export LD_LIBRARY_PATH", "overwrites"),
    ("    export LD_LIBRARY_PATH=/opt/lib", "overwrites"),
    ("export LD_LIBRARY_PATH=$LD_LIBRARY_PATH", "keeps"),
    ("export OLD_LD_LIBRARY_PATH=/opt/lib", None),
    ("# export LD_LIBRARY_PATH=/opt/lib", None),
    ("export XLA_FLAGS=--xla_gpu_cuda_data_dir=/opt", None),
    ("export LD_LIBRARY_PATH=/a\nexport LD_LIBRARY_PATH=/b:$LD_LIBRARY_PATH", "prepends"),
]


@pytest.mark.parametrize("text, effect", EFFECTS)
def test_the_effect_on_the_loader_path_is_read_from_the_text(
    prefix: Path, text: str, effect: str | None
) -> None:
    hook(prefix, "env_vars.sh", text + "\n")
    (script,) = observe_hooks(described(prefix)).scripts
    assert script.loader_path == effect


def test_the_folders_that_a_hook_names_are_full_paths(prefix: Path) -> None:
    line = 'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib/:/opt//cuda/lib64:${CONDA_PREFIX}/extra:rel"'
    hook(prefix, "a.sh", f"{line}:$LD_LIBRARY_PATH\n")
    (script,) = observe_hooks(described(prefix)).scripts
    assert script.folders == (f"{prefix}/lib", "/opt/cuda/lib64", f"{prefix}/extra")


@pytest.mark.parametrize(
    "line",
    [
        "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$CONDA_PREFIX/lib",
        'export LD_LIBRARY_PATH="${LD_LIBRARY_PATH}:$CONDA_PREFIX/lib"',
        "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib:$LD_LIBRARY_PATH",
        'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib:${LD_LIBRARY_PATH}"',
    ],
)
def test_a_line_that_leaves_an_empty_entry_is_named(prefix: Path, line: str) -> None:
    hook(prefix, "a.sh", line + "\n")
    (script,) = observe_hooks(described(prefix)).scripts
    really = activate(described(prefix), SESSION).environ["LD_LIBRARY_PATH"]
    assert "" in really.split(":"), "the premise"
    assert [p for p in script.problems if p.startswith("leaves an empty entry")]


def test_a_careful_line_leaves_no_empty_entry(prefix: Path) -> None:
    hook(prefix, "a.sh", "export LD_LIBRARY_PATH=/a${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}\n")
    (script,) = observe_hooks(described(prefix)).scripts
    assert script.problems == ()


@pytest.mark.parametrize(
    "raw, problem",
    [
        (b"\xef\xbb\xbfexport A=1\n", "byte order mark"),
        (b"export A=1\r\nexport B=2\r\n", "Windows line ends"),
        ("export A=1\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_a_shell_cannot_read_is_named(prefix: Path, raw: bytes, problem: str) -> None:
    hook(prefix, "a.sh", raw)
    (script,) = observe_hooks(described(prefix)).scripts
    assert len(script.problems) == 1 and problem in script.problems[0]


@pytest.mark.parametrize(
    "name, line, masks",
    [
        ("a.sh", "export CUDA_VISIBLE_DEVICES=-1", True),
        ("a.sh", 'export CUDA_VISIBLE_DEVICES=""', True),
        ("a.sh", "export CUDA_VISIBLE_DEVICES=", True),
        ("a.sh", "  export CUDA_VISIBLE_DEVICES='-1'  ", True),
        ("a.sh", "export CUDA_VISIBLE_DEVICES=-1  # no GPU here", True),
        ("a.fish", "set -gx CUDA_VISIBLE_DEVICES -1", True),
        ("a.csh", "setenv CUDA_VISIBLE_DEVICES -1", True),
        ("a.sh", "export CUDA_VISIBLE_DEVICES=0", False),
        ("a.sh", "export CUDA_VISIBLE_DEVICES=1,0", False),
        ("a.sh", "# export CUDA_VISIBLE_DEVICES=-1", False),
        ("a.sh", "export MY_CUDA_VISIBLE_DEVICES=-1", False),
    ],
)
def test_a_hook_that_hides_every_gpu_is_seen(
    prefix: Path, name: str, line: str, masks: bool
) -> None:
    hook(prefix, name, f"export A=1\n{line}\nexport B=2\n")
    (script,) = observe_hooks(described(prefix)).scripts
    assert script.masks_gpu is masks


def test_whose_a_hook_is(prefix: Path) -> None:
    hook(prefix, "zz-tfgpu-tray.sh", "")
    hook(prefix, "libxml2_activate.sh", "")
    hook(prefix, "mine.sh", "")
    files = ["etc/conda/activate.d/libxml2_activate.sh", "lib/libxml2.so"]
    record(prefix, "libxml2", "2.12.7", "h283a6d9_4", files=files)
    seen = {s.path.name: (s.ours, s.packaged) for s in observe_hooks(described(prefix)).scripts}
    assert seen == {
        "libxml2_activate.sh": (False, True),
        "mine.sh": (False, False),
        "zz-tfgpu-tray.sh": (True, False),
    }


def test_a_users_hook_is_not_a_packages_because_its_name_is_part_of_one(prefix: Path) -> None:
    """Otherwise a harmful hook of the user's would never be set aside."""
    hook(prefix, "activate.sh", "")
    record(prefix, "gcc", "12", "h0_0", files=["etc/conda/activate.d/gcc_activate.sh"])
    (script,) = observe_hooks(described(prefix)).scripts
    assert not script.packaged


def test_a_hook_that_cannot_be_read_is_a_fact(prefix: Path) -> None:
    hook(prefix, "a.sh", "")
    path = prefix / "etc/conda/activate.d/a.sh"
    path.unlink()
    path.symlink_to(prefix / "nowhere")
    assert observe_hooks(described(prefix)).scripts == ()  # conda skips it, too


def test_the_preload_is_seen(prefix: Path) -> None:
    environment = described(prefix)
    assert environment.site_packages is not None
    write(environment.site_packages / PRELOAD, hook_texts.PRELOAD_PTH)
    assert observe_hooks(environment).preload


# ---- variables ---------------------------------------------------------------------------------


def test_the_users_variables_win_over_those_of_packages(prefix: Path) -> None:
    write(prefix / "etc/conda/env_vars.d/a.json", json.dumps({"A": "package", "B": "package"}))
    write(prefix / "etc/conda/env_vars.d/b.json", json.dumps({"B": "later package", "N": 3}))
    state = {"version": 1, "env_vars": {"A": "mine", "GONE": "***unset***", "PATH": "/no"}}
    write(prefix / "conda-meta/state", json.dumps(state))
    assert conda_variables(prefix) == {"A": "mine", "B": "later package"}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"env_vars": 3}', "null"])
def test_a_state_that_cannot_be_read_sets_nothing(prefix: Path, text: str) -> None:
    write(prefix / "conda-meta/state", text)
    write(prefix / "etc/conda/env_vars.d/a.json", text)
    assert conda_variables(prefix) in ({}, {"env_vars": "3"})


# ---- the session -------------------------------------------------------------------------------


def test_a_session_without_activation_stays_as_it_is() -> None:
    session = {**SESSION, "LD_LIBRARY_PATH": "/opt/lib", "CUDA_VISIBLE_DEVICES": "0", "LANG": "C"}
    assert session_environ(session) == session


def test_what_an_activation_added_is_taken_out(prefix: Path) -> None:
    write(prefix / "conda-meta/state", json.dumps({"env_vars": {"MINE": "1"}}))
    hook(prefix, "zz-tfgpu-tray.sh", hook_texts.sh_activate(["lib"]))
    session = {**SESSION, "LD_LIBRARY_PATH": "/opt/lib", "HTTPS_PROXY": "http://proxy:8080"}
    inside = activate(described(prefix), session)
    assert inside.outcome is Outcome.COMPLETED and inside.environ["MINE"] == "1"
    assert session_environ(inside.environ) == session


def test_a_folder_that_only_starts_like_the_prefix_stays(prefix: Path) -> None:
    environ = {
        "CONDA_PREFIX": str(prefix),
        "PATH": f"{prefix}/bin:{prefix}-tools/bin:/usr/bin",
        "LD_LIBRARY_PATH": f"{prefix}/lib",
    }
    assert session_environ(environ) == {"PATH": f"{prefix}-tools/bin:/usr/bin"}


def test_an_active_venv_is_taken_out_too(tmp_path: Path) -> None:
    prefix = venv_prefix(tmp_path / "venv")
    environ = {**SESSION, "VIRTUAL_ENV": str(prefix), "VIRTUAL_ENV_PROMPT": "venv"}
    environ["PATH"] = f"{prefix}/bin:{SESSION['PATH']}"
    assert session_environ(environ) == SESSION


def test_the_users_settings_of_conda_stay() -> None:
    session = {**SESSION, "CONDA_PKGS_DIRS": "/data/pkgs", "CONDA_OVERRIDE_CUDA": "12.8"}
    assert session_environ(session | {"CONDA_SHLVL": "0"}) == session


def test_a_session_without_a_path_gets_the_default_one() -> None:
    assert session_environ({"HOME": "/home/me"}) == {"HOME": "/home/me", "PATH": os.defpath}


# ---- activation --------------------------------------------------------------------------------


def activated(prefix: Path, **session: str) -> Activation:
    tool("bash")
    return activate(described(prefix), {**SESSION, **session}, deadline=20)


def test_activating_does_what_conda_does(prefix: Path) -> None:
    write(prefix / "conda-meta/state", json.dumps({"env_vars": {"MY VAR": "x", "A": "it's\n2"}}))
    hook(prefix, "b.sh", 'export ORDER="$ORDER b"; export SEEN="$A"\n')
    hook(prefix, "a.sh", 'export ORDER="$ORDER a"\n')
    hook(prefix, "c.fish", "exit 3\n")
    done = activated(prefix)
    assert done.outcome is Outcome.COMPLETED and done.failed_script is None
    environ = done.environ
    assert environ["CONDA_PREFIX"] == str(prefix) and environ["CONDA_DEFAULT_ENV"] == "tf"
    assert environ["PATH"] == f"{prefix}/bin:{SESSION['PATH']}"
    assert environ["ORDER"] == " a b"
    assert environ["SEEN"] == "it's\n2"
    assert done.base == SESSION


def test_the_shell_reads_no_startup_file(prefix: Path, tmp_path: Path) -> None:
    startup = tmp_path / "startup.sh"
    startup.write_text("export FROM_STARTUP=1\n", encoding="utf-8")
    assert "FROM_STARTUP" not in activated(prefix, BASH_ENV=str(startup)).environ


def test_a_hook_whose_command_fails_is_named(prefix: Path) -> None:
    hook(prefix, "a.sh", "export A=1\n")
    path = hook(prefix, "b.sh", "no-such-command-anywhere\n")
    hook(prefix, "c.sh", "export C=1\n")
    done = activated(prefix)
    assert done.outcome is Outcome.COMPLETED
    assert done.failed_script == str(path)
    assert "no-such-command-anywhere" in done.messages[0]
    assert done.environ["A"] == done.environ["C"] == "1"


def test_a_hook_with_a_syntax_error_is_named(prefix: Path) -> None:
    path = hook(prefix, "a.sh", "if true; then\n")
    done = activated(prefix)
    assert done.failed_script == str(path)
    assert "syntax error" in " ".join(done.messages)


@pytest.mark.parametrize(
    "text",
    [
        '[ -n "$NOT_SET" ] && export A=1\n',
        'test -d /nowhere && export LD_LIBRARY_PATH="/nowhere:$LD_LIBRARY_PATH"\n',
        "grep -q nothing /dev/null\n",
    ],
)
def test_a_hook_that_ends_in_a_test_that_is_false_has_not_failed(prefix: Path, text: str) -> None:
    """Hooks of packages end so; conda does not look at their exit status."""
    hook(prefix, "a.sh", text)
    done = activated(prefix)
    assert (done.outcome, done.failed_script) == (Outcome.COMPLETED, None)


def test_a_hook_that_ends_the_shell_is_named(prefix: Path) -> None:
    hook(prefix, "a.sh", "export A=1\n")
    path = hook(prefix, "b.sh", "exit 0\n")
    hook(prefix, "c.sh", "export C=1\n")
    done = activated(prefix)
    assert (done.outcome, done.failed_script) == (Outcome.FAILED, str(path))
    assert not done.environ and done.base == SESSION


def test_a_hook_that_hangs_is_stopped_and_named(prefix: Path) -> None:
    path = hook(prefix, "a.sh", "echo waiting >&2; read -r line < /dev/tty || tail -f /dev/null\n")
    done = activate(described(prefix), SESSION, deadline=0.5)
    assert (done.outcome, done.failed_script) == (Outcome.TIMED_OUT, str(path))
    assert "waiting" in done.messages


def test_what_a_hook_prints_is_no_variable(prefix: Path) -> None:
    hook(prefix, "a.sh", "echo A=1; printf 'B=2\\0C=3\\0'; echo to the user >&2; env\n")
    done = activated(prefix)
    assert done.outcome is Outcome.COMPLETED
    assert not {"A", "B", "C"} & done.environ.keys()
    assert done.messages == ("to the user",)


def test_a_hook_that_ruins_path_is_seen_as_it_is(prefix: Path) -> None:
    hook(prefix, "a.sh", "export PATH=/nowhere\n")
    done = activated(prefix)
    assert done.environ.get("PATH") == "/nowhere"


def test_a_hook_that_changes_folder_and_options_does_no_harm(prefix: Path) -> None:
    hook(prefix, "a.sh", "cd /; set -u; set -f; IFS=:; export A=1\n")
    hook(prefix, "b.sh", "export B=2\n")
    done = activated(prefix)
    assert done.outcome is Outcome.COMPLETED
    assert (done.environ["A"], done.environ["B"]) == ("1", "2")


def test_a_venv_is_activated_by_its_own_script(tmp_path: Path) -> None:
    prefix = venv_prefix(tmp_path / "my venv")
    write(prefix / "bin/activate", f"VIRTUAL_ENV='{prefix}'; export VIRTUAL_ENV\nexport MINE=1\n")
    done = activated(prefix)
    assert (done.environ["VIRTUAL_ENV"], done.environ["MINE"]) == (str(prefix), "1")


def test_a_prefix_that_is_neither_only_comes_first_on_path(tmp_path: Path) -> None:
    interpreter(tmp_path / "py", "3.10")
    done = activated(tmp_path / "py")
    assert done.environ["PATH"] == f"{tmp_path}/py/bin:{SESSION['PATH']}"


def test_without_any_shell_nothing_is_claimed(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = activate(described(prefix), {"PATH": "/nowhere"})
    assert done.outcome is Outcome.NOT_STARTED and done.base == {"PATH": "/nowhere"}


def test_a_shell_that_answers_nothing_is_a_fact(prefix: Path) -> None:
    done = activate(described(prefix), SESSION, runner=FailingRunner())
    assert done.outcome is Outcome.TIMED_OUT
    assert done.failed_script is None and "did not answer" in done.messages[0]


# ---- the effect, worked out from the text ------------------------------------------------------

LINES = [
    "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib:$LD_LIBRARY_PATH",
    "export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$CONDA_PREFIX/lib/",
    'export LD_LIBRARY_PATH="$CONDA_PREFIX/lib/:${LD_LIBRARY_PATH}"',
    'export LD_LIBRARY_PATH="${CONDA_PREFIX}/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"',
    "export LD_LIBRARY_PATH=$CONDA_PREFIX/lib${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}",
    "export LD_LIBRARY_PATH='/opt/$CUDA/lib'",
    "export LD_LIBRARY_PATH=/usr/local/cuda-11.2/lib64",
    "export LD_LIBRARY_PATH=/usr/local/cuda/lib64:$LD_LIBRARY_PATH  # CUDA",
    "LD_LIBRARY_PATH=/opt/lib:$LD_LIBRARY_PATH",
    "LD_LIBRARY_PATH=/opt/lib; export LD_LIBRARY_PATH",
    "export LD_LIBRARY_PATH+=:/opt/lib",
    "export CUDA_HOME=/usr/local/cuda",
    "export LD_LIBRARY_PATH=$CUDA_HOME/lib64:$LD_LIBRARY_PATH",
    "export OLD_LD_LIBRARY_PATH=$LD_LIBRARY_PATH",
    "export LD_LIBRARY_PATH=${OLD_LD_LIBRARY_PATH}",
    "export LD_LIBRARY_PATH=$HOME/lib:$LD_LIBRARY_PATH",
    "export LD_LIBRARY_PATH=~/lib:$LD_LIBRARY_PATH",
    "export LD_LIBRARY_PATH=$MINE/lib:$LD_LIBRARY_PATH",
    "export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-/default}",
    "export LD_LIBRARY_PATH=${LD_LIBRARY_PATH}:${CONDA_PREFIX%/}/lib",
    'export LD_LIBRARY_PATH="$(dirname /opt/lib/x)"',
    "unset LD_LIBRARY_PATH",
    "export A=1 LD_LIBRARY_PATH=/opt/lib",
    "export LD_LIBRARY_PATH=/opt/a\\ b/lib",
    "if [ -d /usr ]; then export LD_LIBRARY_PATH=/usr/mine; fi",
    "[ -d /nowhere ] && export LD_LIBRARY_PATH=/nowhere",
    "true; export LD_LIBRARY_PATH=/opt/after",
    "PYTHON=$(which python)",
    "export XLA_FLAGS=--xla_gpu_cuda_data_dir=$CONDA_PREFIX/lib",
    "# export LD_LIBRARY_PATH=/commented",
]
HOOK = st.lists(st.sampled_from(LINES), min_size=1, max_size=3).map("\n".join)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    texts=st.lists(HOOK, min_size=1, max_size=2),
    before=st.sampled_from([None, "/mine", "/mine:/yours"]),
    ours=st.booleans(),
)
def test_what_the_text_settles_is_what_the_shell_gives(
    prefix: Path, texts: list[str], before: str | None, ours: bool
) -> None:
    tool("bash")
    for old in (prefix / "etc/conda/activate.d").glob("*"):
        old.unlink()
    for number, text in enumerate(texts):
        hook(prefix, f"{number}.sh", text + "\n")
    if ours:
        hook(prefix, "zz-tfgpu-tray.sh", hook_texts.sh_activate(["lib", "extras/lib"]))
    session = {**SESSION, "MINE": "/srv/mine"} | ({"LD_LIBRARY_PATH": before} if before else {})
    environment = described(prefix)
    predicted = predicted_loader_path(observe_hooks(environment), environment, session)
    if predicted is not None:
        done = activate(environment, session, deadline=20)
        assert predicted == done.environ.get("LD_LIBRARY_PATH", "")


@pytest.mark.parametrize("line", LINES[:5])
def test_the_common_one_line_hooks_are_settled_by_their_text(prefix: Path, line: str) -> None:
    hook(prefix, "env_vars.sh", line + "\n")
    environment = described(prefix)
    assert predicted_loader_path(observe_hooks(environment), environment, SESSION) is not None


def test_our_own_hook_is_settled_by_its_text(prefix: Path) -> None:
    hook(prefix, "zz-tfgpu-tray.sh", hook_texts.sh_activate(["lib"]))
    environment = described(prefix)
    predicted = predicted_loader_path(observe_hooks(environment), environment, SESSION)
    assert predicted == f"{prefix}/lib"


def test_conda_variables_come_before_the_hooks(prefix: Path) -> None:
    state = {"env_vars": {"LD_LIBRARY_PATH": "/from/variables"}}
    write(prefix / "conda-meta/state", json.dumps(state))
    hook(prefix, "a.sh", "export LD_LIBRARY_PATH=/hook:$LD_LIBRARY_PATH\n")
    environment = described(prefix)
    predicted = predicted_loader_path(observe_hooks(environment), environment, SESSION)
    assert predicted == "/hook:/from/variables"
    assert activated(prefix).environ["LD_LIBRARY_PATH"] == predicted
