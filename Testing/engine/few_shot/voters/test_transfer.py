"""A drawing in another volume: found, fitted, laid over, and never taken for a fact."""

import numpy as np
import pytest
import torch
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings, SupportVolume
from S3NetSegmentLib.engine.few_shot.registration import alignment
from S3NetSegmentLib.engine.few_shot.registration.alignment import align
from S3NetSegmentLib.engine.few_shot.registration.deformation import deformed, warped
from S3NetSegmentLib.engine.few_shot.registration.picture import Scaled, covered
from S3NetSegmentLib.engine.few_shot.registration.places import Place
from S3NetSegmentLib.engine.few_shot.vote import propagation
from S3NetSegmentLib.engine.images import Extent
from S3NetSegmentLib.engine.images.intensity import intensity_scale

QUICK = FewShotSettings(appearance_steps=60)


def small_organs(**options):
    return organs(size=(30, 28, 15), spacing=(2.0, 2.0, 4.0), **options)


def aligned(query, support, labels, part=None):
    part = part or support.extent
    return run_to_end(align(*(Scaled(v, intensity_scale(v)) for v in (query, support)), part, "z", labels))


def transferred(query, *supports, settings=QUICK, drawn=()):
    few_shot = FewShot(query, settings)
    few_shot.set_support([*supports, *drawn])
    return run_to_end(few_shot.propagate())


# ---- alignment ----


def test_the_same_organs_elsewhere_turned_and_larger_are_found():
    support, drawn = organs()
    query, _ = organs(size=(60, 56, 24), shift=(12, -9, 5), turn=0.3, grow=1.1, seed=1)
    found = aligned(query, support, drawn, Extent((8, 6, 2), (34, 30, 18)))
    assert found.correlation > 0.8
    # The middle of the organs and a point beside it: where they are known to lie in both volumes.
    middle = query.ras_of([(n - 1) / 2 for n in query.size]) + np.array((12, -9, 5))
    c, s = np.cos(0.3), np.sin(0.3)
    for offset in ((0, 0, 0), (-10, 4, 0), (9, -3, 4)):
        in_query = middle + 1.1 * np.array([c * offset[0] - s * offset[1], s * offset[0] + c * offset[1], offset[2]])
        in_support = support.ras_of([(n - 1) / 2 for n in support.size]) + offset
        assert np.linalg.norm((found.to_support @ (*in_query, 1))[:3] - in_support) < 3.0


def test_alignment_is_the_same_each_time():
    (support, drawn), (query, _) = small_organs(), small_organs(shift=(4, 2, 0), seed=3)
    assert np.array_equal(aligned(query, support, drawn).to_support, aligned(query, support, drawn).to_support)


def test_volumes_stored_with_other_axes_are_aligned_in_the_patient():
    support, drawn = organs()
    plain, _ = organs(shift=(6, 3, 0), seed=2)
    turned = Volume(plain.array.transpose(2, 1, 0)[::-1], _axes_exchanged(plain), "other axes")
    found = aligned(turned, support, drawn)
    assert found.correlation > 0.9
    assert np.allclose(found.to_support[:3, 3], (-6, -3, 0), atol=1.5)


def _at_once(found):
    """Steps that end with ``found``."""
    yield from ()
    return found


def _axes_exchanged(volume):
    """The matrix of ``array.transpose(2, 1, 0)[::-1]`` of ``volume``."""
    old = volume.ijk_to_ras
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = old[:3, 2], old[:3, 1], -old[:3, 0]
    matrix[:3, 3] = volume.ras_of((volume.size[0] - 1, 0, 0))
    return matrix


def test_a_part_outside_the_query_covers_nothing():
    support, query = organs()[0], organs()[0]
    far = np.eye(4)
    far[0, 3] = 1000
    assert covered(query, far, support, support.extent, 0.2) is None


# ---- deformation ----


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (9.0, 1.5, 1.5)])
def test_small_displacements_are_recovered(spacing):
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (12, 24, 26)), indexing="ij")
    fixed = torch.sigmoid(8 * (0.5 - z.square() - y.square() - (x + 0.2 * y).square()))
    truth = torch.zeros(3, 12, 24, 26)
    truth[1], truth[2] = 1.5, -1.0
    moving = warped(fixed[None], -truth)[0]
    found = run_to_end(deformed(moving, fixed, spacing))
    before, after = (moving - fixed).abs().mean(), (warped(moving[None], found)[0] - fixed).abs().mean()
    assert after < 0.2 * before
    edge = (fixed > 0.2) & (fixed < 0.8) & (z.abs() < 0.5)
    assert abs(float(found[1][edge].mean()) - 1.5) < 0.4 and abs(float(found[2][edge].mean()) + 1.0) < 0.4
    if spacing[0] > 5:
        assert not found[0].any()


