"""Metrics against brute force, the conventions for empty masks, and how segments are paired."""

import math

import numpy as np
import pytest
from image_files import random_matrix

from S3NetSegmentLib.engine import InputError, Segment, Segmentation
from S3NetSegmentLib.engine.metrics import compare_segmentations, pairing_notes, score_masks, summarise

UNIT = np.eye(4)


def brute_force(a, b, matrix):
    """Dice, HD95 and ASSD by loops over voxels and all pairs of surface points."""

    def surface(mask):
        points = []
        for k, j, i in np.argwhere(mask):
            for axis in range(3):
                if mask.shape[axis] == 1:
                    continue
                for sign in (-1, 1):
                    n = [k, j, i]
                    n[axis] += sign
                    if not 0 <= n[axis] < mask.shape[axis] or not mask[tuple(n)]:
                        points.append((matrix @ (i, j, k, 1))[:3])
        return np.unique(np.array(points), axis=0)

    def directed(p, q):
        return np.array([min(np.linalg.norm(x - y) for y in q) for x in p])

    p, q = surface(a), surface(b)
    d, e = directed(p, q), directed(q, p)
    dice = 2 * sum(bool(x and y) for x, y in zip(a.flat, b.flat, strict=True)) / (a.sum() + b.sum())
    return dice, max(np.percentile(d, 95), np.percentile(e, 95)), np.concatenate((d, e)).mean()


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_brute_force_on_any_grid(seed):
    rng = np.random.default_rng(seed)
    shape = (1, 9, 8) if seed == 0 else (5, 7, 8)
    matrix = random_matrix(rng, shear=0.3 if seed == 5 else 0.0)
    a, b = (rng.random(shape) < p for p in (0.3, 0.5))
    score = score_masks("x", a, b, matrix)
    dice, hd95, assd = brute_force(a, b, matrix)
    assert (score.dice, score.hd95_mm, score.assd_mm) == pytest.approx((dice, hd95, assd), rel=1e-9)
    volume = math.nan if 1 in shape else a.sum() * abs(np.linalg.det(matrix[:3, :3])) / 1000  # a picture has none
    assert score.found_ml == pytest.approx(volume, nan_ok=True)
    assert (score.found_voxels, score.difference_voxels) == (a.sum(), int(a.sum()) - int(b.sum()))


def test_distances_are_millimetres_along_each_axis():
    a, b = np.zeros((2, 6, 6, 12), bool)
    a[2, 2, 2] = b[2, 2, 5] = True
    for axis, spacing in enumerate([(2, 1, 1), (1, 3, 1), (1, 1, 4)]):
        moved = [np.swapaxes(m, 2, 2 - axis) for m in (a, b)]
        assert score_masks("x", *moved, np.diag((*spacing, 1.0))).hd95_mm == pytest.approx(3 * spacing[axis])


def test_hd95_is_the_larger_of_both_directions_and_not_the_pool_of_them():
    a = np.zeros((1, 3, 100), bool)
    a[0, 1, :40] = True
    b = a.copy()
    b[0, 1, 40:44] = True  # 4 of 44 voxels are far from a
    score = score_masks("x", a, b, UNIT)
    directed = np.percentile(np.r_[np.zeros(40), 1, 2, 3, 4], 95)
    pooled = np.percentile(np.r_[np.zeros(80), 1, 2, 3, 4], 95)
    assert score.hd95_mm == pytest.approx(directed) and directed > pooled


def test_a_missed_structure_never_has_a_distance_of_zero():
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    missed, extra, absent = (score_masks("x", *pair, UNIT) for pair in ((empty, full), (full, empty), (empty, empty)))
    assert (missed.state, missed.dice, extra.state, extra.dice) == ("missed", 0, "extra", 0)
    assert all(math.isnan(v) for v in (missed.hd95_mm, missed.assd_mm, extra.hd95_mm, absent.dice, absent.hd95_mm))
    assert missed.as_dict()["hd95_mm"] is None and missed.difference_ml == pytest.approx(-0.06)
    same = score_masks("x", full, full, UNIT)
    means = summarise([same, missed, absent])
    assert (means["cases"], means["missed"], means["absent"]) == (3, 1, 1)
    assert means["dice"] == pytest.approx(0.5) and means["hd95_mm"] == 0
    assert summarise([absent])["dice"] is None


def labels(names, values=None, shape=(3, 8, 8), matrix=UNIT, at=0):
    values = values or range(1, len(names) + 1)
    layer = np.zeros(shape, np.uint8)
    segments = []
    for n, (name, value) in enumerate(zip(names, values, strict=True)):
        layer[min(1, shape[0] - 1), 1 + 2 * n, 1 + at : 4 + at] = value
        segments.append(Segment(name, (1, 0, 0), value))
    return Segmentation([layer], segments, matrix)


