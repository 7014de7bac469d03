#!/usr/bin/env python3
"""Makes the pictures of the README from the shipped samples: ``python3 Testing/make_pictures.py``.

``answers.png``: answers of Segment on four samples, without a point and with one. ``panel.png``: the module's panel
beside a slice view, see ``panel_picture.py``.
"""

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING), str(TESTING.parent / "S3NetSegment")]

import numpy as np  # noqa: E402
from paths import REPOSITORY, SAMPLE_DATA  # noqa: E402
from scipy import ndimage  # noqa: E402

from S3NetSegmentLib.engine import Segment, Segmentation, drain  # noqa: E402
from S3NetSegmentLib.engine.images.colors import label_colors  # noqa: E402
from S3NetSegmentLib.engine.images.overlay import draw_overlay, montage  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_png  # noqa: E402
from S3NetSegmentLib.engine.methods.segment import find_regions  # noqa: E402

PICTURES = REPOSITORY / "Resources" / "Pictures"
# sample, label value of the object clicked at (None: no click), axis of the picture
ANSWERS = (
    ("ct_abdomen", 1, "z"),
    ("ct_abdomen", 3, "y"),
    ("mr_spinal_cord", 1, "y"),
    ("skin_lesion_2", None, "z"),
)
SIZE = 300


def main() -> int:
    PICTURES.mkdir(parents=True, exist_ok=True)
    pictures = [answer_picture(*answer) for answer in ANSWERS]
    write_png(montage(pictures, len(pictures)), PICTURES / "answers.png")

    import panel_picture

    return panel_picture.main(PICTURES / "panel.png")


def answer_picture(name: str, value: int | None, axis: str) -> np.ndarray:
    """The answer at the innermost voxel of the drawn object, or the automatic one, drawn on its slice."""
    image = read_image(next(p for p in SAMPLE_DATA.glob(f"{name}.*")))
    regions = drain(find_regions(image))
    points, index = [], None
    if value is None:
        choice = regions.main_object()
    else:
        drawn = read_image(SAMPLE_DATA / f"{name}_labels.nii.gz").array == value
        depth = ndimage.distance_transform_edt(np.pad(drawn, 1), sampling=image.spacing[::-1])[1:-1, 1:-1, 1:-1]
        voxel = tuple(int(v) for v in np.unravel_index(depth.argmax(), depth.shape))[::-1]
        choice, points = regions.object_at([voxel]), [image.ras_of(voxel)]
        index = voxel["xyz".index(axis)]
    segment = Segment("Object", label_colors(1)[0], 1)
    segmentation = Segmentation([choice.mask.astype(np.uint8)], [segment], image.ijk_to_ras)
    return draw_overlay(image, segmentation, axis=axis, index=index, size=SIZE, points=points)


if __name__ == "__main__":
    sys.exit(main())
