#!/usr/bin/env python3
"""Makes the pictures of the documentation from the shipped samples: ``python3 Testing/make_pictures.py``.

``answers.png``: answers of Segment on four samples, without a point and with one. ``few_shot.png``: three drawn slices of
the CT and what Few-shot makes of them elsewhere. ``panel.png`` and ``panel_*.png``: the module's panel beside a slice view, see
``panel_picture.py``. ``tutorial``: a picture for each step, see ``tutorial_pictures.py``. ``Resources/SampleData/thumbnails``: each sample as Slicer's Sample Data module shows it.
What they show of the panel is written to ``record.json`` beside them, by which a test sees that the panel has changed since.
"""

import json
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import numpy as np  # noqa: E402
from paths import SAMPLE_DATA  # noqa: E402
from picture_record import PICTURES, note_picture  # noqa: E402
from scipy import ndimage  # noqa: E402

from S3NetSegmentLib.cli.demo.few_shot import draw_with_truth, slices_to_draw  # noqa: E402
from S3NetSegmentLib.engine import Segment, Segmentation, run_to_end  # noqa: E402
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot  # noqa: E402
from S3NetSegmentLib.engine.images.colors import label_colors  # noqa: E402
from S3NetSegmentLib.engine.images.overlay import draw_overlay, montage  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.images.writing import write_png  # noqa: E402
from S3NetSegmentLib.engine.segment.find_regions import find_regions  # noqa: E402

# sample, label value of the object clicked at (None: no click), axis of the picture
ANSWERS = (
    ("ct_abdomen", 1, "z"),
    ("ct_abdomen", 3, "y"),
    ("mr_spinal_cord", 1, "y"),
    ("skin_lesion_2", None, "z"),
)
SIZE = 300
THUMBNAIL = 128  # pixels, as Slicer's own have
FEW_SHOT_SIZES = (224, 336)  # a drawn slice, an answer


def main() -> int:
    PICTURES.mkdir(parents=True, exist_ok=True)
    pictures = [answer_picture(*answer) for answer in ANSWERS]
    made = {"answers.png": montage(pictures, len(pictures)), "few_shot.png": few_shot_picture("ct_abdomen")}
    for name, picture in made.items():
        write_png(picture, PICTURES / name)
        note_picture(PICTURES / name)
    make_thumbnails(SAMPLE_DATA / "thumbnails")

    import panel_picture
    import tutorial_pictures

    uses = (
        panel_picture.main,
        panel_picture.few_shot,
        panel_picture.models,
        panel_picture.cohort,
        tutorial_pictures.main,
    )
    return next((code for use in uses if (code := use())), 0)


def make_thumbnails(folder: Path) -> None:
    """Square pictures of the samples, of the slice with most of the labels, cut to the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample in json.loads((SAMPLE_DATA / "samples.json").read_text(encoding="utf8")):
        image, labels = (read_image(SAMPLE_DATA / sample[part]) for part in ("image", "labels"))
        axis = image.slice_axis("auto")
        across = 2 - "xyz".index(axis)
        areas = (labels.array.reshape(labels.array.shape[:3]) > 0).sum(tuple(a for a in range(3) if a != across))
        picture = draw_overlay(image, None, axis=axis, index=int(areas.argmax()), size=4 * THUMBNAIL)
        side = min(picture.shape[:2])
        top, left = ((n - side) // 2 for n in picture.shape[:2])
        square = picture[top : top + side, left : left + side]
        place = ((np.arange(THUMBNAIL) + 0.5) * side / THUMBNAIL).astype(int)
        blurred = ndimage.gaussian_filter(square.astype(float), (side / THUMBNAIL / 3,) * 2 + (0,))
        write_png(
            np.ascontiguousarray(blurred[place][:, place].round().astype(np.uint8)), folder / f"{sample['name']}.png"
        )


def answer_picture(name: str, value: int | None, axis: str) -> np.ndarray:
    """The answer at the innermost voxel of the drawn object, or the automatic one, drawn on its slice."""
    image = read_image(next(p for p in SAMPLE_DATA.glob(f"{name}.*")))
    regions = run_to_end(find_regions(image))
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


def few_shot_picture(name: str) -> np.ndarray:
    """Left the drawn slices; right undrawn ones between and beyond them, and a coronal slice, each with the answer (areas)
    and the labels of the sample (white outlines)."""
    image, labels = read_image(SAMPLE_DATA / f"{name}.nii.gz"), read_image(SAMPLE_DATA / f"{name}_labels.nii.gz").array
    labels = labels.astype(np.uint8)
    drawn = slices_to_draw(labels, "z")
    few_shot = FewShot(image, axis="z")
    few_shot.set_support([DrawnSlice("z", k, labels[k]) for k in drawn])
    answer = run_to_end(few_shot.propagate()).labels
    values = [int(v) for v in np.unique(labels) if v]
    segments = [Segment(f"{v}", c, v) for v, c in zip(values, label_colors(len(values)), strict=True)]
    truth, found = (Segmentation([array], segments, image.ijk_to_ras) for array in (labels, answer))
    small, large = FEW_SHOT_SIZES
    left = [draw_overlay(image, truth, axis="z", index=k, size=small) for k in drawn]
    undrawn = [("z", (drawn[0] + drawn[1]) // 2), ("z", (drawn[1] + drawn[2]) // 2), ("z", drawn[2] + 5)]
    places = [*undrawn, ("y", int(np.argmax((labels > 0).sum((0, 2)))))]
    right = [draw_with_truth(image, found, labels, axis, index, large) for axis, index in places]
    return montage([montage(left, 1), montage(right, 2)], 2, gap=16)


if __name__ == "__main__":
    sys.exit(main())
