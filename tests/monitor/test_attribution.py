"""Who changed an environment is told in one sentence, and never more than the evidence says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes import (
    conda_prefix,
    described,
    distribution,
    elf_like,
    hook,
    record,
    site_of,
    venv_prefix,
    write,
)
from tests.needs import tool
from tfgpu_tray.model import Environment
from tfgpu_tray.monitor.attribution import Attribution, attribute
from tfgpu_tray.monitor.command_line import Command, short
from tfgpu_tray.observe.manifest import Manifest, read_manifest

NOW = datetime(2031, 5, 6, 14, 2, 30).timestamp()
SINCE = datetime(2031, 5, 6, 9, 10).timestamp()
PIP = "/envs/tf/bin/python3.10 /envs/tf/bin/pip "
CONDA = "/opt/conda/bin/python /opt/conda/bin/conda "


def command(text: str, started: float = NOW - 60) -> Command:
    return Command(tuple(text.split()), started, 42)


# ---- command lines -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("/envs/tf/bin/python3.10 /envs/tf/bin/pip install -U keras-cv", "pip install -U keras-cv"),
        ("/envs/tf/bin/python -m pip install keras", "pip install keras"),
        ("python3 -I -X utf8 -m pip install keras", "pip install keras"),
        ("/envs/tf/bin/pip3.10 install keras", "pip install keras"),
        ("sudo env A=b pip install keras", "pip install keras"),
        ("/usr/bin/uv pip install -p /envs/tf/bin/python keras", "uv pip install keras"),
        ("uv pip install --python=/envs/tf keras", "uv pip install keras"),
        (CONDA + "install -y -q -p /envs/tf --json cudnn=8.1", "conda install cudnn=8.1"),
        (CONDA + "install -n tf -c conda-forge cudnn", "conda install -c conda-forge cudnn"),
        (CONDA + "install -ntf --name=tf cudnn", "conda install cudnn"),
        ("C:\\conda\\python.exe C:\\conda\\Scripts\\conda-script.py update x", "conda update x"),
        ("C:\\envs\\tf\\Scripts\\pip.exe install keras", "pip install keras"),
        ("C:\\envs\\tf\\python.exe C:\\envs\\tf\\Scripts\\pip.exe install x", "pip install x"),
        ("C:\\Windows\\py.exe -3.10 -m pip install keras", "pip install keras"),
        ("C:\\w\\cmd.exe /d /c C:\\c\\condabin\\conda.bat update x", "conda update x"),
        ("PIP.EXE install C:\\Users\\anna\\keras-3.whl", "pip install …/keras-3.whl"),
        ("python /opt/conda/lib/conda/__main__.py remove tensorflow", "conda remove tensorflow"),
        (CONDA + "run -n tf --no-capture-output pip install -q x", "pip install x"),
        ("micromamba install --prefix /envs/tf cudnn", "micromamba install cudnn"),
        ("poetry add --no-interaction tensorflow", "poetry add tensorflow"),
        (PIP + "--disable-pip-version-check install --no-input x", "pip install x"),
        (PIP + "install -i https://host/simple x", "pip install x"),
        (PIP + "install -ihttps://host/simple x", "pip install x"),
        (PIP + "install --index-url=https://host/simple x", "pip install x"),
        (PIP + "install --extra-index https://host/simple x", "pip install x"),
        (PIP + "install -Ui https://host/key/simple x", "pip install x"),
        (PIP + "install -f https://host/wheels x", "pip install x"),
        (PIP + "install -U git+https://me:pw@host/x", "pip install -U"),
        (PIP + "install git+https://host/them/keras-cv@v1", "pip install …/keras-cv@v1"),
        (PIP + "install https://host/x-1.whl?sig=abc y", "pip install y"),
        (
            PIP + "install -r /home/anna/project/requirements.txt",
            "pip install -r …/requirements.txt",
        ),
        (CONDA + "install -c https://host/t/tk-123/main cudnn", "conda install cudnn"),
        ("python train.py install", "python"),
        ("", "a program"),
    ],
)
def test_what_was_typed_is_shown_readably(typed: str, shown: str) -> None:
    assert short(command(typed)) == shown


def test_a_long_command_line_is_cut() -> None:
    shown = short(command(PIP + "install " + " ".join(f"package-{n}" for n in range(50))))
    assert len(shown) == 120 and shown.startswith("pip install package-0 ") and shown[-1] == "…"


def test_backticks_and_line_ends_do_not_break_the_sentence() -> None:
    assert short(Command(("pip", "install", "a`b\nc\x1b[1m"), 0.0)) == "pip install a'b c [1m"


SECRET = "s3cr3t"
plain_words = st.text(max_size=12) | st.sampled_from(
    ["install", "-U", "-e", "-c", "-q", "--user", "keras", "@", "run", "--", "-", "-n", "-p", "="]
)
secret_words = st.sampled_from(
    [
        (f"https://user:{SECRET}@host/simple",),
        (f"https://{SECRET}@host/simple",),
        (f"git+https://{SECRET}:x@host/r.git@v1",),
        (f"tf @ https://u:{SECRET}@host/x.whl",),
        (f"https://u:a/{SECRET}@host",),
        (f"u:{SECRET}@host:3128",),
        (f"https://host/x.whl?sig={SECRET}",),
        (f"https://host/t/{SECRET}/main",),
        (f"https://host/{SECRET}/x.whl",),
        (f"--index-url=https://host/{SECRET}",),
        (f"--find-links=https://u:{SECRET}@host",),
        (f"-i{SECRET}",),
        (f"--token={SECRET}",),
        (f"--http-password={SECRET}",),
        ("--index-url", SECRET),
        ("--extra-index-url", SECRET),
        ("--extra-index", SECRET),
        ("--token", SECRET),
        ("-i", SECRET),
        ("-Ui", f"https://host/{SECRET}"),
        ("-f", f"https://host/{SECRET}"),
        ("--proxy", f"u:{SECRET}@host"),
    ]
)


@example(("uv", "pip"), [("-p",), ("-Ui", f"https://host/{SECRET}")])
@given(
    st.sampled_from([(), ("pip",), ("python", "-m", "pip"), ("uv", "pip")]),
    st.lists(plain_words.map(lambda w: (w,)) | secret_words, max_size=6),
)
def test_a_credential_is_never_shown(start: tuple[str, ...], parts: list[tuple[str, ...]]) -> None:
    words = (*start, "install", *(word for part in parts for word in part))
    assert SECRET not in short(Command(words, 0.0))


@given(st.lists(st.text(st.characters(codec=None), max_size=20), max_size=8))
def test_no_command_line_raises(words: list[str]) -> None:
    shown = short(Command(tuple(words), 0.0))
    assert len(shown) <= 120 and (shown.isprintable() or not shown)


# ---- sentences -----------------------------------------------------------------------------------


@dataclass
class Bench:
    """A conda environment with TensorFlow from pip, and what it held when last seen."""

    prefix: Path
    before: Manifest | None = None

    @property
    def site(self) -> Path:
        return site_of(self.prefix)

    def remember(self) -> None:
        self.before = read_manifest(self.environment)

    @property
    def environment(self) -> Environment:
        return described(self.prefix)

    def remove(self, name: str) -> None:
        """The metadata and the folder, as an uninstallation leaves it."""
        (info,) = self.site.glob(f"{name.replace('-', '_')}-[0-9]*.dist-info")
        shutil.rmtree(info)
        shutil.rmtree(self.site / name, ignore_errors=True)

    def replace(self, name: str, version: str, **content: object) -> None:
        self.remove(name)
        files = [f"{name}/__init__.py"]
        distribution(self.site, name, version, files=files, **content)  # type: ignore[arg-type]

    def ask(
        self, *commands: str | Command, watched: bool = True, since: float = SINCE
    ) -> Attribution:
        seen = [c if isinstance(c, Command) else command(c) for c in commands]
        after, environment = read_manifest(self.environment), self.environment
        found = attribute(
            self.before, after, environment, seen, since=since, now=NOW, watched=watched
        )
        assert found is not None
        return found

    def who(self, *commands: str | Command, watched: bool = True) -> tuple[str, str]:
        found = self.ask(*commands, watched=watched)
        return found.actor, found.sentence


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    prefix = conda_prefix(tmp_path / "tf")
    for name, version in (("tensorflow", "2.10.1"), ("numpy", "1.23.5"), ("keras", "2.10.0")):
        distribution(site_of(prefix), name, version, files=[f"{name}/__init__.py"])
    distribution(site_of(prefix), "requests", "2.31.0")
    record(prefix, "cudatoolkit", "11.2.2", "h_10", files=["lib/libcudart.so.11.0"])
    record(prefix, "cudnn", "8.1.0.77", "h_0", files=["lib/libcudnn.so.8"])
    elf_like(prefix / "lib" / "libcudnn.so.8")
    elf_like(prefix / "lib" / "libcudart.so.11.0")
    hook(prefix, "env_vars.sh", "export A=1\n")
    found = Bench(prefix)
    found.remember()
    return found


def test_nothing_before_or_nothing_changed_is_nothing_to_tell(bench: Bench) -> None:
    after = read_manifest(bench.environment)
    for before in (None, after):
        found = attribute(before, after, bench.environment, [], since=SINCE, now=NOW, watched=True)
        assert found is None


def test_a_command_that_was_seen(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1", requested=True)
    bench.replace("keras", "2.15.0")
    found = bench.ask(PIP + "install -U tensorflow")
    assert found == Attribution(
        "`pip install -U tensorflow` replaced tensorflow 2.10.1 with 2.15.1 at 14:02",
        ("tensorflow 2.10.1 → 2.15.1", "keras 2.10.0 → 2.15.0"),
        "pip",
    )


def test_a_dependency_pulled_it_in(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    distribution(
        bench.site, "keras-cv", "0.9", requested=True, requires=["tensorflow<3,>=2.11", "numpy"]
    )
    assert bench.who(PIP + "install -U keras-cv") == (
        "pip",
        "`pip install -U keras-cv` replaced tensorflow 2.10.1 with 2.15.1 at 14:02, "
        "because keras-cv 0.9 requires tensorflow>=2.11,<3",
    )


@pytest.mark.parametrize(
    "requires",
    [
        ["tensorflow>=2.9"],  # the old one would have done
        ["tensorflow-text>=2.11"],
        ['tensorflow>=2.11; extra == "tf"'],
        ['tensorflow>=2.11; python_version < "3.8"'],
        ["tensorflow >>= nonsense"],
        [],
    ],
)
def test_what_did_not_force_it_is_not_blamed(requires: list[str], bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    distribution(bench.site, "keras-cv", "0.9", requires=requires)
    assert bench.who(PIP + "install -U keras-cv")[1].endswith("with 2.15.1 at 14:02")


def test_who_asked_for_it_is_told_no_reason(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1", requested=True)
    distribution(bench.site, "keras-cv", "0.9", requires=["tensorflow>=2.11"])
    for typed in ("install tensorflow keras-cv", "install -r requirements.txt"):
        assert "because" not in bench.who(PIP + typed)[1]


def test_uv_marks_dependencies_as_requested_too(bench: Bench) -> None:
    """So only its command line tells; a list of requirements may have named it."""
    bench.replace("tensorflow", "2.15.1", installer="uv", requested=True)
    distribution(bench.site, "keras-cv", "0.9", installer="uv", requires=["tensorflow>=2.11"])
    because = ", because keras-cv 0.9 requires tensorflow>=2.11"
    assert bench.who("uv pip install keras-cv")[1].endswith(f"2.15.1 at 14:02{because}")
    for typed in ("uv pip install -r list.txt", "uv sync", "uv pip install keras-cv tensorflow"):
        assert bench.who(typed)[1].endswith("2.15.1 at 14:02")
    assert bench.who()[1].endswith("2.15.1 at 14:02")


def test_a_tensorflow_that_came_beside_another(bench: Bench) -> None:
    distribution(bench.site, "tensorflow-cpu", "2.11.0")
    distribution(bench.site, "plugin", "1.0", requires=["tensorflow-cpu"])
    assert bench.who(PIP + "install plugin")[1] == (
        "`pip install plugin` installed tensorflow-cpu 2.11.0 beside tensorflow 2.10.1 at 14:02, "
        "because plugin 1.0 requires tensorflow-cpu"
    )


def test_a_tensorflow_that_went_and_took_the_files_of_another(bench: Bench) -> None:
    distribution(bench.site, "tensorflow-cpu", "2.10.1")
    bench.remember()
    bench.remove("tensorflow-cpu")
    shutil.rmtree(bench.site / "tensorflow")
    assert bench.who(PIP + "uninstall -y tensorflow-cpu")[1] == (
        "`pip uninstall tensorflow-cpu` removed tensorflow-cpu 2.10.1 "
        "and with it the files of tensorflow 2.10.1 at 14:02"
    )


def test_conda_replaced_a_build(bench: Bench) -> None:
    record(bench.prefix, "tensorflow-base", "2.10.0", "cuda112")
    bench.remember()
    (bench.prefix / "conda-meta" / "tensorflow-base-2.10.0-cuda112.json").unlink()
    record(bench.prefix, "tensorflow-base", "2.10.0", "cpu_0")
    assert bench.who(CONDA + "install -y tensorflow-cpu") == (
        "conda",
        "`conda install tensorflow-cpu` replaced tensorflow-base 2.10.0 (cuda112) "
        "with 2.10.0 (cpu_0) at 14:02",
    )


HISTORY = """==> 2031-05-06 08:00:00 <==
# cmd: /opt/conda/bin/conda install -p /envs/tf too-old
-defaults::cudnn-8.1.0.77-h_0
==> 2031-05-06 11:15:00 <==
# cmd: /opt/conda/bin/conda install -p /envs/tf --json -y cudnn=8.9
# conda version: 26.7.0
-defaults::cudnn-8.1.0.77-h_0
+defaults::cudnn-8.9.2-h_0
# update specs: ['cudnn=8.9']
==> 2031-05-06 12:00:00 <==
# cmd: /opt/conda/bin/conda install zlib
+defaults::zlib-1.3-h_0
==> not a time <==
# cmd: /opt/conda/bin/conda install cudnn
+defaults::cudnn-8.9.2-h_0
"""


def test_condas_history_tells_when_nobody_watched(bench: Bench) -> None:
    (bench.prefix / "conda-meta" / "cudnn-8.1.0.77-h_0.json").unlink()
    record(bench.prefix, "cudnn", "8.9.2", "h_0")
    write(bench.prefix / "conda-meta" / "history", HISTORY)
    wanted = "`conda install cudnn=8.9` replaced cudnn 8.1.0.77 with 8.9.2 at 11:15"
    for watched in (True, False):
        assert bench.who(watched=watched) == ("conda", wanted)
    # What was seen at work goes before what is written down.
    assert bench.who("mamba update --all")[1].startswith("`mamba update --all` replaced cudnn")


def test_records_of_conda_that_no_history_names_are_nobodys(bench: Bench) -> None:
    """pixi and rattler write none."""
    write(bench.prefix / "conda-meta" / "history", HISTORY.replace("cudnn-", "nccl-"))
    (bench.prefix / "conda-meta" / "cudnn-8.1.0.77-h_0.json").unlink()
    assert bench.who(watched=False) == (
        "unknown",
        "cudnn 8.1.0.77 was removed between 09:10 and 14:02; by whom is not known",
    )


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("/opt/my conda/bin/conda", "conda"),
        ("C:\\Users\\an na\\Scripts\\conda-script.py", "conda"),
        ("/opt/conda/lib/python3.10/site-packages/conda/__main__.py", "conda"),
        ("/home/u/bin/micromamba", "micromamba"),
        ("mamba", "mamba"),
    ],
)
def test_every_spelling_in_a_history_is_understood(path: str, typed: str, bench: Bench) -> None:
    record(bench.prefix, "cudnn", "8.9.2", "h_0")
    (bench.prefix / "conda-meta" / "cudnn-8.1.0.77-h_0.json").unlink()
    text = f"==> 2031-05-06 11:15:00 <==\n# cmd: {path} update --all\n+cudnn-8.9.2-h_0\n"
    write(bench.prefix / "conda-meta" / "history", text)
    actor, sentence = bench.who()
    assert actor == typed and sentence.startswith(f"`{typed} update --all` replaced cudnn")


def test_a_history_of_windows_is_understood(bench: Bench) -> None:
    """Its lines end in two characters, and a prefix with a blank stands there without quotes."""
    (bench.prefix / "conda-meta" / "cudnn-8.1.0.77-h_0.json").unlink()
    shouted = str(bench.prefix).upper()
    text = f"# cmd: C:\\Users\\an na\\Scripts\\conda-script.py remove -p {shouted} cudnn"
    lines = ["==> 2031-05-06 11:15:00 <==", text, "-cudnn-8.1.0.77-h_0", ""]
    write(bench.prefix / "conda-meta" / "history", "\r\n".join(lines))
    assert bench.who()[1] == "`conda remove cudnn` removed cudnn 8.1.0.77 at 11:15"


def test_uv_is_told_by_its_name(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1", installer="uv")
    sentence = "replaced tensorflow 2.10.1 with 2.15.1 at 14:02"
    assert bench.who("uv pip install -U tensorflow") == (
        "uv",
        f"`uv pip install -U tensorflow` {sentence}",
    )
    # A pip that was at work at the same time cannot have signed as uv.
    assert bench.who(PIP + "install requests") == ("uv", f"uv {sentence}")


@pytest.mark.parametrize("watched", [True, False])
def test_what_signed_as_pip_was_pip(watched: bool, bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    when = "at 14:02" if watched else "between 09:10 and 14:02"
    sentence = f"pip replaced tensorflow 2.10.1 with 2.15.1 {when}"
    assert bench.who(watched=watched) == ("pip", sentence)


def test_the_disk_tells_when_it_was(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    (info,) = bench.site.glob("tensorflow-*.dist-info")
    moment = datetime(2031, 5, 6, 11, 30).timestamp()
    os.utime(info, (moment, moment))
    assert bench.who(watched=False)[1].endswith("with 2.15.1 at 11:30")


def test_a_removal_is_pips_where_pip_installed_something_then(bench: Bench) -> None:
    bench.remove("tensorflow")
    distribution(bench.site, "torch", "2.5")
    assert bench.who() == ("pip", "pip removed tensorflow 2.10.1 at 14:02")
    assert bench.who(watched=False)[0] == "unknown"  # that may have been hours later


def test_a_distribution_of_conda_is_told_by_the_history(bench: Bench) -> None:
    """Its name need not be that of conda's package."""
    bench.replace("tensorflow", "2.11.0", installer="conda")
    record(bench.prefix, "tensorflow-base", "2.11.0", "h_0")
    text = "==> 2031-05-06 11:15:00 <==\n# cmd: /c/bin/mamba update -y --all\n"
    write(bench.prefix / "conda-meta" / "history", text)
    assert bench.who()[0] == "unknown"  # that section moved nothing
    write(bench.prefix / "conda-meta" / "history", f"{text}+c/l::tensorflow-base-2.11.0-h_0\n")
    assert bench.who() == (
        "mamba",
        "`mamba update --all` replaced tensorflow 2.10.1 with 2.11.0 at 11:15",
    )


