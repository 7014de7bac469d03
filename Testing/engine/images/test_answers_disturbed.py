"""Number formats, padding, lone extreme voxels and voxels without a number do not change answers."""

import numpy as np
import pytest
import torch
from intensity_phantoms import (
    BALL,
    CENTRE,
    CT_FORMS,
    EXTREMES,
    FORMATS,
    SEED,
    ct,
    features_of,
    mr,
    padded,
    spoiled,
    volume_of,
)  # fmt: skip
from model_files import write_model

from S3NetSegmentLib.engine import Extent, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.common.arrays import dice
from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnSlice
from S3NetSegmentLib.engine.few_shot.method import FewShot
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.prompts import Box
from S3NetSegmentLib.engine.training.model.model_file import load_model

SLICES = (3, 7, 11)  # drawn ones
QUICK = FewShotSettings(appearance_steps=20)


class Brighter(torch.nn.Module):
    """A network that finds what is brighter than a value."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, images):
        bright = 100 * (images - self.value)
        return torch.cat((torch.zeros_like(bright), bright, torch.full_like(bright, -99.0)), 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_model(tmp_path_factory.mktemp("model") / "model.pt"))


def answers(array, model, modality=""):
    """What a click in the volume and in a slice, three drawn slices and a model find, bool masks by name."""
    volume = volume_of(array, modality)
    there = run_to_end(find_regions(volume)).object_at([SEED]).mask
    here = (
        run_to_end(find_regions(volume, extent=Extent.slab(volume, "z", CENTRE[0], CENTRE[0]))).object_at([SEED]).mask
    )
    few_shot = FewShot(volume, QUICK)
    few_shot.set_support([DrawnSlice("z", k, BALL[k].astype(np.uint8)) for k in SLICES])
    carried = run_to_end(few_shot.propagate()).labels
    value = 0.62 if intensity_scale(volume).kind == "ct" else float(features_of(mr())[BALL].mean()) - 0.15
    found = run_to_end(ModelSegmenter(model, "cpu", Brighter(value)).segment(volume)).labels
    return {"Segment": there, "Segment, slice": here, "Few-shot": carried > 0, "apply": found == 1}


@pytest.fixture(scope="module")
def undisturbed(model):
    found = {"mr": answers(mr(), model), "ct": answers(ct().astype(np.int16), model)}
    for image, masks in found.items():
        for name, mask in masks.items():
            truth = BALL[[CENTRE[0]]] if name == "Segment, slice" else BALL
            if (image, name) != ("ct", "apply"):  # bone is brighter, too
                assert dice(mask, truth) > 0.9, (image, name)
    return found


def check_same(array, expected, model, but=None, modality=""):
    """The answers of ``array`` are those expected, apart from the voxels ``but``."""
    kept = np.ones(BALL.shape, bool) if but is None else ~but
    for name, mask in answers(array, model, modality).items():
        there = kept[[CENTRE[0]]] if name == "Segment, slice" else kept
        assert dice(mask & there, expected[name] & there) >= 0.97, name


@pytest.mark.parametrize("name", ["uint8", "int64 + 2^53", "uint32 + 4e9", "float32 * 1e-6", "+ 0.3", "float64 * 1e40"])
def test_answers_are_the_same_in_other_number_formats(name, undisturbed, model):
    check_same(FORMATS[name](mr()), undisturbed["mr"], model)


@pytest.mark.parametrize(
    "value, share", [(-3024, 0.11), (-32768, 0.02), (0, 0.4), (4095, 0.11), (32767, 0.4), (420, 0.2)]
)
def test_answers_are_the_same_beside_padding(value, share, undisturbed, model):
    array, there = padded(mr(), value, share)
    check_same(array.astype(np.float32), undisturbed["mr"], model, there)


@pytest.fixture(scope="module")
def masked(model):
    """An image with a masked background, how far each voxel is from the axis, its features, a network for it and what that finds."""
    rng = np.random.default_rng(5)
    k, j, i = np.indices((16, 96, 96))
    from_axis, ball = np.hypot(j - 48, i - 48), (k - 8) ** 2 * 9 + (j - 50) ** 2 + (i - 42) ** 2 < 20**2
    plain = np.where(
        rng.random(ball.shape) < 0.003, 1 + rng.exponential(90, ball.shape), rng.normal(600, 60, ball.shape)
    )
    plain = np.round(np.where(from_axis > np.quantile(from_axis, 0.6), 0, plain + 250 * ball))
    features = features_of(plain)
    bright = Brighter(float(features[ball].mean()) - 0.15)
    expected = run_to_end(ModelSegmenter(model, "cpu", bright).segment(volume_of(plain))).labels == 1
    for share in (0.05, 0.3):
        there = from_axis > np.quantile(from_axis, 1 - share)
        assert dice(expected[~there], ball[~there]) > 0.9
    return plain, from_axis, features, bright, expected


@pytest.mark.parametrize("value", [-1, 5, 300, 600, 900, 1200])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_model_answers_the_same_where_a_part_of_the_masked_background_has_another_value(value, share, model, masked):
    """No gap sets the background off: the image has some of each value down to 1."""
    plain, from_axis, features, bright, expected = masked
    there = from_axis > np.quantile(from_axis, 1 - share)
    array = np.where(there, value, plain)
    assert np.abs(features_of(array) - features)[~there].max() < 0.08
    found = run_to_end(ModelSegmenter(model, "cpu", bright).segment(volume_of(array))).labels == 1
    assert dice(found[~there], expected[~there]) >= 0.97


@pytest.mark.parametrize("name", ["hot", "cold", "both", "-600"])
def test_answers_are_the_same_beside_extreme_voxels(name, undisturbed, model):
    array, there = spoiled(mr(), EXTREMES[name])
    check_same(array, undisturbed["mr"], model, there)


@pytest.mark.parametrize("name", ["resampled, + 0.3", "unsigned, + 1024", "-3024 outside the circle", "32767"])
def test_answers_are_the_same_in_other_forms_of_a_ct(name, undisturbed, model):
    array = CT_FORMS[name](ct())
    check_same(array, undisturbed["ct"], model, ~np.isclose(array % 1024, ct() % 1024, atol=0.5))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_answer_holds_voxels_without_a_number(model, value):
    hole = np.zeros(BALL.shape, bool)
    hole[6:9, 10:13, 8:11] = hole[SLICES[0], 10:12, 10:12] = True  # in the ball, also where it is drawn
    array = np.where(hole, value, mr())
    found = answers(array, model)
    kept = hole.copy()
    kept[list(SLICES)] = False
    for name, mask in found.items():
        assert not (mask & (kept[[CENTRE[0]]] if name == "Segment, slice" else kept)).any(), name
    assert found["Few-shot"][SLICES[0]][hole[SLICES[0]]].all()  # what was drawn stays
    regions = run_to_end(find_regions(volume_of(array)))
    labels = regions.labels(regions.counts[0])
    assert (labels[hole] == 0).all() and (labels[~hole] > 0).all()
    box = regions.object_at(boxes=[Box((5, 4, 0), (19, 18, 13))]).mask
    assert not (box & hole).any() and dice(box, BALL & ~hole) > 0.85
    assert any("no answer holds them" in note for note in regions.notes)


def test_few_shot_and_segment_tell_of_padding():
    volume = volume_of(padded(mr(), -3024, 0.11)[0])
    (note,) = run_to_end(find_regions(volume, extent=Extent.slab(volume, "z", 7, 7))).notes
    assert "have the value -3024" in note
    few_shot = FewShot(volume, QUICK)
    few_shot.set_support([DrawnSlice("z", 7, BALL[7].astype(np.uint8))])
    assert note in run_to_end(few_shot.propagate((6, 6), quick=True)).notes
