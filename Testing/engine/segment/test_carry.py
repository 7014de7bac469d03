"""Slice first, then carried: from the answer in a slice to the object in the volume."""

import numpy as np
import pytest
from few_shot_phantoms import organs

from S3NetSegmentLib.engine import Extent, InputError, Volume
from S3NetSegmentLib.engine.common.progress import Step, run_to_end
from S3NetSegmentLib.engine.segment import carried_choice, carry
from S3NetSegmentLib.engine.segment.carry import carry_prompts, draw_prompts, kept_near_drawn
from S3NetSegmentLib.engine.segment.explanation import explain
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.objects.box_part import BoxPart
from S3NetSegmentLib.engine.segment.planes import AnsweredVoxels
from S3NetSegmentLib.engine.segment.prompts import Box, Prompts, prompted_slices

AXES = "xyz"
MIDDLE = 10  # the slice of the first organ's middle


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def plane_of(mask, axis, index):
    return np.take(mask, index, 2 - AXES.index(axis))


def box_around(mask, axis, index):
    """The flat box around ``mask`` on a slice."""
    flat = np.zeros_like(mask)
    at = [slice(None)] * 3
    at[2 - AXES.index(axis)] = index
    flat[tuple(at)] = mask[tuple(at)]
    places = np.argwhere(flat)[:, ::-1]
    return Box(tuple(places.min(0).tolist()), tuple(places.max(0).tolist()))


def drawn(mask, *keys):
    return {key: plane_of(mask, *key) for key in keys}


def carried(volume, mask, *keys, **more):
    prompts = Prompts(boxes=tuple(box_around(mask, *key) for key in keys))
    return run_to_end(carry_prompts(volume, prompts, slices_so_far=drawn(mask, *keys), **more))


def nothing_seen(first, *_):
    yield Step(0.0, "Looking at its sections")
    return tuple(slice(0, n) for n in first.shape), np.zeros(first.shape, np.float32)


@pytest.fixture(scope="module")
def body():
    """A body with two organs, masks of both, and of a column that runs through all slices."""
    volume, labels = organs()
    _, j, i = np.indices(labels.shape)
    column = ((i - 19.5) * 1.5 - 2) ** 2 + ((j - 17.5) * 1.5 - 15) ** 2 < 10
    return volume, labels == 1, labels == 2, column


@pytest.fixture(scope="module")
def regions(body):
    return run_to_end(find_regions(body[0]))


@pytest.fixture(scope="module")
def choice(body, regions):
    first = body[1]
    return regions.object_at(boxes=[box_around(first, "z", MIDDLE)], slices_so_far=drawn(first, ("z", MIDDLE)))


@pytest.fixture(scope="module")
def vessel():
    """A volume with a wall around a cavity, along k; masks of the cavity and of both together."""
    k, j, i = np.indices((24, 40, 44))
    away = np.hypot(j - 20, i - 21)
    both, cavity = (away < 13) & (k > 3) & (k < 20), (away < 8) & (k > 3) & (k < 20)
    image = 40 + 60 * both + 60 * cavity + np.random.default_rng(3).normal(0, 5, both.shape)
    return Volume(image.astype(np.float32), np.diag((1.0, 1.0, 1.0, 1.0))), cavity, both