def test_a_removal_that_took_the_command_along_was_a_package_managers(bench: Bench) -> None:
    script = write(bench.prefix / "bin" / "saved_model_cli")
    bench.remember()
    bench.remove("tensorflow")
    assert bench.who(watched=False) == (
        "hand",
        "tensorflow 2.10.1 was deleted between 09:10 and 14:02, not by a package manager",
    )
    script.unlink()
    assert bench.who() == ("pip", "pip removed tensorflow 2.10.1 at 14:02")


@pytest.mark.parametrize("typed", ["uninstall -y tensorflow", "uninstall -y -r list.txt"])
def test_an_uninstallation_is_no_interruption(typed: str, bench: Bench) -> None:
    bench.remove("tensorflow")
    _, sentence = bench.who(PIP + typed)
    assert sentence.endswith("` removed tensorflow 2.10.1 at 14:02")


def test_files_gone_under_their_records_were_deleted_by_hand(bench: Bench) -> None:
    shutil.rmtree(bench.site / "tensorflow")
    sentence = "tensorflow 2.10.1 was deleted at 14:02, not by a package manager"
    assert bench.who() == ("hand", sentence)
    assert bench.who(PIP + "install requests") == ("hand", sentence)
    assert "between 09:10 and 14:02, not by" in bench.who(watched=False)[1]


