"""Which Python environment runs the command: the present one if it has the packages, otherwise one that venv and pip make.

Standard library only. pip speaks for itself, and its own settings (index, proxy, ``PIP_FIND_LINKS``) are used as they are.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ..file_lock import FileLock
from ..user_cache import user_cache

MODULE = Path(__file__).resolve().parents[2]
REPOSITORY = MODULE.parent
RUNTIME = MODULE / "requirements.txt"
LATE_IN_SLICER = {"tifffile"}  # what Slicer's Python may lack: only some files need it, and they say so
_IMPORT_NAMES = {"pillow": "PIL"}
MARKER, LOCK = "s3net.json", "s3net.lock"  # in an environment that we made: its state, and who is at work on it
REENTERED = "S3NET_IN_ENVIRONMENT"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own; the default index has CUDA's 3 GB with it on Linux


class EnvironmentProblem(RuntimeError):
    """There is no environment to run in; the text says why and what to do."""


def enter(script: str, arguments: list[str], requirements: tuple[Path, ...] = (RUNTIME,), quiet: bool = False) -> None:
    """Returns if this interpreter satisfies the ``requirements`` (files of pip); otherwise runs ``script`` in an environment that
    does, and does not return: the process becomes the other Python (on Windows it waits for it and passes its exit code on).

    :raises EnvironmentProblem: the environment, which can take minutes, could not be made.
    """
    lacks = "; ".join(shortcomings(requirements))
    if not lacks:
        return
    if os.environ.get(REENTERED):
        raise EnvironmentProblem(f"the environment {sys.prefix} is not complete ({lacks}); delete that folder")
    if in_slicer():
        raise EnvironmentProblem(
            f"this is Slicer's Python and it lacks something ({lacks}). Install torch in Slicer with the PyTorch extension and "
            f"other packages with '{Path(sys.executable).name} -m pip install', or start s3net with an ordinary Python 3.11 "
            "or newer, which makes its own environment"
        )
    command = [str(prepare(requirements, quiet)), script, *arguments]
    variables = _variables() | {REENTERED: "1"}
    if os.name == "nt":
        with subprocess.Popen(command, env=variables) as process:
            while True:
                try:
                    sys.exit(process.wait())
                except KeyboardInterrupt:  # Ctrl-C reaches the child, too, which decides how to stop
                    continue
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, variables)


def in_slicer() -> bool:
    """Whether this is Slicer's Python, which brings its own packages along."""
    return Path(sys.executable).name.lower().startswith(("pythonslicer", "python-real"))


def shortcomings(requirements: tuple[Path, ...] = (RUNTIME,)) -> list[str]:
    """What this interpreter lacks, one text for each package. A first look: names, ``>=`` and ``==`` count, lines with one name are
    alternatives; pip, which installs, reads all of it."""
    lacks = []
    for file in requirements:
        lines = re.findall(r"(?m)^([\w.-]+)\s*((?:>=|==)\s*[\d.]+)?", file.read_text("utf-8"))
        for name in dict(lines):
            if file == RUNTIME and name in LATE_IN_SLICER and in_slicer():
                continue
            try:
                present = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                spec = importlib.util.find_spec(_IMPORT_NAMES.get(name, name))  # Slicer's own builds have no metadata
                if spec is None or spec.origin is None:  # no origin: a folder of that name, not a package
                    lacks.append(f"{name} is missing")
                continue
            wanted = [rule for other, rule in lines if other == name]
            if not any(_fits(present, rule) for rule in wanted):
                lacks.append(f"{name} is {present}, not {' or '.join(wanted)}")
    return lacks


def _fits(present: str, rule: str) -> bool:
    here, wanted = ([int(n) for n in re.findall(r"\d+", text.partition("+")[0])[:3]] for text in (present, rule))
    return here == wanted if rule.startswith("==") else here >= wanted  # 2.13.0+cpu is 2.13.0


def own_folder() -> Path:
    """Where our environment belongs: the folder that S3NET_VENV names; else ``.venv`` in a checkout; where that cannot be (an
    installed extension, a read-only disk, somebody's own ``.venv``) a folder in the user's cache."""
    if named := os.environ.get("S3NET_VENV"):
        return Path(named).expanduser().absolute()
    local = REPOSITORY / ".venv"
    is_checkout = (REPOSITORY / "Testing").is_dir()
    if is_checkout and os.access(local if local.exists() else REPOSITORY, os.W_OK) and not _is_foreign(local):
        return local
    return user_cache() / f"venv-{sys.version_info[0]}.{sys.version_info[1]}"


def _is_foreign(folder: Path) -> bool:
    """Whether ``folder`` holds an environment (or anything else) that we did not make, which is never changed."""
    made = not folder.exists() or (folder / MARKER).exists()
    return not made and any(not entry.name.startswith("s3net.") for entry in folder.iterdir())


