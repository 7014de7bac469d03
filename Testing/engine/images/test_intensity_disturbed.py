"""Number formats, padding and lone extreme voxels do not change the intensity scale."""

import numpy as np
import pytest
from intensity_phantoms import (
    BALL,
    CT_FORMS,
    EXTREMES,
    FORMATS,
    PADDING,
    SEED,
    ct,
    features_of,
    mr,
    padded,
    scattered,
    spoiled,
    volume_of,
)  # fmt: skip

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.common.arrays import dice
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.segment.find_regions import find_regions


@pytest.mark.parametrize("name", FORMATS)
def test_voxel_types_scales_and_offsets_give_the_same_features(name):
    array = FORMATS[name](mr())
    assert intensity_scale(volume_of(array)).kind == "grey"
    assert np.abs(features_of(array) - features_of(mr())).max() < 0.03


@pytest.mark.parametrize("share", [0.02, 0.11, 0.4])
@pytest.mark.parametrize("spread", [padded, scattered])
@pytest.mark.parametrize("value", PADDING)
def test_padding_of_any_value_gives_the_same_features(value, spread, share):
    array, there = spread(mr(), value, share)
    features = features_of(array.astype(np.float32))
    assert np.abs(features - features_of(mr()))[~there].max() < 0.08
    assert np.ptp(features[there]) == 0 and features[there][0] == (1 if value == 420 else 0)


def masked():
    """The MR with 0 around the body, whole numbers, and a few of each value from 1 on, so that no gap sets the 0 off."""
    rng = np.random.default_rng(5)
    tail = (rng.random(BALL.shape) < 0.03) & ~BALL
    return np.round(padded(np.where(tail, 1 + 270 * rng.random(BALL.shape) ** 0.4, mr()), 0, 0.4)[0])


@pytest.mark.parametrize("share", [0.05, 0.11, 0.3])
@pytest.mark.parametrize("value", [-1, 0, 5, 120, 300, 360, 400, 450])
@pytest.mark.parametrize("image", ["mr", "masked", "noisy air"])
def test_a_constant_border_within_the_range_of_the_image_gives_the_same_features(image, value, share):
    noise = np.abs(np.random.default_rng(6).normal(0, 12, BALL.shape))
    plain = {"mr": mr, "masked": masked, "noisy air": lambda: np.where(padded(mr(), 0, 0.4)[1], noise, mr())}[image]()
    array, there = padded(np.round(plain), value, share)
    features = features_of(array)
    assert np.abs(features - features_of(np.round(plain)))[~there].max() < 0.08


def test_a_dark_end_that_was_all_set_to_one_value_keeps_its_place():
    plain = np.random.default_rng(7).exponential(60, BALL.shape).round()
    cut = np.where(plain < np.quantile(plain, 0.3), -1, plain)
    assert np.abs(features_of(cut) - features_of(plain))[cut >= 0].max() < 0.08


def test_padding_of_the_value_of_soft_tissue_makes_no_ct_of_a_masked_mr():
    rng = np.random.default_rng(8)
    brain = 875 + 150 * rng.normal(size=BALL.shape) + 2 * rng.integers(0, 200, BALL.shape)
    array = np.round(padded(brain, 0, 0.55)[0])
    array[:, 20:, 20:] = 1100
    assert intensity_scale(volume_of(array)).kind == "grey"


@pytest.mark.parametrize("share", [0.02, 0.3])
@pytest.mark.parametrize("name", ["int64 + 2^53", "uint32 + 4e9", "float64 + 1e12", "int8"])
def test_padding_of_zero_beside_a_large_offset_keeps_the_contrast(name, share):
    array, there = padded(mr(), np.nan, share)
    array = np.where(there, FORMATS[name](mr()).dtype.type(-128 if name == "int8" else 0), FORMATS[name](mr()))
    assert np.abs(features_of(array) - features_of(mr()))[~there].max() < 0.08


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("count", [1, 40, 100])
def test_lone_extreme_voxels_give_the_same_features(name, count):
    array, there = spoiled(mr(), EXTREMES[name], count)
    scale = intensity_scale(volume_of(array))
    assert scale.kind == "grey"
    assert np.abs(scale.apply(array)[..., 0] - features_of(mr()))[~there].max() < 0.05


def test_extremes_beside_padding_at_both_ends_give_the_same_features():
    array, there = padded(mr(), -3024, 0.1)
    array[~there & (np.arange(array.size).reshape(array.shape) % 9 == 0) & ~BALL] = 32767
    array[0, 0, 0], array[0, 0, 1] = -9999, 65535
    features = features_of(array)
    image = (array > 0) & (array < 1000)
    assert np.abs(features - features_of(mr()))[image].max() < 0.08


