"""``s3net cohort``: one patient after another of a folder, each proposed from those that are accepted."""

from __future__ import annotations

import argparse
import os
import shlex

from ..engine.tasks.drawn_numbers import drawn_numbers
from .arguments import add_device, add_label_names, argument_type, finish, new_command, whole
from .terminal import ProgressDisplay, about, report, shown_path

DESCRIPTION = """\
Works through the patients of a folder: each is proposed from those that you have accepted, you correct it, and accept it.

FOLDER holds one image for each case (NIfTI, NRRD, MetaImage, or a sub-folder of DICOM slices). What is proposed and accepted
lies in its sub-folder s3net-cohort, so that you can stop at any time, go on at another computer, and work with others on one
shared folder.

status   the cases with their state, expected quality, and what is left
next     takes the next case and proposes it; without any accepted one it says which to draw first
propose  proposes CASE (again), or all open cases without CASE; --drawn-file FILE with --drawn for slices that you drew in it
accept   accepts the proposal of CASE, or your corrected one with --segmentation FILE
train    trains a model on what is accepted (at least 6 cases), holds accepted cases out in turn to see whether it is better than
         Few-shot, and uses it in later proposals only for the segments for which it is
undo     takes the last acceptance of CASE back; what was accepted is kept in s3net-cohort/history"""
EXAMPLES = """\
examples:
  s3net cohort scans next                                              which patient to draw first?
  s3net cohort scans accept anna --segmentation anna_drawn.seg.nrrd
  s3net cohort scans next                                              proposes the next one
  s3net cohort scans propose bert --drawn-file bert.seg.nrrd --drawn 12   better, with slice 12 as you corrected it
  s3net cohort scans accept bert
  s3net cohort scans status"""
ACTIONS = ("status", "next", "propose", "accept", "undo", "train")
# Option -> the actions that it belongs to.
_BELONGS = {
    "segmentation": ("accept",), "same": ("accept", "propose"), "new_segments": ("accept", "propose"), "replace": ("accept",),
    "empty": ("accept",), "drawn_file": ("propose",), "drawn": ("propose",), "axis": ("propose",),
    "supports": ("next", "propose"), "order": ("next",), "minutes": ("train",), "labels": ("accept", "propose"),
}  # fmt: skip


def register(commands) -> None:
    parser = new_command(
        commands,
        "cohort",
        "work through the patients of a folder, each proposed from the accepted ones",
        DESCRIPTION,
        EXAMPLES,
    )
    parser.add_argument("folder", metavar="FOLDER", help="the folder with the images of all patients")
    parser.add_argument("action", choices=ACTIONS, metavar="|".join(ACTIONS), help="see above")
    parser.add_argument("case", nargs="?", metavar="CASE", help="name of a case, as status shows it")
    group = parser.add_argument_group("accept")
    group.add_argument("--segmentation", metavar="FILE", help="what is accepted; without it the proposal")
    group.add_argument("--replace", action="store_true", help="also if the case is accepted already")
    group.add_argument("--empty", action="store_true", help="the case shows none of the segments")
    group = parser.add_argument_group("segments that differ between patients (accept, propose)")
    group.add_argument(
        "--same", action="append", type=argument_type(_pair), metavar="OTHER=NAME", default=None,
        help="segment OTHER of this file is NAME of the cohort; kept for all later cases; may be repeated",
    )  # fmt: skip
    group.add_argument("--new-segments", action="store_true", help="segments unknown so far are added to the cohort")
    add_label_names(group, "label maps that name none")
    group = parser.add_argument_group("propose, next")
    group.add_argument("--drawn-file", metavar="FILE", help="what you drew or corrected in CASE")
    group.add_argument(
        "--drawn", type=argument_type(drawn_numbers), metavar="K,K,...|all",
        help="the slices of it that are right, counted from 0, also ranges A-B; without it those that hold labels",
    )  # fmt: skip
    group.add_argument("--axis", choices=("x", "y", "z"), help="the axis across these slices")
    group.add_argument("--supports", type=whole(1, 50), metavar="N", help="use at most N accepted patients (default 5)")
    group.add_argument(
        "--order", choices=("helps", "name"),
        help="next: the case that helps the others most (the default), or as the names sort",
    )  # fmt: skip
    parser.add_argument_group("train").add_argument(
        "--minutes", type=whole(1, 100_000), metavar="M", help="time for all of it (default 10)"
    )
    add_device(parser.add_argument_group("computing"))
    finish(parser, run, check)


