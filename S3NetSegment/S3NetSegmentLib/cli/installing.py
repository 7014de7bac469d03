"""Makes the environment on first use: a virtual environment with the pinned packages, by pip, with visible progress.

Standard library only. pip's own configuration (index, proxy, ``PIP_FIND_LINKS`` folder of wheels) is used as it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import environment
from .environment import EnvironmentProblem

LOCK = "s3net.lock"
NETWORK_TROUBLE = re.compile(
    r"name resolution|getaddrinfo|failed to establish a new connection|NewConnectionError|ConnectTimeout|ReadTimeout|"
    r"network is unreachable|no route to host|connection (refused|reset|aborted)|ProxyError|SSLError|SSLCertVerification",
    re.IGNORECASE,
)


def prepare(requirements: tuple[Path, ...], quiet: bool = False) -> Path:
    """The interpreter of an environment that satisfies ``requirements``, made or brought up to date if need be.

    Two first starts at once do not collide: the second waits for the first. A half-made environment is made anew.

    :raises EnvironmentProblem: it could not be made.
    """
    local = environment.REPOSITORY / ".venv"
    if environment.is_foreign(local) and environment.suits(environment.python_in(local), requirements):
        return environment.python_in(local)
    folder = environment.own_folder()
    if environment.is_ready(folder, requirements):
        return environment.python_in(folder)
    if environment.is_foreign(folder):
        raise EnvironmentProblem(f"{folder} holds something that s3net did not make; name another folder in S3NET_VENV")
    news = Newsline(quiet)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, news):
            if not environment.is_ready(folder, requirements):  # another start may have finished it meanwhile
                make(folder, requirements, news)
    except OSError as error:
        raise EnvironmentProblem(
            f"the environment {folder} cannot be made: {error}; make room there or name another folder in S3NET_VENV"
        ) from None
    finally:
        news.close()
    return environment.python_in(folder)


def make(folder: Path, requirements: tuple[Path, ...], news: Newsline) -> None:
    """Makes the environment in ``folder``, or installs what is missing in a complete older one. The caller holds the lock."""
    started = time.monotonic()
    marker = environment.read_marker(folder)
    python = environment.python_in(folder)
    files = list(requirements)
    if marker.get("state") in ("ready", "updating") and python.exists():
        news.say(f"bringing the environment {folder} up to date")
        write_marker(folder, "updating", marker.get("installed", []))
        if environment.RUNTIME not in files:
            files.insert(0, environment.RUNTIME)
    else:
        names = [name for file in files for name in environment.read_requirements(file)]
        news.say(
            f"first use: making an environment in {folder} with {', '.join(names)}; "
            "this takes some minutes and up to a few GB of disk, once"
        )
        create(folder)
    install(python, files, news)
    check_imports(python)
    write_marker(folder, "ready", [*marker.get("installed", []), *map(environment.digest, files)])
    news.say(f"environment ready after {time.monotonic() - started:.0f} s")


def create(folder: Path) -> None:
    """An empty virtual environment with pip in ``folder``; what a broken start left there is removed first."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise EnvironmentProblem(
            f"this Python ({sys.executable}) cannot make virtual environments; on Debian and Ubuntu install the package "
            f"python{sys.version_info[0]}.{sys.version_info[1]}-venv, or use a Python from python.org"
        )
    write_marker(folder, "making", [])
    for entry in folder.iterdir():
        if entry.name not in (LOCK, environment.MARKER):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    command = [sys.executable, "-m", "venv", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise EnvironmentProblem(f"a virtual environment could not be made in {folder}: {last[0]}")


def install(python: Path, requirements: list[Path], news: Newsline) -> None:
    """Runs pip with visible progress. Raises EnvironmentProblem with pip's reason and what to do."""
    command = [str(python), "-m", "pip", "install", "--no-input", "--progress-bar", "off", "--only-binary", ":all:"]
    for file in requirements:
        command += ["-r", str(file)]
    variables = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}
    variables.pop("PYTHONHOME", None)
    # errors="replace": pip's texts may hold bytes of another encoding
    pip = subprocess.Popen(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_forward, args=(pip.stdout, lines), daemon=True).start()
    log = []
    try:
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                news.tick()
                continue
            if line is None:
                break
            log.append(line)
            task = describe(line)
            if task and (news.terminal or not line.startswith("Collecting")):  # a log shows what takes long, no more
                news.say(task, keep=True)
    finally:
        if pip.poll() is None and sys.exc_info()[0] is not None:
            pip.terminate()
    if pip.wait() != 0:
        raise EnvironmentProblem(reason_of_failure(log, requirements))