def test_segments_are_paired_by_name_and_otherwise_by_value():
    found, reference = labels(["Liver", "Spleen"]), labels(["spleen", "liver "], values=[7, 5])
    by_name = {s.name: s.dice for s in compare_segmentations(found, reference)}
    assert list(by_name) == ["spleen", "liver "] and set(by_name.values()) == {0.0}  # drawn in each other's rows
    by_value = compare_segmentations(found, labels(["Segment 1", "Segment 2"]))
    assert [(s.name, s.dice) for s in by_value] == [("Liver", 1.0), ("Spleen", 1.0)]  # not "Segment 1"
    by_value = compare_segmentations(labels(["Segment 1", "Segment 2"]), found)
    assert [(s.name, s.dice) for s in by_value] == [("Liver", 1.0), ("Spleen", 1.0)]
    more = compare_segmentations(labels(["a", "b", "c"]), labels(["a", "b"]))
    assert [s.state for s in more] == ["scored", "scored", "extra"]


def test_capitals_and_blanks_do_not_tell_names_of_segments_apart():
    found, reference = labels(["Left  kidney", "liver"]), labels(["liver", "left kidney "])
    assert {s.name for s in compare_segmentations(found, reference)} == {"liver", "left kidney "}


def test_how_segments_were_paired_is_told_where_it_is_not_plain():
    named, bare, other = labels(["Liver"]), labels(["Segment 1"]), labels(["Segment 255"], values=[255])
    assert pairing_notes(named, named) == pairing_notes(bare, bare) == []
    assert pairing_notes(named, bare) == ["one side has no names of segments; they were paired by label value"]
    (note,) = pairing_notes(named, labels(["Spleen", "Vein"]))
    assert note.endswith("share no name of a segment, so they were paired by label value: 'Liver' with 'Spleen'")
    assert "'Liver' was compared with 'Segment 255'" in pairing_notes(named, other)[0]
    assert [(s.name, s.dice) for s in compare_segmentations(named, other)] == [("Liver", 1.0)]
    (note,) = pairing_notes(labels([]), named)
    assert note == "the found segmentation holds no segment at all; is it the file that you mean?"
    assert pairing_notes(labels([]), labels([]))[0].startswith(
        "the found segmentation and the reference hold no segment"
    )
    strangers = labels(["Segment 1", "Segment 2"]), labels(["Segment 5", "Segment 200"], values=[5, 200])
    assert "share neither a name nor a label value" in pairing_notes(*strangers)[0]


def test_of_pictures_pixels_are_told_and_no_volumes():
    flat = labels(["Lesion"], shape=(1, 8, 8))
    (score,) = compare_segmentations(flat, flat)
    assert score.as_dict()["found_ml"] is None and score.as_dict()["found_voxels"] == 3
    assert "pixels, not mm" in pairing_notes(flat, flat)[0]
    fine = Segmentation(flat.layers, flat.segments, np.diag((0.5, 0.5, 3, 1.0)))
    assert pairing_notes(fine, fine) == []
    means = summarise([score])
    assert means["difference_ml"] is None and means["difference_voxels"] == 0


def test_segmentations_that_lie_apart_as_those_of_another_frame_are_told():
    array = np.ones((4, 5, 6), np.uint8)
    one = Segmentation([array], [Segment("A", (1, 0, 0), 1)], np.diag([-1.0, -1, 2, 1]))
    away, near = one.ijk_to_ras.copy(), one.ijk_to_ras.copy()
    away[:3, 3], near[:3, 3] = (100, 0, 0), (3, 0, 0)
    (note,) = pairing_notes(one, Segmentation([array], one.segments, away))
    assert "lie apart" in note and "R -6 to 0" in note and "R 94 to 100" in note
    assert pairing_notes(one, Segmentation([array], one.segments, near)) == []


def test_cropped_segmentations_of_one_image_are_compared_in_their_places():
    whole = labels(["a"])
    part = Segmentation([whole.layers[0][1:, :4, 1:5]], whole.segments, np.array(UNIT))
    part.ijk_to_ras[:3, 3] = (1, 0, 1)
    assert [s.dice for s in compare_segmentations(part, whole)] == [1.0]
    assert [s.dice for s in compare_segmentations(whole, part)] == [1.0]


def test_other_grids_and_doubled_names_are_refused():
    half = np.eye(4)
    half[0, 3] = 0.5
    for matrix in (np.diag((2.0, 1, 1, 1)), half):
        with pytest.raises(InputError, match=r"different grids.*resample"):
            compare_segmentations(labels(["a"], matrix=matrix), labels(["a"]))
    with pytest.raises(InputError, match="'a' occurs twice"):
        compare_segmentations(labels(["a", "A"]), labels(["a"]))


def test_segmentations_that_lie_too_far_apart_for_one_grid_are_refused_with_their_places():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:9, 5:9, 5:9] = 1
    away = UNIT.copy()
    away[:3, 3] = 30_000
    both = [Segmentation([mask], [Segment("a", (1, 0, 0), 1)], matrix) for matrix in (UNIT, away)]
    with pytest.raises(InputError, match=r"lie apart.*R 30000 to 30020.*compare segmentations of one image"):
        compare_segmentations(*both)