def _pair(text: str) -> tuple[str, str]:
    other, sign, name = text.partition("=")
    if not sign or not other.strip() or not name.strip():
        raise ValueError(f"{text!r} is not understood; write OTHER=NAME, e.g. 'LV=left ventricle'")
    return other.strip(), name.strip()


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other. Exits with code 2."""
    action = arguments.action
    for name, actions in _BELONGS.items():
        if getattr(arguments, name) not in (None, False) and action not in actions:
            parser.error(f"--{name.replace('_', '-')} is for {' and '.join(actions)}; leave it out of {action}")
    if action in ("accept", "undo") and not arguments.case:
        parser.error(f"{action} needs the name of a case: s3net cohort FOLDER {action} CASE")
    if action in ("status", "next", "train") and arguments.case:
        parser.error(f"{action} is about all cases; leave {arguments.case!r} out")
    if arguments.drawn_file and not arguments.case:
        parser.error("--drawn-file needs the case that it was drawn in")
    if (arguments.drawn or arguments.axis) and not arguments.drawn_file:
        parser.error("--drawn and --axis need --drawn-file FILE")
    if arguments.empty and arguments.segmentation:
        parser.error("--empty says that there is nothing to segment; leave --segmentation out")


def run(arguments: argparse.Namespace) -> int:
    """Does what is asked. Returns the exit code; errors pass through."""
    from ..engine.cohort_loop.store import CohortStore
    from ..engine.images.image_warnings import collected_image_warnings

    store = CohortStore(arguments.folder)
    arguments.case = arguments.case and store.case_named(arguments.case)
    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        facts, notes = _DOES[arguments.action](arguments, store, progress)
    notes = list(dict.fromkeys([*warned, *notes]))
    about_it = about(arguments, action=arguments.action, folder=os.path.abspath(store.folder), **facts, notes=notes)
    return report(arguments, about_it, lambda: _print(arguments.action, facts, store), notes)


def _status(arguments, store, progress) -> tuple[dict, list[str]]:
    from ..engine.cohort_loop.states import cohort_state

    state = cohort_state(store)
    notes = [*state.notes, *(f"{case.name}: {note}" for case in state.cases for note in case.notes)]
    return _facts(state), notes


def _next(arguments, store, progress) -> tuple[dict, list[str]]:
    from ..engine import run_to_end
    from ..engine.cohort_loop.states import next_case

    found = run_to_end(next_case(store, arguments.order or "helps", **_options(arguments)), progress)
    proposal = None if found.proposal is None else _proposal_facts(found.proposal, store)
    return {"case": found.case, "proposal": proposal, "progress": found.state.progress}, [
        *found.notes, *(found.proposal.notes if found.proposal else ()),
    ]  # fmt: skip


def _propose(arguments, store, progress) -> tuple[dict, list[str]]:
    from ..engine import InputError, ResourceError, run_to_end
    from ..engine.cohort_loop.proposing import ReadCases, image_of, propose
    from ..engine.cohort_loop.states import cohort_state, open_cases

    options, proposals, notes = {**_options(arguments), "read": ReadCases()}, [], []
    if arguments.case:
        drawn = _drawn(arguments, store) if arguments.drawn_file else None
        proposal = run_to_end(propose(store, arguments.case, drawn, **options), progress)
        return {"proposals": [_proposal_facts(proposal, store)]}, list(proposal.notes)
    failed = {}
    for case in open_cases(cohort_state(store)):
        try:
            image = image_of(store, case.name)
        except (InputError, ResourceError) as error:  # a full disk would concern the others, too; this does not
            failed[case.name] = str(error)
            continue
        try:
            proposal = run_to_end(propose(store, case.name, image=image, **options), progress)
        except InputError as error:
            failed[case.name] = str(error)
            continue
        proposals.append(_proposal_facts(proposal, store))
        notes += [f"{case.name}: {note}" for note in proposal.notes]
    if failed and not proposals:
        raise InputError(f"no case could be proposed: {next(iter(failed.values()))}")
    notes += [f"case {name!r} is left out: {text}" for name, text in failed.items()]
    return {"proposals": proposals}, notes


def _drawn(arguments, store):
    from ..engine.cohort_loop.proposing import drawing_of
    from ..engine.images.reading import read_alone

    volume = read_alone(store.image_of(arguments.case))
    drawn = arguments.drawn
    axis = arguments.axis or "auto"
    if drawn == "all":
        axis = volume.slice_axis(axis)
        drawn = range(volume.size["xyz".index(axis)])
    segmentation = _segmentation(arguments.drawn_file, arguments.labels)
    return drawing_of(
        store,
        arguments.case,
        segmentation,
        volume,
        axis,
        drawn,
        same=dict(arguments.same or ()),
        new_segments=arguments.new_segments,
    )


def _segmentation(path: str, labels: str | None):
    from ..engine.images.formats.seg_nrrd import read_segmentation
    from ..engine.images.label_names import all_named

    return all_named([read_segmentation(path)], [path], labels)[0]


def _accept(arguments, store, progress) -> tuple[dict, list[str]]:
    from ..engine.cohort_loop.accepting import accept
    from ..engine.cohort_loop.states import cohort_state

    segmentation, source = None, ""
    if arguments.segmentation:
        segmentation = _segmentation(arguments.segmentation, arguments.labels)
    elif arguments.empty:
        segmentation, source = _nothing(store, arguments.case), "said to be empty"
    found = accept(
        store, arguments.case, segmentation, same=dict(arguments.same or ()), new_segments=arguments.new_segments,
        replace=arguments.replace, empty=arguments.empty, source=source, file=arguments.segmentation,
    )  # fmt: skip
    facts = {"case": arguments.case, "output": os.path.abspath(found.path), "changed": found.changed}
    return {**facts, "progress": cohort_state(store).progress}, list(found.notes)


def _nothing(store, case: str):
    import numpy as np

    from ..engine import Segmentation
    from ..engine.images.reading import read_alone

    volume = read_alone(store.image_of(case))
    return Segmentation([np.zeros(volume.array.shape[:3], np.uint8)], [], volume.ijk_to_ras)


def _undo(arguments, store, progress) -> tuple[dict, list[str]]:
    from ..engine.cohort_loop.accepting import undo
    from ..engine.cohort_loop.states import cohort_state

    state = undo(store, arguments.case)
    return {"case": arguments.case, "state": state, "progress": cohort_state(store).progress}, []


def _train(arguments, store, progress) -> tuple[dict, list[str]]:
    from ..engine import run_to_end
    from ..engine.cohort_loop.model import train

    found = run_to_end(train(store, float(arguments.minutes or 10), device=arguments.device), progress)
    facts = {
        "cases": found.cases,
        "model": dict(found.model),
        "few_shot": dict(found.few_shot),
        "used": list(found.used),
    }
    return facts, list(found.notes)


_DOES = {"status": _status, "next": _next, "propose": _propose, "accept": _accept, "undo": _undo, "train": _train}


def _options(arguments) -> dict:
    given = {"supports": arguments.supports, "device": arguments.device}
    return {name: value for name, value in given.items() if value is not None}


def _facts(state) -> dict:
    cases = [
        {
            "case": c.name, "state": c.state, "expected_dice": c.expected, "changed": c.changed, "by": c.by, "way": c.way,
            "image": None if c.image is None else str(c.image), "picture": None if c.picture is None else str(c.picture),
            "next_slices": list(c.next_slices),
        }
        for c in state.cases
    ]  # fmt: skip
    return {"progress": state.progress, "left": state.left, "cases": cases}


def _proposal_facts(proposal, store) -> dict:
    from ..engine.cohort_loop.store import PROPOSED

    return {
        "case": proposal.case, "expected_dice": None if proposal.expected is None else round(proposal.expected, 4),
        "way": proposal.way, "from": list(proposal.supports), "axis": proposal.axis, "next_slices": list(proposal.next_slices),
        "output": str(store.segmentation_path(PROPOSED, proposal.case)), "picture": str(store.picture_path(proposal.case)),
    }  # fmt: skip


def _print(action: str, facts: dict, store) -> None:
    if action == "status":
        width = max([4, *(len(case["case"]) for case in facts["cases"])])
        for case in facts["cases"]:
            expected = "" if case["expected_dice"] is None else f"expected Dice {case['expected_dice']:.2f}"
            changed = "" if case["changed"] is None else f", {case['changed']:.0%} of it changed"
            by = f"  by {case['by']}" if case["by"] else ""
            print(f"{case['case']:<{width}}  {case['state']:<13}  {expected}{changed}{by}".rstrip())
        print(facts["progress"])
        return
    for proposal in facts.get("proposals") or ([facts["proposal"]] if facts.get("proposal") else []):
        _print_proposal(proposal)
    if action == "next" and not facts["case"]:
        print(f"no case is open: {facts['progress']}")
    elif action == "next" and facts["proposal"] is None:
        print(
            f"nothing is accepted yet: segment {facts['case']!r} first ({shown_path(store.image_of(facts['case']))}),"
        )
        case, file = facts["case"], ["--segmentation", "FILE"]
        words = ["s3net", "cohort", shown_path(store.folder), "accept"]
        words += [*file, "--", case] if case.startswith("-") else [case, *file]
        print(f"then: {shlex.join(words)}")
    elif action == "accept":
        changed = "" if facts["changed"] is None else f"; {facts['changed']:.0%} of the proposal was changed"
        print(f"{facts['case']} is accepted{changed}\nwrote {shown_path(facts['output'])}")
    elif action == "train":
        print(f"trained on {facts['cases']} accepted cases; Dice on held-out ones:")
        for name, dice in facts["model"].items():
            other = facts["few_shot"].get(name)
            few_shot = "" if other is None else f", Few-shot {other:.2f}"
            print(f"  {name}: model {dice:.2f}{few_shot}: {'used' if name in facts['used'] else 'not used'}")
    elif action == "undo":
        again = "has still to be segmented" if facts["state"] == "to do" else f"is {facts['state']}, as before"
        print(f"the last acceptance of {facts['case']} is taken back; it {again}")
    if "progress" in facts:
        print(facts["progress"])


def _print_proposal(facts: dict) -> None:
    expected = "" if facts["expected_dice"] is None else f", expected Dice {facts['expected_dice']:.2f}"
    print(f"{facts['case']}: proposed from {', '.join(facts['from']) or 'its drawn slices'} ({facts['way']}){expected}")
    if facts["next_slices"]:
        print(f"  correct first along {facts['axis']}: slice {', '.join(map(str, facts['next_slices'][:3]))}")
    print(f"  wrote {shown_path(facts['output'])}\n  wrote {shown_path(facts['picture'])}")