def _forward(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line.rstrip())
    lines.put(None)


def describe(line: str) -> str | None:
    """What a line of pip's output says to a user, or None if it says nothing new."""
    found = re.match(r"Collecting ([\w.-]+)", line)
    if found:
        return f"{found[1]}: looking for it"
    found = re.match(r"\s*(?:Downloading|Using cached|Processing) (\S+)(?: \((.*)\))?", line)
    if found and not found[1].endswith(".metadata"):
        name = re.split(r"[/\\]", found[1])[-1].split("-")
        size = f" ({found[2]})" if found[2] and found[2].endswith("B") else ""
        what = "downloading" if "Downloading" in line else "taking the local copy"
        return f"{name[0]} {name[1] if len(name) > 1 else ''}: {what}{size}"
    found = re.match(r"Installing collected packages: (.*)", line)
    return f"installing {len(found[1].split(','))} packages" if found else None


def reason_of_failure(log: list[str], requirements: list[Path]) -> str:
    """pip's failure as one text that says what to do."""
    text = "\n".join(log)
    errors = [line for line in log if line.startswith("ERROR")] or log[-1:] or ["pip gave no reason"]
    offline = " ".join(f'-r "{file}"' for file in requirements)
    if "No space left on device" in text:
        return "the disk is full: free some GB, or name a folder on another disk in the environment variable S3NET_VENV"
    if NETWORK_TROUBLE.search(text):
        return (
            "the packages could not be downloaded: no package index was reached. Connect to the internet (behind a proxy set "
            "HTTPS_PROXY) and start again. For a computer without internet: on another one of the same kind run "
            f"'pip download {offline} -d wheels', copy the folder, and start with PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels"
        )
    version = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}"
    missing = re.search(r"No matching distribution found for (\S+)", text)
    if missing:
        return (
            f"{missing[1]} was not found for {version}: use Python 3.11 or 3.12 (64 bit), and check pip's index settings "
            "('pip config list') or the folder in PIP_FIND_LINKS"
        )
    return f"pip could not install the packages: {errors[0]}"


def check_imports(python: Path) -> None:
    """Raises EnvironmentProblem if what was installed does not load (a missing system library, the wrong processor)."""
    command = [str(python), "-c", "import numpy, scipy, SimpleITK, torch"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise EnvironmentProblem(f"the packages were installed but do not load: {last[0]}")


def write_marker(folder: Path, state: str, installed: list[str]) -> None:
    """Notes the state of our environment, in one piece."""
    content = {"state": state, "installed": sorted(set(installed)), "python": sys.version.split()[0]}
    temporary = folder / f"{environment.MARKER}.new"
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(folder / environment.MARKER)


@contextlib.contextmanager
def locked(folder: Path, news: Newsline):
    """Holds the lock of ``folder``; waits, and says so, while another process holds it. It ends with the process."""
    with open(folder / LOCK, "a+b") as file:
        waited = False
        while not _try_lock(file):
            if not waited:
                news.say("waiting: another s3net is making the environment")
                waited = True
            news.tick()
            time.sleep(0.5)
        yield


def _try_lock(file) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass  # a file system without locks: go on without
    return True


class Newsline:
    """Says on stderr what the setup is doing: a line for each task, and the seconds it has taken, renewed in place on a
    terminal and as a line now and then in a log."""

    LOG_SECONDS = 20.0

    def __init__(self, quiet: bool = False, stream=None):
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self.terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._text, self._since, self._spoken = "", 0.0, 0.0
        self._open = False  # whether the current line may be overwritten

    def say(self, text: str, keep: bool = False) -> None:
        """Starts a new line; with ``keep`` its seconds are shown while it lasts."""
        if self._quiet:
            return
        now = time.monotonic()
        self._text, self._since, self._spoken = text if keep else "", now, now
        if not keep or not self.terminal:
            self.close()
            print(f"s3net: {text}", file=self._stream, flush=True)
        else:
            self._redraw(now)

    def tick(self) -> None:
        """Renews the seconds of the current task."""
        now = time.monotonic()
        if self._quiet or not self._text:
            return
        if self.terminal:
            self._redraw(now)
        elif now - self._spoken >= self.LOG_SECONDS:
            self._spoken = now
            print(f"s3net: {self._text}, {now - self._since:.0f} s", file=self._stream, flush=True)

    def close(self) -> None:
        """Ends a line that was being renewed."""
        if self._open:
            print(file=self._stream, flush=True)
            self._open = False

    def _redraw(self, now: float) -> None:
        line = f"s3net: {self._text}, {now - self._since:.0f} s"
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + line[:width].ljust(width))
        self._stream.flush()
        self._open = True
