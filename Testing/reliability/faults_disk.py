"""A disk that can become full or read-only: a small one of its own where one can be mounted, else files of bounded size."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path


class Disk:
    """The folder of the results: a small disk of its own where one can be mounted, else a folder with bounded files."""

    def __init__(self, folder: Path):
        self._folder, self._mounted = folder, False
        self.can_mount = self._mount("64m")
        self.clear()
        self.how = "a small tmpfs" if self.can_mount else "files of bounded size instead; nothing can be mounted here"

    def begin(self, size: int | None) -> None:
        """:param size: bytes of the disk; None: enough."""
        if size is not None and not self.can_mount:
            os.environ["FAULTS_LIMIT"] = str(size // 8)
        elif self.can_mount:
            self._mount("256m" if size is None else str(size))

    def forbid(self) -> None:
        """Makes the disk read-only, also under files that are being written."""
        if not self.can_mount:
            self._folder.chmod(0o555)
            return
        for _ in range(200):  # a disk on which a file is open for writing is busy
            if self._remount("ro"):
                return
            time.sleep(0.002)

    def end(self) -> None:
        """The fault is over; everything is there still."""
        os.environ.pop("FAULTS_LIMIT", None)
        if self.can_mount:
            assert self._remount("rw,size=256m")
        else:
            self._folder.chmod(0o755)

    def clear(self) -> None:
        os.environ.pop("FAULTS_LIMIT", None)
        if self._mounted:
            done = subprocess.run(["umount", str(self._folder)], capture_output=True, check=False)
            if done.returncode:
                subprocess.run(["umount", "-l", str(self._folder)], check=True)
            self._mounted = False
        else:
            self._folder.chmod(0o755)
            empty(self._folder)

    def _mount(self, size: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self._folder)]
        try:
            self._mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self._mounted = False
        return self._mounted

    def _remount(self, options: str) -> bool:
        command = ["mount", "-o", f"remount,{options}", str(self._folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def empty(folder: Path) -> None:
    """Removes what is in ``folder``."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
