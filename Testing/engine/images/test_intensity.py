"""Intensity scales of grey, Hounsfield and colour images."""

import numpy as np
import pytest

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.engine.images.colors import lab_from_rgb
from S3NetSegmentLib.engine.images.intensity import intensity_scale


def volume_of(array):
    return Volume(np.asarray(array), np.eye(4), "it")


def test_lab_of_known_colours():
    colours = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0.5]])
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86], [53.39, 0, 0]]
    assert np.allclose(lab_from_rgb(colours), expected, atol=0.05)


def test_hounsfield_units_keep_their_order_and_soft_tissue_gets_most_of_the_range():
    values = np.linspace(-1000, 1500, 5 * 6 * 7).reshape(5, 6, 7).round().astype(np.int16)
    scale = intensity_scale(Volume(values, np.eye(4), modality="CT"))
    assert scale.kind == "ct"
    features = scale.apply(values)[..., 0]
    assert features.min() >= 0 and features.max() <= 1
    assert (np.diff(features.ravel()) >= 0).all()
    fat, muscle = scale.apply(np.array([-100, 60]))[..., 0]
    assert muscle - fat > 0.25  # soft tissue gets most of the range


def test_a_masked_background_does_not_set_the_grey_scale():
    rng = np.random.default_rng(0)
    values = np.zeros((4, 30, 30))
    values[:, :15] = rng.normal(500, 50, (4, 15, 30))
    scale = intensity_scale(volume_of(values))
    assert scale.kind == "grey" and scale.low > 300


def test_an_outlier_does_not_squeeze_the_grey_scale():
    values = np.random.default_rng(0).normal(100, 10, (4, 30, 30))
    values[0, 0, 0] = 1e9
    assert intensity_scale(volume_of(values)).high < 200


@pytest.mark.parametrize("count, share", [(0, ""), (1, "less than 0.1%"), (3000, "25.0%")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("colours", [False, True])
def test_voxels_without_a_number_are_told(count, share, value, colours):
    values = np.random.default_rng(0).normal(100, 10, (20, 20, 30))
    values.ravel()[:count] = value
    notes = intensity_scale(volume_of(np.stack([values] * 3, -1) if colours else values)).notes
    assert [f"{share} of the voxels of image 'it' hold no number" in note for note in notes] == [True] * (count > 0)


def test_nan_and_infinity_are_read_as_background():
    values = np.random.default_rng(0).normal(100, 10, (4, 30, 30))
    values[1, 2, 3], values[1, 2, 4], values[1, 2, 5] = np.nan, np.inf, -np.inf
    scale = intensity_scale(volume_of(values))
    features = scale.apply(values)
    assert np.isfinite(features).all()
    assert np.allclose(features[1, 2, 3:6, 0], (0, 1, 0), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.uint64])
def test_any_voxel_type_gives_the_same_scale(dtype):
    values = np.random.default_rng(0).integers(0, 200, (4, 20, 20))
    features = intensity_scale(volume_of(values.astype(dtype))).apply(values.astype(dtype))
    assert np.allclose(features, intensity_scale(volume_of(values)).apply(values), atol=1e-5)


def test_a_two_valued_image_has_a_scale():
    values = np.zeros((1, 8, 8), bool)
    values[0, 2:4, 2:4] = True
    features = intensity_scale(volume_of(values)).apply(values)
    assert features.min() == 0 and features.max() == 1


@pytest.mark.parametrize(
    "array, complaint", [(np.full((2, 3, 4), 7), "constant.*7"), (np.full((2, 3, 4), np.nan), "finite")]
)
def test_an_image_without_contrast_is_refused(array, complaint):
    with pytest.raises(InputError, match=complaint):
        intensity_scale(volume_of(array))


def test_rgb_of_any_scale_gives_the_same_lab():
    values = np.random.default_rng(0).integers(0, 256, (1, 9, 9, 3)).astype(np.uint8)
    bytes_, floats = volume_of(values), volume_of(values / 255.0)
    a, b = (intensity_scale(v).apply(v.array) for v in (bytes_, floats))
    assert a.shape == (1, 9, 9, 3) and np.allclose(a, b, atol=0.02)
