"""The launcher: when it needs an environment of its own, how it makes one, and what it says when that fails."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from command_line import environment as shell
from command_line import s3net
from paths import MODULE, REPOSITORY

from S3NetSegmentLib.cli import environment
from S3NetSegmentLib.engine.common.errors import ResourceError
from S3NetSegmentLib.file_lock import FileLock


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder for an environment whose making is only pretended: its Python is an empty file, and what was made is listed."""
    folder = tmp_path / "venv"
    made = []

    def call(command, **_):
        made.append("create" if "venv" in command else "install")
        return pretended(command)

    monkeypatch.setenv("S3NET_VENV", str(folder))
    monkeypatch.setattr(environment, "REPOSITORY", tmp_path / "elsewhere")
    monkeypatch.setattr(environment.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(environment.subprocess, "call", call)
    return folder, made


def pretended(command, **_):
    """What stands in for venv, which makes an empty Python, and for pip; returns the exit code 0."""
    if "venv" in command:
        python = Path(command[-1], environment.PYTHON)
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text("")
    return 0


def without_pip(command, **_):
    """Stands in where pip fails."""
    return pretended(command) or "pip" in command


def prepare(*further):
    return environment.prepare((environment.RUNTIME, *further), quiet=True)


def requirements(folder, text):
    file = folder / "requirements.txt"
    file.write_text(text)
    return file


def is_complete(folder):
    return bool(environment.installed(folder))


def test_the_runtime_needs_ranges_and_the_tests_exact_versions():
    from packaging.requirements import Requirement

    def read(file):
        lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
        return [Requirement(line) for line in lines if line]

    runtime, tests = read(environment.RUNTIME), read(REPOSITORY / "Testing" / "requirements.txt")
    assert {r.name for r in runtime} >= {"numpy", "scipy", "SimpleITK", "torch", "tifffile", "pillow"}
    assert all(">=" in str(r.specifier) and "==" not in str(r.specifier) for r in runtime)
    assert all(str(r.specifier).startswith("==") for r in tests)
    assert {r.name for r in runtime} <= {r.name for r in tests}, "what the tests run with is not exact"
    for pinned in tests:
        for wanted in runtime:
            if wanted.name == pinned.name and (
                wanted.marker is None or wanted.marker.evaluate({"sys_platform": "linux"})
            ):
                assert str(pinned.specifier).removeprefix("==") in wanted.specifier
    on_windows = [r for r in runtime if r.name == "torch" and r.marker.evaluate({"sys_platform": "win32"})]
    assert [("2.12.1" in r.specifier, "2.13.0" in r.specifier) for r in on_windows] == [(True, False)]


def test_this_interpreter_needs_no_other_one():
    assert environment.shortcomings() == []


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("no-such-package==1.0", ["no-such-package is missing"]),
        ("numpy==1.2.3", ["not ==1.2.3"]),
        ("numpy>=99.1  # far away", ["not >=99.1"]),
        ("numpy>=1.9,<99\n# numpy==1\n\ntorch", []),
        ('numpy==1.2.3; python_version < "3"\nnumpy>=2.0; python_version >= "3"', []),
    ],
)
def test_what_is_missing_or_of_another_version_is_reported(tmp_path, text, reported):
    lacks = environment.shortcomings((requirements(tmp_path, text),))
    assert len(lacks) == len(reported) and all(part in lack for part, lack in zip(reported, lacks, strict=True))


def test_a_folder_with_the_name_of_a_package_is_not_a_package(tmp_path, monkeypatch):
    (tmp_path / "imaginary").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.shortcomings((requirements(tmp_path, "imaginary==1.0"),)) == ["imaginary is missing"]


