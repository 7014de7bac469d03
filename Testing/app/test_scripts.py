"""The scripts that the documentation tells a user to start work with a Python that has no packages."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import PATIENCE
from paths import MODULE, REPOSITORY

TESTING = REPOSITORY / "Testing"
DOCUMENTS = [
    REPOSITORY / "README.md",
    TESTING / "README.md",
    *(REPOSITORY / "Resources" / "Documentation").glob("*.md"),
]
# Helpers that tests start as processes, in their own interpreter.
OF_TESTS = {"toy_training.py"}


def named_scripts() -> list[str]:
    """The scripts that a document starts with python3."""
    found = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"python3 ((?:Testing|S3NetSegment)/[\w/.-]*\w)", document.read_text(encoding="utf-8"))
    }
    return sorted(found)


def own_scripts() -> list[str]:
    """All scripts in Testing that are programs and import a package."""
    scripts = []
    for path in sorted(TESTING.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text and path.name not in OF_TESTS and not path.name.startswith("test_"):
            scripts += [path.relative_to(REPOSITORY).as_posix()] if imports_packages(text) else []
    return scripts


def imports_packages(text: str) -> bool:
    """Whether a module imports something that is not in the standard library when it is loaded."""
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return bool(names - set(sys.stdlib_module_names))


def bare_start(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess:
    """Starts ``script`` with a Python that sees no packages; the environment that it asks for is this one."""
    sees_none = folder / "sitecustomize.py"
    sees_none.write_text(
        "import sys\nsys.path[:] = [p for p in sys.path if 'site-packages' not in p and 'dist-packages' not in p]\n"
    )
    stand_in = folder / "venv"  # an environment that passes for one made by s3net: the packages of this one
    (stand_in / "bin").mkdir(parents=True)
    (stand_in / "bin" / "python").write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec "{sys.executable}" "$@"\n')
    (stand_in / "bin" / "python").chmod(0o755)
    lists = (MODULE / "requirements.txt", TESTING / "requirements.txt")
    (stand_in / "s3net.json").write_text(
        "\n".join(file.read_text(encoding="utf-8") for file in lists), encoding="utf-8"
    )
    variables = {
        "PATH": os.defpath, "HOME": str(folder), "PYTHONPATH": str(folder), "S3NET_VENV": str(stand_in),
        "OMP_NUM_THREADS": "1", "QT_QPA_PLATFORM": "offscreen",
    }  # fmt: skip
    command = [sys.executable, str(REPOSITORY / script), *arguments]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_documents_name_scripts_that_exist():
    named = named_scripts()
    assert len(named) > 10
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for an environment is a shell script")
def test_the_sample_cohort_of_the_tutorial_is_made_by_a_python_without_packages(tmp_path):
    (tmp_path / "bare").mkdir()
    done = bare_start("Testing/make_training_sample.py", str(tmp_path / "cohort"), folder=tmp_path / "bare")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cohort" / "cohort.json").exists()
    assert len(list((tmp_path / "cohort" / "images").iterdir())) == 9


@pytest.mark.parametrize("script", own_scripts())
def test_a_script_enters_the_environment_before_it_imports_a_package(script):
    entered = False
    for node in ast.parse((REPOSITORY / script).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            entered = entered or "enter_environment(" in ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom) and not entered:
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert module.partition(".")[0] in sys.stdlib_module_names, f"{module} is imported before the environment"
    assert entered


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for an environment is a shell script")
def test_the_reliability_suites_start_with_a_python_without_packages(tmp_path):
    arguments = ("--suite", "arguments", "--lists", "1")
    done = bare_start("Testing/reliability/run", *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
