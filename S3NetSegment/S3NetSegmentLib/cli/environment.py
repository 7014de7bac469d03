"""Which Python environment runs the command: the present one if it has the packages, otherwise one that venv and pip make.
Standard library only. pip speaks for itself, and its own settings (index, proxy, ``PIP_FIND_LINKS``) are used as they are."""

import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

from ..engine.common.errors import ResourceError
from ..file_lock import FileLock
from ..user_cache import user_cache

RUNTIME = Path(__file__).resolve().parents[2] / "requirements.txt"
REPOSITORY = RUNTIME.parents[1]
IN_SLICER = Path(sys.executable).name.lower().startswith(("pythonslicer", "python-real"))
MARKER, LOCK = "s3net.json", "s3net.lock"  # in an environment that we made: what is installed, and who is at work on it
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"
REENTERED = "S3NET_IN_ENVIRONMENT"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own; the default index has CUDA's 3 GB with it on Linux
CPU_TORCH = f"torch --no-deps --index-url {CPU_INDEX} --timeout 5 --retries 0".split()


def enter(script: str, arguments: list[str], files: tuple[Path, ...] = (RUNTIME,), quiet: bool = False) -> None:
    """Returns if this interpreter satisfies the requirement ``files``; otherwise the process becomes a Python that does, running
    ``script`` (on Windows it waits for it). ResourceError: there is none, and it could not be made."""
    if not (lacks := "; ".join(shortcomings(files))):
        return
    if os.environ.get(REENTERED):
        raise ResourceError(f"the environment {sys.prefix} is not complete ({lacks}); delete that folder")
    if IN_SLICER:
        raise ResourceError(
            f"this is Slicer's Python and it lacks something ({lacks}). Install torch with the PyTorch extension and other packages "
            f"with '{Path(sys.executable).name} -m pip install', or start s3net with an ordinary Python from 3.11 on"
        )
    os.environ.pop("PYTHONHOME", None)
    command = [str(prepare(files, quiet)), script, *arguments]
    os.environ[REENTERED] = "1"
    if os.name == "nt":
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child, too, which decides how to stop
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def shortcomings(files: tuple[Path, ...] = (RUNTIME,)) -> list[str]:
    """What this interpreter lacks. A first look: names, ``>=`` and ``==`` count, lines with one name are alternatives."""
    lacks = []
    for file in files:
        lines = re.findall(r"(?m)^([\w.-]+)\s*((?:>=|==)\s*[\d.]+)?", file.read_text("utf-8"))
        for name in dict(lines).keys() - ({"tifffile", "safetensors"} if IN_SLICER else set()):  # few files need them
            wanted = [rule for other, rule in lines if other == name]
            try:
                present = metadata.version(name)
            except metadata.PackageNotFoundError:  # as of Slicer's own; a mere folder of that name has no origin
                if not getattr(util.find_spec({"pillow": "PIL"}.get(name, name)), "origin", None):
                    lacks.append(f"{name} is missing")
                continue
            here, *others = ([int(n) for n in re.findall(r"\d+", v.partition("+")[0])[:3]] for v in (present, *wanted))
            if not any(here == n or (here > n and "==" not in v) for n, v in zip(others, wanted, strict=True)):
                lacks.append(f"{name} is {present}, not {' or '.join(wanted)}")
    return sorted(lacks)


def own_folder() -> Path:
    """The folder that S3NET_VENV names; else ``.venv`` in a checkout; where that cannot be (an installed extension, a read-only
    disk, somebody's own ``.venv``) one in the user's cache. What we did not make is never changed."""
    named = os.environ.get("S3NET_VENV")
    folder = Path(named or REPOSITORY / ".venv").expanduser().absolute()
    foreign = folder.exists() and not (folder / MARKER).exists() and {*folder.iterdir()} != {*folder.glob(LOCK)}
    if named and foreign:
        raise ResourceError(f"s3net did not make what is in {folder}; name another folder in S3NET_VENV")
    writable = os.access(folder if folder.exists() else REPOSITORY, os.W_OK)
    if named or ((REPOSITORY / "Testing").is_dir() and writable and not foreign):
        return folder
    return user_cache() / f"venv-{sys.version_info[0]}.{sys.version_info[1]}"


def prepare(files: tuple[Path, ...], quiet: bool = False) -> Path:
    """The Python of an environment that satisfies ``files``, made or brought up to date if need be; a second start waits."""
    wanted = {line for file in files for line in file.read_text("utf-8").splitlines()}
    try:
        folder = own_folder()
        if not wanted <= installed(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / LOCK) as lock:
                _say("waiting: another s3net is making the environment", quiet or lock.take())
                lock.take(float("inf"))
                if not wanted <= (before := installed(folder)):  # another start may have finished it meanwhile
                    make(folder, files, before, quiet)
                    (folder / MARKER).write_text("\n".join(sorted(wanted)), "utf-8")
    except OSError as error:
        raise ResourceError(f"no environment: {error}; make room there or name another folder in S3NET_VENV") from None
    return folder / PYTHON


def installed(folder: Path) -> set[str]:
    """The lines of the lists whose packages are in the environment in ``folder``; none if it is not complete."""
    there = (folder / PYTHON).exists() and (folder / MARKER).exists()
    return set((folder / MARKER).read_text("utf-8", "replace").splitlines()) if there else set()


def make(folder: Path, files: tuple[Path, ...], before: set[str], quiet: bool) -> None:
    """An environment with the packages of ``files`` in ``folder``: what is new, where the lines ``before`` are complete."""
    cpu = sys.platform == "linux" and not (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists())
    (folder / MARKER).write_text("")  # nothing counts as complete
    if before:
        _say(f"bringing the environment {folder} up to date", quiet)
    else:
        size = "0.3 GB, with PyTorch for CPUs since there is no NVIDIA driver" if cpu else "up to 3 GB"
        _say(f"first use: making an environment in {folder}, once (downloads {size})", quiet)
        for entry in {*folder.iterdir()} - {folder / LOCK, folder / MARKER}:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        if subprocess.call([sys.executable, "-m", "venv", folder], stdout=2):
            raise ResourceError(f"a virtual environment could not be made in {folder}; Python says why above")
    pip = [folder / PYTHON, *"-m pip install --no-user --no-input --only-binary=:all:".split(), *["-q"] * quiet]
    lists = [text for file in files for text in ("-r", str(file))]
    if cpu and subprocess.call([*pip, *CPU_TORCH, *("-c" if text == "-r" else text for text in lists)], stdout=2):
        _say("no harm done: PyTorch's index for CPUs gave nothing; the default one may download 3 GB", quiet)
    if subprocess.call([*pip, *lists], stdout=2):
        (folder / MARKER).write_text("\n".join(before), "utf-8")  # pip changes nothing when it fails
        raise ResourceError(
            "the packages could not be installed; pip says why above. No internet: behind a proxy set HTTPS_PROXY, or run 'pip download "
            f"{' '.join(lists)} -d wheels' on another computer of the same kind, copy the folder, and start with PIP_NO_INDEX=1 "
            "PIP_FIND_LINKS=wheels. Disk full: name a folder on another disk in S3NET_VENV. No package for Python "
            f"{sys.version_info[0]}.{sys.version_info[1]}: start with 3.11 or 3.12 (64 bit)"
        )


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(f"s3net: {text}", file=sys.stderr, flush=True)