def test_padding_blended_with_the_image_by_resampling_is_left_out():
    array, _ = padded(mr(), -3024, 0.2)
    blended = 0.7 * array[:, :, 1:] + 0.3 * array[:, :, :-1]
    scale = intensity_scale(volume_of(blended))
    assert scale.low > 200 and "-3024" in " ".join(scale.notes)


def test_the_value_and_the_share_of_padding_are_told_once():
    array, there = padded(mr(), -3024, 0.11)
    (note,) = intensity_scale(volume_of(array)).notes
    assert f"{there.mean():.0%} of the voxels have the value -3024, far below all others" in note
    array, there = padded(mr(), 65535, 0.4)
    (note,) = intensity_scale(volume_of(array.astype(np.uint16))).notes
    assert f"{there.mean():.0%} of the voxels have the value 65535, far above" in note
    below = padded(mr(), -2000, 0.3)[0]
    below[padded(mr(), 0, 0.1)[1]] = 4095
    assert ["-2000" in n for n in intensity_scale(volume_of(below)).notes] == [True, False]


@pytest.mark.parametrize("name", ["mr", "masked with 0", "ct", "ct in a circle of -1024", "extremes"])
def test_of_what_is_usual_nothing_is_told(name):
    array = {
        "mr": mr, "masked with 0": lambda: padded(mr(), 0, 0.4)[0], "ct": ct, "extremes": lambda: spoiled(mr(), (1e6,), 80)[0],
        "ct in a circle of -1024": lambda: padded(ct(), -1024, 0.1)[0],
    }[name]()  # fmt: skip
    assert intensity_scale(volume_of(array)).notes == ()


@pytest.mark.parametrize("name", CT_FORMS)
@pytest.mark.parametrize("modality", ["", "CT"])
def test_a_ct_is_a_ct_in_any_form(name, modality):
    array = CT_FORMS[name](ct())
    scale = intensity_scale(volume_of(array, modality))
    assert scale.kind == "ct" and scale.offset == (1024 if "+ 1024" in name or name == "65535" else 0)
    features = scale.apply(array)[..., 0]
    same = np.isclose(scale.relative(array), ct(), atol=0.5)
    assert same[BALL].all() and np.abs(features - features_of(ct(), "CT"))[same].max() < 2e-3
    beyond = array.astype(float) - scale.offset > 31000
    if np.count_nonzero(beyond) > 100:  # padding above is dark, as that below
        assert features[beyond].max() == 0


@pytest.mark.parametrize("modality", ["MR", "PT", "US", "mr", "NM", "DX"])
def test_what_is_known_to_be_no_ct_is_none(modality):
    assert intensity_scale(volume_of(ct(), modality)).kind == "grey"


@pytest.mark.parametrize(
    "array",
    [
        np.round(4 * mr()).astype(np.int16), spoiled(np.round(4 * mr()), (-600,), 1)[0],
        np.random.default_rng(0).integers(-4096, 4096, (4, 30, 30)),  # a phase image
        np.random.default_rng(0).normal(0, 300, (4, 30, 30)).round(), np.linspace(-1000, 1500, 8000).reshape(8, 10, 100),
        np.where(BALL, 1100, 1000) + np.random.default_rng(0).normal(0, 60, BALL.shape),
    ],
    ids=["mr", "mr with -600", "phase", "difference", "evenly spread", "about 1000"],
)  # fmt: skip
def test_what_is_not_distributed_like_a_ct_is_none(array):
    assert intensity_scale(volume_of(array)).kind == "grey"


@pytest.mark.parametrize(
    "form",
    [
        lambda v: ((v + 160) / 400 * 255).clip(0, 255).astype(np.uint8), lambda v: ((v + 160) / 400).clip(0, 1),
        lambda v: v / 1000, lambda v: v * 8 + 20000, lambda v: ((v + 1100) / 5000 * 255).clip(0, 255).astype(np.uint8),
    ],
    ids=["window of 8 bit", "0 to 1", "over 1000", "raw values", "whole range in 8 bit"],
)  # fmt: skip
def test_a_ct_whose_values_are_no_hounsfield_units_is_scaled_as_grey(form):
    scale = intensity_scale(volume_of(form(ct()), "CT"))
    assert scale.kind == "grey" and scale.high > scale.low


def colours(dtype=np.uint8):
    return np.random.default_rng(0).integers(20, 200, (1, 40, 40, 3)).astype(dtype)


COLOURS = {
    "16 bit": (colours() * np.uint16(257)).astype(np.uint16),
    "16 bit, one hot channel": None,
    "float": colours() / 255.0,
    "float, one hot voxel": None,
    "8 bit as int32": colours(np.int32),
    "8 bit as float": colours(np.float32),
}
COLOURS["16 bit, one hot channel"] = COLOURS["16 bit"].copy()
COLOURS["16 bit, one hot channel"][0, 0, 0, 0] = 65535
COLOURS["float, one hot voxel"] = COLOURS["float"].copy()
COLOURS["float, one hot voxel"][0, 0, 0] = 1e6


