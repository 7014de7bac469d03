"""A small cohort to try training on, from a shipped sample: ``python3 Testing/make_training_sample.py FOLDER``.

The spinal cord volume is cut into blocks of six axial slices that stand for cases: two are drawn, two more serve as the test,
the other five are unlabelled. All come from one person, so that this shows how training is done, and not how good it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_testing = Path(__file__).resolve().parent
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
from paths import SAMPLE_DATA  # noqa: E402

from S3NetSegmentLib.engine import Segment, Segmentation, Volume  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation  # noqa: E402

SLICES = 6
DRAWN, TEST = (2, 6), (0, 4)  # numbers of the blocks, from the lowest


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.splitlines()[0])
    write_cohort(Path(sys.argv[1]))
    print(f"wrote {sys.argv[1]}")


def write_cohort(folder: Path) -> None:
    """Writes the cohort into ``folder``."""
    volume, labels = (read_image(SAMPLE_DATA / f"mr_spinal_cord{part}.nii.gz") for part in ("", "_labels"))
    up = int(np.argmax(np.abs(volume.ijk_to_ras[2, :3])))  # the voxel axis along the body becomes the third one
    order = [*(a for a in range(3) if a != up), up]
    image, drawing = (np.transpose(v.array, [2 - a for a in order[::-1]]) for v in (volume, labels))
    matrix = volume.ijk_to_ras[:, [*order, 3]]
    for block in range(len(image) // SLICES):
        part = slice(block * SLICES, (block + 1) * SLICES)
        place = matrix.copy()
        place[:3, 3] += block * SLICES * matrix[:3, 2]
        name = f"block{block}"
        write_image(Volume(np.ascontiguousarray(image[part]), place), folder / "images" / f"{name}.nii.gz")
        if block in DRAWN + TEST:
            layer = np.ascontiguousarray(drawing[part]).astype(np.uint8)
            cord = Segmentation([layer], [Segment("Spinal cord", (0.96, 0.84, 0.19), 1)], place)
            write_segmentation(cord, folder / "labels" / f"{name}.seg.nrrd")
    description = {"splits": {"test": [f"block{n}" for n in TEST]}}
    (folder / "cohort.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
