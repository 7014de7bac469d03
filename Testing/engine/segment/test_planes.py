"""Boxes, points and strokes in oblique planes: answered there, then carried through the volume."""

import numpy as np
import pytest
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import Extent, InputError, Volume
from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.carry import carry_prompts, draw_prompts
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.planes import AnsweredVoxels, allowed_by, closed_pixels, cut_of, grid_of
from S3NetSegmentLib.engine.segment.prompts import Box, PromptedPlane, Prompts


@pytest.fixture(scope="module")
def body():
    return organs()


def plane_at(volume, voxel, degrees, prompts=None, about=0):
    """The plane through a voxel, turned by so many degrees out of the slices about the axis i (0) or j (1)."""
    turn = np.radians(degrees)
    hinge = np.eye(3)[about]
    up = np.cos(turn) * np.eye(3)[1 - about] + np.sin(turn) * np.eye(3)[2]
    view = np.eye(4)
    view[:3] = np.stack((hinge, up, np.cross(hinge, up), volume.ras_of(voxel)), 1)
    return PromptedPlane(tuple(view.ravel().tolist()), prompts or Prompts())


def truth_in(plane, volume, mask):
    return cut_of(plane, Volume(mask.astype(np.float32), volume.ijk_to_ras)).array[0] > 0.5


def boxed(plane, volume, mask):
    """The plane with a box around ``mask`` [K, J, I] there."""
    places = np.argwhere(truth_in(plane, volume, mask))[:, ::-1]
    box = Box((*map(int, places.min(0)), 0), (*map(int, places.max(0)), 0))
    return PromptedPlane(plane.view, Prompts(boxes=(box,)))


def middle_of(mask):
    return tuple(int(v) for v in np.argwhere(mask).mean(0)[::-1])


@pytest.mark.parametrize("degrees", [15, 40])
def test_a_box_in_an_oblique_plane_finds_its_organ_in_the_volume_and_only_that_one(body, degrees):
    volume, labels = body
    first = labels == 1
    plane = boxed(plane_at(volume, middle_of(first), degrees), volume, first)
    prompts = Prompts(planes=(plane,))
    drawn = run_to_end(draw_prompts(volume, prompts))
    assert dice(drawn[plane], truth_in(plane, volume, first), True) > 0.9
    found = run_to_end(carry_prompts(volume, prompts, slices_so_far=drawn))
    assert dice(found.mask, first, True) > 0.8 and not (found.mask & (labels == 2)).any()
    known = AnsweredVoxels.of(plane, drawn[plane], volume, volume.extent)
    assert known.inside.any() and (found.mask[known.index] >= known.inside).all()


def test_regions_answer_it_with_a_ladder_and_remember_the_answer(body):
    volume, labels = body
    first = labels == 1
    regions = run_to_end(find_regions(volume))
    plane = boxed(plane_at(volume, middle_of(first), 20), volume, first)
    choice = regions.object_at(planes=[plane])
    assert choice.steps > 1 and dice(choice.mask, first, True) > 0.85
    assert regions.object_at(planes=[PromptedPlane(plane.view, plane.prompts)]) is choice


