"""``s3net compare``: how well two segmentations of one image agree."""

from __future__ import annotations

import argparse
import json
import os

from .. import __version__
from .arguments import add_common

DESCRIPTION = """\
Compares a segmentation with a reference, segment by segment: Dice, HD95 and ASSD in mm, volumes in ml.

Segments are paired by name, or by label value where no name is shared. A segment that only the reference has is "missed"
and one that only FOUND has is "extra": Dice 0 and no distance. HD95 is the larger of the two directed 95th percentiles."""
EXAMPLES = """\
examples:
  s3net compare automatic.seg.nrrd drawn.seg.nrrd
  s3net compare labels.nii.gz reference.nii.gz --json"""


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "compare", help="agreement of two segmentations", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("found", metavar="FOUND", help="the segmentation to judge (.seg.nrrd or a label map)")
    parser.add_argument("reference", metavar="REFERENCE", help="what it should be")
    add_common(parser)
    parser.set_defaults(run=run, check=lambda arguments: None)


def run(arguments: argparse.Namespace) -> int:
    """Reads both, compares, prints. Returns the exit code; errors pass through."""
    from ..engine.images.seg_nrrd import read_segmentation
    from ..engine.images.two_matrices import on_voxels_of
    from ..engine.metrics import compare_segmentations

    found = read_segmentation(arguments.found)
    scores = compare_segmentations(found, on_voxels_of(read_segmentation(arguments.reference), found))
    if arguments.json:
        facts = {
            "command": "compare", "version": __version__, "found": os.path.abspath(arguments.found),
            "reference": os.path.abspath(arguments.reference), "segments": [s.as_dict() for s in scores],
        }  # fmt: skip
        print(json.dumps(facts, indent=2))
    elif not arguments.quiet:
        print("\n".join(score_table(scores)))
    return 0


def score_table(scores) -> list[str]:
    """The scores as lines of text, one for each segment."""
    if not scores:
        return ["neither segmentation has a segment"]
    width = max(7, *(len(s.name) for s in scores))
    lines = [f"{'segment':<{width}}  Dice   HD95 mm  ASSD mm   found ml  reference ml"]
    for s in scores:
        if s.state == "scored":
            middle = f"{s.dice:.3f}  {s.hd95_mm:7.2f}  {s.assd_mm:7.2f}"
        elif s.state == "absent":
            middle = f"{'-':<5}  {'-':>7}  {'-':>7}"
        else:
            middle = f"{s.dice:.3f}  {s.state:>7}  {'-':>7}"
        lines.append(f"{s.name:<{width}}  {middle}  {s.found_ml:9.3f}  {s.reference_ml:12.3f}")
    return lines
