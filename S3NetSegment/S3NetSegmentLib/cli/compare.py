"""``s3net compare``: how well two segmentations of one image agree."""

from __future__ import annotations

import argparse
import math
import os

from .arguments import add_label_names, finish, new_command
from .terminal import about, report

DESCRIPTION = """\
Compares a segmentation with a reference, segment by segment: Dice, HD95 and ASSD in mm, volumes in ml (of pictures: pixels).

Segments are paired by name, or by label value where no name is shared; two that are alone on their sides are a pair. A
segment that only the reference has is "missed" and one that only FOUND has is "extra": Dice 0 and no distance. HD95 is the
larger of the two directed 95th percentiles."""
EXAMPLES = """\
examples:
  s3net compare automatic.seg.nrrd drawn.seg.nrrd
  s3net compare labels.nii.gz reference.nii.gz --labels names.csv
  s3net compare labels.nii.gz reference.nii.gz --json"""


def register(commands) -> None:
    parser = new_command(commands, "compare", "agreement of two segmentations", DESCRIPTION, EXAMPLES)
    parser.add_argument("found", metavar="FOUND", help="the segmentation to judge (.seg.nrrd or a label map)")
    parser.add_argument("reference", metavar="REFERENCE", help="what it should be")
    add_label_names(parser, "the label maps that have no names")
    finish(parser, run)


def run(arguments: argparse.Namespace) -> int:
    """Reads both, compares, prints. Returns the exit code; errors pass through."""
    from ..engine.images.formats.nifti_places import on_voxels_of
    from ..engine.images.formats.seg_nrrd import read_segmentation
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.label_names import all_named
    from ..engine.metrics import compare_segmentations, pairing_notes

    with collected_image_warnings() as warned:
        paths = (arguments.found, arguments.reference)
        found, reference = all_named([read_segmentation(path) for path in paths], paths, arguments.labels)
        reference = on_voxels_of(reference, found)
        scores = compare_segmentations(found, reference)
    notes = [*warned, *pairing_notes(found, reference)]
    facts = about(
        arguments, found=os.path.abspath(arguments.found), reference=os.path.abspath(arguments.reference),
        segments=[s.as_dict() for s in scores], notes=notes,
    )  # fmt: skip
    return report(arguments, facts, lambda: print("\n".join(score_table(scores))), notes)


def score_table(scores) -> list[str]:
    """The scores as lines of text, one for each segment."""
    if not scores:
        return ["neither segmentation has a segment"]
    width = max(7, *(len(s.name) for s in scores))
    flat = any(math.isnan(s.found_ml) for s in scores)  # a picture: areas in pixels instead of volumes
    unit = "pixels" if flat else "ml"
    lines = [f"{'segment':<{width}}  Dice   HD95 mm  ASSD mm  {f'found {unit}':>12}  {f'reference {unit}':>16}"]
    for s in scores:
        if s.state == "scored":
            middle = f"{s.dice:.3f}  {s.hd95_mm:7.2f}  {s.assd_mm:7.2f}"
        elif s.state == "absent":
            middle = f"{'-':<5}  {'-':>7}  {'-':>7}"
        else:
            middle = f"{s.dice:.3f}  {s.state:>7}  {'-':>7}"
        if flat:
            sizes = f"{s.found_voxels:>12,}  {s.reference_voxels:>16,}"
        else:
            sizes = f"{s.found_ml:12,.3f}  {s.reference_ml:16,.3f}"
        lines.append(f"{s.name:<{width}}  {middle}  {sizes}")
    return lines
