"""The launcher: when it needs an environment of its own, how it makes one, and what it says when that fails."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import environment as shell
from command_line import s3net
from paths import MODULE

from S3NetSegmentLib.cli import environment, installing
from S3NetSegmentLib.cli.environment import EnvironmentProblem, numbers, read_requirements

SILENT = installing.Newsline(quiet=True)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder for an environment, whose making is only pretended: it leaves a file named python."""
    folder = tmp_path / "venv"
    made = []

    def create(place):
        made.append("create")
        installing.write_marker(place, "making", [])
        python = environment.python_in(place)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text("")

    monkeypatch.setenv("S3NET_VENV", str(folder))
    monkeypatch.setattr(environment, "REPOSITORY", tmp_path / "elsewhere")
    monkeypatch.setattr(installing, "create", create)
    monkeypatch.setattr(installing, "install", lambda python, files, news: made.append("install"))
    monkeypatch.setattr(installing, "check_imports", lambda python: None)
    return folder, made


def prepare(requirements=(environment.RUNTIME,)):
    return installing.prepare(tuple(requirements), quiet=True)


def test_the_runtime_requirements_are_pinned_one_version_each():
    pinned = read_requirements(environment.RUNTIME)
    assert set(pinned) == {"numpy", "scipy", "simpleitk", "torch"}
    assert all(numbers(version) for version in pinned.values())


def test_requirements_for_another_python_are_left_out(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(
        'a==1.0  # note\nb==2; python_version < "3.12"\nb==3; python_version >= "3.12"\n\n# only a comment\n'
    )
    assert read_requirements(file, (3, 11)) == {"a": "1.0", "b": "2"}
    assert read_requirements(file, (3, 12)) == {"a": "1.0", "b": "3"}


def test_this_interpreter_needs_no_other_one():
    assert environment.shortcomings() == []


@pytest.mark.parametrize(
    ("text", "told"),
    [("no-such-package==1.0", "no-such-package is missing"), ("numpy==1.2.3", "not 1.2.3")],
)
def test_what_is_missing_or_of_another_version_is_told(tmp_path, text, told):
    file = tmp_path / "requirements.txt"
    file.write_text(text)
    (lack,) = environment.shortcomings((file,))
    assert told in lack


def test_a_folder_with_the_name_of_a_package_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "imaginary").mkdir()
    (tmp_path / "requirements.txt").write_text("imaginary==1.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.shortcomings((tmp_path / "requirements.txt",)) == ["imaginary is missing"]


def test_too_old_a_numpy_is_not_taken(monkeypatch):
    monkeypatch.setattr(environment.importlib.metadata, "version", lambda name: "1.26.4" if name == "numpy" else "99.0")
    assert environment.shortcomings() == ["numpy 1.26.4 is too old"]


def test_the_environment_is_made_once_and_then_used(own):
    folder, made = own
    assert prepare() == environment.python_in(folder)
    assert prepare() == environment.python_in(folder)
    assert made == ["create", "install"]


def test_a_half_made_environment_is_made_anew(own, monkeypatch):
    folder, made = own
    with monkeypatch.context() as broken:
        broken.setattr(installing, "install", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare()
    assert not environment.is_ready(folder, (environment.RUNTIME,))
    prepare()
    assert made == ["create", "create", "install"]


def test_leftovers_of_a_half_made_environment_are_removed(tmp_path, monkeypatch):
    folder = tmp_path / "venv"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "half.py").write_text("x")
    installing.write_marker(folder, "making", [])
    monkeypatch.setattr(
        installing.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "", "")
    )
    installing.create(folder)
    assert [path.name for path in folder.iterdir()] == [environment.MARKER]


def test_an_environment_whose_python_is_gone_is_made_anew(own):
    folder, made = own
    prepare()
    environment.python_in(folder).unlink()
    prepare()
    assert made == ["create", "install"] * 2


def test_changed_requirements_are_installed_into_the_same_environment(own, tmp_path):
    _, made = own
    more = tmp_path / "more.txt"
    more.write_text("a==1.0\n")
    prepare()
    prepare((environment.RUNTIME, more))
    prepare()  # the smaller set is part of the larger one
    assert made == ["create", "install", "install"]
    more.write_text("# a comment\na==1.0\n")
    prepare((environment.RUNTIME, more))
    assert len(made) == 3
    more.write_text("a==1.1\n")
    prepare((environment.RUNTIME, more))
    assert made == ["create", "install", "install", "install"]


def test_a_folder_of_somebody_else_is_never_touched(own):
    folder, made = own
    folder.mkdir()
    (folder / "thesis.txt").write_text("important")
    with pytest.raises(EnvironmentProblem, match="did not make"):
        prepare()
    assert (folder / "thesis.txt").read_text() == "important" and not made


def test_somebodys_own_venv_in_the_repository_makes_us_go_to_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("S3NET_VENV", raising=False)
    monkeypatch.setattr(environment, "REPOSITORY", tmp_path)
    (tmp_path / "Testing").mkdir()
    assert environment.own_folder() == tmp_path / ".venv"
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin")
    assert environment.own_folder().is_relative_to(environment.user_cache())


