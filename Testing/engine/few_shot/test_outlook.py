"""What is to be expected of an answer: expected Dice, the slices to draw next and the ends of segments, in one estimate."""

import numpy as np
from few_shot_scenes import egg, tube

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.answer import (
    SegmentOutlook,
    is_empty,
    next_slices,
    notes,
    reason,
    segment_outlook,
)
from S3NetSegmentLib.engine.few_shot.method import DrawnPlane, DrawnSlice, FewShot, FewShotSettings, SupportVolume

FAST = FewShotSettings(appearance_steps=60, work_voxels=20_000, leave_one_out=False)
NAMES = {1: "liver", 2: "spleen"}


def sums(*rows):
    """(probability inside, voxels, probability anywhere, largest probability) of each slice."""
    return np.array(rows, float)


SURE, DRAWN, HALF, GONE = (95, 100, 95, 1.0), (0, 0, 0, 0), (65, 100, 66, 0.7), (0, 0, 20, 0.3)


def test_expected_dice_and_wrong_voxels_are_one_estimate():
    rows = sums(GONE, HALF, SURE, DRAWN, SURE, HALF, GONE)
    found = segment_outlook(rows.copy(), 10, {13: True}, 1.0)
    worse = segment_outlook(sums(GONE, HALF, HALF, DRAWN, HALF, HALF, GONE), 10, {13: True}, 1.0)
    assert worse.dice < found.dice < 1 and sum(worse.wrong.values()) > sum(found.wrong.values())
    assert 13 not in found.wrong
    assert found.shown == (13, 13) and set(found.present) == {10, 11, 12, 14, 15, 16}
    assert found.present[16] < 0.5 < found.present[15] < 0.9 and set(found.sides) == {"before", "after"}


def test_what_lies_beyond_the_drawn_slices_is_expected_to_be_worse_than_what_lies_between_them():
    beyond = segment_outlook(sums(*[HALF] * 4, DRAWN, DRAWN, *[HALF] * 4), 0, {4: True, 5: True}, 1.0)
    between = segment_outlook(sums(DRAWN, *[HALF] * 8, DRAWN), 0, {0: True, 9: True}, 1.0)
    assert beyond.dice < between.dice - 0.05
    assert segment_outlook(sums(DRAWN, *[(0, 0, 0, 0)] * 3), 0, {0: True}, 1.0).dice == 0  # nothing was found
    assert 0.65 < between.dice < 1


def test_an_answer_that_goes_on_to_the_last_slice_is_more_likely_to_run_past_its_end():
    empty = (0, 0, 0, 0)
    through = segment_outlook(sums(empty, empty, DRAWN, SURE, SURE), 0, {2: True}, 2.0)
    ended = segment_outlook(sums(empty, DRAWN, SURE, SURE, empty), 0, {1: True}, 2.0)
    assert through.past > ended.past + 0.05 and through.runs_past and not ended.runs_past


def test_an_end_that_no_drawn_slice_shows_lowers_what_is_expected_on_thick_slices():
    rows = sums(DRAWN, HALF, HALF, GONE, GONE)
    thin, thick = (segment_outlook(rows.copy(), 0, {0: True}, anisotropy) for anisotropy in (1.0, 3.5))
    assert thick.dice < thin.dice and thick.past > 0.35 > thin.past > 0.1
    shown = segment_outlook(sums(DRAWN, HALF, HALF, GONE, DRAWN), 0, {0: True, 4: False}, 3.5)
    assert shown.past == 0 and shown.sides == () and shown.dice > thick.dice


def test_a_partial_drawing_shows_a_segment_but_no_end_and_is_not_drawn_again():
    found = segment_outlook(sums(HALF, HALF, DRAWN, HALF, HALF), 0, {1: None, 2: True, 4: None}, 1.0)
    assert found.shown == (2, 2) and found.sides == ("before", "after") and not {1, 2, 4} & set(found.wrong)
    body = egg()
    few_shot = FewShot(body.volume, FAST)
    few_shot.set_support(body.drawn(9, 12, complete=False))
    answer = run_to_end(few_shot.propagate())
    assert answer.outlook[1].shown == (9, 12) and not {z for z, _ in answer.next_slices} & {9, 12}


def test_the_reason_names_who_ends_and_the_way_out():
    ends = SegmentOutlook(0.8, {5: 40.0, 7: 9.0}, {5: 0.2, 7: 0.7}, (1, 3))
    inside = SegmentOutlook(0.9, {5: 2.0, 2: 30.0}, {}, (0, 9))
    both = {1: ends, 2: inside}
    assert reason(both, 5, NAMES) == "'liver' probably ends before it; draw it, or say that there is nothing"
    assert reason(both, 7, NAMES) == "'liver' may end before it; draw it, or say that there is nothing"
    assert reason(both, 2, NAMES) == "the answer for 'spleen' is doubtful there"
    assert is_empty({1: ends}, 5) and not is_empty({1: ends}, 7) and not is_empty(both, 5)
    assert next_slices(both) == [(5, 42.0), (2, 30.0), (7, 9.0)]