# ---- the whole way ----


def test_where_nothing_is_drawn_in_the_volume_the_network_of_boxes_sees_each_segment(monkeypatch):
    """What is expected is that of the vote before, and a drawing in the volume itself needs no second look."""
    (support, drawn), (query, true) = small_organs(), small_organs(shift=(4, 2, 0), seed=1)
    seen = []

    def looking(mask, features):
        seen.append(mask)
        assert features((slice(0, 5), 3, slice(1, 7))).shape == (5, 6, 1)
        return _at_once((tuple(slice(0, n) for n in mask.shape), np.zeros(mask.shape, np.float32)))

    plain = transferred(query, SupportVolume(support, drawn, "z"))
    monkeypatch.setattr(propagation, "seen_in_sections", looking)
    blind = transferred(query, SupportVolume(support, drawn, "z"))
    assert len(seen) == 2 and min(dice(plain.labels, true, v) for v in (1, 2)) > 0.8
    assert np.count_nonzero(blind.labels) < np.count_nonzero(plain.labels)
    assert blind.expected_dice == pytest.approx(plain.expected_dice, abs=0.02)
    transferred(query, drawn=[DrawnSlice("z", 7, true[7])])
    assert len(seen) == 2


def test_small_parts_of_a_segment_stay_though_the_network_does_not_see_them(monkeypatch):
    (support, drawn), (query, true) = small_organs(), small_organs(seed=1)
    merged, wanted = ((labels > 0).astype(np.uint8) for labels in (drawn, true))
    monkeypatch.setattr(propagation, "_ISLAND", 0.9)  # the smaller organ is an island
    sizes = [np.count_nonzero(true == v) for v in (1, 2)]
    assert min(sizes) < 0.85 * max(sizes)
    small = true == 1 + int(np.argmin(sizes))

    def blind(mask, features):
        return _at_once((tuple(slice(0, n) for n in mask.shape), np.zeros(mask.shape, np.float32)))

    monkeypatch.setattr(propagation, "seen_in_sections", blind)
    found = transferred(query, SupportVolume(support, merged, "z")).labels
    assert np.count_nonzero(found[small]) > 0.8 * np.count_nonzero(small)
    assert np.count_nonzero(found[(wanted > 0) & ~small]) < 0.8 * np.count_nonzero((wanted > 0) & ~small)


def test_a_fully_drawn_volume_is_laid_over_another_patient():
    support, drawn = small_organs()
    query, true = small_organs(shift=(5, -4, 3), turn=0.15, grow=1.08, seed=1)
    answer = transferred(query, SupportVolume(support, drawn))
    assert min(dice(answer.labels, true, c) for c in (1, 2)) > 0.85
    assert set(answer.mix) == {"grown", "transferred"} and not answer.notes
    assert answer.labels.dtype == np.uint8 and answer.confidence.shape == true.shape


@pytest.mark.usefixtures("few_places")
def test_three_slices_drawn_in_another_patient_are_enough():
    support, drawn = small_organs()
    query, true = small_organs(shift=(5, -4, 3), turn=0.15, seed=1)
    sketch = np.zeros_like(drawn)
    sketch[[4, 7, 10]] = drawn[[4, 7, 10]]
    answer = transferred(query, SupportVolume(support, sketch, "z", (4, 7, 10)))
    assert min(dice(answer.labels, true, c) for c in (1, 2)) > 0.8


@pytest.mark.usefixtures("few_places")
def test_no_more_is_expected_than_of_the_drawing_in_the_other_patient_that_was_filled_in():
    support, drawn = small_organs()
    query, _ = small_organs(seed=1)  # as like as can be
    sketch = np.zeros_like(drawn)
    sketch[7] = drawn[7]
    answer = transferred(query, SupportVolume(support, sketch, "z", (7,)))
    there = FewShot(support, QUICK)
    there.set_support([DrawnSlice("z", 7, drawn[7])])
    filled_in = run_to_end(there.propagate()).expected_dice
    assert set(answer.expected_dice) == {1, 2}
    assert all(answer.expected_dice[v] <= filled_in[v] for v in (1, 2))


@pytest.mark.usefixtures("few_places")
def test_a_slice_drawn_here_is_kept_as_it_is_and_a_volume_that_contradicts_it_has_no_share():
    support, drawn = small_organs()
    query, true = small_organs(shift=(5, -4, 3), turn=0.15, seed=1)
    corrected = true[7].copy()
    corrected[:, :14] = 0
    corrected[2:5, 2:5] = 7
    answer = transferred(query, SupportVolume(support, drawn), drawn=[DrawnSlice("z", 7, corrected)])
    assert np.array_equal(answer.labels[7], corrected)
    assert answer.mix.get("transferred", 0.0) == 0


