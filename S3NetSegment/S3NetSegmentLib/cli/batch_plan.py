"""What a batch is going to do, in lines: the columns of a manifest, the plan of a dry run, processes and memory."""

from __future__ import annotations

import argparse
import json

from .terminal import shown_path


def print_columns(arguments: argparse.Namespace) -> int:
    from ..engine.batch.columns import COLUMNS

    if arguments.json:
        print(json.dumps({n: {"help": c.help, "methods": c.methods} for n, c in COLUMNS.items()}, indent=2))
        return 0
    width = max(map(len, COLUMNS))
    for name, column in COLUMNS.items():
        only = "" if len(column.methods) == 3 else f" ({', '.join(column.methods)})"
        print(f"{name:<{width}}  {column.help}{only}")
    return 0


def print_plan(arguments: argparse.Namespace, plan) -> int:
    from ..engine.batch.machine import memory_note, needs_of, shares

    needs = needs_of(plan.todo)
    if arguments.json:
        cases = [
            {"row": c.row, "name": c.name, "method": c.method, "image": c.image, "outputs": c.outputs()}
            | {
                "to_do": c.name in plan.reasons,
                "why": plan.reasons.get(c.name, "finished"),
                "memory_mb": needs.get(c.name),
            }
            for c in plan.cases
        ]
        print(json.dumps({"command": "batch", "to_do": len(plan.todo), "cases": cases}, indent=2))
        return 0
    for case in plan.cases:
        memory = f", about {needs[case.name]:,} MB" if case.name in needs else ""
        why = plan.reasons.get(case.name, "finished")
        print(f"{case.row}: {case.method} {shown_path(case.image)} -> {case.output} ({why}{memory})")
    if needs and arguments.scheduler is None:
        bound = shares(arguments.jobs, arguments.device)[0].memory_mb
        has = "" if bound is None else f"; with --jobs {arguments.jobs} each process may have {bound:,} MB now"
        print(f"the largest case may need {max(needs.values()):,} MB{has}")
        note = memory_note(plan.todo, needs, bound, arguments.jobs)
        if note:
            print(f"note: {note}")
    print(f"{len(plan.cases)} cases: {len(plan.todo)} to do, {len(plan.finished)} finished; nothing was run")
    return 0


def resources(arguments: argparse.Namespace, workers, cases: list) -> list[str]:
    from ..engine.batch.machine import memory_note, needs_of

    if arguments.scheduler is not None:
        return [workers.describe()]
    count = min(len(workers.shares), len(cases))
    if not count:
        return []
    share, needs = workers.shares[0], needs_of(cases)
    memory = "without a bound on memory" if share.memory_mb is None else f"at most {share.memory_mb:,} MB of memory"
    if needs:
        memory += f" (the largest case may need {max(needs.values()):,})"
    card = "" if share.card is None else f", NVIDIA card {share.card} ({share.card_share:.0%} of its memory)"
    plural = "processes" if count > 1 else "process"
    lines = [f"{count} {plural}, each with {share.threads} thread{'s' if share.threads > 1 else ''}, {memory}{card}"]
    note = memory_note(cases, needs, share.memory_mb, len(workers.shares))
    return [*lines, *([f"note: {note}"] if note else [])]