def test_a_volume_that_is_stored_the_other_way_round_is_answered_alike(body):
    volume, labels = body
    first = labels == 1
    plane = boxed(plane_at(volume, middle_of(first), 30), volume, first)
    matrix = volume.ijk_to_ras @ np.array([[0, 0, -1, volume.size[0] - 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    turned = Volume(
        np.ascontiguousarray(np.transpose(volume.array, (2, 1, 0))[::-1]), matrix
    )  # k as i, i reversed as k
    masks = [run_to_end(find_regions(v)).object_at(planes=[plane]).mask for v in (volume, turned)]
    assert (np.transpose(masks[1][::-1], (2, 1, 0)) == masks[0]).all()


def test_planes_and_slices_are_drawn_together(body):
    volume, labels = body
    first = labels == 1
    i, j, k = middle_of(first)
    plane = boxed(plane_at(volume, (i, j, k), 30), volume, first)
    places = np.argwhere(first[k - 4])
    box = Box((*map(int, places.min(0)[::-1]), k - 4), (*map(int, places.max(0)[::-1]), k - 4))
    drawn = run_to_end(draw_prompts(volume, Prompts(boxes=(box,), planes=(plane,))))
    assert list(drawn) == [("z", k - 4), plane]
    found = run_to_end(carry_prompts(volume, Prompts(boxes=(box,), planes=(plane,)), slices_so_far=drawn))
    assert dice(found.mask, first, True) > 0.9


def test_points_and_strokes_correct_the_answer_in_their_plane(body):
    volume, labels = body
    first = labels == 1
    plane = boxed(plane_at(volume, middle_of(first), 20), volume, first)
    inside = np.argwhere(truth_in(plane, volume, first))
    low, high = ((*map(int, inside[n][::-1]), 0) for n in (len(inside) // 4, -len(inside) // 4))
    asked = PromptedPlane(
        plane.view, Prompts(outside=(low,), boxes=plane.prompts.boxes, strokes=((high, (high[0], high[1] - 1, 0)),))
    )
    found = run_to_end(draw_prompts(volume, Prompts(planes=(asked,))))[asked]
    assert not found[low[1], low[0]] and found[high[1], high[0]]


def test_what_lies_beside_the_part_or_in_other_segments_is_closed(body):
    volume, _ = body
    plane = plane_at(volume, (20, 18, 10), 30)
    extent = Extent((5, 4, 3), (35, 30, 17))
    excluded = np.zeros(extent.size[::-1], bool)
    excluded[:, :, :10] = True  # i below 15
    closed = closed_pixels(plane, volume, extent, excluded)
    grid = grid_of(plane, volume)
    assert closed.any() and not closed.all()
    for row, column in [(0, 0), *np.random.default_rng(0).integers(0, closed.shape, (200, 2))]:
        voxel = np.floor(volume.index_of(grid.ras_of((column, row, 0))) + 0.5).astype(int)
        assert closed[row, column] == (not extent.contains(voxel) or voxel[0] < 15)


def test_boxes_in_crossing_planes_say_where_the_object_ends_and_nearly_parallel_ones_do_not(body):
    volume, _ = body
    _, j, i = np.indices(volume.array.shape)
    column = ((i - 19.5) * 1.5 - 2) ** 2 + ((j - 17.5) * 1.5 - 15) ** 2 < 10
    short = column.copy()
    short[:6] = short[14:] = False
    middle = middle_of(short)
    across = boxed(plane_at(volume, middle, 20), volume, short)
    along = boxed(plane_at(volume, middle, 70, about=1), volume, short)
    assert allowed_by(Prompts(planes=(across,)), volume, volume.extent) is None
    near = boxed(plane_at(volume, middle, 30), volume, short)
    assert allowed_by(Prompts(planes=(across, near)), volume, volume.extent) is None
    allowed = allowed_by(Prompts(planes=(across, along)), volume, volume.extent)
    assert allowed[short].mean() > 0.99 and not allowed[:2].any() and not allowed[18:].any()
    places = np.argwhere(short[:, middle[1]])
    flat = Box((int(places[:, 1].min()), middle[1], 6), (int(places[:, 1].max()), middle[1], 13))
    mixed = allowed_by(Prompts(boxes=(flat,), planes=(across,)), volume, volume.extent)
    assert mixed[short].mean() > 0.99 and not mixed[:2].any() and not mixed[18:].any()
    found = run_to_end(carry_prompts(volume, Prompts(boxes=(flat,), planes=(across,))))
    assert found.mask.any() and not (found.mask & ~mixed).any()


def test_a_plane_beside_the_image_is_refused(body):
    volume, _ = body
    plane = plane_at(volume, (0, 0, 500), 5, Prompts(inside=((1, 1, 0),)))
    with pytest.raises(InputError, match="misses image 'organs 0'"):
        run_to_end(draw_prompts(volume, Prompts(planes=(plane,))))


def test_a_plane_in_which_nothing_is_found_is_said(body):
    volume, labels = body
    first = labels == 1
    planes = [boxed(plane_at(volume, middle_of(first), degrees), volume, first) for degrees in (20, 30)]
    drawn = {plane: truth_in(plane, volume, first) for plane in planes}
    drawn[planes[1]][:] = False
    found = run_to_end(carry_prompts(volume, Prompts(planes=tuple(planes)), slices_so_far=drawn))
    assert "in an oblique plane nothing was found" in found.notes
