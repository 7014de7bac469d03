"""The folder of one training run: its state, its log, its pictures, every file whole at every moment; and its signs of life, a
lock that ends with its process and a heartbeat that other machines see too.

The lock says for certain, and at once, whether a process of this machine still runs the folder. A process number alone does
not: after a crash or a restart of the machine it may belong to any other program. The heartbeat decides where the lock does
not reach (another machine, a file system without locks), and shows a run that lives but does not get on.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ....file_lock import FileLock
from ...common.errors import InputError
from ...common.json_file import json_object
from ...images.files import flush_to_disk, is_left_over, replace_text, replacing
from ...images.writing import write_png

STATE, STATUS, STOP, LOG, CURVES, PICTURES, BOARD = (
    "state.pt", "status.json", "stop", "log.jsonl", "curves.png", "pictures", "tensorboard",
)  # fmt: skip
_FORMAT = "S3NetSegment training state"
_VERSION = 1
_STATE_PARTS = {
    "settings": dict, "identity": dict, "step": int, "steps": int, "plan_from": list, "seconds": float, "stale": int,
    "validation_due": bool, "best": list | None, "notes": list, "task": dict, "optimisation": dict,
}  # fmt: skip
_LEARNT = ("task", "optimisation")  # large, unlike the other parts
_BEGIN_ANEW = "Begin anew without --resume, or in another folder"
LOCK, BEAT = ".running", "heartbeat"
BEAT_EVERY = 1.0  # seconds
SILENT_AFTER = 120.0  # seconds without a heartbeat after which a run elsewhere counts as dead; a long step gives none
_A_LOOK = 0.3  # seconds to wait for a lock that somebody may only look at


class RunFolder:
    """A folder of a training run.

    - ``state.pt``: everything that going on needs; ``model.pt``: the best model so far.
    - ``status.json``: which process runs it or how it ended, see :meth:`write_status`.
    - ``log.jsonl``: one JSON object per line: {"step", "seconds", "loss", ...}, {"event": ...}.
    - ``curves.png``, ``pictures/``: learning curves and samples.
    - ``.running``, ``heartbeat``: that it runs, see above; ``stop``: it is asked to end.
    """

    def __init__(self, path: str | os.PathLike):
        """Attribute ``on_entry``: called with each entry of the log that this object writes."""
        self.path = Path(path)
        self.on_entry: Callable[[dict], object] | None = None
        self._lock = FileLock(self.path / LOCK)
        self._last_beat = float("-inf")
        self._seen: tuple[float, float] | None = None  # the newest heartbeat seen, and when it was seen first
        self._board: Any = None  # a SummaryWriter of TensorBoard; False: there is none

    @property
    def has_state(self) -> bool:
        return (self.path / STATE).exists()

    def make(self) -> None:
        """Makes the folder. Raises InputError if that is not possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"run folder {str(self.path)!r} cannot be made ({error.strerror}); choose another"
            ) from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InputError(f"nothing can be written into run folder {str(self.path)!r}; choose another")

    def write_state(self, content: dict) -> None:
        """Replaces the kept state; the old one stays if that fails. Raises ResourceError when the disk is full."""
        write_torch_file(self.path / STATE, {"format": _FORMAT, "version": _VERSION, **content})

    def read_facts(self) -> dict:
        """What the kept state says of the run, without what was learnt, which is not read. Errors as :meth:`read_state`."""
        content = self._read_state(mapped=True)
        return {name: content[name] for name in _STATE_PARTS if name not in _LEARNT}

    def read_state(self) -> dict:
        """The kept state. Raises InputError if it is damaged or of another kind."""
        return self._read_state()

    def _read_state(self, *, mapped: bool = False) -> dict:
        from ...nets.weights.checkpoint import (  # imports torch, which looking at a run does not need
            is_described,
            read_torch_file,
        )

        path = self.path / STATE
        content = read_torch_file(path, mapped=mapped, remedy=_BEGIN_ANEW)
        if not is_described(content, but=_LEARNT) or content["format"] != _FORMAT:
            raise InputError(f"{str(path)!r} is not the state of a training run; choose another run folder")
        if content.get("version") != _VERSION:
            raise InputError(
                f"{str(path)!r} was written by another version of S3NetSegment (format {content.get('version')}, here "
                f"{_VERSION}); go on with that version or begin anew"
            )
        wrong = [n for n, kind in _STATE_PARTS.items() if not isinstance(content.get(n), kind)]
        if wrong:
            raise InputError(f"{str(path)!r} is damaged ({wrong[0]!r} is wrong or missing). {_BEGIN_ANEW}")
        return content

    def log(self, entry: dict) -> None:
        """Appends a line to the log; numbers also go to TensorBoard where it is installed."""
        with open(self.path / LOG, "a", encoding="utf-8") as file:
            file.write(json.dumps({k: _plain(v) for k, v in entry.items()}, allow_nan=False) + "\n")
        if entry.get("event", "validation") == "validation":
            self._to_board(entry)
        if self.on_entry is not None:
            self.on_entry(entry)

    def entries(self) -> Iterator[dict]:
        """The lines of the log; a line that was cut off by a crash is left out."""
        path = self.path / LOG
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry

    def rewind_log(self, step: int) -> None:
        """Takes out what was logged after ``step``: it is done again."""
        kept = [e for e in self.entries() if e.get("step", 0) <= step]
        replace_text(self.path / LOG, "".join(json.dumps(e) + "\n" for e in kept))

    def ask_to_stop(self) -> None:
        """Asks the process that runs it to save its state and end after the present step. Works on every system and from
        any process, unlike signals."""
        (self.path / STOP).touch()

    @property
    def stop_is_asked(self) -> bool:
        return (self.path / STOP).exists()

    def forget_stop(self, before: float = float("inf")) -> None:
        """Takes back :meth:`ask_to_stop`; only what was asked ``before`` that time (seconds of the epoch), if given."""
        path = self.path / STOP
        try:
            if path.stat().st_mtime < before:
                path.unlink()
        except FileNotFoundError:
            pass

    def take(self) -> None:
        """Makes the folder, and the run this process's own until :meth:`give_back` or the end of the process, however it ends.

        :raises InputError: another process runs it, or nothing can be written there.
        """
        self.make()
        try:
            if is_mine := self._lock.take(_A_LOOK):
                self._last_beat = float("-inf")
                self.beat()
        except OSError as error:
            raise InputError(
                f"nothing can be written into run folder {str(self.path)!r} ({error.strerror}); choose another"
            ) from None
        if not is_mine:
            raise InputError(f"run {str(self.path)!r} is running now{self._who()}; stop that one first")
        for folder in (self.path, self.path / PICTURES):  # what a process that was killed had half written
            for left in folder.iterdir() if folder.is_dir() else ():
                if is_left_over(left.name):
                    left.unlink(missing_ok=True)

    def beat(self) -> None:
        """A sign of life of the process that has taken the run, at most one in :data:`BEAT_EVERY`; cheap, to be given at each step."""
        at = time.monotonic()
        if not self.is_taken or at - self._last_beat < BEAT_EVERY:
            return
        self._last_beat = at
        with contextlib.suppress(OSError):  # a full disk is found out by those who have something to write
            (self.path / BEAT).touch()

    def give_back(self) -> None:
        self._lock.give_back()

    @property
    def is_taken(self) -> bool:
        """Whether this object has taken the run."""
        return self._lock.is_held

    def is_running(self) -> bool:
        """Whether another process runs it now. It is known within a second when that ends, also by kill -9 or with its
        machine; a process that has got the number of a dead one is not taken for it."""
        status = self.read_status()
        is_here, pid = status.get("host") == platform.node(), status.get("pid")
        if status.get("status") != "running" or self.is_taken or (is_here and pid == os.getpid()):
            return False
        held = self._lock.is_held_elsewhere()
        if held is None and is_here:
            return process_exists(pid)
        if held or is_here:
            return bool(held)
        silent = self.seconds_silent
        return silent is not None and silent < SILENT_AFTER

    @property
    def seconds_silent(self) -> float | None:
        """How long ago the process that runs it last gave a sign of life; None if it never did. The clock of another machine may
        differ: a heartbeat that is seen to come is believed rather than its time."""
        try:
            beat = (self.path / BEAT).stat().st_mtime
        except OSError:
            return None
        at = time.monotonic()
        if self._seen is None:
            self._seen = (beat, at - max(0.0, time.time() - beat))
        elif self._seen[0] != beat:
            self._seen = (beat, at)
        return at - self._seen[1]

    def _who(self) -> str:
        status = self.read_status()
        where = "" if status.get("host") == platform.node() else f" on {status.get('host')}"
        return f" (process {status['pid']}{where})" if "pid" in status else ""

    def write_status(self, status: str, message: str = "", **more) -> None:
        """Keeps how the run is: "running", "finished", "stopped" or "failed", with a sentence, the number of this process and
        the name of this machine."""
        facts = {"status": status, "message": message, "pid": os.getpid(), "host": platform.node(), **more}
        replace_text(self.path / STATUS, json.dumps(facts, indent=2))

    def read_status(self) -> dict:
        """What :meth:`write_status` wrote, {} without it. "running" is out of date where the process was killed:
        see :meth:`is_running`."""
        return json_object(self.path / STATUS)

    def write_picture(self, name: str, picture: np.ndarray) -> None:
        write_png(picture, self.path / name)

    def close(self) -> None:
        if self._board:
            self._board.close()
            self._board = None

    def _to_board(self, entry: dict) -> None:
        if self._board is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._board = False
                return
            self._board = SummaryWriter(str(self.path / BOARD), purge_step=entry["step"])
        if self._board:
            for name, value in entry.items():
                if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                    self._board.add_scalar(name, value, entry["step"])


def write_torch_file(path: Path, content: dict) -> None:
    """Writes ``content`` with ``torch.save``, on the disk before the old file goes. Raises ResourceError when the disk is
    full; the old file is kept then."""
    import torch

    buffer = io.BytesIO()  # torch hides why a write failed; plain writing tells
    torch.save(content, buffer)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(buffer.getbuffer())
        flush_to_disk(file)


def _plain(value):
    """For JSON: no NaN, no infinity."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def process_exists(pid: int | None) -> bool:
    """Whether any process of this machine has the number ``pid``."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    if sys.platform == "win32":  # there os.kill would end the process
        import ctypes

        synchronize, still_there = 0x00100000, 0x00000102
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        alive = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == still_there
        ctypes.windll.kernel32.CloseHandle(handle)
        return alive
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # gone, or a number that no process has
        return False
    except OSError:
        pass  # it is there, but another user's
    return True
