"""Boxes in place of drawings: what they hold in their slices, several segments together, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from few_shot_phantoms import dice, organs
from paths import MODULE

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.drawings.boxes import boxed_drawings, boxed_slices
from S3NetSegmentLib.engine.few_shot.run import carry_drawings, read_drawings
from S3NetSegmentLib.engine.segment.prompts import Box
from S3NetSegmentLib.engine.tasks.few_shot import FewShotTask

QUICK = ("appearance_steps=60", "leave_one_out=false")


def around(mask, k, room=1):
    """The box i, j, k, i, j, k around ``mask`` in slice ``k``."""
    rows, columns = np.nonzero(mask[k])
    return (*(int(v.min()) - room for v in (columns, rows)), k, *(int(v.max()) + room for v in (columns, rows)), k)


def boxed(mask, k=1):
    corners = around(mask, k)
    return Box(corners[:3], corners[3:])


def wall_and_cavity(touching=False, wall=40.0):
    """A dark ring around a bright cavity (2 around 1) and, ``touching`` it, a bright disc (3), in three slices."""
    y, x = np.mgrid[:64, :80]
    far = np.hypot(y - 32, x - 30)
    labels = np.where(far < 9, 1, np.where(far < 15, 2, 0)).astype(np.uint8)
    if touching:
        labels[(np.hypot(y - 32, x - 54) < 11) & (labels == 0)] = 3
    grey = np.array([120.0, 300.0, wall, 300.0])[labels]
    labels = np.stack([labels] * 3)
    image = grey + np.random.default_rng(0).normal(0, 8, labels.shape)
    return Volume(image.astype(np.int16), np.diag([1.0, 1.0, 4.0, 1.0]), "wall"), labels


def test_drawings_in_files_are_read_without_the_engine_of_segment():
    code = "import sys, S3NetSegmentLib.engine.few_shot.run; sys.exit('S3NetSegmentLib.engine.segment.find_regions' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=MODULE, check=False).returncode == 0


def test_a_box_inside_a_box_makes_a_ring_of_the_outer_one_in_whatever_order_they_are_given():
    volume, labels = wall_and_cavity()
    boxes = {n: [boxed(mask)] for n, mask in ((2, labels >= 1), (1, labels == 1))}
    found = run_to_end(boxed_slices(volume, boxes))
    assert [(s.axis, s.index) for s in found] == [("z", 1)]
    assert dice(found[0].labels, labels[1], 1) > 0.95 and dice(found[0].labels, labels[1], 2) > 0.9
    turned = run_to_end(boxed_slices(volume, dict(sorted(boxes.items()))))
    np.testing.assert_array_equal(turned[0].labels, found[0].labels)


def test_segments_that_touch_share_no_pixel_and_each_keeps_its_side():
    volume, labels = wall_and_cavity(touching=True, wall=300.0)  # nothing shows where one ends
    boxes = {n: [boxed(mask)] for n, mask in ((1, (labels == 1) | (labels == 2)), (3, labels == 3))}
    alone = {n: run_to_end(boxed_slices(volume, {n: own}))[0].labels == n for n, own in boxes.items()}
    found = run_to_end(boxed_slices(volume, boxes))[0].labels
    assert (alone[1] & alone[3]).any()  # else this shows nothing
    assert dice(found, labels[1], 3) > 0.9
    np.testing.assert_array_equal(found > 0, alone[1] | alone[3])


def test_boxes_across_two_axes_are_two_drawings_and_each_slice_holds_its_own_boxes():
    volume, labels = organs()
    j = 20
    rows, columns = np.nonzero(labels[:, j] == 1)
    upright = (int(columns.min()), j, int(rows.min()), int(columns.max()), j, int(rows.max()))
    boxes = {"left": [around(labels == 1, 10), upright], "right": [around(labels == 2, 12)]}
    across_y, across_z = run_to_end(boxed_drawings(volume, boxes))
    assert (across_y.axis, across_y.file.drawn) == ("y", (j,)) and (across_z.axis, across_z.file.drawn) == (
        "z",
        (10, 12),
    )
    assert [s.name for s in across_y.segmentation.segments] == ["left"]
    layer = across_z.segmentation.layers[0]
    assert (
        set(np.flatnonzero(layer.any((1, 2)))) == {10, 12} and not (layer[10] == 2).any() and not (layer[12] == 1).any()
    )


def test_boxes_alone_give_the_organs_and_a_drawing_of_one_slice_of_two_is_noted():
    volume, labels = organs()
    boxes = tuple((name, around(labels == n, k)) for k in (7, 13) for n, name in ((1, "one"), (2, "two")))
    task = FewShotTask(support_boxes=boxes, settings=QUICK)
    support = run_to_end(read_drawings(volume, task))
    assert support.drawn_here("z") == [7, 13] and not support.notes
    outcome = run_to_end(carry_drawings(volume, task, support))
    assert [s.name for s in outcome.segmentation.segments] == ["one", "two"]
    found = outcome.segmentation.layers[0]
    assert min(dice(found, labels, n) for n in (1, 2)) > 0.8
    for number, (name, expected) in enumerate(zip(("one", "two"), outcome.expected_by_segment(), strict=True), 1):
        assert 0.6 < support.expected[name] < 0.95  # what a box holds is not known as surely as what is drawn
        assert expected == pytest.approx(support.expected[name] * outcome.answer.expected_dice[number])
    with_gap = (*boxes, ("one", around(labels == 1, 10)))
    told = "slice 10 along z has no box for 'two', which counts as absent there"
    assert any(
        told in note
        for note in run_to_end(read_drawings(volume, FewShotTask(support_boxes=with_gap, settings=QUICK))).notes
    )
    near = run_to_end(read_drawings(volume, FewShotTask(support_boxes=with_gap, settings=QUICK, partial=True)))
    assert not any(told in note for note in near.notes) and not any(d.complete for d in near.drawings)


def test_a_box_that_reaches_beyond_the_image_is_noted():
    volume, labels = organs()
    i, j, k = around(labels == 1, 10)[:3]
    task = FewShotTask(support_boxes=(("one", (i, j, k, 900, 900, k)),), settings=QUICK, partial=True)
    (note,) = [note for note in run_to_end(read_drawings(volume, task)).notes if "reaches beyond" in note]
    assert f"box {i},{j},{k},900,900,{k} reaches beyond the image" in note


@pytest.mark.parametrize(
    "corners, told",
    [
        ((3, 3, 3, 20, 20, 9), "lies in no single slice; a drawing is a box that is flat"),
        ((300, 3, 3, 320, 20, 3), "lies outside the searched part"),
        ((3, 3, 3, 3, 20, 3), "has no area"),
    ],
)
def test_boxes_that_cannot_be_meant_are_refused(corners, told):
    volume, _ = organs()
    with pytest.raises(InputError, match=told):
        run_to_end(read_drawings(volume, FewShotTask(support_boxes=(("a", corners),))))


def test_two_segments_in_the_same_box_are_refused_since_nothing_is_left_for_one_of_them():
    volume, labels = wall_and_cavity()
    box = around(labels == 1, 1)
    with pytest.raises(
        InputError, match="in slice 1 along z nothing is left in box 21,23,1,39,41,1; draw it around its own"
    ):
        run_to_end(read_drawings(volume, FewShotTask(support_boxes=(("one", box), ("other", box)))))
