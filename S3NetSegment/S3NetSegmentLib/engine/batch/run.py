"""Runs a plan: gives its cases to workers, keeps the report up to date, and stops cleanly at any moment."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from ..common.errors import InputError, ResourceError
from .case import Case
from .output_names import locked
from .records import read_record, remove_leftovers
from .report import template, write_report
from .resume import DONE, Plan

_BETWEEN_REPORTS = 10.0  # seconds, and at least this many times as long as writing one took:
_REPORT_SHARE = 30


def run_plan(
    plan: Plan,
    folder: str | os.PathLike,
    workers,
    *,
    keep_going: bool = False,
    on_event: Callable | None = None,
    on_note: Callable[[str], None] | None = None,
) -> dict[str, dict]:
    """Does ``plan.todo`` and writes the report; returns the records by name, also those that were finished before.

    An exception or an interrupt ends the workers; what is finished stays, what was half made is removed, and the report is
    written before it passes on.

    :param workers: :class:`~.workers.Processes`, :class:`~.cluster.Cluster` or :class:`~.workers.InThisProcess`.
    :param keep_going: whether other cases go on after a failed one; otherwise no further one is begun.
    :param on_event: called with each :class:`~.workers.Event`.
    :param on_note: called with what the user should know about this run.
    :raises InputError: another batch is writing into ``folder``, nothing can be written there, or jinja2 is not installed.
    """
    template()  # what the report lacks is said before the first case, not after the last
    with locked(folder) as is_certain:
        if not is_certain and on_note is not None:
            on_note("the file system of the output folder knows no locks: make sure that no other batch writes there")
        remove_leftovers(folder, plan.cases)
        records, reporter = dict(plan.finished), _Reporter(plan, folder)
        events = workers.events(plan.todo)
        try:
            for event in events:
                if event.kind == "finished":
                    records[event.case.name] = event.record
                    if event.record["status"] != DONE and not keep_going:
                        workers.stop_giving()
                    reporter.renew(records)
                if on_event is not None:
                    on_event(event)
        finally:
            events.close()
            remove_leftovers(folder, plan.cases)
            # A worker may have finished a case after the last one was reported.
            records |= records_of([case for case in plan.todo if case.name not in records], folder)
            reporter.write(records)
    return records


def records_of(cases: list[Case], folder: str | os.PathLike) -> dict[str, dict]:
    """The records that are there, by name."""
    return {case.name: record for case in cases if (record := read_record(folder, case.name)) is not None}


class _Reporter:
    """Writes the report now and then, so that it is never far behind, and never takes much of the time."""

    def __init__(self, plan: Plan, folder):
        self._plan, self._folder = plan, folder
        self._next = time.monotonic() + _BETWEEN_REPORTS

    def renew(self, records: dict[str, dict]) -> None:
        began = time.monotonic()
        if began >= self._next:
            with contextlib.suppress(InputError, ResourceError):  # the last one says what is wrong
                self.write(records)
            took = time.monotonic() - began
            self._next = began + took + max(_BETWEEN_REPORTS, _REPORT_SHARE * took)

    def write(self, records: dict[str, dict]) -> None:
        write_report(self._folder, self._plan.cases, records, self._plan.edited)