@pytest.mark.parametrize("name", COLOURS)
def test_the_full_scale_of_colours_hangs_on_their_format_and_not_on_the_brightest_voxel(name):
    array = COLOURS[name]
    assert np.abs(features_of_colours(array) - features_of_colours(colours()))[0, 1:].max() < 0.01


def features_of_colours(array):
    return intensity_scale(volume_of(array)).apply(array)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.float16])
def test_small_voxel_types_keep_their_contrast(dtype):
    features = features_of(BALL.astype(dtype))
    assert features[BALL].min() == 1 and features[~BALL].max() == 0


def test_a_lone_value_between_the_sampled_voxels_is_no_constant_image():
    array = np.zeros((150, 150, 150), np.uint8)
    array[1, 1, 1] = 1
    assert intensity_scale(volume_of(array)).high == 1


@pytest.mark.parametrize("value", [-32768, -3024, -2000, 4095, 65535])
@pytest.mark.parametrize("lone", [(), (-1e5, 1e5)], ids=["", "with extremes"])
def test_padding_of_an_image_of_few_values_gives_the_same_features(value, lone):
    plain = np.where(BALL, 200.0, np.where(mr() > 300, 100, 0))
    array, there = padded(plain, value, 0.1)
    array.flat[: len(lone)] = lone
    there.flat[: len(lone)] = True
    assert np.array_equal(features_of(array)[~there], features_of(plain)[~there])


def test_a_bright_constant_object_inside_stays_bright_and_is_found():
    array = np.where(BALL, 800.0, mr())
    features = features_of(array)
    assert features[BALL].min() > 0.999
    assert dice(run_to_end(find_regions(volume_of(array))).object_at([SEED]).mask, BALL) > 0.97


@pytest.mark.parametrize("share", [0.006, 0.02, 0.1])
@pytest.mark.parametrize("value", [-1000, 456, 782, 1564, 4095, 32767])
def test_a_constant_box_amid_an_mr_takes_no_contrast(value, share):
    plain = np.round(mr())
    box = np.zeros(BALL.shape, bool)
    sides = [round(n * share ** (1 / 3)) for n in box.shape]
    box[1 : 1 + sides[0], 1 : 1 + sides[1], 1 : 1 + sides[2]] = True
    box &= ~BALL
    features = features_of(np.where(box, value, plain).astype(np.int16))
    assert np.abs(features - features_of(plain))[~box].max() < 0.08
    assert abs(features[box] - (value > 0)).max() < 1e-5


@pytest.mark.parametrize("value", [-32768, -2000, -1024, -1000, 0])
def test_a_box_blanked_out_inside_of_an_mr_sets_no_scale_and_is_told(value):
    box = np.zeros(BALL.shape, bool)
    box[1:-1, 1:4, 1:-1] = True  # a tenth of the voxels, none at the border
    array = np.where(box, value, mr())
    scale = intensity_scale(volume_of(array))
    told = [f"10% of the voxels have the value {value}, far below all others" in note for note in scale.notes]
    assert scale.kind == "grey" and told == [True] * (value != 0)  # 0 is what a mask leaves
    assert np.abs(features_of(array) - features_of(mr()))[~box].max() < 0.02 and features_of(array)[box].max() == 0


@pytest.mark.parametrize("value", [4095, 32767])
def test_a_bright_box_inside_of_a_ct_leaves_it_a_ct(value):
    array = ct()
    array[1:-1, 1:4, 1:-1] = value
    rest = array != value
    np.testing.assert_allclose(features_of(array)[rest], features_of(ct(), "CT")[rest], atol=1e-6)


@pytest.mark.parametrize("value", [1.6, 2.5, 13.0, 32000, 1e20])
@pytest.mark.parametrize("share", [0.02, 0.07, 0.25])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_small_object_set_off_from_the_rest_is_no_padding_because_there_is_padding_further_away(value, share, sign):
    lesion = np.roll(BALL & np.roll(BALL, 8, 2), 2, 2)  # 1.5 % of the voxels
    plain = 300 + 600 * lesion + np.random.default_rng(4).normal(0, 10, BALL.shape)
    array, there = padded(sign * plain, sign * 900 * value, share)
    there &= ~lesion
    array = np.where(lesion, sign * plain, array)
    features, right = features_of(array), features_of(sign * plain)
    assert np.abs(features - right)[~there].max() < 0.12
    if value >= 13:
        assert features[there].max() == 0
