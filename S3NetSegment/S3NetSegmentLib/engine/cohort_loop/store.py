"""The files that the loop through a cohort keeps, in the sub-folder ``s3net-cohort`` of the images.

accepted/CASE.seg.nrrd    what was accepted; that this file is there is what makes a case accepted
accepted/CASE.json        who accepted it, when, of which image, and what it was made from
proposed/CASE.seg.nrrd    the latest proposal, with CASE.json (expected quality, notes) and CASE.png
corrected/CASE.seg.nrrd   slices that were drawn or corrected in a case before it is accepted, with CASE.json (which ones)
failed/CASE.json          why its image cannot be read, and which image that was
history/CASE/             what was accepted earlier, and what an acceptance was taken back from
taken/CASE.json           who works on a case now
locks/                    locks, which end with the process that holds them
segments.json             names, values and colours of the segments, and what else they are called
model/                    the model that is trained on what is accepted

Every file is written whole or not at all, so that killing a program, a full disk or a second computer leaves a state that
can be read. A record (JSON) that is missing or damaged loses what is told about a case, never the case.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import platform
import time
import unicodedata
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...file_lock import FileLock
from ..common.errors import InputError, ResourceError
from ..common.json_file import json_object
from ..images import Segmentation, Volume
from ..images.file_facts import file_facts, looked_at, sampled
from ..images.files import flush_to_disk, is_left_over, replacing
from ..images.writing import write_segmentation
from .finding import WORK, FoundCases, checked_folder, find_cases

ACCEPTED, PROPOSED, CORRECTED, HISTORY, FAILED = "accepted", "proposed", "corrected", "history", "failed"
_TAKEN, _LOCKS, _MODEL_LOCK = "taken", "locks", ".model"
_TAKEN_HOURS = 12  # after which a case that somebody took is free again
_A_LOOK = 0.3  # seconds to wait for a lock that somebody may only look at
_PATIENCE = 10.0  # seconds to wait for somebody who writes what all cases share
_KINDS = (".json", ".png", ".seg.nrrd")  # of what is written here


@dataclass(frozen=True, eq=False)
class CaseImage:
    """The image of a case, as it was read.

    :param facts: what names its content, see :meth:`CohortStore.image_facts`.
    :param warned: what its reading warned of.
    """

    volume: Volume
    facts: dict
    warned: list[str]


class CohortStore:
    """The folder of a cohort with what the loop knows of it. Nothing is kept in memory, so that what others write is seen at
    once, but the digests of files whose sizes and times are as they were.

    :raises InputError: no such folder.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = find_folder(folder)
        self.work = self.folder / WORK
        self._digests: dict[str, dict] = {}  # facts of segmentation files
        self._samples: dict[str, tuple] = {}  # image -> what was looked at of it, and the sample

    def found(self) -> FoundCases:
        """The cases that are there now. InputError as :func:`find_cases`."""
        return find_cases(self.folder)

    def case_named(self, text: str) -> str:
        """The name of the case that ``text`` means, also where its accents are stored in another way (as macOS does in names of
        files); ``text`` itself where there is none."""
        names = [*self.found().images, *self.accepted()]
        wanted = unicodedata.normalize("NFC", text)
        alike = [name for name in dict.fromkeys(names) if unicodedata.normalize("NFC", name) == wanted]
        return alike[0] if text not in names and len(alike) == 1 else text

    def image_of(self, case: str) -> Path:
        """The image of ``case``. InputError if there is none, or no longer."""
        images = self.found().images
        if case not in images:
            known = ", ".join(list(images)[:6]) + (", ..." if len(images) > 6 else "")
            raise InputError(
                f"there is no case {case!r} in {str(self.folder)!r} (or no longer); there are {known or 'none'}"
            )
        return images[case]

    def segmentation_path(self, kind: str, case: str) -> Path:
        return self.work / kind / f"{case}.seg.nrrd"

    def record_path(self, kind: str, case: str) -> Path:
        return self.work / kind / f"{case}.json"

    def picture_path(self, case: str) -> Path:
        return self.work / PROPOSED / f"{case}.png"

    def record(self, kind: str, case: str) -> dict:
        """The record of ``kind`` of a case; {} if there is none, or a damaged one."""
        return self.read(f"{kind}/{case}.json")

    def read(self, name: str) -> dict:
        """The JSON object in the file ``name``; {} if it is not there or damaged."""
        return json_object(self.work / name)

    def write(self, name: str, content: dict) -> None:
        """Writes a JSON object, whole or not at all. InputError or ResourceError if it cannot be."""
        with replacing(self.work / name) as temporary:
            _write_json(temporary, content)

    def write_with_record(self, kind: str, case: str, segmentation: Segmentation, record: dict) -> None:
        """Writes the segmentation of ``kind`` and its record, which then also names its digest. A first segmentation comes last:
        that it is there says that both are whole. One that replaces another comes before its record: who is killed between them
        leaves no record of a new image beside what was drawn in the old one.

        :raises ResourceError: the disk is full; what was there is still there.
        """
        paths = [self.record_path(kind, case), self.segmentation_path(kind, case)]
        paths = paths[::-1] if paths[1].is_file() else paths
        with replacing(paths[1]) as last, replacing(paths[0]) as first:
            told, labels = (first, last) if paths[0].suffix == ".json" else (last, first)
            write_segmentation(segmentation, labels)
            with open(labels, "rb") as file:
                os.fsync(file.fileno())
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            _write_json(told, {**record, "segmentation_sha256": digest})

    def remove_leftovers(self) -> None:
        """Removes what was half written long ago, when somebody was killed."""
        folders = [
            self.work,
            *(self.work / kind for kind in (ACCEPTED, PROPOSED, CORRECTED)),
            *self.work.glob(f"{HISTORY}/*"),
        ]
        for path in (path for folder in folders for path in folder.glob(".*")):
            with contextlib.suppress(OSError):  # somebody else was faster
                if is_left_over(path.name, _KINDS) and time.time() - path.stat().st_mtime > 3600 * _TAKEN_HOURS:
                    path.unlink()

    def digest(self, kind: str, case: str) -> str:
        """SHA-256 of a segmentation file; "" if it is not there or cannot be read."""
        path = str(self.segmentation_path(kind, case))
        try:
            self._digests[path] = file_facts(path, self._digests.get(path, {}))
        except (InputError, ResourceError):
            return ""
        return self._digests[path]["sha256"]

    def is_accepted(self, case: str) -> bool:
        return self.segmentation_path(ACCEPTED, case).is_file()

    def accepted(self) -> list[str]:
        """Names of the accepted cases, also of those whose image is not there now."""
        try:
            # What begins with a dot is being written, or was when somebody was killed.
            return sorted(p.name[: -len(".seg.nrrd")] for p in (self.work / ACCEPTED).glob("[!.]*.seg.nrrd"))
        except OSError as error:
            raise InputError(f"{str(self.work)!r} cannot be opened ({error.strerror}); check its permissions") from None

    def image_facts(self, case: str, known: dict | None = None, image: Path | None = None) -> dict:
        """What names the content of the image of ``case``, see :func:`~..images.file_facts.file_facts`; a file whose size and
        times are those of ``known`` is not read again. ``image``: where it is; None: looked for. Errors as there."""
        path = str(image or self.image_of(case))
        return {**file_facts(path, {**(known or {}), "path": path}), "path": os.path.relpath(path, self.folder)}

    def is_replaced(self, image: Path, known) -> bool:
        """Whether ``image`` is surely not the one whose facts are ``known``: it has other bytes in a few places. Those of files
        whose sizes and times are as before are not read again, so that this can be asked every few seconds."""
        if not isinstance(known, dict) or not known.get("sample"):
            return False
        try:
            files = looked_at(image)
            if (kept := self._samples.get(str(image), ((), "")))[0] != files:
                kept = self._samples[str(image)] = files, sampled(files)
        except (OSError, InputError):
            return False
        return bool(kept[1] != known["sample"])

    def same_image_facts(self, case: str, seen: dict, image: Path | None = None) -> dict:
        """As :meth:`image_facts`; InputError also where the image is no longer the one of which these facts were ``seen``."""
        facts = self.image_facts(case, seen, image)
        if facts["sha256"] != seen["sha256"]:
            raise InputError(
                f"the image of case {case!r} has changed since it was opened, so what is drawn in it does not belong to the "
                "image that is there now; open the case again"
            )
        return facts

    def accepted_image_facts(self, case: str, image: Path | None = None) -> dict:
        """As :meth:`image_facts`, of an accepted case; InputError also where the image is no longer the one that was segmented."""
        record = self.record(ACCEPTED, case)
        facts = self.image_facts(case, record.get("image"), image)
        if (
            record.get("segmentation_sha256") == self.digest(ACCEPTED, case)
            and record["image"].get("sha256") != facts["sha256"]
        ):
            raise InputError(f"the image of case {case!r} has changed since it was accepted")
        return facts

    def case_lock(self, case: str) -> AbstractContextManager[FileLock]:
        """Holds ``case`` while it is accepted or given back; the lock ends with the process.

        :raises InputError: somebody else holds it at this moment.
        """
        text = f"case {case!r} is being accepted by somebody else at this moment; look at its state, then try again"
        return self._locked(f"{case}.lock", 0.0, InputError(text))

    def shared_lock(self) -> AbstractContextManager[FileLock]:
        """Holds what all cases share. ResourceError if somebody else does not let go of it."""
        text = f"somebody else has been writing into {str(self.work)!r} for {_PATIENCE:.0f} s; try again later"
        return self._locked(".all", _PATIENCE, ResourceError(text))

    def model_lock(self) -> AbstractContextManager[FileLock]:
        """Holds the training of a model. InputError if one is being trained now."""
        refusal = InputError(f"somebody trains a model in {str(self.folder)!r} now; wait for it")
        return self._locked(_MODEL_LOCK, _A_LOOK, refusal)

    def model_is_in_training(self) -> bool:
        """Whether another process holds :meth:`model_lock`; False where the file system cannot tell."""
        return bool(FileLock(self.work / _LOCKS / _MODEL_LOCK).is_held_elsewhere())

    @contextlib.contextmanager
    def _locked(self, name: str, patience: float, refusal: Exception) -> Iterator[FileLock]:
        with FileLock(self.work / _LOCKS / name) as lock:
            try:
                lock.path.parent.mkdir(parents=True, exist_ok=True)
                taken = lock.take(patience)
            except OSError as error:
                raise InputError(
                    f"nothing can be written into {str(self.folder)!r} ({error.strerror}); check its permissions"
                ) from None
            if not taken:
                raise refusal
            yield lock

    def take(self, case: str) -> None:
        """Notes that the present user works on ``case``."""
        self.write(f"{_TAKEN}/{case}.json", {"by": who(), "when": now()})

    def release(self, case: str) -> None:
        (self.work / _TAKEN / f"{case}.json").unlink(missing_ok=True)

    def taken_by(self, case: str) -> str:
        """Who else works on ``case`` (user@computer), "" if nobody does or has done so for half a day."""
        content = self.read(f"{_TAKEN}/{case}.json")
        try:
            age = datetime.now(UTC) - datetime.fromisoformat(content["when"])
            by = str(content["by"])
        except (KeyError, TypeError, ValueError):
            return ""
        return "" if by == who() or age.total_seconds() > 3600 * _TAKEN_HOURS else by


def find_folder(folder: str | os.PathLike) -> Path:
    """``folder``, or the folder of the images where its sub-folder ``s3net-cohort`` is given."""
    path = checked_folder(folder)
    return path.resolve().parent if path.resolve().name == WORK else path


def _write_json(path: Path, content: dict) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False, allow_nan=False)
        flush_to_disk(file)


def who() -> str:
    """The present user: name@computer."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no entry for this user, as in some containers
        name = "somebody"
    return f"{name}@{platform.node()}"


def now() -> str:
    """The present time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
