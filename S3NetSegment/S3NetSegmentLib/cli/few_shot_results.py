"""What ``s3net few-shot`` writes and says: the segmentation, the confidence, a picture, the summary."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

import numpy as np

from .. import __version__
from ..engine import Segmentation, Volume
from ..engine.images import AXES
from ..engine.images.files import suffix_of
from ..engine.images.overlay import best_slice, draw_overlay
from ..engine.images.writing import write_image, write_png, write_segmentation
from .arguments import outputs_of
from .results import described, provenance
from .terminal import shown_path
from .writing import LONG_SIDE

SUGGESTED = 3  # slices to draw next
_APART = 0.05  # of all slices: suggested ones are at least so far from each other


@dataclass(frozen=True, eq=False)
class Made:
    """An answer and all that it was made of: Volume, Support, FewShotAnswer, FewShotSettings, FewShotEncoder or None."""

    volume: Volume
    support: object
    answer: object
    settings: object
    encoder: object

    @property
    def device(self) -> str:
        return "cpu" if self.encoder is None else str(self.encoder.device)

    @property
    def slices(self) -> int:
        """Number of slices of the image along the axis of the answer."""
        return self.volume.size[AXES.index(self.answer.axis)]


def write_answer(arguments: argparse.Namespace, made: Made) -> Segmentation:
    """Writes everything asked for, label maps with the label values of the drawing; returns the segmentation."""
    volume, answer = made.volume, made.answer
    drawn = "; ".join(map(_support_text, made.support.facts))
    encoder = "" if made.encoder is None else f"{made.encoder.name} sha256 {made.encoder.digest}"
    tags = provenance("Few-shot", made.settings, made.device, image=volume.name, support=drawn, encoder=encoder)
    segmentation = made.support.segmentation(answer.labels, volume.ijk_to_ras, tags)
    picture = None
    if arguments.overlay:
        index = _picture_slice(volume, segmentation, answer.axis, made.support.drawn_here(answer.axis))
        picture = draw_overlay(volume, segmentation, axis=answer.axis, index=index, size=LONG_SIDE)
    if suffix_of(arguments.output) == ".seg.nrrd":
        write_segmentation(segmentation, arguments.output)
    else:
        write_image(Volume(segmentation.layers[0], volume.ijk_to_ras, "labels"), arguments.output)
    if arguments.confidence:
        write_image(Volume(answer.confidence, volume.ijk_to_ras, "confidence"), arguments.confidence)
    if picture is not None:
        write_png(picture, arguments.overlay)
    return segmentation


def _support_text(fact: dict) -> str:
    drawn = ",".join(map(str, fact["drawn"])) if len(fact["drawn"]) < fact["slices"] else "all slices"
    other = f" on {os.path.basename(fact['image'])}" if fact["image"] else ""
    return f"{os.path.basename(fact['labels'])}{other} {fact['axis']}={drawn or 'planes'}"


def _picture_slice(volume: Volume, segmentation: Segmentation, axis: str, drawn: list[int]) -> int:
    """The slice with most of the answer that was not drawn."""
    labels = _undrawn(segmentation, axis, drawn)
    return best_slice(volume, Segmentation([labels], segmentation.segments, volume.ijk_to_ras), axis)


def _undrawn(segmentation: Segmentation, axis: str, drawn: list[int]) -> np.ndarray:
    """The labels without those on the drawn slices."""
    labels = segmentation.layers[0].copy()
    np.moveaxis(labels, 2 - AXES.index(axis), 0)[drawn] = 0
    return labels


def _next_slices(made: Made) -> list[dict]:
    """The most useful slices to draw next, the best first, no two of them neighbours."""
    apart, chosen = max(2, round(_APART * made.slices)), []
    for number, wrong in made.answer.next_slices:
        if len(chosen) < SUGGESTED and all(abs(number - c["slice"]) >= apart for c in chosen):
            chosen.append({"slice": number, "expected_wrong_voxels": round(wrong, 1)})
    return chosen


def summary_of(
    arguments: argparse.Namespace, made: Made, segmentation: Segmentation, notes: list[str], marks: dict[str, float]
) -> dict:
    """What ``--json`` prints. ``marks``: moments in seconds, each named after the work that it ends."""
    volume, answer, encoder = made.volume, made.answer, made.encoder
    times = list(marks.items())
    seconds = {name: round(at - times[n][1], 3) for n, (name, at) in enumerate(times[1:])}
    segments = described(segmentation)
    undrawn = _undrawn(segmentation, answer.axis, made.support.drawn_here(answer.axis))
    for number, (facts, segment) in enumerate(zip(segments, segmentation.segments, strict=True), 1):
        found = bool((undrawn == segment.value).any())
        expected = round(answer.expected_dice[number], 4) if found and number in answer.expected_dice else None
        facts |= {"label_value": segment.value, "expected_dice": expected}
    return {
        "command": "few-shot",
        "version": __version__,
        "image": {
            "path": os.path.abspath(arguments.image),
            "size": volume.size,
            "spacing_mm": [round(s, 6) for s in volume.spacing],
            "rgb": volume.is_rgb,
            "frame": arguments.frame,
        },
        "support": made.support.facts,
        "partial": arguments.partial,
        "part": {"axis": answer.axis, "slices": arguments.slices},
        "outputs": {option.lstrip("-"): os.path.abspath(path) for option, path in outputs_of(arguments).items()},
        "segments": segments,
        "next_slices": _next_slices(made),
        "mix": {part: round(share, 4) for part, share in answer.mix.items()},
        "method": made.settings.method,
        "encoder": None if encoder is None else {"name": encoder.name, "sha256": encoder.digest},
        "settings": made.settings.changed(),
        "seed": made.settings.seed,
        "device": made.device,
        "seconds": {**seconds, "total": round(times[-1][1] - times[0][1], 3)},
        "notes": notes,
    }


def print_summary(summary: dict) -> None:
    """The summary for people."""
    size = " x ".join(str(n) for n in summary["image"]["size"])
    print(
        f"{os.path.basename(summary['image']['path'])} ({size}), {summary['seconds']['total']:.1f} s on {summary['device']}"
    )
    if summary["encoder"]:
        print(f"encoder: {summary['encoder']['name']}")
    for fact in summary["support"]:
        print(f"drawn: {_shown_support(fact)}")
    width = max(len(segment["name"]) for segment in summary["segments"])
    for segment in summary["segments"]:
        expected = segment["expected_dice"]
        likely = "   nothing found beyond the drawing" if expected is None else f"   expected Dice {expected:.2f}"
        print(f"  {segment['name']:<{width}} {segment['volume_ml']:>10,.2f} ml{likely}")
    suggested = [str(entry["slice"]) for entry in summary["next_slices"]]
    if suggested:
        print(f"draw next, most useful first: slice {', '.join(suggested)} along {summary['part']['axis']}")
    for note in summary["notes"]:
        print(f"note: {note}")
    for path in summary["outputs"].values():
        print(f"wrote {shown_path(path)}")


def _shown_support(fact: dict) -> str:
    where = f" of {os.path.basename(fact['image'])}" if fact["image"] else ""
    if fact["drawn_planes"]:
        return f"{fact['drawn_planes']} planes{where}"
    count = len(fact["drawn"])
    if count == fact["slices"]:
        return f"every slice{where} along {fact['axis']}"
    numbers = (
        ", ".join(map(str, fact["drawn"])) if count <= 12 else f"{fact['drawn'][0]} to {fact['drawn'][-1]} ({count})"
    )
    return f"slice {numbers}{where} along {fact['axis']}"
