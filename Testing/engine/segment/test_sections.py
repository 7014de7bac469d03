"""The second look: the sections of an object along all three axes are shown to the network of boxes."""

import numpy as np
import pytest
from scipy import ndimage

from S3NetSegmentLib.engine.common.arrays import dice
from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.objects import sections
from S3NetSegmentLib.engine.segment.objects.sections import seen_in_sections

SHAPE = (40, 44, 48)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sections, "_MOST", 9)


def ellipsoid(shape=SHAPE, middle=(20, 22, 24), radii=(11, 13, 15)):
    places = np.indices(shape)
    return sum(((p - m) / r) ** 2 for p, m, r in zip(places, middle, radii, strict=True)) < 1


def image_of(mask, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.05, mask.shape)
    return (ndimage.gaussian_filter(0.3 + 0.4 * mask, 0.7) + noise).astype(np.float32)[..., None]


def seen(mask, image):
    """The probability on the whole grid."""
    part, found = run_to_end(seen_in_sections(mask, lambda place: image[place]))
    whole = np.zeros(mask.shape, np.float32)
    whole[part] = found
    return whole


def ragged(mask, seed=1):
    """``mask`` as if it were made of coarse blocks, some of them missing or too many."""
    coarse = ndimage.gaussian_filter(mask.astype(float), 2) + np.random.default_rng(seed).normal(0, 0.15, mask.shape)
    blocks = ndimage.zoom(
        ndimage.zoom(coarse, 0.25, order=1), np.array(mask.shape) / [n // 4 for n in mask.shape], order=0
    )
    return blocks[tuple(slice(0, n) for n in mask.shape)] > 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bright", [False, True])
def test_a_ragged_object_gets_the_borders_of_the_image(bright, channels):
    truth = ellipsoid()
    image = image_of(truth if bright else ~truth)
    start = ragged(truth)
    before, after = dice(start, truth), dice(seen(start, np.repeat(image, channels, 3)) > 0.5, truth)
    assert 0.7 < before < 0.92
    assert after > 0.95


def test_each_of_two_parts_of_a_section_has_its_own_box():
    truth = ellipsoid(middle=(20, 12, 24), radii=(9, 8, 9)) | ellipsoid(middle=(20, 33, 24), radii=(9, 7, 8))
    assert dice(seen(ragged(truth), image_of(truth)) > 0.5, truth) > 0.92


def test_crumbs_are_left_out_and_thin_sections_stay():
    truth = ellipsoid()
    start = truth.copy()
    start[20, 2, 2:5] = True  # a crumb far from the object
    found = seen(start, image_of(truth)) > 0.5
    assert not found[20, 2].any()
    plate = np.zeros(SHAPE, bool)
    plate[20:22, 10:34, 10:38] = True  # two slices: along the other axes its sections are too thin for the network
    assert dice(seen(plate, image_of(plate)) > 0.5, plate) > 0.9


def test_few_sections_are_asked_for_and_those_in_between_follow(monkeypatch):
    truth = ellipsoid(shape=(130, 30, 34), middle=(65, 15, 17), radii=(60, 10, 12))
    image, asked = image_of(truth), []
    answer = sections.default_box_network().answer

    class Counted:
        def answer(self, *shown):
            asked.append(shown)
            return answer(*shown)

    monkeypatch.setattr(sections, "default_box_network", Counted)
    found = seen(truth, image)
    assert 20 < len(asked) <= 3 * 10
    assert dice(found > 0.5, truth) > 0.95
    assert (found[6:124] > 0.5).any((1, 2)).all()


def test_the_part_ends_with_the_volume_and_holds_the_object():
    truth = ellipsoid(middle=(2, 22, 46))
    part, found = run_to_end(seen_in_sections(truth, lambda place: image_of(truth)[place]))
    assert part[0].start == 0 and part[2].stop == SHAPE[2]
    assert truth[part].sum() == truth.sum()
    assert found.shape == truth[part].shape and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1


def test_no_part_of_a_large_slice_that_the_network_cannot_see_is_scaled():
    """What is asked of the image is the surroundings of the sections."""
    truth = np.zeros((30, 200, 220), bool)
    truth[5:25, 20:44, 150:178] = True
    image, largest = image_of(truth), []

    def features(place):
        largest.append(image[place].shape[:2])
        return image[place]

    run_to_end(seen_in_sections(truth, features))
    assert np.max(largest) < 70


def test_an_empty_object_is_refused():
    with pytest.raises(ValueError, match="empty"):
        run_to_end(seen_in_sections(np.zeros(SHAPE, bool), lambda place: image_of(np.zeros(SHAPE, bool))[place]))