def test_files_that_came_back(bench: Bench) -> None:
    shutil.rmtree(bench.site / "tensorflow")
    bench.remember()
    write(bench.site / "tensorflow" / "__init__.py")
    assert bench.who(PIP + "install --force-reinstall tensorflow")[1] == (
        "`pip install --force-reinstall tensorflow` brought the files of tensorflow 2.10.1 back "
        "at 14:02"
    )
    assert bench.who() == ("unknown", "tensorflow 2.10.1 came back at 14:02; by whom is not known")


def test_all_of_it_gone_while_nobody_was_at_work(bench: Bench) -> None:
    bench.remove("tensorflow")
    assert bench.who() == (
        "hand",
        "tensorflow 2.10.1 was deleted at 14:02, not by a package manager",
    )


def test_what_nothing_tells_is_not_known(bench: Bench) -> None:
    bench.remove("tensorflow")
    assert bench.who(watched=False) == (
        "unknown",
        "tensorflow 2.10.1 was removed between 09:10 and 14:02; by whom is not known",
    )


def test_another_day_is_named(bench: Bench) -> None:
    bench.remove("tensorflow")
    found = bench.ask(watched=False, since=SINCE - 86400)
    assert "between 2031-05-05 09:10 and 14:02;" in found.sentence


def test_libraries_that_their_package_still_claims(bench: Bench) -> None:
    (bench.prefix / "lib" / "libcudnn.so.8").unlink()
    sentence = "libcudnn.so.8 of cudnn 8.1.0.77 was deleted at 14:02, not by a package manager"
    assert bench.who() == ("hand", sentence)
    assert bench.who(PIP + "install requests") == ("hand", sentence)
    (bench.prefix / "lib" / "libcudart.so.11.0").unlink()
    assert bench.who()[1].startswith("libcudart.so.11.0 and 1 more of cudatoolkit 11.2.2 were del")