def test_segments_that_may_run_past_their_ends_are_named_with_the_side():
    past = SegmentOutlook(0.8, shown=(4, 9), past=0.4, sides=("after",))
    twice = SegmentOutlook(0.8, shown=(4, 4), past=0.4, sides=("before", "after"))
    assert notes({1: past, 2: SegmentOutlook(0.9, past=0.1)}, NAMES) == [
        "'liver' may run past its end after slice 9; draw the last slice there, or say of the one after it that it holds nothing"
    ]
    assert (
        "'liver' and 'spleen' may run past their ends on both sides of slice 4" in notes({1: twice, 2: twice}, NAMES)[0]
    )


def test_a_segment_that_comes_back_after_a_drawn_slice_without_it_is_named_with_the_slices():
    rows = sums(*[DRAWN, SURE, HALF, DRAWN, HALF, SURE, DRAWN])
    disc = segment_outlook(rows.copy(), 0, {0: True, 3: False, 6: True}, 1.0)
    assert disc.missing == 3
    (note,) = notes({1: disc}, {1: "disc"})
    assert (
        note.startswith("'disc' is drawn on slices 0 and 6, but not on slice 3 between them") and "alternates" in note
    )
    for drawn in ({0: True, 3: None, 6: True}, {0: False, 3: True, 6: False}, {0: True, 3: True, 6: False}):
        assert segment_outlook(rows.copy(), 0, drawn, 1.0).missing is None


def test_slices_past_the_end_are_said_to_be_empty_and_an_empty_one_settles_it():
    body = egg(background=80)  # hardly darker than the body, from slice 6 to 17
    few_shot = FewShot(body.volume, FAST)
    few_shot.set_support(body.drawn(10, 12))
    answer = run_to_end(few_shot.propagate())
    outlook = answer.outlook[1]
    assert outlook.shown == (10, 12)
    inside, beyond = ([outlook.present[z] for z in numbers] for numbers in ((8, 9, 13, 14), (0, 1, 2, 22, 23)))
    assert min(inside) > max(beyond) and max(beyond) < 0.5
    assert (
        is_empty(answer.outlook, 0) and "probably ends before it" in reason(answer.outlook, 0, NAMES)
    ) or not outlook.wrong.get(0)
    empty = [DrawnSlice("z", z, np.zeros((40, 40), np.uint8)) for z in (5, 18)]
    few_shot.set_support([*body.drawn(10, 12), *empty])
    assert run_to_end(few_shot.propagate()).outlook[1].past == 0


def oblique(body, angle=0.6):
    """The truth of ``body`` on a plane through its middle that leans by ``angle``."""
    matrix = np.eye(4)
    matrix[:3, 1], matrix[:3, 2] = (0, np.cos(angle), np.sin(angle)), (0, -np.sin(angle), np.cos(angle))
    middle = (np.array(body.volume.size) - 1) / 2
    matrix[:3, 3] = middle - matrix[:3, 0] * 20 - matrix[:3, 1] * 20
    rows, columns = np.mgrid[:41, :41]
    place = matrix[:3, 0, None, None] * columns + matrix[:3, 1, None, None] * rows + matrix[:3, 3, None, None]
    index = np.rint(place).astype(int)
    inside = ((index >= 0) & (index < np.array(body.volume.size)[:, None, None])).all(0)
    labels = np.zeros((41, 41), np.uint8)
    labels[inside] = body.truth[tuple(index[a][inside] for a in (2, 1, 0))]
    return DrawnPlane(labels, matrix)


def test_one_oblique_plane_bounds_the_answer_and_says_so_and_a_second_one_frees_it():
    long = tube(depth=90, drift=0, radius=5)
    few_shot = FewShot(long.volume, FAST)
    few_shot.set_support([oblique(long)])
    answer = run_to_end(few_shot.propagate())
    found = np.flatnonzero(answer.labels.any((1, 2)))
    assert found.min() > 20 and found.max() < 70 and (answer.labels[45] == 1).any()
    cut = answer.outlook[1].one_plane
    assert 8 < cut < 20 and answer.expected_dice[1] < 0.9
    (note,) = notes(answer.outlook, NAMES)
    assert "one plane oblique" in note and f"{cut:.0f} mm" in note and "draw a second plane" in note
    few_shot.set_support([oblique(long), oblique(long, np.pi / 2 - 0.02)])
    freed = run_to_end(few_shot.propagate())
    assert freed.outlook[1].one_plane is None and notes(freed.outlook, NAMES) == []
    assert np.flatnonzero(freed.labels.any((1, 2))).size > 1.5 * found.size


def test_of_a_picture_there_is_no_slice_to_draw_next():
    body = egg()
    few_shot = FewShot(Volume(body.volume.array[11:12].copy(), np.eye(4)), FAST)
    one = Volume(body.volume.array[12:13].copy(), np.eye(4))
    few_shot.set_support([SupportVolume(one, body.truth[12:13].copy())])
    answer = run_to_end(few_shot.propagate())
    assert answer.labels.any() and answer.next_slices == []