def test_a_second_start_waits_for_the_first_and_then_uses_its_environment(own, monkeypatch):
    folder, made = own
    tries = []

    def busy_twice(file):
        tries.append(1)
        if len(tries) == 3:  # meanwhile the other start has finished
            installing.create(folder)
            installing.write_marker(folder, "ready", [environment.digest(environment.RUNTIME)])
            made.clear()
        return len(tries) >= 3

    monkeypatch.setattr(installing, "_try_lock", busy_twice)
    monkeypatch.setattr(installing.time, "sleep", lambda seconds: None)
    prepare()
    assert len(tries) == 3 and made == []


@pytest.mark.skipif(os.name == "nt", reason="locks of another kind on Windows; tried by hand there")
def test_the_lock_is_held_against_others_and_given_back(tmp_path):
    with installing.locked(tmp_path, SILENT), open(tmp_path / installing.LOCK, "a+b") as other:
        assert not installing._try_lock(other)
    with open(tmp_path / installing.LOCK, "a+b") as other:
        assert installing._try_lock(other)


def test_slicers_python_without_torch_is_told_about_the_extension(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text("no-such-package==1")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/PythonSlicer")
    with pytest.raises(EnvironmentProblem, match="PyTorch extension"):
        environment.enter("s3net", [], (tmp_path / "requirements.txt",))


def test_an_environment_that_lacks_something_is_not_entered_again_and_again(tmp_path, monkeypatch):
    (tmp_path / "requirements.txt").write_text("no-such-package==1")
    monkeypatch.setenv(environment.REENTERED, "1")
    with pytest.raises(EnvironmentProblem, match="delete that folder"):
        environment.enter("s3net", [], (tmp_path / "requirements.txt",))


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("WARNING: Retrying ... NewConnectionError: Failed to establish a new connection", "PIP_FIND_LINKS=wheels"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0", "torch==2.13.0 was not found for Python"),
        ("ERROR: something else", "something else"),
    ],
)
def test_a_failure_of_pip_says_what_to_do(line, advice):
    assert advice in installing.reason_of_failure(["Collecting torch", line], [environment.RUNTIME])


def test_the_setup_says_on_stderr_what_it_does_and_nothing_when_quiet():
    for quiet in (False, True):
        stream = io.StringIO()
        news = installing.Newsline(quiet, stream)
        news.say("torch: downloading", keep=True)
        news.LOG_SECONDS = 0
        news.tick()
        assert stream.getvalue().count("s3net: torch: downloading") == (0 if quiet else 2)


def wheel(folder, name, version):
    """An empty package as a wheel."""
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        record = [f"{path},," for path in files] + [f"{name}-{version}.dist-info/RECORD,,"]
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "\n".join(record))


def offline(folder, **more):
    """A shell without internet, whose pip takes packages from ``folder`` only."""
    variables = shell(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder), PIP_CONFIG_FILE=os.devnull, **more)
    return {name: value for name, value in variables.items() if name not in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL")}


def test_two_first_starts_without_packages_make_one_environment_from_a_folder_of_wheels(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, version in (("numpy", "2.4.6"), ("scipy", "1.17.1"), ("SimpleITK", "2.5.7"), ("torch", "2.13.0")):
        wheel(wheels, name, version)
    script = tmp_path / "probe.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(MODULE)!r})\nfrom S3NetSegmentLib.cli.environment import enter\n"
        "enter(__file__, sys.argv[1:])\nimport torch\nprint(sys.prefix, torch.__version__, *sys.argv[1:], sep='|')\n"
    )
    variables = offline(wheels, S3NET_VENV=str(tmp_path / "venv"))
    # -S: an interpreter without any package
    command = [sys.executable, "-S", str(script), "--point=-1,2,3", "two words"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, env=variables, **pipes) for _ in range(2)]
    texts = [process.communicate(timeout=1200) for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    for out, _ in texts:
        assert out.strip() == f"{tmp_path / 'venv'}|2.13.0|--point=-1,2,3|two words"
    said = [err.count("making an environment in") for _, err in texts]
    assert sorted(said) == [0, 1], texts


def test_a_first_use_without_internet_fails_clearly_and_leaves_nothing_that_counts_as_ready(tmp_path):
    (tmp_path / "wheels").mkdir()
    variables = offline(tmp_path / "wheels", S3NET_VENV=str(tmp_path / "venv"))
    done = s3net("settings", options=("-S",), **variables)
    assert done.returncode == 1
    assert "s3net: error: " in done.stderr and "was not found for Python" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    assert not environment.is_ready(tmp_path / "venv", (environment.RUNTIME,))


def test_the_launcher_names_no_package_host():
    for file in (MODULE / "s3net", Path(environment.__file__), Path(installing.__file__), environment.RUNTIME):
        text = file.read_text(encoding="utf-8")
        assert "index-url" not in text and "http" not in text.replace("HTTPS_PROXY", "")