@pytest.mark.usefixtures("few_places")
def test_one_slice_drawn_here_does_not_outweigh_a_whole_drawing_that_fits():
    support, drawn = small_organs()
    query, true = small_organs(shift=(5, -4, 3), turn=0.15, seed=1)
    both = transferred(query, SupportVolume(support, drawn), drawn=[DrawnSlice("z", 7, true[7])])
    assert both.mix["transferred"] > both.mix.get("carried", 0)
    assert min(dice(both.labels, true, c) for c in (1, 2)) > 0.85


@pytest.mark.usefixtures("few_places")
def test_two_support_volumes_are_combined_and_may_hold_different_segments():
    (first, a), (second, b) = small_organs(), small_organs(shift=(-3, 2, 0), seed=5)
    query, true = small_organs(shift=(5, -4, 3), seed=1)
    a, b = np.where(a == 1, 1, 0), np.where(b == 2, 2, 0)
    answer = transferred(query, SupportVolume(first, a), SupportVolume(second, b))
    assert min(dice(answer.labels, true, c) for c in (1, 2)) > 0.85


@pytest.mark.usefixtures("few_places")
def test_another_kind_of_image_is_noticed():
    support, drawn = small_organs()
    query, _ = small_organs(shift=(5, -4, 3), seed=1, inverted=True)
    answer = transferred(query, SupportVolume(support, drawn))
    assert any("little alike" in note and "draw one slice" in note for note in answer.notes)
    as_ct = Volume((support.array.astype(np.int16) * 2 - 1000), support.ijk_to_ras, "it", "CT")
    answer = transferred(small_organs(shift=(5, -4, 3), seed=1)[0], SupportVolume(as_ct, drawn))
    assert any("is CT" in note for note in answer.notes)


def test_a_drawing_that_comes_to_lie_beside_the_image_is_refused_unless_something_is_drawn_here(monkeypatch):
    query, labels = organs(seed=1, shift=(3, -2, 2), grow=1.05)
    other = SupportVolume(*organs(seed=3, inverted=True))
    beside = np.eye(4)
    beside[1, 3] = 44.0  # mm, so that only what lies around the drawing is still in the image
    monkeypatch.setattr(alignment, "coarse_places", lambda *_: _at_once([Place(beside, 0.0)]))
    monkeypatch.setattr(alignment, "_refined", lambda fixed, moving, start: _at_once(start))
    with pytest.raises(InputError, match=r"laid over image 'organs 1', .* lies beside it: the two are too unlike"):
        transferred(query, other)
    answer = transferred(query, other, drawn=[DrawnSlice("z", 10, labels[10])])
    assert dice(answer.labels, labels, 1) > 0.6


@pytest.mark.usefixtures("few_places")
def test_that_one_drawn_slice_of_another_patient_says_nothing_of_a_volume_beyond_it_is_noted():
    support, drawn = small_organs()
    query, _ = small_organs(shift=(5, -4, 3), seed=1)
    one = Extent((0, 0, 7), (30, 28, 8))
    answer = transferred(query, SupportVolume(support.cropped(one), drawn[7:8]))
    assert any("has one slice, so nothing is known beyond" in note for note in answer.notes)
    answer = transferred(query.cropped(one), SupportVolume(support.cropped(one), drawn[7:8]))
    assert not any("has one slice" in note for note in answer.notes)


@pytest.mark.usefixtures("few_places")
def test_the_support_volume_is_fitted_once():
    support, drawn = small_organs()
    few_shot = FewShot(small_organs(shift=(5, -4, 3), seed=1)[0], QUICK)
    few_shot.set_support([SupportVolume(support, drawn)])
    messages = [[], []]
    for seen in messages:
        run_to_end(few_shot.propagate(), lambda step, seen=seen: seen.append(step.message))
    assert "Aligning the volumes" in messages[0] and "Aligning the volumes" not in messages[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": np.zeros((15, 28, 30))}, "nothing is drawn in image"),
        ({"labels": np.ones((3, 3, 3))}, "has shape"),
        ({"drawn": (99,)}, "drawn slice 99 along z is not in image"),
        ({"axis": "w"}, "axis is 'w'"),
    ],
)
def test_unusable_support_is_refused_and_the_former_one_stays(change, said):
    support, drawn = small_organs()
    few_shot = FewShot(small_organs(seed=1)[0], QUICK)
    few_shot.set_support([DrawnSlice("z", 7, drawn[7])])
    with pytest.raises(InputError, match=said):
        few_shot.set_support([SupportVolume(**{"volume": support, "labels": drawn, **change})])
    assert run_to_end(few_shot.propagate((6, 8))).labels.any()
