"""The batch inside Slicer: packages asked for once, manifest files, the rows one after another."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import slicer

from ..engine import ResourceError, Segmentation, Volume
from ..engine.batch.case import CaseFiles
from ..engine.common.errors import InputError, MissingPackageError, UnknownFormatError
from ..engine.images.reading import read_image
from .segmentation.reading import write_segmentation
from .volumes import node_of, volume_from_node

_WANTED = Path(__file__).resolve().parents[2] / "Resources" / "requirements_in_slicer.txt"
_Answer = TypeVar("_Answer")


def with_packages(work: Callable[[], _Answer]) -> _Answer:
    """The answer of ``work``; where it lacks a package the user is asked to have it installed, and ``work`` done again.

    InputError with the way out where nobody can be asked (a script without a window), or Slicer is too old, or the user
    declines.
    """
    try:
        return work()
    except MissingPackageError as error:
        _install(error)
    return work()


def _install(error: MissingPackageError) -> None:
    by_hand = f"in Slicer's Python console: slicer.util.pip_install({error.package!r})"
    try:
        packaging = importlib.import_module("slicer.packaging")  # Slicer 5.12
    except ImportError:
        packaging = None
    if packaging is None or slicer.util.mainWindow() is None:
        raise InputError(f"{error}; {by_hand}") from None
    wanted = [r for r in packaging.load_requirements(_WANTED) if r.name == error.package]
    try:
        packaging.pip_ensure(wanted, requester="S3Net Segment")
    except RuntimeError as refused:
        raise InputError(f"{error.package} was not installed ({refused}); {by_hand}") from None
    importlib.invalidate_caches()


class SceneFiles(CaseFiles):
    """Reads what ``s3net`` reads as ``s3net`` does, and leaves formats that it does not know to Slicer and its extensions.

    Slicer's own readers would take the first of several frames without asking, straighten tilted grids, and turn the slices
    of mirrored ones round: the slice numbers and voxels of a manifest would mean others. The nodes stay in the scene until
    :meth:`clear`.
    """

    def __init__(self):
        self._nodes = []  # (Volume, its node)

    def clear(self) -> None:
        """Forgets the volumes and empties the scene."""
        self._nodes.clear()
        slicer.mrmlScene.Clear()

    def read_image(self, path: str, frame: int | None = None, series: str | None = None) -> Volume:
        try:
            volume = with_packages(lambda: read_image(path, frame=frame, series=series))
            node = node_of(volume)
        except UnknownFormatError:
            if frame is not None or series is not None:
                raise
            node = _loaded(path)
            volume = volume_from_node(node)
        self._nodes.append((volume, node))
        return volume

    def write_segmentation(self, segmentation: Segmentation, path: Path, volume: Volume) -> None:
        node = next(node for known, node in self._nodes if known is volume)
        segmentation_node, _ = write_segmentation(segmentation, node, name=volume.name)
        if not slicer.util.saveNode(segmentation_node, str(path)) or not path.is_file():
            raise ResourceError(f"Slicer could not write {path.name!r}; is the disk full or write-protected?")


def _loaded(path: str):
    """The volume node of a file. InputError if Slicer cannot read it."""
    if not os.path.isfile(path):
        raise InputError(f"there is no file or folder {path!r}; check the path")
    try:
        node = slicer.util.loadVolume(path, properties={"singleFile": True, "show": False})
    except RuntimeError as error:
        raise InputError(f"Slicer cannot read {path!r} as a volume ({' '.join(str(error).split())[:200]})") from None
    if node is None:
        raise InputError(f"Slicer cannot read {path!r} as a volume; check that it is an image")
    return node


def run_batch(
    manifest: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    resume: bool = False,
    keep_going: bool = False,
    dry_run: bool = False,
    pattern: str | None = None,
    defaults: Mapping[str, str] | None = None,
    device: str = "auto",
    say: Callable[[str], object] = print,
) -> int:
    """Runs ``manifest`` (see :func:`~..engine.batch.manifest.read_manifest`) into ``folder``. Empties the scene.

    :param say: takes one line for each case and what came of it.
    :returns: 0 if every case is done (or would be begun, with ``dry_run``), 1 if one is not.
    :raises InputError: a manifest that cannot be run (with all ``problems``), a folder that cannot be written.
    """
    from ..engine.batch.manifest import read_manifest
    from ..engine.batch.report import one_line
    from ..engine.batch.resume import DONE, make_plan
    from ..engine.batch.run import run_plan
    from ..engine.batch.workers import InThisProcess

    plan = make_plan(read_manifest(manifest, folder, pattern=pattern, defaults=defaults), folder, resume)
    say(f"{len(plan.cases)} cases: {len(plan.todo)} to do, {len(plan.finished)} finished")
    if dry_run:
        for case in plan.todo:
            say(f"{case.row}: {case.method} {case.image} -> {case.output} ({plan.reasons[case.name]})")
        return 0
    files, numbers = SceneFiles(), iter(range(1, len(plan.todo) + 1))

    def on_event(event) -> None:
        if event.kind == "finished":
            files.clear()
            say(f"[{next(numbers)}/{len(plan.todo)}] {event.case.name}: {one_line(event.record)}")

    workers = InThisProcess(folder, device, files)
    try:
        records = with_packages(lambda: run_plan(plan, folder, workers, keep_going=keep_going, on_event=on_event))
    finally:
        files.clear()
    return 0 if all(records.get(c.name, {}).get("status") == DONE for c in plan.cases) else 1
