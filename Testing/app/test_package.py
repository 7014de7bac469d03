"""The package for Python outside Slicer: built as a wheel, installed elsewhere, and run from there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from paths import MODULE, REPOSITORY, SAMPLE_DATA

from S3NetSegmentLib import __version__

SETTINGS = tomllib.loads((MODULE / "pyproject.toml").read_text(encoding="utf-8"))


def pip(*arguments):
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(MODULE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder / "built", folder / "source")
    (built,) = (folder / "built").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel):
    """Runs the installed ``s3net``, away from the repository; has returncode, stdout, stderr."""
    site, elsewhere = wheel.parent.parent / "site", wheel.parent.parent / "elsewhere"
    pip("install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    elsewhere.mkdir()

    def run(*arguments):
        program = site / "bin" / "s3net"
        command = [program] if os.name != "nt" else [program.with_suffix(".exe")]
        return subprocess.run(
            [*command, *map(str, arguments)], cwd=elsewhere, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(site)},
        )  # fmt: skip

    return run


def test_the_wheel_holds_every_file_of_the_package_and_nothing_of_slicers_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (path for path in (MODULE / "S3NetSegmentLib").rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert held == {path.relative_to(MODULE).as_posix() for path in files}


def test_the_wheel_asks_for_what_the_launcher_installs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    asked = {re.split(r"[<>=; ]", text)[0] for text in re.findall(r"(?m)^Requires-Dist: ((?!.*extra ==).*)$", metadata)}
    listed = (MODULE / "requirements.txt").read_text(encoding="utf-8")
    assert asked == set(re.findall(r"(?m)^[\w-]+", listed))
    assert f"Version: {__version__}\n" in metadata
    assert set(re.findall(r"(?m)^Provides-Extra: (.*)$", metadata)) == {"dicom", "cluster", "dev"}


def test_the_installed_program_helps_and_segments_far_from_the_repository(installed, tmp_path):
    assert installed("--version").stdout == f"s3net {__version__}\n"
    told = installed("--help")
    assert told.returncode == 0 and "few-shot" in told.stdout
    output = tmp_path / "lesion.seg.nrrd"
    done = installed("segment", SAMPLE_DATA / "ct_abdomen.nii.gz", "-o", output, "--slice", 10, "--pixel", "60,60,10")
    assert done.returncode == 0, done.stderr
    assert output.is_file()  # the ranker came along


def test_the_installed_demo_says_where_its_samples_are(installed):
    done = installed("demo")
    assert done.returncode == 1 and "run the demo from a clone" in done.stderr and "Traceback" not in done.stderr


def test_who_cites_it_names_this_version():
    assert f'version: "{__version__}"' in (REPOSITORY / ".github" / "CITATION.cff").read_text(encoding="utf-8")


def test_ruff_finds_the_same_settings_in_every_folder():
    own = tomllib.loads((REPOSITORY / ".ruff.toml").read_text(encoding="utf-8"))
    assert own["extend"] == "S3NetSegment/pyproject.toml" and "lint" not in own
    assert SETTINGS["tool"]["ruff"]["line-length"] == 120


def test_what_runs_before_a_commit_needs_no_download_and_exists():
    text = (REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"repo: (\S+)", text)) == {"local"}
    assert set(re.findall(r"language: (\S+)", text)) == {"system"}
    for script in re.findall(r"\bTesting/\S+\.py", text):
        assert (REPOSITORY / script).is_file(), script
