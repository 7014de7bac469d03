"""One image stored in other orders of its axes, or mirrored, with its place told rightly: every answer is the same."""

import numpy as np
import pytest
from intensity_phantoms import BALL, CENTRE, mr
from model_files import write_model
from paths import SAMPLE_DATA

from S3NetSegmentLib.engine import Extent, Volume, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings, SupportVolume
from S3NetSegmentLib.engine.images.array_order import AXES, ArrayOrder
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.volume import slices_first
from S3NetSegmentLib.engine.segment.carry import draw_prompts
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts
from S3NetSegmentLib.engine.training.model.model_file import load_model

ORDERS = [
    ((0, 1, 2), (True, False, False)), ((0, 1, 2), (False, True, True)), ((1, 0, 2), (False, False, True)),
    ((2, 1, 0), (True, True, False)), ((2, 0, 1), (False, False, False)), ((1, 2, 0), (True, False, True)),
]  # fmt: skip
QUICK = FewShotSettings(appearance_steps=20)
LPS = np.diag([-1.0, -1, 1, 1])


def stored(volume, order):
    return Volume(order.array(volume.array).copy(), volume.ijk_to_ras @ order.matrix, volume.name)


def order_of(number, volume):
    return ArrayOrder(*ORDERS[number], volume.size)


@pytest.fixture(scope="module")
def phantom():
    """A ball in an image of few values, in which many are equal."""
    return Volume(np.round(mr() / 20), LPS), BALL


@pytest.fixture(scope="module")
def cord():
    """A shipped MR, stored in sagittal slices, around a part of its spinal cord."""
    image, labels = (read_image(SAMPLE_DATA / f"mr_spinal_cord{end}.nii.gz") for end in ("", "_labels"))
    part = Extent((8, 8, 8), (48, 44, 44))
    return image.cropped(part), labels.cropped(part).array > 0


def box_around(mask):
    at = np.argwhere(mask)[:, ::-1]
    return Box.between(at.min(0), at.max(0))


def fullest(mask, axis):
    return int(slices_first(mask, axis).sum((1, 2)).argmax())


def on_slice(mask, axis, index):
    only = np.zeros_like(mask)
    slices_first(only, axis)[index] = slices_first(mask, axis)[index]
    return only


def segmented(image, order):
    """What Segment finds in ``image`` stored in ``order``, brought back: for a point, a box in the volume, one in a slice, and a
    point in a slice."""
    volume, mask = image
    there, flat = stored(volume, order), on_slice(mask, "y", fullest(mask, "y"))
    point = order.voxel(np.argwhere(flat)[np.count_nonzero(flat) // 2, ::-1])
    regions = run_to_end(find_regions(there))
    found = [
        regions.object_at([point]).mask,
        regions.object_at(boxes=[box_around(order.array(mask))]).mask,
        regions.object_at(boxes=[box_around(order.array(flat))]).mask,
        regions.object_at([point]).step_mask(0),
        regions.labels(3),
    ]
    axis, index = order.slice("y", fullest(mask, "y"))
    piece = run_to_end(find_regions(there, extent=Extent.slab(there, axis, index, index)))
    assert piece.axis == axis
    found += [piece.object_at([point]).mask, piece.confidence(piece.object_at([point]))]
    return [order.back.array(one) for one in found]


def carried(image, order, others=()):
    """What Few-shot finds, brought back, and the slices that it wants drawn next, as numbers of the first order."""
    volume, mask = image
    there = stored(volume, order)
    few_shot = FewShot(there, QUICK)
    items = [*others]
    if not others:
        for number in (fullest(mask, "y"), fullest(mask, "y") + 3):
            axis, index = order.slice("y", number)
            items.append(DrawnSlice(axis, index, slices_first(order.array(mask), axis)[index].astype(np.uint8)))
    few_shot.set_support(items)
    answer = run_to_end(few_shot.propagate())
    again = [order.back.slice(answer.axis, number) for number, _ in answer.next_slices]
    shown = answer.outlook[1].shown and sorted(order.back.slice(answer.axis, n)[1] for n in answer.outlook[1].shown)
    return order.back.array(answer.labels), order.back.array(answer.confidence), again, answer.expected_dice, shown


@pytest.fixture(scope="module")
def undisturbed(phantom, cord):
    return {
        name: (segmented(image, ArrayOrder((0, 1, 2), (False,) * 3, image[0].size)), carried(image, ArrayOrder((0, 1, 2), (False,) * 3, image[0].size)))
        for name, image in (("phantom", phantom), ("cord", cord))
    }  # fmt: skip


def check_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype and np.array_equal(one, other)
        else:
            assert one == other


@pytest.mark.parametrize("number", range(len(ORDERS)))
def test_there_and_back_the_same_voxels_are_at_the_same_place(number):
    volume = Volume(
        np.arange(24).reshape(2, 3, 4), np.array([[0, 2, 0, 5], [0, 0.1, -3, 6], [1, 0, 0.2, 7], [0, 0, 0, 1.0]])
    )
    order = order_of(number, volume)
    other = stored(volume, order)
    assert np.array_equal(order.back.array(other.array), volume.array)
    for voxel in ((0, 0, 0), (3, 1, 0), (1, 2, 1)):
        new = order.voxel(voxel)
        assert np.allclose(other.ras_of(new), volume.ras_of(voxel)) and order.back.voxel(new) == voxel
        assert other.array[new[::-1]] == volume.array[voxel[::-1]]
    for axis in AXES:
        new_axis, index = order.slice(axis, 1)
        assert order.axis(axis) == new_axis and order.back.slice(new_axis, index) == (axis, 1)
        plane = order.plane(axis, slices_first(volume.array, axis)[1])
        assert np.array_equal(plane, slices_first(other.array, new_axis)[index])
    part = Extent((1, 0, 1), (3, 2, 2))
    assert np.array_equal(other.array[part.in_order(order).slices], order.array(volume.array[part.slices]))
    same = other.ordered
    assert np.array_equal(same.array, volume.ordered.array) and np.allclose(same.ijk_to_ras, volume.ordered.ijk_to_ras)
    directions = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]).T
    assert (np.diag(directions.T @ (same.ijk_to_ras[:3, :3] / same.spacing)) > 0.9).all()
    assert order.slice(volume.slice_axis(), 0)[0] == other.slice_axis()


