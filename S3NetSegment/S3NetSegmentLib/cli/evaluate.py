"""``s3net evaluate``: how good a model is on labelled cases that it has not seen."""

from __future__ import annotations

import argparse
import csv
import json
import os

from ..engine.tasks.segment import ApplyTask
from .arguments import (
    add_device,
    add_label_names,
    add_task_options,
    check_result_folder,
    finish,
    new_command,
    task_from,
)
from .terminal import ProgressDisplay, about, report, shown_path

DESCRIPTION = """\
Applies a model to labelled cases of a cohort and compares with the drawing: Dice, HD95 and ASSD in mm, sizes in ml (of
pictures: pixels), for each case and structure, with means and counts of missed structures. Refuses cases that the model was
trained on. Structures are paired by name; label maps without names by value.

REPORT is a folder: report.json, report.csv, report.md, and pictures of the worst cases (drawn at the left, found at the right)."""
EXAMPLES = """\
examples:
  s3net evaluate runs/model/model.pt cohort -o report
  s3net evaluate runs/model/model.pt other_hospital --split unseen -o report --json"""


def register(commands) -> None:
    parser = new_command(commands, "evaluate", "accuracy of a model on labelled cases", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "model", metavar="MODEL", nargs="+",
        help="the model file, model.pt of a run; several files or the folder of a cross-validation: their mean answers",
    )  # fmt: skip
    parser.add_argument("cohort", metavar="COHORT", help="the cohort folder: images/, labels/, optional cohort.json")
    parser.add_argument("-o", "--output", metavar="REPORT", required=True, help="folder of the report, made if need be")
    parser.add_argument(
        "--split", choices=("test", "validation", "train", "unseen", "all"), default="test",
        help="test (the default), validation, train: as cohort.json lists them, else as the training split the cohort; unseen: "
        "every labelled case that neither trained the model nor chose its state",
    )  # fmt: skip
    add_label_names(parser, "the cohort's label maps")
    add_task_options(parser, ApplyTask, {"": parser})
    parser.add_argument("--seen-cases", action="store_true", help="also score cases that the model was trained on")
    parser.add_argument("--skip-bad", action="store_true", help="leave out cases that cannot be read, and say so")
    add_device(parser)
    finish(parser, run, check_result_folder)


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, writes the report, prints a summary. Returns the exit code; errors pass through."""
    from ..engine import run_to_end
    from ..engine.evaluate import evaluate
    from ..engine.training.cohort.folder import read_cohort
    from ..engine.training.model.ensemble import load_ensemble
    from ..engine.training.trainer.run_folder import RunFolder

    with ProgressDisplay(arguments.quiet) as display:
        task = task_from(ApplyTask, arguments, model=tuple(arguments.model))
        models = load_ensemble(task.model)
        folder = RunFolder(arguments.output)
        cohort = run_to_end(
            read_cohort(arguments.cohort, skip_bad=arguments.skip_bad, names_file=arguments.labels), display
        )
        evaluation = run_to_end(
            evaluate(
                models,
                cohort,
                arguments.split,
                seen_allowed=arguments.seen_cases,
                device=arguments.device,
                flips=task.flips,
            ),
            display,
        )
        folder.make()
        facts = _facts(arguments, models, evaluation, cohort)
        files = _write(folder, facts, evaluation)

    def show() -> None:
        print("\n".join(_table(facts["summary"])))
        for path in files:
            print(f"wrote {shown_path(path)}")

    return report(arguments, facts, show, facts["notes"])


def _facts(arguments: argparse.Namespace, models, evaluation, cohort) -> dict:
    files = [os.path.abspath(path) for path in models.paths]
    return {
        **about(arguments, model=files[0] if len(files) == 1 else files),
        "cohort": os.path.abspath(arguments.cohort), "split": evaluation.split, "training": dict(models.provenance),
        "summary": {name or "all": values for name, values in evaluation.summary().items()},
        "cases": {name: [s.as_dict() for s in scores] for name, scores in evaluation.scores.items()},
        "worst": list(evaluation.pictures), "notes": [*cohort.notes, *evaluation.notes],
    }  # fmt: skip


def _write(folder, facts: dict, evaluation) -> list[str]:
    """Writes the four kinds of files; returns their paths."""
    from ..engine.common.json_file import spreadsheet_cell
    from ..engine.images.files import replace_text, replacing

    files = []

    def path(name: str):
        files.append(str(folder.path / name))
        return folder.path / name

    replace_text(path("report.json"), json.dumps(facts, indent=2))
    with replacing(path("report.csv")) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = [{"case": case, **score} for case, scores in facts["cases"].items() for score in scores]
        rows = [{name: spreadsheet_cell(value) for name, value in row.items()} for row in rows]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pictures = {case: f"worst_{number}.png" for number, case in enumerate(evaluation.pictures, 1)}
    replace_text(path("report.md"), _markdown(facts, pictures))
    for old in folder.path.glob("worst_[0-9].png"):  # of a report that this one takes the place of
        if old.name not in pictures.values():
            old.unlink(missing_ok=True)
    for case, name in pictures.items():
        folder.write_picture(name, evaluation.pictures[case])
        files.append(str(folder.path / name))
    return files


def _table(summary: dict) -> list[str]:
    width = max(len(name) for name in summary)
    off, unit = _difference(summary)
    head = f"{unit} off"
    lines = [f"{'structure':<{max(width, 9)}}  cases  missed  extra  Dice           HD95 mm  ASSD mm  {head}"]
    for name, v in summary.items():
        spread = "" if v["dice_sd"] is None else f" ± {v['dice_sd']:.3f}"
        lines.append(
            f"{name:<{max(width, 9)}}  {v['cases'] - v['absent']:>5}  {v['missed']:>6}  {v['extra']:>5}  "
            f"{_number(v['dice'], 3) + spread:<13}  {_number(v['hd95_mm'], 2):>7}  {_number(v['assd_mm'], 2):>7}  "
            f"{_number(v[off], 2):>{len(head)}}"
        )
    return lines


def _difference(summary: dict) -> tuple[str, str]:
    """The entry of the summary that tells how far sizes are off, and its unit: pixels where all cases are pictures."""
    pictures = summary["all"]["difference_ml"] is None and summary["all"]["difference_voxels"] is not None
    return ("difference_voxels", "pixels") if pictures else ("difference_ml", "ml")


def _markdown(facts: dict, pictures: dict[str, str]) -> str:
    from ..engine.common.json_file import markdown_cell

    off, unit = _difference(facts["summary"])
    kind, digits = ("ml", 2) if unit == "ml" else ("voxels", 0)
    training = {name: markdown_cell(str(value)) for name, value in facts["training"].items()}
    files = facts["model"] if isinstance(facts["model"], list) else [facts["model"]]
    which = f"Model `{os.path.basename(files[0])}`" if len(files) == 1 else f"Mean of {len(files)} models, the first"
    how = (
        f"{which} ({training.get('method', '?')}, preset {training.get('preset', '?')}, "
        f"{training.get('labelled_patients', '?')} labelled patients, {training.get('labelled_slices', '?')} labelled slices, "
        f"seed {training.get('seed', '?')}) on {len(facts['cases'])} cases of split {facts['split']}. "
        f"S3NetSegment {facts['version']}."
    )
    conventions = (
        "Dice counts missed and extra structures as 0; distances are means over structures that both sides have. HD95 is the "
        "larger of the two directed 95th percentiles."
    )
    lines = ["# Evaluation of a segmentation model", "", how, "", conventions, ""]
    lines += [
        f"| structure | cases | missed | extra | absent | Dice | SD | HD95 mm | ASSD mm | {unit} off |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, v in facts["summary"].items():
        lines.append(
            f"| {markdown_cell(name)} | {v['cases'] - v['absent']} | {v['missed']} | {v['extra']} | {v['absent']} | {_number(v['dice'], 3)} | "
            f"{_number(v['dice_sd'], 3)} | {_number(v['hd95_mm'], 2)} | {_number(v['assd_mm'], 2)} | "
            f"{_number(v[off], 2)} |"
        )
    lines += [
        "",
        f"| case | structure | state | Dice | HD95 mm | ASSD mm | found {unit} | drawn {unit} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, scores in facts["cases"].items():
        for s in scores:
            lines.append(
                f"| {markdown_cell(case)} | {markdown_cell(s['name'])} | {s['state']} | {_number(s['dice'], 3)} | {_number(s['hd95_mm'], 2)} | "
                f"{_number(s['assd_mm'], 2)} | {_number(s[f'found_{kind}'], digits)} | {_number(s[f'reference_{kind}'], digits)} |"
            )
    if pictures:
        lines += ["", "The worst cases, drawn at the left, found at the right:", ""]
        lines += [
            f"{shown}\n\n![{shown}]({name})\n" for shown, name in ((markdown_cell(c), n) for c, n in pictures.items())
        ]
    lines += ["", *(f"- {markdown_cell(note)}" for note in facts["notes"])]
    return "\n".join(lines) + "\n"


def _number(value, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
