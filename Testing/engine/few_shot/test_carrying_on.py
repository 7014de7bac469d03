"""Segments of which the drawn volume shows only a part are carried on in the volume that is asked for."""

import numpy as np
import pytest
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.answer import FewShotAnswer, SegmentOutlook, notes
from S3NetSegmentLib.engine.few_shot.carrying_on import carried_on, limited, slices_to_carry
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings, SupportVolume
from S3NetSegmentLib.engine.images import Extent

pytestmark = pytest.mark.usefixtures("few_places")
BOTH = frozenset(("before", "after"))


def shown_between(volume: Volume, labels: np.ndarray, first: int, last: int) -> SupportVolume:
    part = Extent((0, 0, first), (*volume.size[:2], last + 1))
    return SupportVolume(volume.cropped(part), labels[part.slices])


def few_shot(query: Volume, *items) -> FewShot:
    method = FewShot(query, FewShotSettings())
    method.set_support(items)
    return method


@pytest.fixture(scope="module")
def phantoms():
    """A volume that is drawn, and another one, both with all of both segments."""
    return organs(), organs(shift=(2, -2, 2), seed=1)


def test_what_the_drawn_volume_does_not_show_is_found_and_said(phantoms):
    (support, labels), (query, true) = phantoms
    answer = run_to_end(few_shot(query, shown_between(support, labels, 7, 12)).propagate())
    filled = np.flatnonzero((true == 1).any((1, 2)))
    assert len(filled) > 2 * 6
    assert min(dice(answer.labels, true, c) for c in (1, 2)) > 0.8
    assert answer.outlook[1].carried_on and answer.outlook[2].carried_on
    said = notes(answer.outlook, {1: "liver", 2: "spleen"})
    assert any("'liver' and 'spleen' are drawn shows only a part of them" in note for note in said)


def test_a_segment_that_is_shown_whole_is_not_carried_on(phantoms):
    (support, labels), (query, _) = phantoms
    answer = run_to_end(few_shot(query, SupportVolume(support, labels)).propagate())
    assert not any(outlook.carried_on for outlook in answer.outlook.values())
    assert not any("shows only a part" in note for note in notes(answer.outlook, {1: "liver", 2: "spleen"}))


def test_only_where_the_image_ends_within_it(phantoms):
    (support, labels), (query, _) = phantoms
    cut_above = shown_between(support, labels, 0, 9)
    method = few_shot(query, cut_above)
    voters = run_to_end(method._maker.voters(method._support.layers[0], False))
    assert voters[0].cut_off("z") == {1: {"after"}, 2: {"after"}}
    assert voters[0].cut_off("x") == {}
    whole = SupportVolume(support, labels)
    method.set_support([cut_above, whole])  # the second shows where they end
    voters = run_to_end(method._maker.voters(method._support.layers[0], False))
    assert voters[0].cut_off("z") == {}


def test_the_sides_are_those_of_the_volume_that_is_asked_for(phantoms):
    (support, labels), (query, true) = phantoms
    flipped = np.diag((1.0, 1.0, -1.0, 1.0))
    flipped[2, 3] = query.size[2] - 1
    upside_down = Volume(np.ascontiguousarray(query.array[::-1]), query.ijk_to_ras @ flipped, "the other way")
    method = few_shot(upside_down, shown_between(support, labels, 0, 9))
    layer = method._support.layers[0]
    sides = run_to_end(method._maker.voters(layer, False))[0].cut_off(layer.drawing.axis)
    answer = run_to_end(method.propagate())
    found = (answer.labels == 1).any((1, 2))
    true = np.flatnonzero((true[::-1] == 1).any((1, 2)))
    assert len(sides[1]) == 1 and found[true[0] + 2] and found[true[-1] - 2]


def test_the_slices_that_are_asked_for_have_the_same_answer_as_all(phantoms):
    (support, labels), (query, _) = phantoms
    method = few_shot(query, shown_between(support, labels, 7, 12))
    whole = run_to_end(method.propagate()).labels
    some = run_to_end(method.propagate((2, 4)))
    assert (some.labels[2:5] == whole[2:5]).all() and some.labels[2:5].any()
    assert not some.labels[:2].any() and not some.labels[5:].any()
    assert all(2 <= z <= 4 for z, _ in some.next_slices)


def test_what_is_drawn_here_counts_and_nothing_is_carried_on(phantoms):
    (support, labels), (query, true) = phantoms
    drawn = DrawnSlice("z", 10, true[10])
    answer = run_to_end(few_shot(query, shown_between(support, labels, 7, 12), drawn).propagate())
    assert not any(outlook.carried_on for outlook in answer.outlook.values())
    assert (answer.labels[10] == true[10]).all()


def answer_of(labels, dice_of_1, shown=None) -> FewShotAnswer:
    outlook = {1: SegmentOutlook(dice_of_1, dict.fromkeys(range(len(labels)), 1.0), {}, shown)}
    return FewShotAnswer([labels], np.full(labels.shape, dice_of_1, np.float32), outlook, "z", {})


def test_inside_the_first_answer_stays_and_no_more_is_expected_than_of_either():
    first, again = (np.zeros((8, 4, 4), np.uint8) for _ in range(2))
    first[2:6, 1:3, 1:3], again[:, :2, :2] = 1, 1
    first[0, 0, 0] = 2  # another segment is not overwritten
    before, told = answer_of(first, 0.9), answer_of(again, 0.6, shown=(3, 4))
    both = carried_on(before, told, {1: BOTH})
    assert (both.labels[[1, 2, 5, 7]] == again[[1, 2, 5, 7]]).all()
    assert both.labels[0, 0, 0] == 2 and (both.labels[0] == 1).sum() == 3
    assert both.outlook[1].dice == 0.6 and both.outlook[1].carried_on
    assert (before.labels[2:6, 1:3, 1:3] == 1).all()  # it is as it was
    above = carried_on(before, told, {1: frozenset(("after",))})
    assert (above.labels[:4] == first[:4]).all() and (above.labels[4:] == again[4:]).all()
    assert limited(above, 5, 6).labels.any((1, 2)).tolist() == [False] * 5 + [True] * 2 + [False]


def test_slices_are_taken_inside_of_what_was_found_and_show_each_segment():
    labels = np.zeros((20, 4, 4), np.uint8)
    labels[3:14, 0, 0], labels[16:19, 3, 3] = 1, 2
    chosen = slices_to_carry(answer_of(labels, 0.9), {1: BOTH, 2: BOTH})
    assert {int(v) for one in chosen for v in np.unique(one.labels)} == {0, 1, 2}
    assert all(3 < one.index < 18 for one in chosen)
    assert slices_to_carry(answer_of(np.zeros_like(labels), 0.9), {1: BOTH}) == []