class TestCarrying:
    def test_one_slice_gives_the_whole_organ_and_only_that_one(self, body):
        volume, first, second, column = body
        found = carried(volume, first, ("z", MIDDLE))
        assert dice(found.mask, first) > 0.9
        assert not (found.mask & (second | column)).any()
        assert found.confidence.shape == found.mask.shape
        assert 0 <= found.confidence.min() <= found.confidence.max() <= 1

    def test_a_slice_of_another_view_serves_as_well(self, body):
        volume, first, _, _ = body
        found = carried(volume, first, ("x", int(np.argwhere(first)[:, 2].mean())))
        assert dice(found.mask, first) > 0.85

    def test_a_box_in_a_second_view_cuts_both_ends(self, body):
        volume, _, _, column = body
        along = column.copy()
        along[:6] = along[14:] = False
        views = ("z", MIDDLE), ("y", int(np.argwhere(column)[:, 1].mean()))
        one, two = carried(volume, along, views[0]), carried(volume, along, *views)
        assert np.flatnonzero(one.mask.any((1, 2))).tolist() == list(range(20))
        filled = np.flatnonzero(two.mask.any((1, 2)))
        assert filled[0] >= 4 and filled[-1] <= 15  # with the room that a section leaves

    def test_a_box_in_the_volume_is_never_left(self, body):
        volume, _, _, column = body
        at = np.argwhere(column)[:, ::-1]
        box = Box((*map(int, at.min(0)[:2]), 7), (*map(int, at.max(0)[:2]), 12))
        prompts = Prompts(boxes=(box,))
        middle = drawn(column, *prompted_slices(prompts, "z", volume.order))
        found = run_to_end(carry_prompts(volume, prompts, slices_so_far=middle))
        assert np.flatnonzero(found.mask.any((1, 2))).tolist() == list(range(7, 13))

    def test_the_slices_stay_as_they_were_answered(self, body):
        volume, first, _, _ = body
        found = carried(volume, first, ("z", 6), ("z", 13))
        for key in (("z", 6), ("z", 13)):
            assert (plane_of(found.mask, *key) == plane_of(first, *key)).all()

    def test_voxels_of_other_segments_and_points_outside_stay_out(self, body):
        volume, first, _, _ = body
        excluded = first.copy()
        excluded[:, :, : int(np.argwhere(first)[:, 2].mean())] = False
        outside = tuple(int(v) for v in np.argwhere(first & ~excluded)[0][::-1])
        prompts = Prompts(boxes=(box_around(first, "z", MIDDLE),), outside=(outside,))
        there = {("z", MIDDLE): plane_of(first & ~excluded, "z", MIDDLE)}
        found = run_to_end(carry_prompts(volume, prompts, slices_so_far=there, excluded=excluded))
        assert found.mask.any()
        assert not (found.mask & excluded).any()
        assert not found.mask[outside[::-1]]

    def test_a_part_of_the_volume_is_answered_in_its_own_indices(self, body):
        volume, first, _, _ = body
        extent = Extent((2, 3, 4), (38, 34, 18))
        part = first[extent.slices]
        prompts = Prompts(boxes=(box_around(first, "z", MIDDLE),))
        found = run_to_end(
            carry_prompts(volume, prompts, extent=extent, slices_so_far={("z", MIDDLE): part[MIDDLE - 4]})
        )
        assert found.mask.shape == part.shape
        assert dice(found.mask, part) > 0.9

    def test_parts_that_hang_on_no_slice_are_left_out(self):
        mask = np.zeros((6, 8, 8), bool)
        mask[1:4, 1:4, 1:4] = mask[2:5, 6:, 6:] = True
        extent = Extent((0, 0, 0), (8, 8, 6))
        image = Volume(np.zeros(mask.shape, np.uint8), np.eye(4))
        shown = AnsweredVoxels.of(("z", 2), mask[2] & (np.arange(8) < 5), image, extent)
        kept = kept_near_drawn(mask, [shown], Prompts(), extent, None, None)
        assert kept[:, 1:4, 1:4].sum() == 27
        assert kept.sum() == 27

    def test_an_empty_slice_answer_is_said(self, body):
        volume, first, _, _ = body
        keys = ("z", MIDDLE), ("z", 0)
        prompts = Prompts(boxes=(box_around(first, *keys[0]), Box((1, 1, 0), (4, 4, 0))))
        found = run_to_end(carry_prompts(volume, prompts, slices_so_far=drawn(first, *keys)))
        assert "in slice 0 along z nothing was found" in found.notes
        assert not found.mask[0].any()


