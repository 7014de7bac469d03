"""Which Python environment runs the command: the present one if it has the packages, otherwise an own one.

Standard library only, since this runs before anything is installed. :mod:`.installing` makes the environment.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ..user_cache import user_cache

MODULE = Path(__file__).resolve().parents[2]
REPOSITORY = MODULE.parent
RUNTIME = MODULE / "Resources" / "requirements.txt"
# Older than these is known not to work; newer is accepted, so that Slicer's own packages are used as they are.
OLDEST = {"numpy": (2, 0), "scipy": (1, 13), "simpleitk": (2, 3), "torch": (2, 3)}
# What Slicer's Python may lack: only some files need it, and they say so.
LATE_IN_SLICER = {"tifffile"}
IMPORT_NAMES = {"simpleitk": "SimpleITK", "slicer-core": "slicer", "pyqt5": "PyQt5", "pillow": "PIL", "pynrrd": "nrrd"}
MARKER = "s3net.json"  # in an environment made by us: its state and what was installed
REENTERED = "S3NET_IN_ENVIRONMENT"


class EnvironmentProblem(RuntimeError):
    """No environment could be had; the text says why and what to do."""


def enter(script: str, arguments: list[str], requirements: tuple[Path, ...] = (RUNTIME,), quiet: bool = False) -> None:
    """Returns if this interpreter can run the command; otherwise runs ``script`` in an environment that can.

    In the second case it does not return: on Linux and macOS the process becomes the other Python, on Windows the other
    one is waited for and its exit code passed on. The environment is made if need be, which can take minutes.

    :param requirements: pinned requirement files that must be satisfied.
    :raises EnvironmentProblem: it could not be made.
    """
    lacks = shortcomings(requirements)
    if not lacks:
        return
    if os.environ.get(REENTERED):
        raise EnvironmentProblem(
            f"the environment {sys.prefix} is not complete ({'; '.join(lacks)}); delete that folder and start again"
        )
    if in_slicer():
        raise EnvironmentProblem(
            f"this is Slicer's Python and it lacks something ({'; '.join(lacks)}). Install torch in Slicer with the PyTorch "
            "extension, or start s3net with an ordinary Python 3.11 or newer, which makes its own environment"
        )
    from .installing import prepare

    python = prepare(requirements, quiet)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"} | {REENTERED: "1"}
    command = [str(python), script, *arguments]
    if os.name == "nt":
        sys.exit(_wait_for(command, environment))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)


def in_slicer() -> bool:
    """Whether this is Slicer's Python, which brings its own packages along."""
    return Path(sys.executable).name.lower().startswith(("pythonslicer", "python-real"))


def _wait_for(command: list[str], environment: dict[str, str]) -> int:
    """Runs ``command`` to its end. Ctrl-C reaches the child too, which decides how to stop."""
    with subprocess.Popen(command, env=environment) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def shortcomings(requirements: tuple[Path, ...] = (RUNTIME,)) -> list[str]:
    """What this interpreter lacks, one text for each package; [] if the command can run here.

    Packages of the runtime file may be of any version from :data:`OLDEST` on; those of other files (the tests') must have
    the pinned version, since formatting and test results depend on it.
    """
    lacks = []
    for file in requirements:
        for name, pinned in read_requirements(file).items():
            spec = importlib.util.find_spec(IMPORT_NAMES.get(name, name))
            if spec is None and file == RUNTIME and name in LATE_IN_SLICER and in_slicer():
                continue
            if spec is None or spec.origin is None:  # no origin: a folder of that name, not a package
                lacks.append(f"{name} is missing")
                continue
            try:
                version = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
            if file == RUNTIME and numbers(version) < OLDEST.get(name, ()):
                lacks.append(f"{name} {version} is too old")
            if file != RUNTIME and version.split("+")[0] != pinned:
                lacks.append(f"{name} is {version}, not {pinned}")
    return lacks


def read_requirements(file: Path, python: tuple[int, int] = sys.version_info[:2]) -> dict[str, str]:
    """Name (lower case) -> pinned version of a requirements file, for Python version ``python``.

    Understands what our files use: ``name==version``, comments and ``; python_version < "3.12"`` (or ``>=``).
    """
    pinned = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        text, _, condition = line.partition("#")[0].partition(";")
        if not text.strip():
            continue
        name, _, version = text.strip().partition("==")
        rule = re.fullmatch(r'\s*python_version\s*(<|>=)\s*"(\d+)\.(\d+)"\s*', condition) if condition else None
        if rule:
            below = python < (int(rule[2]), int(rule[3]))
            if below != (rule[1] == "<"):
                continue
        pinned[name.strip().lower()] = version.strip()
    return pinned


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version text: "2.13.0+cpu" -> (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def own_folder() -> Path:
    """Where an environment of our own belongs: ``.venv`` at the root of the repository, or where that cannot be (an
    installed extension, a read-only disk, somebody's own ``.venv``) a folder in the user's cache.

    The environment variable S3NET_VENV names another folder.
    """
    named = os.environ.get("S3NET_VENV")
    if named:
        return Path(named).expanduser().absolute()
    local = REPOSITORY / ".venv"
    is_checkout = (REPOSITORY / "Testing").is_dir()
    if is_checkout and os.access(local if local.exists() else REPOSITORY, os.W_OK) and not is_foreign(local):
        return local
    return user_cache() / f"venv-{sys.version_info[0]}.{sys.version_info[1]}"


def python_in(folder: Path) -> Path:
    """The interpreter of the environment in ``folder``."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def is_foreign(folder: Path) -> bool:
    """Whether ``folder`` holds an environment (or anything else) that we did not make, which is never changed."""
    if not folder.exists() or (folder / MARKER).exists():
        return False
    return any(not entry.name.startswith("s3net.") for entry in folder.iterdir())  # s3net.*: another start, just begun


def suits(python: Path, requirements: tuple[Path, ...]) -> bool:
    """Whether another interpreter has what is needed."""
    check = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "from S3NetSegmentLib.cli.environment import shortcomings; "
        "sys.exit(sys.version_info < (3, 11) or bool(shortcomings(tuple(map(Path, sys.argv[2:])))))"
    )
    command = [str(python), "-c", check, str(MODULE), *map(str, requirements)]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def read_marker(folder: Path) -> dict:
    """State of our environment in ``folder``: {"state": "making" | "updating" | "ready", "installed": [digests]}; {} if
    there is none or it cannot be read."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return marker if isinstance(marker, dict) else {}
    except (OSError, ValueError):
        return {}


def is_ready(folder: Path, requirements: tuple[Path, ...]) -> bool:
    """Whether our environment in ``folder`` is complete, up to date for ``requirements`` and its Python still exists."""
    marker = read_marker(folder)
    return (
        marker.get("state") == "ready"
        and set(map(digest, requirements)) <= set(marker.get("installed", ()))
        and python_in(folder).exists()
    )


def digest(file: Path) -> str:
    """Changes when the requirements in ``file`` change."""
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()
