"""What an environment holds is read from names, compared, kept and read back."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
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
from tfgpu_tray.model import Environment, Kind
from tfgpu_tray.observe.manifest import (
    Installed,
    Manifest,
    differences,
    from_json,
    installer,
    matters,
    metadata_folders,
    read_manifest,
    requirements,
    to_json,
)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    prefix = conda_prefix(tmp_path / "tf")
    site = site_of(prefix)
    distribution(site, "tensorflow", "2.10.1", files=["tensorflow/__init__.py"])
    distribution(site, "numpy", "1.23.5", installer="conda", files=["numpy/__init__.py"])
    distribution(site, "requests", "2.31.0")
    record(prefix, "cudatoolkit", "11.2.2", "hbe64b41_10")
    record(prefix, "python", "3.10.13", "h_0")
    hook(prefix, "env_vars.sh", "export A=1\n")
    return prefix


def read(prefix: Path) -> Manifest:
    return read_manifest(described(prefix))


def told(before: Manifest, after: Manifest) -> list[str]:
    return [str(change) for change in differences(before, after)]


# ---- taking one ----------------------------------------------------------------------------------


def test_names_tell_what_is_held(prefix: Path) -> None:
    held = read(prefix)
    assert held.distributions == {
        "tensorflow": Installed("2.10.1", "pip"),
        "numpy": Installed("1.23.5", "conda"),
        "requests": Installed("2.31.0", None),  # INSTALLER is only read for what matters
    }
    assert held.conda == {"cudatoolkit": ("11.2.2", "hbe64b41_10"), "python": ("3.10.13", "h_0")}
    assert [(name, size) for name, (size, _) in held.hooks.items()] == [("env_vars.sh", 11)]
    assert held.folders == ("numpy", "tensorflow")
    assert (held.python, held.script, held.leftovers, held.user) == ("3.10", False, (), {})


def test_leftovers_of_pip_are_no_distributions(prefix: Path) -> None:
    site = site_of(prefix)
    (site / "~ensorflow-2.9.0.dist-info").mkdir()
    (site / "~ensorflow").mkdir()
    held = read(prefix)
    assert held.distributions["tensorflow"].version == "2.10.1"
    assert len(held.distributions) == 3
    assert held.leftovers == ("~ensorflow", "~ensorflow-2.9.0.dist-info")


def test_the_user_site_is_apart(prefix: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    distribution(user, "tensorflow-cpu", "2.15.0")
    held = read_manifest(replace(described(prefix), user_site=user))
    assert held.user == {"tensorflow-cpu": Installed("2.15.0", "pip")}
    assert "tensorflow-cpu" not in held.distributions


@pytest.mark.parametrize(
    "name",
    ["lib/libcudnn.so.8", "lib/libcudart.so.11.0", "Library/bin/cudnn64_8.dll"],
)
def test_libraries_of_cuda_are_seen(name: str, prefix: Path) -> None:
    elf_like(prefix / name)
    assert read(prefix).libraries == (name,)
    (prefix / name).unlink()
    (prefix / name).symlink_to("gone")
    assert read(prefix).libraries == ()


def test_libraries_of_wheels_are_seen_and_others_are_not(prefix: Path) -> None:
    elf_like(site_of(prefix) / "nvidia" / "cudnn" / "lib" / "libcudnn.so.8")
    for name in ("libcurl.so.4", "libcudnn.so", "libcudart.so.11.2.152", "libz.so.1"):
        elf_like(prefix / "lib" / name)
    assert read(prefix).libraries == ("nvidia/cudnn/lib/libcudnn.so.8",)


def test_of_two_distributions_of_one_name_the_newer_counts(prefix: Path) -> None:
    site = site_of(prefix)
    newer = distribution(site, "tensorflow", "2.9.0")
    os.utime(newer, ns=(2**62, 2**62))
    assert metadata_folders(site)["tensorflow"] == ("2.9.0", str(newer))
    os.utime(newer, ns=(0, 0))
    assert metadata_folders(site)["tensorflow"][0] == "2.10.1"


def test_an_environment_without_anything_is_an_empty_manifest(tmp_path: Path) -> None:
    assert read_manifest(Environment(tmp_path / "nothing", Kind.SYSTEM)) == Manifest()


def test_metadata_is_read_where_it_is_asked_for(prefix: Path) -> None:
    info = distribution(
        site_of(prefix),
        "keras-cv",
        "0.9.0",
        installer="Poetry 1.8.2",
        requires=["tensorflow>=2.11", 'nvidia-cudnn-cu12; extra == "gpu"', "numpy"],
    )
    assert requirements(str(info)) == ["tensorflow>=2.11", "numpy"]
    assert installer(str(info)) == "poetry"
    shutil.rmtree(info)
    assert requirements(str(info)) == [] and installer(str(info)) is None


# ---- comparing two -------------------------------------------------------------------------------


def test_the_same_twice_is_no_difference(prefix: Path) -> None:
    assert differences(read(prefix), read(prefix)) == []


def test_what_matters_most_comes_first(prefix: Path) -> None:
    before = read(prefix)
    site = site_of(prefix)
    for info in site.glob("*.dist-info"):
        shutil.rmtree(info)
    distribution(site, "aaa", "1")
    distribution(site, "keras", "2.15.0")
    distribution(site, "numpy", "1.26.4")
    distribution(site, "nvidia-cudnn-cu12", "8.9")
    distribution(site, "tensorflow", "2.15.1")
    record(prefix, "cudnn", "8.1.0.77", "h_0")
    hook(prefix, "env_vars.sh", "export A=12\n")
    found = differences(before, read(prefix))
    assert [str(c) for c in found] == [
        "tensorflow 2.10.1 → 2.15.1",
        "cudnn 8.1.0.77 installed",
        "nvidia-cudnn-cu12 8.9 installed",
        "numpy 1.23.5 → 1.26.4",
        "keras 2.15.0 installed",
        "hook env_vars.sh changed",
        "requests 2.31.0 removed",
        "aaa 1 installed",
    ]
    assert [matters(c) for c in found] == [True] * 6 + [False] * 2


def test_one_tensorflow_for_another_is_one_difference(prefix: Path) -> None:
    before = read(prefix)
    shutil.rmtree(site_of(prefix) / "tensorflow-2.10.1.dist-info")
    distribution(site_of(prefix), "tensorflow-cpu", "2.10.1")
    assert told(before, read(prefix)) == ["tensorflow 2.10.1 → tensorflow-cpu 2.10.1"]


def test_a_package_of_conda_and_its_distribution_are_one_difference(prefix: Path) -> None:
    before = read(prefix)
    record(prefix, "keras", "2.10.0", "h_0")
    distribution(site_of(prefix), "keras", "2.10.0", installer="conda")
    assert told(before, read(prefix)) == ["keras 2.10.0 installed"]


def test_another_build_is_told_by_its_build(prefix: Path) -> None:
    record(prefix, "tensorflow-base", "2.10.0", "cuda112py310h_0")
    before = read(prefix)
    (prefix / "conda-meta" / "tensorflow-base-2.10.0-cuda112py310h_0.json").unlink()
    record(prefix, "tensorflow-base", "2.10.0", "cpu_py310h_0")
    (change,) = differences(before, read(prefix))
    assert str(change) == "tensorflow-base 2.10.0 (cuda112py310h_0) → 2.10.0 (cpu_py310h_0)"
    assert matters(change)


def test_records_whose_files_are_gone(prefix: Path) -> None:
    before = read(prefix)
    shutil.rmtree(site_of(prefix) / "tensorflow")
    after = read(prefix)
    assert told(before, after) == ["files of tensorflow 2.10.1 deleted"]
    assert told(after, before) == ["files of tensorflow 2.10.1 back"]


def test_libraries_that_went_are_one_difference(prefix: Path) -> None:
    for name in ("libcudnn.so.8", "libcudnn_ops_infer.so.8"):
        elf_like(prefix / "lib" / name)
    before = read(prefix)
    after = replace(before, libraries=())
    assert told(before, after) == ["libcudnn.so.8 and 1 more deleted"]
    without = replace(after, conda={"python": ("3.10.13", "h_0")})
    assert told(before, without) == ["cudatoolkit 11.2.2 removed"]


def test_what_could_not_be_read_is_not_taken_for_gone(prefix: Path) -> None:
    before = read(prefix)
    site = site_of(prefix)
    environment = described(prefix)
    shutil.rmtree(site)
    site.symlink_to(site)  # listing it fails, and not because it is missing
    after = read_manifest(environment)
    assert not after.complete and after.distributions == {}
    assert differences(before, after) == [] == differences(after, before)


def test_another_python_has_another_site(tmp_path: Path) -> None:
    prefix = venv_prefix(tmp_path / "venv")
    distribution(site_of(prefix), "tensorflow", "2.10.1")
    before = read(prefix)
    venv_prefix(prefix, "3.11")
    after = read(prefix)
    assert after.distributions == {}
    assert told(before, after) == ["python 3.10 → 3.11"]


def test_a_python_that_is_gone(tmp_path: Path) -> None:
    prefix = venv_prefix(tmp_path / "venv")
    before = read(prefix)
    (prefix / "bin" / "python").unlink()
    assert told(before, read(prefix)) == ["python 3.10 removed"]


# ---- keeping one ---------------------------------------------------------------------------------

names = st.text(max_size=8)
installed = st.builds(Installed, names, st.none() | names)
numbers = st.integers(0, 2**63)
manifests = st.builds(
    Manifest,
    distributions=st.dictionaries(names, installed, max_size=3),
    user=st.dictionaries(names, installed, max_size=2),
    conda=st.dictionaries(names, st.tuples(names, names), max_size=3),
    hooks=st.dictionaries(names, st.tuples(numbers, numbers), max_size=2),
    folders=st.lists(names, max_size=2).map(tuple),
    libraries=st.lists(names, max_size=2).map(tuple),
    leftovers=st.lists(names, max_size=2).map(tuple),
    script=st.booleans(),
    python=st.none() | names,
    complete=st.booleans(),
)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(manifests)
def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    assert from_json(to_json(manifest)) == manifest


@given(st.text() | data.map(json.dumps))
def test_what_is_not_a_manifest_is_none(text: str) -> None:
    assert from_json(text) is None


@given(manifests, st.sampled_from([f.name for f in fields(Manifest)]), data)
def test_a_damaged_manifest_never_raises(manifest: Manifest, name: str, value: object) -> None:
    content = json.loads(to_json(manifest))
    content[name] = value
    found = from_json(json.dumps(content))
    assert found is None or isinstance(found, Manifest)
    del content[name]
    assert from_json(json.dumps(content)) is None


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 0},
        {"distributions": {"tensorflow": "ab"}},
        {"distributions": {"tensorflow": ["2.10.1", 0]}},
        {"folders": "tensorflow"},
        {"hooks": {"a.sh": [1, True]}},
        {"script": 1},
        {"python": 3.1},
    ],
)
def test_values_of_other_types_are_none(damage: dict[str, object]) -> None:
    assert from_json(json.dumps({**json.loads(to_json(Manifest())), **damage})) is None


def test_endless_nesting_is_none() -> None:
    assert from_json("[" * 100_000) is None


def test_of_a_real_environment_every_field_survives(prefix: Path) -> None:
    write(prefix / "bin" / "saved_model_cli")
    held = read(prefix)
    assert held.script and from_json(to_json(held)) == held