class TestRefusals:
    @pytest.mark.parametrize(
        ("prompts", "told"),
        [
            (Prompts(), "at least one point, box or stroke"),
            (Prompts(boxes=(Box((50, 50, 3), (60, 60, 3)),)), "outside the searched part"),
            (Prompts(boxes=(Box((5, 5, 3), (5, 9, 3)),)), "has no area"),
            (Prompts(inside=((3, 3, 3),), outside=((3, 3, 3),)), "inside and outside at once"),
        ],
    )
    def test_prompts_that_cannot_be_meant(self, body, prompts, told):
        with pytest.raises(InputError, match=told):
            run_to_end(carry_prompts(body[0], prompts))

    def test_other_segments_of_another_shape(self, body):
        with pytest.raises(InputError, match="other segments have shape"):
            run_to_end(draw_prompts(body[0], Prompts(inside=((3, 3, 3),)), excluded=np.zeros((2, 2, 2), bool)))

    def test_nothing_left_of_the_object(self, body):
        empty = {("z", MIDDLE): np.zeros((36, 40), bool)}
        with pytest.raises(InputError, match="nothing is left of the object"):
            run_to_end(carry_prompts(body[0], Prompts(inside=((9, 9, MIDDLE),)), slices_so_far=empty))


class TestChoice:
    def test_the_object_of_the_box_is_found_in_the_volume(self, body, choice):
        _, first, second, column = body
        assert dice(choice.mask, first) > 0.9
        assert not (choice.mask & (second | column)).any()

    def test_the_ladder_holds_candidates_and_the_carried_object(self, body, choice):
        sizes = [np.count_nonzero(choice.at(n).working_mask()) for n in range(choice.steps)]
        assert sizes == sorted(sizes)
        assert (choice.at(choice.carried_step).mask == choice.carried.mask).all()
        assert choice.alternatives[0] == choice.index
        assert all(0 <= n < choice.steps for n in choice.alternatives)

    def test_every_step_shows_the_slice_as_it_was_answered(self, body, choice):
        _, first, _, _ = body
        for step in range(0, choice.steps, 7):
            assert (choice.at(step).mask[MIDDLE] == first[MIDDLE]).all()

    def test_what_the_second_look_made_is_the_answer_and_what_it_looked_at_stays_a_step(self, body, choice):
        _, first, _, _ = body
        seen = [row.step - 1 for row in explain(choice).candidates if "sections" in row.sources]
        assert seen == [choice.index]
        assert choice.first_step in (choice.carried_step, choice.candidate_step)
        assert choice.first_step != choice.index
        assert dice(choice.mask, first) >= dice(choice.at(choice.first_step).mask, first) - 0.02

    @pytest.mark.parametrize("searched", [0.0, 1.1])  # the candidate counts, or the carried object
    def test_where_the_network_sees_nothing_the_choice_stays(self, body, regions, monkeypatch, searched):
        _, first, _, _ = body
        monkeypatch.setattr(carried_choice, "_SEARCHED", searched)
        monkeypatch.setattr(carried_choice, "_looked_at_again", nothing_seen)
        asked = [box_around(first, "z", MIDDLE)]
        outside = [(1, 1, 1 + int(searched))]  # an answer of its own
        found = regions.object_at(outside=outside, boxes=asked, slices_so_far=drawn(first, ("z", MIDDLE)))
        assert found.index == found.first_step == (found.candidate_step if searched == 0 else found.carried_step)
        assert dice(found.mask, first) > 0.8

    def test_the_explanation_leaves_empty_what_is_not_measured_of_what_was_made(self, choice):
        found = explain(choice)
        said = "\n".join(found.lines(most=choice.steps))
        assert "carried (1)" in said and "sections (1)" in said and "nan" not in said and "nan" not in found.as_csv()

    def test_no_step_holds_other_segments(self, body, regions):
        _, first, second, column = body
        excluded = second | column
        found = regions.object_at(
            boxes=[box_around(first, "z", MIDDLE)], slices_so_far=drawn(first, ("z", MIDDLE)), excluded=excluded
        )
        assert not any((found.at(step).mask & excluded).any() for step in range(found.steps))

    def test_what_leaks_out_of_the_slice_is_not_chosen(self):
        """Two equal blocks one above the other, joined by a bridge: the candidates hold both, or the size decides."""
        k, j, i = np.indices((40, 30, 30))
        tube = (j - 15) ** 2 + (i - 15) ** 2 < 49
        image = 100 * tube + np.random.default_rng(0).normal(0, 3, tube.shape)
        ball = tube & (abs(k - 20) < 7)
        image[(abs(k - 20) == 7) & tube] = 60  # a faint end plate
        volume = Volume(image.astype(np.int16), np.eye(4))
        views = ("z", 20), ("y", 15)
        found = run_to_end(find_regions(volume)).object_at(
            boxes=[box_around(ball, *view) for view in views], slices_so_far=drawn(ball, *views)
        )
        assert dice(found.mask, ball) > 0.7
        assert found.mask[:8].sum() == found.mask[33:].sum() == 0

    def test_a_point_outside_on_another_slice_is_left_out(self, body, regions):
        _, first, _, _ = body
        point = (*map(int, np.argwhere(first[MIDDLE - 3]).mean(0)[::-1]), MIDDLE - 3)
        found = regions.object_at(
            outside=[point], boxes=[box_around(first, "z", MIDDLE)], slices_so_far=drawn(first, ("z", MIDDLE))
        )
        assert not found.mask[point[::-1]]
        assert (found.mask[MIDDLE] == first[MIDDLE]).all()

    def test_it_says_what_spoke_for_it(self, choice):
        rows = explain(choice).candidates
        assert len(rows) == choice.steps
        assert [row.step - 1 for row in rows if "carried" in row.sources] == [choice.carried_step]

    def test_confidence_is_that_of_both_opinions(self, body, regions, choice):
        _, first, _, _ = body
        confidence = regions.confidence(choice)
        assert confidence.shape == first.shape
        assert confidence[first].mean() > 0.5

    def test_asking_again_costs_nothing_and_other_segments_ask_anew(self, body, regions):
        _, first, second, _ = body
        asked = {"boxes": [box_around(first, "z", MIDDLE)], "slices_so_far": drawn(first, ("z", MIDDLE))}
        once = regions.object_at(**asked)
        assert regions.object_at(**asked) is once
        assert regions.object_at(**asked, excluded=second) is not once

    def test_cancel_half_way_leaves_nothing(self, body, regions):
        _, first, second, _ = body
        before = regions.object_at(boxes=[box_around(first, "z", 9)], slices_so_far=drawn(first, ("z", 9)))
        key = ("z", int(np.argwhere(second)[:, 0].mean()))
        prompts = Prompts(boxes=(box_around(second, *key),))
        steps = regions.object_steps(prompts, slices_so_far=drawn(second, key))
        for _ in range(5):
            next(steps)
        steps.close()
        again = regions.object_at(boxes=[box_around(first, "z", 9)], slices_so_far=drawn(first, ("z", 9)))
        assert again is before


