"""Drawings of several patients as one part of the vote."""

import numpy as np
import pytest
import torch
from few_shot_phantoms import dice, organs

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.common.arrays import LimitedCache
from S3NetSegmentLib.engine.few_shot.drawings.drawing import LayeredSupport, SoftDrawing
from S3NetSegmentLib.engine.few_shot.frame import Box, Frame
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings, SupportVolume
from S3NetSegmentLib.engine.few_shot.registration.known_labels import KnownLabels, aligned_by_labels, overlap
from S3NetSegmentLib.engine.few_shot.voters.making import VoterMaker
from S3NetSegmentLib.engine.few_shot.voters.transferred import fusion_weights
from S3NetSegmentLib.engine.images.intensity import intensity_scale

pytestmark = pytest.mark.usefixtures("few_places")


def patient(number, **options):
    place = {"seed": number, "size": (26, 24, 10), "spacing": (2.3, 2.3, 6.0), "shift": (1.5 * number, -number, number)}
    return organs(**{**place, **options})


def answer(query, *items, quick=True):
    few_shot = FewShot(query, axis="z")
    few_shot.set_support(items)
    return run_to_end(few_shot.propagate(quick=quick))


def elsewhere(number, **options) -> tuple[Volume, np.ndarray]:
    """A patient in whom something quite different was drawn: a strip at the edge of the body."""
    volume, labels = patient(number, **options)
    other = np.zeros_like(labels)
    other[3:7, 19:22, 4:20] = 1
    other[3:7, 2:5, 4:20] = 2
    return volume, other


def test_patients_together_are_better_than_most_of_them_alone():
    query, true = patient(0)
    supports = [SupportVolume(*patient(n, grow=1 + 0.1 * (n - 2), turn=0.1 * n)) for n in (1, 2, 3)]
    alone = [np.mean([dice(answer(query, s).labels, true, c) for c in (1, 2)]) for s in supports]
    together = answer(query, *supports)
    assert np.mean([dice(together.labels, true, c) for c in (1, 2)]) >= np.median(alone)
    assert set(together.mix) == {"grown", "transferred"}


def test_a_patient_with_another_place_drawn_is_left_out_by_name():
    query, true = patient(0)
    good = [SupportVolume(*patient(n)) for n in (1, 2, 3)]
    bad, labels = elsewhere(4)
    found = answer(query, *good, SupportVolume(Volume(bad.array, bad.ijk_to_ras, "wrong patient"), labels))
    assert min(dice(found.labels, true, c) for c in (1, 2)) > 0.85
    assert any("'wrong patient'" in note and "same part of the body" in note for note in found.notes)


def test_one_slice_drawn_here_decides_which_of_two_patients_is_believed():
    query, true = patient(0)
    good, (volume, labels) = patient(1), elsewhere(2)
    drawn = DrawnSlice("z", 5, true[5])
    found = answer(query, SupportVolume(volume, labels), SupportVolume(*good), drawn)
    assert np.array_equal(found.labels[5], true[5])
    assert min(dice(np.delete(found.labels, 5, 0), np.delete(true, 5, 0), c) for c in (1, 2)) > 0.75


@pytest.mark.parametrize("slices", [(5,), ()])
def test_a_patient_who_is_given_twice_counts_once(slices):
    query, true = patient(0)
    good = [SupportVolume(*patient(n)) for n in (1, 2, 3)]
    wrong = SupportVolume(*elsewhere(4, size=(24, 30, 12)))
    drawn = [DrawnSlice("z", z, true[z]) for z in slices]
    once, twice = (answer(query, good[0], *more, *good[1:], wrong, *drawn) for more in ((), (good[0],)))
    assert np.array_equal(once.labels, twice.labels) and once.notes == twice.notes


def misleading(number) -> SupportVolume:
    """A patient who looks like the query, in whom both organs were drawn too far aside, and only in their middles."""
    volume, labels = patient(0, seed=number)
    labels = np.roll(labels, (2, 2), (1, 2))
    labels[:3], labels[7:] = 0, 0
    return SupportVolume(volume, labels)


@pytest.mark.parametrize("drawn", [(5,), (3, 7)])
@pytest.mark.parametrize("quick", [True, False])
def test_patients_who_mislead_do_no_harm_once_slices_are_drawn_here(drawn, quick):
    query, true = patient(0)
    here = [DrawnSlice("z", z, true[z]) for z in drawn]
    alone = answer(query, *here, quick=quick)
    among = answer(query, *(misleading(n) for n in (1, 2, 3)), *here, quick=quick)
    scores = [np.mean([dice(found.labels, true, c) for c in (1, 2)]) for found in (among, alone)]
    assert scores[0] >= scores[1] - 0.005
    assert among.mix.get("transferred", 0.0) == 0


