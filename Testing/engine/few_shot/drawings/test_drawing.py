"""The drawing: what is known of every voxel, from slices along one axis and planes across it."""

import numpy as np
import pytest
from few_shot_scenes import egg, scene

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.few_shot.drawings.drawing import Drawing
from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnSlice
from S3NetSegmentLib.engine.few_shot.frame import Box


def drawing_of(scene, slices, axis="auto", ring=4.0):
    return Drawing(scene.volume, [s.checked(scene.volume) for s in slices], axis, ring)


def whole_box(scene):
    return Box(0, scene.truth.shape[1], 0, scene.truth.shape[2])


def test_labels_become_classes_and_everything_else_on_a_complete_slice_is_background():
    image = egg()
    image.truth[image.truth == 1] = 7
    image.truth[10, :5, :5] = 3
    drawing = drawing_of(image, image.drawn(10))
    assert drawing.values == (0, 3, 7) and drawing.classes == 3 and drawing.axis == "z"
    known = drawing.known_voxels(whole_box(image))
    assert np.array_equal(np.array(drawing.values)[known[10] - 1], image.truth[10])
    assert not known[np.arange(len(known)) != 10].any()


def test_of_a_partial_drawing_only_the_surroundings_are_background():
    image = egg()
    drawing = drawing_of(image, image.drawn(10, complete=False), ring=3.0)
    known = drawing.known_voxels(whole_box(image))[10]
    assert (known[image.truth[10] == 1] == 2).all()
    assert known[0, 0] == 0 and (known == 1).any() and not drawing.slices[10].complete


def test_planes_across_the_axis_tell_single_voxels():
    image = egg()
    drawing = drawing_of(image, [*image.drawn(8, 14), *image.drawn(20, axis="x")])
    assert drawing.axis == "z" and list(drawing.slices) == [8, 14]
    known = drawing.known_voxels(whole_box(image))
    assert np.array_equal(known[:, :, 20], image.truth[:, :, 20] + 1)
    assert not known[3, :, :20].any()


def test_the_axis_with_most_drawn_slices_that_hold_labels_is_chosen():
    image = egg()
    empty = [DrawnSlice("z", n, np.zeros((40, 40), np.uint8)) for n in (0, 1, 2)]
    assert drawing_of(image, [*empty, *image.drawn(18, 22, axis="y")]).axis == "y"
    assert drawing_of(image, image.drawn(12, axis="x"), axis="z").axis == "z"


def test_of_two_drawings_of_one_slice_the_later_one_counts():
    image = egg()
    changed = DrawnSlice("z", 10, np.zeros((40, 40), np.uint8))
    drawing = drawing_of(image, [*image.drawn(10, 12), changed])
    assert not drawing.slices[10].classes.any() and drawing.slices[12].classes.any()


def test_the_digest_names_the_content():
    image = egg()
    first, second = (drawing_of(image, image.drawn(8, 12)) for _ in range(2))
    assert first.digest == second.digest
    image.truth[12, 20, 20] = 0
    assert drawing_of(image, image.drawn(8, 12)).digest != first.digest
    assert drawing_of(image, image.drawn(8, 12, complete=False)).digest != first.digest


def test_empty_slices_alone_are_refused():
    image = egg()
    with pytest.raises(InputError, match="nothing is drawn"):
        drawing_of(image, image.drawn(0))


@pytest.mark.parametrize(
    ("slice_", "words"),
    [
        (DrawnSlice("z", 24, np.zeros((40, 40), np.uint8)), "slice 24"),
        (DrawnSlice("z", 3, np.zeros((41, 40), np.uint8)), "shape"),
        (DrawnSlice("q", 3, np.zeros((40, 40), np.uint8)), "axis"),
        (DrawnSlice("z", 3, np.full((40, 40), 0.5)), "whole numbers"),
        (DrawnSlice("z", 3, np.full((40, 40), 300)), "0 to 254"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused_and_named(slice_, words):
    with pytest.raises(InputError, match=words):
        slice_.checked(egg().volume)


def lesions(radius, count, size=64):
    truth = np.zeros((3, size, size), np.uint8)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    for row, column in rng.integers(4, size - 4, (count, 2)):
        truth[:, (y - row) ** 2 + (x - column) ** 2 <= radius**2] = 1
    return scene(truth, {0: 40, 1: 100})


def test_many_small_parts_and_winding_bands_are_scattered_and_organs_are_not():
    assert drawing_of(lesions(1, 8), lesions(1, 8).drawn(1)).sizes.scattered
    winding = lesions(1, 1)
    winding.truth[1, 4:60:8, 4:60] = 1
    winding.truth[1, 4:60, 4] = 1
    assert drawing_of(winding, winding.drawn(1)).sizes.scattered
    assert not drawing_of(egg(), egg().drawn(12)).sizes.scattered
    two = lesions(6, 2)
    assert not drawing_of(two, two.drawn(1)).sizes.scattered
    vessel = lesions(1, 1)
    assert not drawing_of(vessel, vessel.drawn(1)).sizes.scattered
