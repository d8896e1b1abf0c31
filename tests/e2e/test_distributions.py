"""What leaves the repository: two wheels and two source distributions, as an index and its users see them."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from conftest import REPOSITORY

import patchcore_edge_runtime

RELEASE = runpy.run_path(str(REPOSITORY / ".ci" / "release.py"))
PROJECTS = {"patchcore_edge": REPOSITORY, "patchcore_edge_runtime": REPOSITORY / "runtime"}
RELATIVE_LINK = re.compile(r"\]\((?!https?:|#)[^)]*\)")


def build(folder: Path, target: Path) -> None:
    """Wheel and source distribution of a project, as ``make wheels`` builds them."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    for folder in PROJECTS.values():
        build(folder, target)
    return target


def wheel_of(dist: Path, name: str) -> Path:
    (wheel,) = dist.glob(f"{name}-{patchcore_edge_runtime.__version__}-py3-none-any.whl")
    return wheel


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_says_whose_it_is_where_it_lives_and_on_what_it_runs(dist: Path, name: str) -> None:
    wheel = wheel_of(dist, name)
    said = metadata_of(wheel)
    with zipfile.ZipFile(wheel) as archive:
        licences = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licences[0]) == (REPOSITORY / "LICENSE").read_bytes()
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Author"]
    urls = dict(line.split(", ") for line in said.get_all("Project-URL"))
    assert {"Repository", "Changelog", "Issues"} <= urls.keys()
    classifiers = said.get_all("Classifier")
    assert {"Operating System :: POSIX :: Linux", "Operating System :: Microsoft :: Windows"} <= set(classifiers)
    assert "Programming Language :: Python :: 3.11" in classifiers


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheels_page_reads_outside_of_the_repository(dist: Path, name: str) -> None:
    page = str(metadata_of(wheel_of(dist, name)).get_payload())
    assert RELATIVE_LINK.findall(page) == []
    home = tomllib.loads((PROJECTS[name] / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    assert f"({home}" in page


def test_both_distributions_name_one_home() -> None:
    files = [folder / "pyproject.toml" for folder in PROJECTS.values()]
    one, other = (tomllib.loads(file.read_text())["project"]["urls"] for file in files)
    assert one == other


def test_an_index_takes_what_is_built(dist: Path) -> None:
    pytest.importorskip("twine", reason="needs the package twine: pip install '.[dev]'")
    words = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 4


@pytest.mark.parametrize("name", PROJECTS)
def test_a_source_distribution_builds_the_same_wheel(dist: Path, name: str, tmp_path: Path) -> None:
    with tarfile.open(next(dist.glob(f"{name}-{patchcore_edge_runtime.__version__}.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    build(unpacked, tmp_path / "again")
    with zipfile.ZipFile(wheel_of(dist, name)) as first, zipfile.ZipFile(wheel_of(tmp_path / "again", name)) as second:
        assert {f.filename: f.CRC for f in first.filelist} == {f.filename: f.CRC for f in second.filelist}


def test_the_hosts_source_distribution_holds_all_tests_and_what_they_read(dist: Path) -> None:
    with tarfile.open(next(dist.glob("patchcore_edge-*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    git = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    if git.returncode:
        pytest.skip("needs a git checkout to compare with")
    listed = [name for name in git.stdout.splitlines() if (REPOSITORY / name).exists()]
    assert [name for name in listed if name not in held] == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clean repository with what a release looks at, ready to be released."""
    for name in (*RELEASE["NAMES_THE_HOME"], "CHANGELOG.md", "runtime/patchcore_edge_runtime/version.py"):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        text = text.replace("patchcore-edge.example", "forge.test")
        target.write_text(text.replace("– unreleased", "– 2026-12-01", 1), encoding="utf-8")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "All of it")):
        git(tmp_path, *words)
    return tmp_path


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.test")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_a_clean_commit_with_its_day_and_its_address_may_be_released(checkout: Path) -> None:
    assert RELEASE["obstacles"](checkout) == []


def test_a_release_names_all_that_is_in_its_way(checkout: Path) -> None:
    git(checkout, "tag", f"v{patchcore_edge_runtime.__version__}")
    changelog = checkout / "CHANGELOG.md"
    changelog.write_text(changelog.read_text(encoding="utf-8").replace("– 2026-12-01", "– unreleased", 1))
    (checkout / "mkdocs.yml").write_text("repo_url: https://patchcore-edge.example/patchcore-edge\n")
    words = ("CHANGELOG.md begins with", "mkdocs.yml name", "has changes", "There is a tag")
    found = RELEASE["obstacles"](checkout)
    assert [sum(word in line for line in found) for word in words] == [1, 1, 1, 1]


def test_both_wheels_installed_together_are_what_runs(dist: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    wheels = [str(wheel_of(dist, name)) for name in PROJECTS]
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *wheels]
    subprocess.run(install, check=True, capture_output=True)
    # What they require is that of this environment; the wheels' own packages come first.
    site = subprocess.run(
        [str(programs / "python"), "-c", "import site; print(site.getsitepackages()[-1])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(site) / "zz_borrowed.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for words in (
        [str(programs / "patchcore-edge"), "export", "--help"],
        [str(programs / "python"), "-m", "patchcore_edge", "--version"],
        [str(programs / "patchcore-edge-runtime"), "run", "--help"],
        [str(programs / "python"), "-m", "patchcore_edge_runtime", "--version"],
    ):
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if words[-1] == "--version":
            assert done.stdout.strip() == patchcore_edge_runtime.__version__
    code = "import patchcore_edge, patchcore_edge_export, patchcore_edge_runtime as r; print(r.__file__)"
    found = subprocess.run(
        [str(programs / "python"), "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(tmp_path)