@pytest.mark.parametrize("number", [3, 5])
def test_a_phantom_has_the_same_answers(phantom, undisturbed, number):
    order = order_of(number, phantom[0])
    check_same(segmented(phantom, order), undisturbed["phantom"][0])
    check_same(carried(phantom, order), undisturbed["phantom"][1])


@pytest.mark.parametrize("number", [4])
def test_a_shipped_sample_has_the_same_answers(cord, undisturbed, number):
    order = order_of(number, cord[0])
    check_same(segmented(cord, order), undisturbed["cord"][0])
    check_same(carried(cord, order), undisturbed["cord"][1])


@pytest.mark.parametrize("numbers", [(2, 5), (0, 4)])
def test_a_drawing_in_another_volume_says_the_same_however_both_are_stored(phantom, numbers):
    volume, _ = phantom
    other = Volume(np.round((mr() + 7 * np.roll(BALL, 2, 2)) / 20), LPS)
    found = []
    for own, theirs in (((0, 1, 2), (False,) * 3), ((0, 1, 2), (False,) * 3)), (ORDERS[numbers[0]], ORDERS[numbers[1]]):
        place = ArrayOrder(*theirs, other.size)
        drawn = SupportVolume(stored(other, place), place.array(BALL).astype(np.uint8), "auto")
        found.append(carried(phantom, ArrayOrder(*own, volume.size), [drawn]))
    check_same(found[1], found[0])


def test_slices_to_work_on_are_numbered_as_the_volume_is_stored(phantom):
    volume, mask = phantom
    order = order_of(3, volume)
    few_shot = FewShot(stored(volume, order), QUICK)
    axis, index = order.slice("z", CENTRE[0])
    few_shot.set_support([DrawnSlice(axis, index, slices_first(order.array(mask), axis)[index].astype(np.uint8))])
    first, last = sorted(order.slice("z", n)[1] for n in (CENTRE[0] + 1, CENTRE[0] + 3))
    labels = run_to_end(few_shot.propagate((first, last))).labels
    filled = np.flatnonzero(slices_first(order.back.array(labels), "z").any((1, 2)))
    assert set(filled) <= set(range(CENTRE[0], CENTRE[0] + 4)) and CENTRE[0] + 2 in filled


def test_the_slices_that_are_answered_first_are_those_of_the_answer(phantom):
    (volume, mask), found = phantom, []
    for number in range(len(ORDERS)):
        order = order_of(number, volume)
        prompts = Prompts(boxes=(box_around(order.array(mask)),))
        drawn = run_to_end(draw_prompts(stored(volume, order), prompts))
        found.append({order.back.slice(*key) for key in drawn})
    assert all(one == found[0] for one in found)


def test_a_trained_model_answers_the_same(phantom, tmp_path):
    segmenter = ModelSegmenter(load_model(write_model(tmp_path / "model.pt")), "cpu")
    expected = run_to_end(segmenter.segment(phantom[0])).labels
    for number in range(len(ORDERS)):
        order = order_of(number, phantom[0])
        found = order.back.array(run_to_end(segmenter.segment(stored(phantom[0], order))).labels)
        assert np.array_equal(found, expected)
    assert expected.any()


def test_the_scale_is_that_of_the_same_sample_of_voxels():
    from S3NetSegmentLib.engine.images.intensity import intensity_scale

    values = np.random.default_rng(0).gamma(2, 100, (150, 160, 170)).astype(np.float32)
    volume = Volume(values, LPS)
    scales = [intensity_scale(stored(volume, order_of(n, volume))) for n in range(len(ORDERS))]
    assert len({(scale.low, scale.high) for scale in (intensity_scale(volume), *scales)}) == 1