def test_a_hidden_slice_is_foretold_by_fits_that_have_not_seen_it():
    query, true = patient(0)
    volume, labels = patient(0, seed=1)
    aside = SupportVolume(volume, np.roll(labels, (3, 3), (1, 2)))
    layer = LayeredSupport.of(query, [aside, DrawnSlice("z", 5, true[5])], "z", 4.0).layers[0]
    scale = intensity_scale(query)
    maker = VoterMaker(query, scale, FewShotSettings(), None, torch.device("cpu"), lambda _: iter(()))
    voter = run_to_end(maker.transferred(layer.drawing, layer.others))
    frame = Frame(query, scale, "z", Box(0, 24, 0, 26), (24, 26))
    drawn = SoftDrawing(frame, layer.drawing, layer.drawing.known_voxels(frame.box), LimitedCache(1))
    seen, unseen = (run_to_end(voter.masks(drawn, 5, 5, without=z))[0].argmax(0).numpy() for z in (None, 5))
    found = [np.mean([dice(classes, true[5], c) for c in (1, 2)]) for classes in (seen, unseen)]
    assert found[0] > 0.8 > 0.7 > found[1]  # it was fitted again, to the slice
    assert voter.foretold == pytest.approx(found[1], abs=0.1)


def test_a_segment_that_no_slice_here_shows_comes_from_the_other_patients():
    query, true = patient(0)
    here = [DrawnSlice("z", z, np.where(true[z] == 1, 1, 0)) for z in (3, 7)]
    supports = [SupportVolume(*patient(n)) for n in (1, 2, 3)]
    assert dice(answer(query, *supports, *here, quick=False).labels[4:7], true[4:7], 2) > 0.7


@pytest.mark.parametrize(
    "axes, said",
    [
        ((2,), "mirrored, left against right"),
        ((0,), "upside down"),
        ((1, 2), "turned round, with front and back exchanged"),
    ],
)
def test_a_patient_the_other_way_round_is_told_with_the_evidence(axes, said):
    def with_base(volume):  # so that feet and head differ
        return Volume(np.concatenate((volume.array[:2] // 2 + 500, volume.array[2:])), volume.ijk_to_ras, volume.name)

    (query, _), (volume, labels) = patient(0), patient(1)
    if axes == (0,):
        query, volume = with_base(query), with_base(volume)
    turned = Volume(np.flip(volume.array, axes).copy(), volume.ijk_to_ras, "another")
    found = answer(query, SupportVolume(turned, np.flip(labels, axes).copy()))
    assert any(f"'another' looks {said}" in note and "against" in note for note in found.notes)
    assert not any(" looks " in note for note in answer(query, SupportVolume(volume, labels)).notes)


@pytest.mark.parametrize("slices", [(5,), tuple(range(10))])
def test_labels_are_laid_over_what_is_known(slices):
    query, true = patient(0, shift=(12, -9, 3), turn=0.4, grow=1.1)
    support, labels = patient(0)
    known = KnownLabels.of_slices({z: true[z] for z in slices}, "z", query.size)
    matrix = run_to_end(aligned_by_labels(query, known, support, labels, "z"))
    start = overlap(query, known, support, labels, np.eye(4))
    everything = KnownLabels.of_slices(dict(enumerate(true)), "z", query.size)
    assert start < 0.6 and overlap(query, known, support, labels, matrix) > 0.85
    assert overlap(query, everything, support, labels, matrix) > 0.7


def test_labels_that_share_nothing_have_no_place():
    query, true = patient(0)
    support, labels = patient(1)
    known = KnownLabels.of_slices({5: np.where(true[5] == 1, 7, 0)}, "z", query.size)
    assert run_to_end(aligned_by_labels(query, known, support, labels, "z")) is None


def test_weights_sum_to_one_and_two_that_err_together_count_as_one():
    rng = np.random.default_rng(0)
    together = rng.normal(0, 1, (1, 1, 20, 20))
    alone = rng.normal(0, 1, (1, 1, 20, 20))
    weights = fusion_weights(np.concatenate((together, together, alone)), [1, 1, 1], (0, 4, 4))
    assert np.allclose(weights.sum(0), 1, atol=1e-4) and weights.min() >= 0
    assert weights[0].mean() == pytest.approx(weights[1].mean(), abs=1e-3)
    assert weights[2].mean() > 1.5 * weights[0].mean()


def test_who_differs_less_or_is_more_reliable_weighs_more():
    differences = np.full((2, 1, 8, 8), 0.3)
    differences[0, ..., :4] = 0.05
    weights = fusion_weights(differences, [1, 1], (0, 0.5, 0.5))
    assert weights[0, 0, 4, 0] > 0.9 and weights[0, 0, 4, 7] < 0.6
    assert fusion_weights(np.full((2, 1, 8, 8), 0.3), [1, 0.3], (0, 1, 1))[0].mean() > 0.7