def python_in(folder: Path) -> Path:
    """The interpreter of the environment in ``folder``."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def prepare(requirements: tuple[Path, ...], quiet: bool = False) -> Path:
    """The interpreter of an environment that satisfies ``requirements``, made or brought up to date if need be. A second start
    waits for the first; a half-made environment is made anew. Raises EnvironmentProblem if it cannot be."""
    folder, files = own_folder(), tuple(dict.fromkeys((RUNTIME, *requirements)))
    if not _is_ready(folder, files):
        if _is_foreign(folder):
            raise EnvironmentProblem(f"s3net did not make what is in {folder}; name another folder in S3NET_VENV")
        lock = FileLock(folder / LOCK)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not lock.take():
                _say("waiting: another s3net is making the environment", quiet)
                while not lock.take():
                    time.sleep(0.5)
            if not _is_ready(folder, files):  # another start may have finished it meanwhile
                make(folder, files, quiet)
        except OSError as error:
            remedy = "make room there or name another folder in S3NET_VENV"
            raise EnvironmentProblem(f"the environment {folder} cannot be made: {error}; {remedy}") from None
        finally:
            lock.give_back()
    return python_in(folder)


def make(folder: Path, files: tuple[Path, ...], quiet: bool) -> None:
    """Makes the environment in ``folder``, or installs what is new into a complete one. The caller holds the lock."""
    python, before = python_in(folder), _installed(folder)
    without_cuda = sys.platform == "linux" and not has_nvidia_driver()
    if before and python.exists():
        _say(f"bringing the environment {folder} up to date", quiet)
        _note(folder, [])
    else:
        size = "0.3 GB, with PyTorch for CPUs since there is no NVIDIA driver" if without_cuda else "up to 3 GB"
        _say(f"first use: making an environment in {folder}, once (downloads {size})", quiet)
        before = set()
        create(folder)
    if without_cuda:
        options = ["--no-deps", "--index-url", CPU_INDEX, "--timeout", "5", "--retries", "0", "torch"]
        if not install(python, [*options, *(text for file in files for text in ("-c", str(file)))], quiet):
            _say("no harm done: PyTorch's index for CPUs gave nothing; the default one may download 3 GB", quiet)
    lists = [text for file in files for text in ("-r", str(file))]
    if not install(python, lists, quiet):
        _note(folder, before)  # pip changes nothing when it fails, so what was complete still is
        raise EnvironmentProblem(
            "the packages could not be installed; pip says why above. No internet: behind a proxy set HTTPS_PROXY, or run "
            f"'pip download {' '.join(lists)} -d wheels' on another computer of the same kind, copy the folder, and start "
            "with PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels. Disk full: name a folder on another disk in S3NET_VENV. No package "
            f"for Python {sys.version_info[0]}.{sys.version_info[1]}: start with 3.11 or 3.12 (64 bit)"
        )
    _note(folder, map(_digest, files))


def has_nvidia_driver() -> bool:
    """Whether PyTorch could use an NVIDIA card here."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def create(folder: Path) -> None:
    """An empty virtual environment with pip in ``folder``; what a broken start left there is removed first."""
    _note(folder, [])
    for entry in folder.iterdir():
        if entry.name not in (LOCK, MARKER):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if not _run([sys.executable, "-m", "venv", str(folder)]):
        raise EnvironmentProblem(f"a virtual environment could not be made in {folder}; Python says why above")


def install(python: Path, options: list[str], quiet: bool) -> bool:
    """Runs ``pip install`` with its own progress on stderr; whether it succeeded. Only wheels, so nothing is compiled."""
    own = {"PIP_ONLY_BINARY": ":all:", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0"}
    return _run([str(python), "-m", "pip", "install", *["--quiet"] * quiet, *options], own)


def _run(command: list[str], own: dict[str, str] | None = None) -> bool:
    return subprocess.run(command, env=_variables() | (own or {}), stdout=2, check=False).returncode == 0


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}


def _is_ready(folder: Path, files: tuple[Path, ...]) -> bool:
    return set(map(_digest, files)) <= _installed(folder) and python_in(folder).exists()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _installed(folder: Path) -> set[str]:
    """Digests of the requirement files whose packages are in ``folder``; none if it is not complete."""
    marker = folder / MARKER
    return set(re.findall("[0-9a-f]{64}", marker.read_text("utf-8", "replace"))) if marker.is_file() else set()


def _note(folder: Path, installed: Iterable[str]) -> None:
    (folder / MARKER).write_text(json.dumps({"installed": sorted(installed)}), encoding="utf-8")


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(f"s3net: {text}", file=sys.stderr, flush=True)
