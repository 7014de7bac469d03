"""What the training commands share: their options, and running to the end or to an orderly stop."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time

from ...engine.tasks.fields import asked_fields
from ...engine.tasks.train import HOW_LONG, TrainTask
from ..arguments import add_task_options, check_result_folder, finish, new_command, refuse_contradictions, task_from
from ..terminal import ProgressDisplay, about, on_stop, report, shown_path
from .trial import duration, try_training

_STARTED = time.time()  # what was asked of an earlier process does not concern this one
_WHY = {"finished": "all steps done", "time": "the time is over", "patience": "validation no longer improved"}
_ONE_REQUEST = 2.0  # seconds; a Ctrl-C may reach a process of torchrun twice, from the terminal and from torchrun


def add_training(
    commands, task_class: type[TrainTask], summary: str, description: str, examples: str, run=None
) -> None:
    """Adds the command that trains what ``task_class`` asks for.

    :param run: (task, arguments) -> exit code; None: :func:`run_training`.
    """
    parser = new_command(commands, task_class.command, summary, description, examples)
    parser.add_argument("cohort", metavar="COHORT", help=asked_fields(task_class)["cohort"].help)
    parser.add_argument("-o", "--output", metavar="RUN", help="folder of the run, made if need be")
    groups = add_task_options(parser, task_class, {"": parser})
    groups[HOW_LONG].add_argument(
        "--resume", action="store_true",
        help="go on with the run in RUN, with the settings that it was begun with (or begin, if there is none)",
    )  # fmt: skip
    groups[HOW_LONG].add_argument(
        "--dry-run", action="store_true",
        help="only read the cohort and make a few steps, and say how long the run would take here; nothing is kept",
    )  # fmt: skip
    finish(
        parser,
        lambda arguments: (run or run_training)(task_of(task_class, arguments), arguments),
        lambda arguments, parser: check(task_class, arguments, parser),
    )


def task_of(task_class: type[TrainTask], arguments: argparse.Namespace) -> TrainTask:
    return task_from(task_class, arguments, cohort=arguments.cohort)


def check(task_class: type[TrainTask], arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other. Exits with code 2."""
    if arguments.output is None and not arguments.dry_run:
        parser.error("-o RUN is missing: the folder of the run")
    if arguments.dry_run and arguments.resume:
        parser.error("--dry-run measures a new run; leave out --resume")
    if arguments.output is not None:
        check_result_folder(arguments, parser)
    refuse_contradictions(task_of(task_class, arguments), parser)


def mark_running(folder, command: str) -> None:
    """Makes the folder of a run that begins now, and takes it for this process. Raises InputError if another one has it."""
    folder.take()
    folder.forget_stop(before=_STARTED)
    folder.write_status("running", command)


def refuse_used_folder(folder, resume: bool) -> None:
    """Raises InputError if RUN holds a run already and --resume is not given, or another process runs it now."""
    from ...engine import InputError

    if folder.is_running():
        pid = folder.read_status()["pid"]
        raise InputError(f"run {str(folder.path)!r} is running now (process {pid}); stop that one first")
    if folder.has_state and not resume:
        raise InputError(
            f"{str(folder.path)!r} holds a training run already; go on with it with --resume, or choose another folder"
        )


