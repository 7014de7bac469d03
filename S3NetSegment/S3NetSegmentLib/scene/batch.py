"""A batch in Slicer: the cases of a manifest one after the other, through the scene. For scripts; nothing pops up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from .batch_files import SceneFiles
from .packages import with_packages


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
