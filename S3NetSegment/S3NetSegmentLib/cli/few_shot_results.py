"""What ``s3net few-shot`` writes and says: the segmentation, the confidence, a picture, the summary."""

from __future__ import annotations

import argparse
import os

from ..engine import Volume
from ..engine.few_shot.answer import encoder_share, encoder_text
from ..engine.few_shot.run import FewShotOutcome
from ..engine.images.files import suffix_of
from ..engine.images.segmentation import size_table
from ..engine.images.writing import write_image
from ..engine.results import described
from .terminal import about, print_written, seconds_of
from .writing import DICOM_SEG, LONG_SIDE, image_facts, output_facts, write_pictures, write_result


def write_answer(arguments: argparse.Namespace, outcome: FewShotOutcome) -> list[str]:
    """Writes everything asked for, label maps with the label values of the drawing; returns what the user should know."""
    segmentation, notes = outcome.segmentation, []
    picture = outcome.picture(LONG_SIDE) if arguments.overlay else None
    if suffix_of(arguments.output) in (".seg.nrrd", DICOM_SEG):
        write_result(arguments, segmentation)
    else:
        flat, notes = outcome.label_map()
        write_image(Volume(flat.layers[0], flat.ijk_to_ras, "labels"), arguments.output)
    write_pictures(arguments, outcome.confidence if arguments.confidence else None, picture)
    return notes


def summary_of(
    arguments: argparse.Namespace, outcome: FewShotOutcome, notes: list[str], marks: dict[str, float]
) -> dict:
    """What ``--json`` prints. ``marks``: moments in seconds, each named after the work that it ends."""
    volume, answer, encoder, segmentation = outcome.volume, outcome.answer, outcome.encoder, outcome.segmentation
    segments = described(segmentation)
    for facts, segment, expected in zip(segments, segmentation.segments, outcome.expected_by_segment(), strict=True):
        facts |= {"label_value": segment.value, "expected_dice": None if expected is None else round(expected, 4)}
    for number, facts in enumerate(segments, 1):
        outlook = answer.outlook.get(number)
        facts["expected_past_end"] = None if outlook is None or outlook.shown is None else round(outlook.past, 4)
    return {
        **about(arguments),
        "image": image_facts(arguments, volume),
        "support": outcome.support.facts,
        "partial": arguments.task.partial,
        "part": {"axis": answer.axis, "slices": arguments.task.slices},
        "outputs": output_facts(arguments),
        "segments": segments,
        "next_slices": outcome.next_slices(),
        "mix": {part: round(share, 4) for part, share in answer.mix.items()},
        "method": outcome.settings.method,
        "encoder": None
        if encoder is None
        else {
            "name": encoder.name,
            "sha256": encoder.digest,
            "share": round(encoder_share(answer.mix), 4),
        },
        "settings": outcome.settings.changed(),
        "seed": outcome.settings.seed,
        "device": outcome.device,
        "seconds": seconds_of(marks),
        "notes": notes,
    }


def print_summary(summary: dict) -> None:
    size = " x ".join(str(n) for n in summary["image"]["size"])
    print(
        f"{os.path.basename(summary['image']['path'])} ({size}), {summary['seconds']['total']:.1f} s on {summary['device']}"
    )
    if summary["encoder"]:
        print(f"encoder: {encoder_text(summary['encoder']['name'], summary['encoder']['share'])}")
    for fact in summary["support"]:
        print(f"drawn: {_shown_support(fact)}")
    for segment, line in zip(summary["segments"], size_table(summary["segments"]), strict=True):
        expected = segment["expected_dice"]
        likely = "   nothing found beyond the drawing" if expected is None else f"   expected Dice {expected:.2f}"
        print(f"{line}{likely}")
    if summary["next_slices"]:
        print(f"draw next along {summary['part']['axis']}, most useful first:")
        for entry in summary["next_slices"]:
            print(f"  slice {entry['slice']}: {entry['reason']}")
    print_written(summary["outputs"])


def _shown_support(fact: dict) -> str:
    where = f" of {os.path.basename(fact['image'])}" if fact["image"] else ""
    planes, count = fact["drawn_planes"], len(fact["drawn"])
    if planes and not count:
        return f"{planes} plane{'s' if planes > 1 else ''}{where}, oblique to the slices"
    if planes:
        others = f" and {planes} slice{'s' if planes > 1 else ''} across other axes"
        return _shown_support({**fact, "drawn_planes": 0}) + others
    if fact["slices"] == 1:
        return f"picture{where.removeprefix(' of')}"
    if count == fact["slices"]:
        return f"every slice{where} along {fact['axis']}"
    first, last = fact["drawn"][0], fact["drawn"][-1]
    if count <= 12:
        slices = f"slice{'s' if count > 1 else ''} {', '.join(map(str, fact['drawn']))}"
    elif count == last - first + 1:
        slices = f"slices {first} to {last}"
    else:
        slices = f"{count} slices from {first} to {last}"
    return f"{slices}{where} along {fact['axis']}"