def run_training(task: TrainTask, arguments: argparse.Namespace, reports: bool = True) -> int:
    """Trains to the end, or with --dry-run for a moment. Returns the exit code; errors pass through.

    Ctrl-C, a polite kill or :meth:`RunFolder.ask_to_stop` ends it after the present step, with its state saved; a second
    Ctrl-C at once. The exit code is then 128 and the number of the signal (130, 143), 130 where it was asked otherwise.
    ``torchrun`` passes both signals on to its processes and itself ends with 1 whatever their codes are; they say in the
    folder how the run ended.

    :param reports: whether it says in the end how it went.
    """
    if arguments.dry_run:
        return try_training(task, arguments)
    from ...engine.training.trainer.processes import joined_processes
    from ...engine.training.trainer.run_folder import RunFolder

    folder = RunFolder(arguments.output)
    with joined_processes(task.device) as (processes, where):
        quiet = arguments.quiet or not processes.writes
        with _orderly_stop(patience=_ONE_REQUEST if processes.count > 1 else 0.0) as asked:

            def wishes_stop() -> bool:
                return bool(asked) or folder.stop_is_asked

            def stop() -> bool:
                return processes.count > 1 and wishes_stop()

            steps = _begun(task, folder, where, processes, stop, arguments.resume)
            try:
                result = _drained(steps, wishes_stop, quiet, processes, folder)
                if result is None or result.reason == "stopped":
                    _say_stopped(folder, processes)
                    return 128 + (asked[0][0] if asked else signal.SIGINT)
                if processes.writes:
                    folder.write_status("finished", _told(result))
            except KeyboardInterrupt:
                _say_stopped(folder, processes)
                raise
            except BaseException as error:
                if folder.is_taken:  # it is this run that failed
                    folder.write_status("failed", " ".join(str(error).split()))
                raise
            finally:
                folder.give_back()
        if processes.writes and reports:
            _report(arguments, folder, result, where)
    return 0


def _begun(task: TrainTask, folder, device, processes, stop, resume: bool):
    """The steps of the training. The folder is taken for it when all that it needs has been read."""
    from ...engine.training.run import train

    if processes.writes:
        refuse_used_folder(folder, resume)
    return (
        yield from train(
            task, folder, resume=resume, device=device, processes=processes, stop=stop,
            begun=lambda name: mark_running(folder, name) if processes.writes else None,
        )
    )  # fmt: skip


def _drained(steps, wishes_stop, quiet: bool, processes, folder):
    """The result of ``steps``; None if a stop was asked for."""
    with ProgressDisplay(quiet) as display:
        folder.on_entry = lambda entry: display.note(f"note: {entry['text']}") if entry.get("event") == "note" else None
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            display(step)
            folder.beat()
            if processes.count == 1 and wishes_stop():
                steps.close()  # saves the state of the last whole step
                return None


def _say_stopped(folder, processes) -> None:
    """How far the run came, to the user and in its folder."""
    if not processes.writes:
        return
    message = "stopped before training began"
    if folder.has_state:
        message = f"stopped; the state of step {folder.read_facts()['step']} is kept, go on with --resume"
    if folder.is_taken:
        folder.forget_stop()
        folder.write_status("stopped", message)
    print(f"\ns3net: {message}", file=sys.stderr, flush=True)


def _told(result) -> str:
    """How a run ended, in words."""
    text = f"{result.steps} steps in {duration(result.seconds)}, {_WHY[result.reason]}"
    if result.best_score is not None:
        text += f"; best validation score {result.best_score:.3f} at step {result.best_step}"
    return text


def _report(arguments: argparse.Namespace, folder, result, where) -> None:
    files = [n for n in ("model.pt", "curves.png", "log.jsonl") if (folder.path / n).exists()]
    facts = about(
        arguments, run=os.path.abspath(folder.path), steps=result.steps, reason=result.reason,
        seconds=round(result.seconds, 1), best_step=result.best_step, best_score=result.best_score, device=str(where),
        files=files, notes=list(result.notes),
    )  # fmt: skip

    def show() -> None:
        print(f"{result.steps} steps in {duration(result.seconds)} on {where} ({_WHY[result.reason]})")
        if result.best_score is not None:
            print(f"best validation score {result.best_score:.3f} at step {result.best_step}")
        for note in result.notes:  # again: they stood above a bar that ran for hours
            print(f"note: {note}")
        for name in files:
            print(f"wrote {shown_path(folder.path / name)}")

    report(arguments, facts, show)


@contextlib.contextmanager
def _orderly_stop(patience: float):
    """A list of what asked for a stop (number of the signal, seconds): empty until Ctrl-C or SIGTERM. The second time KeyboardInterrupt is
    raised at once, unless that comes within ``patience`` seconds of the first."""
    asked: list[tuple[int, float]] = []

    def handler(number: int) -> None:
        if asked and time.monotonic() - asked[0][1] >= patience:
            raise KeyboardInterrupt
        if not asked:
            asked.append((number, time.monotonic()))

    with on_stop(handler):
        yield asked