def test_a_package_without_metadata_counts_as_slicer_builds_some_itself(tmp_path, monkeypatch):
    (tmp_path / "imaginary.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.shortcomings((requirements(tmp_path, "imaginary>=1.0"),)) == []


def test_a_numpy_that_is_too_old_is_not_accepted(monkeypatch):
    monkeypatch.setattr(environment.metadata, "version", lambda name: "1.26.4" if name == "numpy" else "99.0")
    (lack,) = environment.shortcomings((environment.RUNTIME,))[:1]
    assert "numpy is 1.26.4" in lack


def test_the_environment_is_made_once_and_then_used(own):
    folder, made = own
    assert prepare() == (folder / environment.PYTHON)
    assert prepare() == (folder / environment.PYTHON)
    assert made == ["create", "install"]


def test_an_interrupted_installation_is_noticed_and_made_anew_without_its_leftovers(own, monkeypatch):
    folder, made = own
    as_before = environment.subprocess.call

    def interrupted(command, **_):
        if "pip" in command:
            (folder / "lib").mkdir()
            (folder / "lib" / "half.py").write_text("x")
            raise KeyboardInterrupt
        return as_before(command)

    with monkeypatch.context() as broken:
        broken.setattr(environment.subprocess, "call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare()
    assert not is_complete(folder)
    prepare()
    assert made == ["create", "create", "install"] and is_complete(folder)
    assert not (folder / "lib").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(own):
    folder, made = own
    prepare()
    (folder / environment.PYTHON).unlink()
    prepare()
    assert made == ["create", "install"] * 2


def test_changed_requirements_are_installed_into_the_same_environment(own, tmp_path):
    _, made = own
    more = requirements(tmp_path, "a==1.0\n")
    prepare()
    prepare(more)
    prepare()  # the smaller set is part of the larger one
    assert made == ["create", "install", "install"]
    more.write_text("a==1.1\n")
    prepare(more)
    assert made == ["create", "install", "install", "install"]
    more.write_text("a==1.0\n")  # back again: what is there is 1.1
    prepare(more)
    assert made == ["create", *["install"] * 4]


def test_an_update_that_fails_leaves_the_environment_in_use(own, tmp_path, monkeypatch):
    folder, made = own
    prepare()
    with monkeypatch.context() as broken:
        broken.setattr(environment.subprocess, "call", without_pip)
        with pytest.raises(ResourceError, match="pip says why above"):
            prepare(requirements(tmp_path, "a==1.0"))
    prepare()
    assert made == ["create", "install"] and is_complete(folder)


def test_a_failure_after_the_python_was_gone_leaves_nothing_that_counts_as_complete(own, monkeypatch):
    folder, _ = own
    prepare()
    (folder / environment.PYTHON).unlink()
    monkeypatch.setattr(environment.subprocess, "call", without_pip)
    with pytest.raises(ResourceError):
        prepare()
    assert (folder / environment.PYTHON).exists() and not is_complete(folder)


def test_an_environment_of_an_earlier_version_is_updated_and_not_made_anew(own):
    folder, made = own
    prepare()
    earlier = {"state": "ready", "installed": ["0" * 64], "python": "3.11.7"}
    (folder / environment.MARKER).write_text(json.dumps(earlier))
    prepare()
    assert made == ["create", "install", "install"]


def test_a_folder_of_somebody_else_is_never_touched(own):
    folder, made = own
    folder.mkdir()
    (folder / "s3net.txt").write_text("important")
    with pytest.raises(ResourceError, match="did not make"):
        prepare()
    assert [path.name for path in folder.iterdir()] == ["s3net.txt"] and not made


def test_somebodys_own_venv_in_the_repository_makes_us_go_to_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("S3NET_VENV", raising=False)
    monkeypatch.setattr(environment, "REPOSITORY", tmp_path)
    (tmp_path / "Testing").mkdir()
    assert environment.own_folder() == tmp_path / ".venv"
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin")
    assert environment.own_folder().is_relative_to(environment.user_cache())


def test_a_second_start_waits_for_the_first_and_then_uses_its_environment(own, capsys):
    folder, made = own
    folder.mkdir()
    first = FileLock(folder / environment.LOCK)
    assert first.take()
    second = threading.Thread(target=lambda: environment.prepare((environment.RUNTIME,)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    environment.make(folder, (environment.RUNTIME,), set(), quiet=True)
    (folder / environment.MARKER).write_text(environment.RUNTIME.read_text("utf-8"), "utf-8")
    made.clear()
    first.give_back()
    second.join(20)
    assert not second.is_alive() and made == []
    assert "waiting" in capsys.readouterr().err


@pytest.mark.parametrize("reachable", [True, False])
def test_without_an_nvidia_driver_torch_comes_from_the_cpu_index_if_that_can_be_reached(
    own, monkeypatch, capsys, reachable
):
    calls = []

    def call(command, **_):
        if "pip" in command:
            calls.append(list(command))
        return pretended(command) or ("--index-url" in command and not reachable)

    monkeypatch.setattr(environment.subprocess, "call", call)
    without_driver(monkeypatch)
    monkeypatch.setattr(environment.sys, "platform", "linux")
    environment.prepare((environment.RUNTIME,))
    first, second = calls
    assert first[first.index("--index-url") + 1] == environment.CPU_INDEX and "torch" in first and "--no-deps" in first
    assert first[first.index("-c") + 1] == str(environment.RUNTIME), "another version than the one wanted could come"
    assert int(first[first.index("--timeout") + 1]) <= 5 and first[first.index("--retries") + 1] == "0"
    assert second[-2:] == ["-r", str(environment.RUNTIME)] and "--only-binary=:all:" in second
    said = capsys.readouterr().err
    assert "0.3 GB, with PyTorch for CPUs" in said
    assert ("the default one may download 3 GB" in said) == (not reachable)
    assert is_complete(own[0])


def without_driver(monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", lambda _: None)
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.parts[-2:] != ("nvidia", "version") and there(path))


@pytest.mark.parametrize(("system", "driver"), [("linux", True), ("darwin", False), ("win32", False)])
def test_with_a_driver_and_on_other_systems_the_default_index_is_right(own, monkeypatch, system, driver):
    _, made = own
    if not driver:
        without_driver(monkeypatch)
    monkeypatch.setattr(environment.sys, "platform", system)
    prepare()
    assert made == ["create", "install"]


def test_slicers_python_without_torch_is_told_about_the_extension(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/PythonSlicer")
    monkeypatch.setattr(environment, "IN_SLICER", True)
    with pytest.raises(ResourceError, match=r"PyTorch extension.*PythonSlicer -m pip install"):
        environment.enter("s3net", [], (requirements(tmp_path, "no-such-package==1"),))


def test_an_environment_that_lacks_something_is_not_entered_again_and_again(tmp_path, monkeypatch):
    monkeypatch.setenv(environment.REENTERED, "1")
    with pytest.raises(ResourceError, match="delete that folder"):
        environment.enter("s3net", [], (requirements(tmp_path, "no-such-package==1"),))


def wheel(folder, name, version):
    """An empty package as a wheel."""
    files = {
        f"{'PIL' if name == 'pillow' else name}.py": f"__version__ = {version!r}\n",
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
    versions = {"numpy": "2.4.6", "scipy": "1.17.1", "SimpleITK": "2.5.7", "torch": "2.13.0"}
    for name, version in (
        versions
        | {"tifffile": "2026.3.3", "pillow": "13.0.0", "pydicom": "3.0.2", "jinja2": "3.1.6"}
        | {"safetensors": "0.8.0", "requests": "2.34.2"}
    ).items():
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
    assert any("Successfully installed" in err for _, err in texts), "pip is not heard"


def test_a_first_use_without_internet_fails_clearly_and_leaves_nothing_that_counts_as_complete(tmp_path):
    (tmp_path / "wheels").mkdir()
    variables = offline(tmp_path / "wheels", S3NET_VENV=str(tmp_path / "venv"))
    done = s3net("settings", options=("-S",), **variables)
    assert done.returncode == 1
    assert "No matching distribution found for" in done.stderr, "pip's own reason"
    assert "s3net: error: the packages could not be installed" in done.stderr and "PIP_FIND_LINKS=wheels" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout
    assert not is_complete(tmp_path / "venv")


def test_the_launcher_names_no_package_host_but_that_of_pytorch():
    for file in (MODULE / "s3net", Path(environment.__file__), environment.RUNTIME):
        text = file.read_text(encoding="utf-8").replace("HTTPS_PROXY", "")
        assert "http" not in text.replace(environment.CPU_INDEX, "")
    assert environment.CPU_INDEX.startswith("https://download.pytorch.org/")


def test_help_comes_before_anything_is_looked_up_or_installed(tmp_path):
    done = s3net("--help", options=("-S",), S3NET_VENV=str(tmp_path / "venv"))
    assert done.returncode == 0 and "COMMAND" in done.stdout and not (tmp_path / "venv").exists()
