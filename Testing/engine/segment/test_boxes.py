"""An object asked for by a box, a stroke, or both with points, in one slice and in a volume."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from S3NetSegmentLib.engine import Extent, InputError, SegmentSettings, Volume, run_to_end
from S3NetSegmentLib.engine.segment.explanation import explain
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.objects import slice_objects
from S3NetSegmentLib.engine.segment.objects.box_candidates import sides, without_islands
from S3NetSegmentLib.engine.segment.objects.box_network import SIDE, BoxAnswer, CutOut
from S3NetSegmentLib.engine.segment.objects.slice_objects import SliceObjects
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts

QUICK = SegmentSettings(sources="classical")
DISK_BOX = Box((51, 22, 0), (89, 58, 0))


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def slice_with_two_disks(scale=1):
    """A bright and a dim disk that touch, on a noisy ground; the ground holds a third one of the bright kind far away."""
    j, i = np.mgrid[: 90 * scale, : 120 * scale] / scale
    bright = np.hypot(j - 40, i - 70) < 18
    dim = (np.hypot(j - 40, i - 38) < 16) & ~bright
    far = np.hypot(j - 75, i - 15) < 9
    grey = 60 + 110.0 * (bright | far) + 55 * dim + np.random.default_rng(0).normal(0, 6, j.shape)
    return Volume(grey[None].astype(np.float32), np.eye(4), "disks"), bright[None], dim[None], far[None]


@pytest.fixture(scope="module")
def regions():
    return run_to_end(find_regions(slice_with_two_disks()[0], settings=QUICK))


@pytest.fixture(scope="module")
def disks():
    return slice_with_two_disks()[1:]


def test_a_rough_box_gives_the_object_in_it_and_nothing_outside(regions, disks):
    bright, *_ = disks
    choice = regions.object_at(boxes=[DISK_BOX])
    assert dice(choice.mask, bright) > 0.95
    outside = choice.mask.copy()
    outside[0, 22:59, 51:90] = False
    assert not outside.any()
    assert choice.alternatives[0] == choice.index and len(choice.alternatives) <= 3


def test_a_box_drawn_a_little_too_small_still_gives_the_whole_object():
    volume, bright, *_ = slice_with_two_disks(scale=3)  # from 157 to 263 and from 67 to 173
    mask = run_to_end(find_regions(volume, settings=QUICK)).object_at(boxes=[Box((163, 73, 0), (257, 167, 0))]).mask
    assert dice(mask, bright) > 0.98
    assert all(mask[0, j, i] for j, i in ((69, 210), (171, 210), (120, 159), (120, 261)))  # 4 pixels beyond each side
    far = mask.copy()
    far[0, 73 - 9 : 167 + 10, 163 - 9 : 257 + 10] = False  # 7 % of 95 pixels, and a sample of the search
    assert not far.any()


def test_the_network_has_a_say_where_nothing_shows_in_the_image(monkeypatch):
    noise = np.random.default_rng(3).normal(100, 5, (1, 70, 90)).astype(np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = (np.minimum(rows, columns) >= 16) & (np.maximum(rows, columns) < 80)  # the box in the cut-out
    found = []
    for corner in (rows + columns < SIDE, rows + columns >= SIDE):  # both touch all sides of the box
        said = (inside & corner).astype(np.float32)
        network = SimpleNamespace(answer=lambda _, edges, said=said: BoxAnswer(CutOut.around(edges), said))
        monkeypatch.setattr(slice_objects, "default_box_network", lambda network=network: network)
        regions = run_to_end(find_regions(Volume(noise, np.diag([-1.0, -1, 1, 1]), "noise"), settings=QUICK))
        mask = regions.object_at(boxes=[Box((30, 20, 0), (69, 49, 0))]).mask[0]
        above = (np.arange(20, 50)[:, None] - 20) / 30 + (np.arange(30, 70) - 30) / 40 < 1
        found.append(mask[20:50, 30:70][above].mean() - mask[20:50, 30:70][~above].mean())
    assert found[0] > 0.5 and found[1] < -0.5


def test_an_answer_of_the_network_beside_the_box_makes_no_empty_step(regions, monkeypatch):
    probability = np.zeros((SIDE, SIDE), np.float32)
    probability[:, 6:8] = (
        1  # of the cut-out, whose box begins at 16: within the room of candidates, out of reach of the answer
    )
    network = SimpleNamespace(answer=lambda _, edges: BoxAnswer(CutOut.around(edges), probability))
    monkeypatch.setattr(slice_objects, "default_box_network", lambda: network)
    choice = regions.object_at(boxes=[Box((52, 22, 0), (88, 58, 0))])
    assert all(choice.at(n).mask.any() for n in range(choice.steps))


def test_room_on_all_sides_is_likelier_than_the_same_on_one():
    drawn = np.array([10.0, 50, 20, 80])
    exact, around, aside = drawn, drawn + np.array([4, -4, 6, -6]), drawn + np.array([8, 0, 12, 0])
    best, likely, unlikely = sides(np.stack([exact, around, aside]), drawn)
    assert best == 0 and best > likely > unlikely


def test_the_box_says_which_object_is_meant_where_a_point_cannot(regions, disks):
    bright, dim, _ = disks
    both = regions.object_at(boxes=[Box((21, 22, 0), (88, 58, 0))]).mask
    one = regions.object_at(boxes=[Box((21, 23, 0), (53, 57, 0))]).mask
    assert dice(both, bright | dim) > 0.9 and dice(one, dim) > 0.85


def test_steps_of_a_box_go_from_small_to_large_inside_it(regions):
    choice = regions.object_at(boxes=[DISK_BOX])
    sizes = [choice.at(n).mask.sum() for n in range(choice.steps)]
    assert choice.steps > 2 and all(a <= b + 20 for a, b in pairwise(sizes))
    assert sizes[-1] <= 39 * 37


def test_several_boxes_give_all_their_objects_as_one(regions, disks):
    bright, _, far = disks
    choice = regions.object_at(boxes=[DISK_BOX, Box((5, 65, 0), (25, 85, 0))])
    assert dice(choice.mask, bright | far) > 0.93
    assert choice.at(choice.steps - 1).mask.sum() >= choice.mask.sum() >= choice.at(0).mask.sum()


def test_a_point_outside_removes_a_part_of_the_box_and_a_point_inside_adds_one(regions, disks):
    bright, _, far = disks
    both = Box((21, 22, 0), (88, 58, 0))
    without = regions.object_at([], [(34, 40, 0)], boxes=[both]).mask
    assert not without[0, 40, 34] and dice(without, bright) > 0.9
    more = regions.object_at([(15, 75, 0)], boxes=[DISK_BOX]).mask
    assert dice(more, bright | far) > 0.9


@pytest.mark.parametrize("first", [{"inside": [(210, 120, 0)]}, {"boxes": [Box((153, 66, 0), (267, 174, 0))]}])
def test_every_point_is_obeyed_voxel_by_voxel_also_where_the_search_was_coarser(first):
    volume, bright, *_ = slice_with_two_disks(scale=3)
    found = run_to_end(find_regions(volume, settings=SegmentSettings(sources="classical", work_size=96)))
    border = np.argwhere(bright[0] & ~np.roll(bright[0], 1, 0))[::40]
    inside = [(int(i), int(j) + 1, 0) for j, i in border]
    outside = [(i, j - 2, 0) for i, j, _ in inside]
    mask = found.object_at([*first.get("inside", []), *inside], outside, boxes=first.get("boxes", [])).mask
    assert all(mask[k, j, i] for i, j, k in inside) and not any(mask[k, j, i] for i, j, k in outside)
    assert dice(mask, bright) > 0.95


def test_a_point_beside_a_box_changes_what_it_points_at_and_leaves_the_rest(regions):
    before = regions.object_at(boxes=[DISK_BOX]).mask
    for point, add in (((15, 75, 0), True), ((58, 30, 0), False)):
        after = regions.object_at([point] if add else [], [] if add else [point], boxes=[DISK_BOX]).mask
        changed = np.argwhere((after != before)[0])
        assert after[0, point[1], point[0]] == add
        assert np.hypot(*(changed - (point[1], point[0])).T).max() < 14


def test_a_stroke_gives_the_object_that_it_runs_through_and_every_voxel_of_it(regions, disks):
    bright, dim, _ = disks
    stroke = tuple((i, 40, 0) for i in range(30, 85))
    mask = regions.object_at(strokes=[stroke]).mask
    assert all(mask[k, j, i] for i, j, k in stroke)
    assert dice(mask, bright | dim) > 0.85
    inner = tuple((i, 40, 0) for i in range(60, 80))
    assert dice(regions.object_at(strokes=[inner]).mask, bright) > 0.9


def test_a_stroke_outside_takes_its_voxels_and_their_region_away(regions, disks):
    bright, *_ = disks
    away = tuple((i, 40, 0) for i in range(28, 45))
    mask = regions.object_at(boxes=[Box((21, 22, 0), (88, 58, 0))], outside_strokes=[away]).mask
    assert not any(mask[k, j, i] for i, j, k in away)
    assert dice(mask, bright) > 0.85


@pytest.mark.parametrize(
    ("first", "known"),
    [
        ({"inside": [(70, 40, 0)]}, False),
        ({"boxes": [DISK_BOX]}, True),
        ({"boxes": [DISK_BOX], "inside": [(70, 40, 0)]}, True),  # a point right in the middle of the box
        ({"strokes": [tuple((i, 40, 0) for i in range(60, 80))]}, False),
        ({"strokes": [tuple((i, 40, 0) for i in range(60, 81))]}, False),
    ],
    ids=["click", "box", "box and its middle", "even stroke", "odd stroke"],
)
def test_a_box_says_how_large_the_object_is_and_a_click_or_a_stroke_does_not(regions, monkeypatch, first, known):
    asked, edited = [], SliceObjects.edited

    def recorded(self, mask, point, add, held, answers, size_known):
        asked.append((len(held), len(answers) > 1, size_known))
        return edited(self, mask, point, add, held, answers, size_known)

    monkeypatch.setattr(SliceObjects, "edited", recorded)
    away = (110, 10, 0)
    assert regions.object_at(**{**first, "inside": [*first.get("inside", []), away]}).mask[0, 10, 110]
    assert asked[0] == ((0, False, True) if known else (1, True, False))


def test_a_point_beside_a_stroke_corrects_its_answer_and_asks_for_no_other_one(regions, monkeypatch):
    stroke, along = tuple((i, 40, 0) for i in range(60, 80)), []
    ranked_along = SliceObjects.ranked_along
    monkeypatch.setattr(
        SliceObjects, "ranked_along", lambda self, *points: along.append(points) or ranked_along(self, *points)
    )
    first = regions.object_at(strokes=[stroke])
    for more in ({"inside": [(110, 10, 0)]}, {"outside": [(70, 44, 0)]}):
        choice = regions.object_at(strokes=[stroke], **more)
        assert choice.ranked is first.ranked and len(along) == 1
    assert not choice.mask[0, 44, 70] and choice.mask[0, 40, 60:80].all()
    regions.object_at(strokes=[stroke], outside_strokes=[((110, 10, 0), (111, 10, 0))])
    assert len(along) == 2


def test_a_stroke_of_one_voxel_answers_as_the_point(regions):
    assert np.array_equal(regions.object_at(strokes=[((70, 40, 0),)]).mask, regions.object_at([(70, 40, 0)]).mask)


def test_voxels_of_other_segments_are_never_part_of_the_answer(regions, disks):
    bright, *_ = disks
    taken = np.zeros(bright.shape, bool)
    taken[:, :, :70] = True
    for more in ({"boxes": [DISK_BOX]}, {"strokes": [((75, 40, 0), (80, 40, 0))]}, {"inside": [(75, 40, 0)]}):
        choice = regions.object_at(excluded=taken, **more)
        assert choice.mask.any() and not (choice.mask & taken).any()
        assert not (choice.step_mask(choice.steps - 1) & taken).any()
    with pytest.raises(InputError, match=r"\(60, 40, 0\).*lies in another segment"):
        regions.object_at([(60, 40, 0)], boxes=[DISK_BOX], excluded=taken)
    with pytest.raises(InputError, match="all of the box belongs to other segments"):
        regions.object_at(boxes=[DISK_BOX], excluded=np.ones(bright.shape, bool))
    with pytest.raises(InputError, match="excluded has"):
        regions.object_at(boxes=[DISK_BOX], excluded=taken[:, 1:])


def test_a_ring_in_a_box_keeps_its_hole():
    j, i = np.mgrid[:80, :80]
    ring = (np.hypot(j - 40, i - 40) < 22) & (np.hypot(j - 40, i - 40) > 9)
    grey = 40 + 100.0 * ring + np.random.default_rng(0).normal(0, 5, ring.shape)
    found = run_to_end(find_regions(Volume(grey[None], np.eye(4)), settings=QUICK))
    choice = found.object_at(boxes=[Box((18, 18, 0), (62, 62, 0))])
    assert max(dice(choice.at(n).mask[0], ring) for n in range(choice.steps)) > 0.9


def test_crumbs_of_a_vote_are_left_out_but_large_parts_stay():
    soft = np.zeros((30, 40))
    soft[2:12, 2:22], soft[20:25, 2:8], soft[5:8, 30:33] = 0.9, 0.8, 0.7
    found = without_islands(soft)
    assert (found[2:12, 2:22] == 0.9).all() and (found[20:25, 2:8] == 0.8).all()  # 200 and 30 pixels
    assert not found[5:8, 30:33].any()  # 9 pixels
    one = np.zeros((9, 9))
    one[4, 4] = 0.9
    assert without_islands(one) is one


def test_the_same_box_is_answered_alike_and_from_memory(regions):
    one = regions.object_at(boxes=[DISK_BOX]).mask
    assert not list(regions.object_steps(Prompts(boxes=(DISK_BOX,))))
    again = run_to_end(find_regions(slice_with_two_disks()[0], settings=QUICK)).object_at(boxes=[DISK_BOX]).mask
    assert np.array_equal(one, again)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_box_in_a_slice_along_any_axis_is_answered_in_its_place(axis):
    plane, bright, *_ = slice_with_two_disks()
    order = {"z": (0, 1, 2), "y": (1, 0, 2), "x": (1, 2, 0)}[axis]
    array = np.transpose(np.repeat(plane.array, 3, 0), order)
    volume = Volume(array, np.eye(4))
    found = run_to_end(find_regions(volume, extent=Extent.slab(volume, axis, 1, 1), axis=axis, settings=QUICK))
    corners = [(1, 22, 51), (1, 58, 89)]  # as [slice, row, column] of the plane
    low, high = (tuple(np.transpose(np.empty(c), order).shape[::-1]) for c in corners)
    mask = found.object_at(boxes=[Box(low, high)]).mask
    assert dice(mask, np.transpose(bright, order)) > 0.93


def lengths_of_rows(mask):
    """How many different lengths the rows of ``mask`` have: few where the border has stairs."""
    return len(set(mask.sum(1)[mask.any(1)].tolist()))


def test_the_border_is_as_fine_as_the_image_where_the_search_was_coarser():
    volume, bright, *_ = slice_with_two_disks(scale=3)
    found = run_to_end(find_regions(volume, settings=SegmentSettings(sources="classical", work_size=96)))
    box = Box((153, 66, 0), (267, 174, 0))
    mask = found.object_at(boxes=[box]).mask
    assert dice(mask, bright) > 0.97
    assert lengths_of_rows(mask[0]) > 0.8 * lengths_of_rows(bright[0])


@pytest.mark.parametrize("flat", [True, False])
def test_a_box_in_a_volume_bounds_the_object(flat):
    k, j, i = np.mgrid[:20, :48, :52]
    ball = (k - 10) ** 2 + (j - 22) ** 2 + (i - 26) ** 2 < 8**2
    array = 40 + 110.0 * ball + np.random.default_rng(0).normal(0, 6, ball.shape)
    found = run_to_end(find_regions(Volume(array, np.eye(4)), settings=QUICK))
    box = Box((17, 13, 10 if flat else 2), (35, 31, 10 if flat else 18))
    mask = found.object_at(boxes=[box]).mask
    assert dice(mask, ball) > 0.85
    outside = mask.copy()
    outside[:, 11:34, 15:38] = False
    assert not outside.any()


def test_what_speaks_for_the_answer_in_a_box_is_told(regions):
    explanation = explain(regions.object_at(boxes=[DISK_BOX]))
    first = explanation.candidates[0]
    assert first.offered == 1 and first.sources == {"vote": 1}
    assert all(c.score == pytest.approx(c.learned + c.hand) for c in explanation.candidates)
    assert "sides" in explanation.candidates[1].features
    along = explain(regions.object_at(strokes=[((60, 40, 0), (70, 40, 0), (80, 40, 0))]))
    assert along.candidates[0].sources and along.candidates[0].features["compactness"]


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({"boxes": [Box((200, 0, 0), (240, 20, 0))]}, "lies outside the searched part"),
        ({"boxes": [Box((5, 5, 0), (5, 5, 0))]}, "has no area"),
        ({"inside": [(70, 40, 0)], "outside": [(70, 40, 0)], "boxes": [DISK_BOX]}, "inside and outside at once"),
        ({"strokes": [((70, 40, 0), (500, 40, 0))]}, "outside the searched part"),
        ({"outside_strokes": [((70, 40, 0), (72, 40, 0))]}, "at least one point, box or stroke"),
    ],
)  # fmt: skip
def test_prompts_that_cannot_be_meant_are_refused(regions, prompts, said):
    with pytest.raises(InputError, match=said):
        regions.object_at(**prompts)


@pytest.mark.parametrize("loose", [0, 1, 2, 3])
@pytest.mark.parametrize("radius", [8, 15, 20])
def test_a_loose_box_is_not_filled(radius, loose):
    rows, columns = np.mgrid[:64, :80]
    disk = (rows - 30) ** 2 + (columns - 40) ** 2 <= radius**2
    noise = np.random.default_rng(0).normal(0, 4, disk.shape)
    volume = Volume((np.where(disk, 140, 60) + noise).astype(np.float32)[None], np.eye(4), "disk")
    reach = radius + loose
    box = Box((40 - reach, 30 - reach, 0), (40 + reach, 30 + reach, 0))
    mask = run_to_end(find_regions(volume)).object_at((), boxes=(box,)).mask[0]
    assert 2 * (mask & disk).sum() / (mask.sum() + disk.sum()) > 0.97


def test_of_a_box_around_hardly_anything_less_is_expected_than_around_a_clear_object():
    bright = slice_with_two_disks()[1]
    noise = np.random.default_rng(4).normal(0, 10, bright.shape).astype(np.float32)
    expected = []
    for contrast in (60, 3):
        volume = Volume(100 + contrast * bright + noise, np.eye(4))
        regions = run_to_end(find_regions(volume, settings=QUICK))
        expected.append(regions.object_at(boxes=[DISK_BOX]).expected_in_box)
    assert expected[0] > 0.85 and expected[0] > expected[1] + 0.1


def test_of_several_boxes_the_mean_is_expected(regions):
    other = Box((5, 65, 0), (25, 85, 0))
    sure = [regions.object_at(boxes=boxes).ranked.sureness for boxes in ([DISK_BOX], [other], [DISK_BOX, other])]
    assert sure[2] == pytest.approx((sure[0] + sure[1]) / 2) and 0 < min(sure) < max(sure) < 1
    stroke = regions.object_at(strokes=[((65, 40, 0), (75, 40, 0))])
    assert np.isnan(stroke.expected_in_box)  # nothing is known of it