class TestFirstSight:
    def test_the_slice_is_answered_before_anything_is_carried(self, body):
        volume, first, _, _ = body
        prompts = Prompts(boxes=(box_around(first, "z", MIDDLE),))
        there = run_to_end(draw_prompts(volume, prompts))
        assert list(there) == [("z", MIDDLE)]
        assert dice(there["z", MIDDLE], first[MIDDLE]) > 0.85
        told = []
        found = run_to_end(carry_prompts(volume, prompts), lambda step: told.append(step.message))
        carrying = told.index("Carrying the object through the volume")
        assert "Searching objects" in told[:carrying]
        assert "Searching objects" not in told[carrying:]
        assert (found.drawn["z", MIDDLE] == there["z", MIDDLE]).all()

    def test_a_box_alone_gives_the_organ_in_the_volume(self, body, regions):
        _, first, second, column = body
        found = regions.object_at(boxes=[box_around(first, "z", MIDDLE)])
        assert dice(found.mask, first) > 0.8
        assert not (found.mask & (second | column)).any()

    def test_other_segments_stay_out_of_the_slice_as_well(self, body):
        volume, first, _, _ = body
        excluded = first.copy()
        excluded[:, :, : int(np.argwhere(first)[:, 2].mean())] = False
        there = run_to_end(draw_prompts(volume, Prompts(boxes=(box_around(first, "z", MIDDLE),)), excluded=excluded))
        assert there["z", MIDDLE].any()
        assert not (there["z", MIDDLE] & excluded[MIDDLE]).any()


