"""Which distributions are there, from metadata alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import conda_prefix, described, distribution, site_of, write
from tfgpu_tray.knowledge.providers import providers
from tfgpu_tray.model import Environment, Packages
from tfgpu_tray.observe.packages import holds_tensorflow, observe_packages


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    found = described(conda_prefix(tmp_path / "tf"))
    return replace(found, user_site=tmp_path / "user" / "site-packages")


@pytest.fixture
def site(environment: Environment) -> Path:
    return site_of(environment.prefix)


@pytest.fixture
def user(environment: Environment) -> Path:
    assert environment.user_site is not None
    environment.user_site.mkdir(parents=True)
    return environment.user_site


def seen(environment: Environment) -> Packages:
    return observe_packages(environment, providers())


def test_an_empty_environment(environment: Environment) -> None:
    assert seen(environment) == Packages()


def test_what_matters_is_told_apart_from_the_rest(environment: Environment, site: Path) -> None:
    distribution(site, "tensorflow", "2.10.1", files=["tensorflow/__init__.py"])
    distribution(site, "numpy", "1.26.4")
    distribution(site, "nvidia-cudnn-cu11", "8.6.0.163")
    distribution(site, "requests", "2.32.0")
    found = seen(environment)
    assert [(d.name, d.version) for d in found.tensorflow] == [("tensorflow", "2.10.1")]
    assert sorted(d.name for d in found.related) == ["numpy", "nvidia-cudnn-cu11"]
    assert (found.count, found.shadowing, found.leftovers) == (4, (), ())
    assert found.effective is not None and found.effective.folder == site


@pytest.mark.parametrize(
    "folder, name",
    [
        ("tensorflow_cpu-2.10.1.dist-info", "tensorflow-cpu"),
        ("tensorflow.cpu-2.10.1.dist-info", "tensorflow-cpu"),
        ("Tensorflow_CPU-2.10.1.dist-info", "tensorflow-cpu"),
        ("intel_tensorflow_avx512-2.9.1.dist-info", "intel-tensorflow-avx512"),
        ("tf_nightly-2.21.0.dev20260101.dist-info", "tf-nightly"),
        ("tensorflow-2.10.1.egg-info", "tensorflow"),
        ("tensorflow-2.10.1-py3.10.egg-info", "tensorflow"),
    ],
)
def test_names_are_read_in_every_spelling(
    environment: Environment, site: Path, folder: str, name: str
) -> None:
    write(site / folder / "METADATA", "Name: x\n")
    (found,) = seen(environment).tensorflow
    assert found.name == name and found.version.startswith("2.")
    assert "-py" not in found.version


@pytest.mark.parametrize(
    "name", ["tensorflow-text", "tensorflow-estimator", "tensorflow-io-gcs-filesystem", "tf-keras"]
)
def test_an_addon_is_no_tensorflow(environment: Environment, site: Path, name: str) -> None:
    distribution(site, name, "2.10.0")
    assert seen(environment).tensorflow == ()
    assert not holds_tensorflow(environment)


@pytest.mark.parametrize(
    "name",
    [
        "tensorflow",
        "tensorflow-2.10.1.dist-info",
        "tensorflow_cpu-2.10.1.dist-info",
        "tensorflow_gpu-2.10.1.dist-info",
        "tensorflow_intel-2.11.0.dist-info",
        "intel_tensorflow-2.9.1.dist-info",
        "tf_nightly-2.21.0.dev1.dist-info",
        "tf_nightly_cpu-2.21.0.dev1.dist-info",
        "~ensorflow",
        "~ensorflow-2.10.1.dist-info",
        "~-nsorflow",
    ],
)
def test_a_tensorflow_is_recognised_by_its_folder(
    environment: Environment, site: Path, name: str
) -> None:
    (site / name).mkdir()
    assert holds_tensorflow(environment)


@pytest.mark.parametrize(
    "name",
    [
        "tensorflow_text",
        "tensorflow_text-2.10.0.dist-info",
        "tensorflow_datasets",
        "tensorflow_probability-0.18.0.dist-info",
        "tensorflow_io_gcs_filesystem-0.37.1.dist-info",
        "tensorflow_estimator-2.10.0.dist-info",
        "tensorflowjs-4.0.0.dist-info",
        "~ensorflow_text",
        "tensorboard",
        "~umpy",
    ],
)
def test_what_only_starts_like_tensorflow_is_none(
    environment: Environment, site: Path, name: str
) -> None:
    (site / name).mkdir()
    assert not holds_tensorflow(environment)


def test_without_site_packages_there_is_no_tensorflow(environment: Environment) -> None:
    assert not holds_tensorflow(replace(environment, site_packages=None))
    shutil.rmtree(environment.prefix)
    assert not holds_tensorflow(environment)
    assert seen(environment) == Packages()


def test_leftovers_are_not_taken_for_installed(environment: Environment, site: Path) -> None:
    distribution(site, "tensorflow", "2.10.1")
    for name in ("~ensorflow", "~ensorflow-2.9.0.dist-info", "~umpy"):
        (site / name).mkdir()
    found = seen(environment)
    assert found.leftovers == ("~ensorflow", "~ensorflow-2.9.0.dist-info", "~umpy")
    assert [d.version for d in found.tensorflow] == ["2.10.1"]
    assert found.count == 1


def test_the_user_site_comes_first(environment: Environment, site: Path, user: Path) -> None:
    distribution(site, "tensorflow", "2.10.1")
    distribution(site, "numpy", "1.26.4")
    distribution(user, "tensorflow-cpu", "2.15.0")
    distribution(user, "numpy", "2.1.0")
    found = seen(environment)
    assert found.effective is not None
    assert (found.effective.name, found.effective.in_user_site) == ("tensorflow-cpu", True)
    numpy = found.find("numpy")
    assert numpy is not None and numpy.version == "2.1.0"
    assert [d.in_user_site for d in found.tensorflow] == [True, False]


def test_without_a_user_site_only_the_environment_counts(
    environment: Environment, site: Path, user: Path
) -> None:
    distribution(user, "tensorflow", "2.15.0")
    assert seen(replace(environment, user_site=None)).tensorflow == ()


def test_how_a_distribution_came_in(environment: Environment, site: Path) -> None:
    distribution(site, "tensorflow", "2.10.1", installer="conda", requested=True)
    distribution(site, "numpy", "1.26.4", installer=None, direct=True)
    found = seen(environment)
    assert found.effective is not None
    assert (found.effective.installer, found.effective.requested) == ("conda", True)
    numpy = found.find("numpy")
    assert numpy is not None
    assert (numpy.installer, numpy.requested, numpy.direct) == (None, False, True)


def test_missing_files_are_those_that_break_an_import(environment: Environment, site: Path) -> None:
    distribution(
        site,
        "tensorflow",
        "2.10.1",
        files=["tensorflow/__init__.py", "tensorflow/libtensorflow_framework.so.2"],
        lost=[
            "tensorflow/python/_pywrap_tensorflow_internal.so",
            '"tensorflow/odd,name.so"',
            "tensorboard/__init__.py",
            "tensorflow/python/__init__.py",
            "tensorflow/__pycache__/__init__.cpython-310.pyc",
            "tensorflow/include/a.h",
        ],
    )
    found = seen(environment)
    assert found.effective is not None
    assert found.effective.missing_files == (
        "tensorflow/python/_pywrap_tensorflow_internal.so",
        "tensorflow/odd,name.so",
        "tensorboard/__init__.py",
    )


def test_a_distribution_without_record_misses_nothing(environment: Environment, site: Path) -> None:
    (distribution(site, "tensorflow", "2.10.1") / "RECORD").unlink()
    found = seen(environment)
    assert found.effective is not None and found.effective.missing_files == ()


def test_who_pulled_an_unrequested_tensorflow_in(environment: Environment, site: Path) -> None:
    distribution(site, "tensorflow-cpu", "2.10.0")
    distribution(site, "tensorflow", "2.10.1", requested=True)
    distribution(site, "a-plugin", "1", requires=["TensorFlow_CPU==2.10.0", "numpy"])
    distribution(site, "other", "1", requires=["tensorflow", "tensorflow-cpu-aws"])
    by_name = {d.name: d.required_by for d in seen(environment).tensorflow}
    assert by_name == {"tensorflow-cpu": ("a-plugin",), "tensorflow": ()}


def test_an_optional_requirement_pulled_nothing_in(environment: Environment, site: Path) -> None:
    distribution(site, "tensorflow", "2.10.1")
    distribution(site, "keras-tuner", "1.4", requires=["tensorflow>=2.0 ; extra == 'tests'"])
    (found,) = seen(environment).tensorflow
    assert found.required_by == ()


def test_a_requirement_named_in_the_description_is_none(
    environment: Environment, site: Path
) -> None:
    distribution(site, "tensorflow", "2.10.1")
    info = distribution(site, "talker", "1")
    write(info / "METADATA", "Name: talker\n\nSay\nRequires-Dist: tensorflow\n")
    (found,) = seen(environment).tensorflow
    assert found.required_by == ()


def test_files_without_a_record_shadow(environment: Environment, site: Path, user: Path) -> None:
    write(user / "tensorflow" / "__init__.py")
    distribution(site, "tensorflow", "2.10.1", files=["tensorflow/__init__.py"])
    assert seen(environment).shadowing == (str(user / "tensorflow"),)


# ---- on Windows ----------------------------------------------------------------------------------


def test_what_brings_tensorflow_in_comes_before_what_has_its_code(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "tf")
    site = site_of(prefix)
    distribution(site, "tensorflow-intel", "2.12.0", files=["tensorflow/__init__.py"])
    distribution(site, "tensorflow", "2.12.0", requires=["tensorflow-intel==2.12.0"])
    packages = observe_packages(described(prefix), {"tensorflow", "tensorflow-intel"})
    assert [d.name for d in packages.tensorflow] == ["tensorflow", "tensorflow-intel"]
    assert packages.effective is not None and packages.effective.name == "tensorflow"
    assert packages.tensorflow[1].required_by == ("tensorflow",)


def test_a_record_with_backslashes_is_read(tmp_path: Path) -> None:
    prefix = conda_prefix(tmp_path / "tf")
    info = distribution(site_of(prefix), "tensorflow", "2.10.1", files=["tensorflow/__init__.py"])
    lines = ["tensorflow\\__init__.py,sha256=0,1", '"tensorflow\\python\\a,b.pyd",sha256=0,1']
    write(info / "RECORD", "\r\n".join(lines))
    (found,) = observe_packages(described(prefix), {"tensorflow"}).tensorflow
    assert found.missing_files == ("tensorflow/python/a,b.pyd",)