def test_libraries_of_a_wheel(bench: Bench) -> None:
    distribution(bench.site, "nvidia-cuda-runtime-cu11", "11.8.89")
    path = elf_like(bench.site / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.11.0")
    bench.remember()
    path.unlink()
    wanted = "libcudart.so.11.0 of nvidia-cuda-runtime-cu11 11.8.89 was deleted at 14:02, not by"
    assert bench.who()[1].startswith(wanted)


@pytest.mark.parametrize(
    ("change", "verb"),
    [
        (lambda path: path.unlink(), "deleted"),
        (lambda path: path.write_text("export B=22\n"), "changed"),
        (lambda path: write(path.with_name("z.sh")), "added"),
    ],
)
def test_hooks(change: Callable[[Path], object], verb: str, bench: Bench) -> None:
    change(bench.prefix / "etc" / "conda" / "activate.d" / "env_vars.sh")
    name = "z.sh" if verb == "added" else "env_vars.sh"
    wanted = ("hand", f"the hook {name} was {verb} at 14:02, not by a package manager")
    assert bench.who() == wanted
    assert bench.who(PIP + "install keras") == wanted
    assert bench.who(CONDA + "install zlib") == wanted  # it brought nothing that owns hooks


def test_a_hook_that_came_with_a_package(bench: Bench) -> None:
    hook(bench.prefix, "zlib.sh", "")
    record(bench.prefix, "zlib", "1.3", "h_0")
    assert bench.who(CONDA + "install zlib") == (
        "conda",
        "`conda install zlib` added the hook zlib.sh at 14:02",
    )
    assert bench.who()[0] == "unknown"


def test_another_python(tmp_path: Path) -> None:
    bench = Bench(venv_prefix(tmp_path / "venv"))
    bench.remember()
    venv_prefix(bench.prefix, "3.11")
    wanted = "python 3.10 was replaced with 3.11 at 14:02; by whom is not known"
    assert bench.who() == ("unknown", wanted)
    assert bench.who(PIP + "install keras") == ("unknown", wanted)
    assert bench.who("uv sync")[1] == "`uv sync` replaced python 3.10 with 3.11 at 14:02"


def test_a_python_that_is_gone(tmp_path: Path) -> None:
    bench = Bench(venv_prefix(tmp_path / "venv"))
    bench.remember()
    python = bench.prefix / "bin" / "python"
    python.unlink()
    assert bench.who() == ("hand", "python 3.10 was deleted at 14:02, not by a package manager")
    python.symlink_to("/nonexistent/python3.10")  # what it was made from is gone
    assert bench.who() == ("unknown", "python 3.10 was removed at 14:02; by whom is not known")


@pytest.mark.parametrize(
    ("typed", "done"),
    [
        ("/x/bin/python /x/bin/tfgpu-tray repair --yes", "repaired the environment"),
        ("python -m tfgpu_tray undo", "took a repair back"),
        ("tfgpu-tray --json install tf", "set the environment up"),
    ],
)
def test_what_we_did_is_told_as_ours(typed: str, done: str, bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    assert bench.who(PIP + "install tensorflow==2.15.1", typed) == (
        "tfgpu-tray",
        f"tfgpu-tray {done} at 14:02: tensorflow 2.10.1 → 2.15.1",
    )


def test_the_pip_of_our_own_environment_is_not_us(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    assert bench.who("/envs/tfgpu-tray/bin/pip install tensorflow")[0] == "pip"


def test_an_installation_that_was_killed(bench: Bench) -> None:
    bench.remove("tensorflow")
    gone = "was interrupted: tensorflow 2.10.1 is gone"
    typed = PIP + "install -U tensorflow"
    assert bench.who(typed) == ("pip", f"`pip install -U tensorflow` {gone}")
    assert bench.who("uv pip install -U tensorflow")[1] == f"`uv pip install -U tensorflow` {gone}"
    (bench.site / "~ensorflow").mkdir()
    assert bench.who() == ("pip", f"pip {gone}")
    # conda may remove what stands in the way.
    assert bench.who(CONDA + "install torch")[1] == (
        "`conda install torch` removed tensorflow 2.10.1 at 14:02"
    )


def test_an_installation_that_was_killed_later(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1", installer=None)
    (bench.site / "~-nsorflow-2.10.1.dist-info").mkdir()
    assert bench.who(PIP + "install -U tensorflow")[1] == (
        "`pip install -U tensorflow` was interrupted: 2.15.1 is not complete, "
        "tensorflow 2.10.1 is gone"
    )


def test_of_several_commands_the_one_that_names_it(bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    for typed in ("tensorflow==2.15.1", "./tensorflow-2.15.1-cp310-none-any.whl", "tensorflow[x]"):
        naming = command(PIP + f"install {typed}", NOW - 100)
        found = bench.who(naming, PIP + "install requests", CONDA + "install tensorflow")
        assert found[1].startswith(f"`pip install {typed}`")


@pytest.mark.parametrize(
    "typed",
    [
        "install --dry-run tensorflow",
        "install --prefix /tmp/pip-build-env-x/overlay setuptools tensorflow",
        "uninstall -y keras",
    ],
)
def test_a_command_that_cannot_have_done_it(typed: str, bench: Bench) -> None:
    bench.replace("tensorflow", "2.15.1")
    assert bench.who(PIP + typed)[1].startswith("pip replaced tensorflow")


def test_what_does_not_matter_is_counted(bench: Bench) -> None:
    for number in range(12):
        distribution(bench.site, f"aaa-{number}", "1.0")
    shutil.rmtree(bench.site / "requests-2.31.0.dist-info")
    distribution(bench.site, "requests", "2.32.0")
    found = bench.ask(PIP + "install -U requests")
    assert found.sentence == (
        "`pip install -U requests` replaced requests 2.31.0 with 2.32.0 (and 12 more) at 14:02"
    )
    bench.replace("tensorflow", "2.15.1")
    found = bench.ask(PIP + "install -U requests tensorflow")
    assert found.changes == ("tensorflow 2.10.1 → 2.15.1", "and 13 more")


def test_the_user_site_is_named(bench: Bench, tmp_path: Path) -> None:
    environment = replace(bench.environment, user_site=tmp_path / "user")
    distribution(tmp_path / "user", "numpy", "2.1.0")
    after = read_manifest(environment)
    seen = [command("/usr/bin/pip install --user numpy")]
    found = attribute(bench.before, after, environment, seen, since=SINCE, now=NOW, watched=True)
    assert found is not None
    assert found.sentence == (
        "`pip install --user numpy` installed numpy 2.1.0 in the user site at 14:02"
    )


# ---- real package managers -----------------------------------------------------------------------


def wheel(shelf: Path, name: str, version: str, requires: Iterable[str] = ()) -> None:
    """A wheel with one module, as small as a wheel can be."""
    folder = name.replace("-", "_")
    info = f"{folder}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    texts = {
        f"{folder}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    rows = [f"{path},,\n" for path in (*texts, f"{info}/RECORD")]
    shelf.mkdir(exist_ok=True)
    with zipfile.ZipFile(shelf / f"{folder}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**texts, f"{info}/RECORD": "".join(rows)}.items():
            archive.writestr(path, text)


@dataclass
class Real:
    """A venv that a real package manager changes, offline."""

    prefix: Path
    shelf: Path
    manager: tuple[str, ...]
    unseen: Attribution | None = None

    def run(self, *words: str) -> Attribution | None:
        """What is told of one command that was seen; `unseen` is what is told where it was not."""
        before, since = read_manifest(self.environment), time.time()
        argv = [*self.manager, *words]
        process = subprocess.run(argv, capture_output=True, text=True, env=self.environ)
        assert process.returncode == 0, process.stdout + process.stderr
        after, seen = read_manifest(self.environment), Command(tuple(argv), since, 42)

        def told(*commands: Command) -> Attribution | None:
            around = {"since": since - 2, "now": time.time() + 2}  # file systems round time stamps
            where = self.environment
            return attribute(before, after, where, commands, watched=False, **around)

        self.unseen = told()
        return told(seen)

    @property
    def environment(self) -> Environment:
        return described(self.prefix)

    @property
    def environ(self) -> dict[str, str]:
        mine = {n: v for n, v in os.environ.items() if not n.startswith(("PIP_", "UV_", "PYTHON"))}
        return {**mine, "PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", "UV_OFFLINE": "1"}


def real(tmp_path: Path, with_pip: bool) -> Real:
    prefix, shelf = tmp_path / "venv", tmp_path / "shelf"
    for version in ("2.10.1", "2.15.1"):
        wheel(shelf, "tensorflow", version)
    wheel(shelf, "keras-cv", "0.9", ["tensorflow>=2.11,<3"])
    pip = [] if with_pip else ["--without-pip"]
    subprocess.run([sys.executable, "-m", "venv", *pip, prefix], check=True, capture_output=True)
    return Real(prefix, shelf, (str(prefix / "bin" / "python"), "-m", "pip"))


def test_the_real_pip(tmp_path: Path) -> None:
    venv = real(tmp_path, with_pip=True)
    offline = ("--no-index", "--find-links", str(venv.shelf), "-q")
    found = venv.run("install", *offline, "tensorflow==2.10.1")
    assert found is not None and found.changes == ("tensorflow 2.10.1 installed",)

    found = venv.run("install", "-U", "keras-cv", *offline)
    assert found is not None and found.actor == "pip"
    start, _, end = found.sentence.partition(" at ")
    assert start.startswith("`pip install -U keras-cv --no-index --find-links …/shelf`")
    assert start.endswith("replaced tensorflow 2.10.1 with 2.15.1")
    assert end[5:] == ", because keras-cv 0.9 requires tensorflow>=2.11,<3"
    assert venv.unseen is not None and venv.unseen.actor == "pip"
    assert venv.unseen.sentence == f"pip replaced tensorflow 2.10.1 with 2.15.1 at {end}"

    found = venv.run("install", "--force-reinstall", "--no-deps", "tensorflow==2.10.1", *offline)
    assert found is not None and "because" not in found.sentence
    assert "replaced tensorflow 2.15.1 with 2.10.1 at " in found.sentence
    assert venv.run("install", *offline, "tensorflow==2.10.1") is None

    found = venv.run("uninstall", "-y", "tensorflow")
    assert found is not None
    assert found.sentence.startswith("`pip uninstall tensorflow` removed tensorflow 2.10.1 at ")
    assert venv.unseen is not None and venv.unseen.actor == "unknown"


def test_the_real_uv(tmp_path: Path) -> None:
    venv = real(tmp_path, with_pip=False)
    venv.manager = (tool("uv"), "pip")
    where = ("--python", str(venv.prefix / "bin" / "python"), "-q")
    offline = (*where, "--no-index", "--find-links", str(venv.shelf))
    venv.run("install", *offline, "tensorflow==2.10.1")
    found = venv.run("install", "-U", "keras-cv", *offline)
    assert found is not None and found.actor == "uv"
    start, _, end = found.sentence.partition(" at ")
    assert start.startswith("`uv pip install -U keras-cv --no-index --find-links …/shelf`")
    assert end[5:] == ", because keras-cv 0.9 requires tensorflow>=2.11,<3"
    assert venv.unseen is not None and venv.unseen.actor == "uv"
    assert venv.unseen.sentence == f"uv replaced tensorflow 2.10.1 with 2.15.1 at {end[:5]}"


# ---- weight --------------------------------------------------------------------------------------


def test_it_stays_light() -> None:
    """A daemon that stays for weeks carries it."""
    heavy = ["packaging", "psutil", "yaml", "elftools", "sqlite3", "tfgpu_tray.knowledge"]
    code = (
        "import json, sys, tfgpu_tray.monitor.attribution\n"
        f"print(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(printed.stdout) == [], printed.stderr