class TestSlicesThatCross:
    """A box is told what answered slices show where they cross its slice."""

    @pytest.mark.parametrize("stored", [slice(None), slice(None, None, -1)], ids=["as it is", "from the other side"])
    def test_the_answer_follows_the_slice_that_crosses(self, vessel, stored):
        volume, cavity, both = vessel
        matrix = volume.ijk_to_ras.copy()
        if stored.step:
            matrix[0, 3], matrix[0, 0] = 43, -1
        volume = Volume(np.ascontiguousarray(volume.array[..., stored]), matrix)
        cavity, both = (np.ascontiguousarray(mask[..., stored]) for mask in (cavity, both))
        first, second = ("z", 12), ("y", 20)
        prompts = Prompts(boxes=tuple(box_around(both, *key) for key in (first, second)))
        answers = {
            name: run_to_end(draw_prompts(volume, prompts, slices_so_far=drawn(mask, first)))[second]
            for name, mask in (("cavity", cavity), ("both", both))
        }
        for name, mask in (("cavity", cavity), ("both", both)):
            right = dice(answers[name], plane_of(mask, *second))
            other = dice(answers["both" if name == "cavity" else "cavity"], plane_of(mask, *second))
            assert right > 0.8 and right > other, name

    def test_another_part_of_the_object_elsewhere_changes_nothing(self, vessel):
        volume, _, both = vessel
        elsewhere = np.zeros_like(both)
        elsewhere[12, 18:23, 36:42] = True
        second, beside = ("y", 20), ("z", 12)
        boxes = box_around(both, *second), box_around(elsewhere, *beside)
        alone = run_to_end(draw_prompts(volume, Prompts(boxes=boxes[:1])))[second]
        there = drawn(elsewhere, beside)
        assert (run_to_end(draw_prompts(volume, Prompts(boxes=boxes), slices_so_far=there))[second] == alone).all()

    def test_the_order_of_the_answers_is_that_of_the_prompts(self, vessel):
        volume, _, both = vessel
        keys = ("z", 12), ("y", 20)
        prompts = Prompts(boxes=tuple(box_around(both, *key) for key in keys))
        assert list(run_to_end(draw_prompts(volume, prompts, slices_so_far=drawn(both, keys[1])))) == list(keys)

    def test_what_is_known_of_a_slice_are_the_voxels_that_both_share(self, vessel):
        volume, _, both = vessel
        extent = Extent((4, 2, 3), (40, 38, 22))
        answers = {("z", 12): plane_of(both, "z", 12)[2:38, 4:40]}
        found = carry._crossing(("y", 20), answers, volume, extent)
        assert set(found.inside) == {(i, 20, 12) for i in np.flatnonzero(both[12, 20]).tolist()}
        assert {*found.inside, *found.outside} == {(i, 20, 12) for i in range(4, 40)}
        assert carry._crossing(("z", 13), answers, volume, extent) is None
        assert carry._crossing(("y", 5), answers, volume, extent) is None  # which shows nothing of the object

    def test_of_a_thinned_slice_those_samples_count_that_may_belong_to_the_object(self):
        part = BoxPart.around((400, 400), (100, 300, 50, 250))
        assert part.step > 1 and part.samples([]).shape == (2, 0)
        found = part.samples([(100, 60), (0, 0), (200, 399), (150, 150), (40, 100)])  # the last one in the surroundings
        places = found * part.step + [[part.rows.start], [part.columns.start]]
        assert np.abs(places.T - [(100, 60), (150, 150)]).max() < part.step
