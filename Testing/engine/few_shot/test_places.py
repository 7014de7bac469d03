"""Which of several places in another patient is taken, and what the deformation may do there."""

import numpy as np
import pytest
from few_shot_phantoms import dice, organs
from scipy import ndimage

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.registration import alignment
from S3NetSegmentLib.engine.few_shot.registration.fitting import fit
from S3NetSegmentLib.engine.few_shot.registration.known_labels import KnownLabels
from S3NetSegmentLib.engine.few_shot.registration.picture import Scaled
from S3NetSegmentLib.engine.few_shot.registration.places import Place
from S3NetSegmentLib.engine.images.intensity import intensity_scale

_WIDTH, _HEIGHT, _DEPTH = 72, 48, 6
_BETWEEN = 34  # columns from the heart to what looks like it
_APART = 22  # columns from one vessel to the next


def heart(number, wide=1.0, high=1.0, beside=False) -> tuple[Volume, np.ndarray]:
    """A dark ring (label 1) around a bright middle (label 2), in every slice.

    :param wide, high: factors of its size along columns and rows.
    :param beside: whether a dark disc of the plain size lies beside it, with four bright spots in place of the one middle.
    """
    row, column = np.mgrid[:_HEIGHT, :_WIDTH]
    radius = np.hypot((column - 18) / wide, (row - 24) / high)
    labels = np.select([radius < 5.5, radius < 9], [2, 1], 0).astype(np.uint8)
    image = np.select([labels == 2, labels == 1], [0.8, 0.1], 0.35)
    if beside:
        image[np.hypot(column - 18 - _BETWEEN, row - 24) < 9] = 0.1
        for angle in 0.8 + np.pi / 2 * np.arange(4):
            spot = 18 + _BETWEEN + 3.5 * np.cos(angle), 24 + 3.5 * np.sin(angle)
            image[np.hypot(column - spot[0], row - spot[1]) < 2.6] = 0.8
    planes = np.repeat(ndimage.gaussian_filter(image, 0.7)[None], _DEPTH, 0)
    planes = planes + 0.02 * np.random.default_rng(number).standard_normal(planes.shape)
    matrix = np.diag((2.0, 2.0, 6.0, 1.0))
    return Volume((1000 * planes).astype(np.int16), matrix, f"heart {number}"), np.repeat(labels[None], _DEPTH, 0)


@pytest.fixture
def places(monkeypatch):
    """Sets the places that are compared, as shifts in columns."""

    def compared(*shifts):
        def found(*_):
            yield from ()
            matrices = [np.eye(4) for _ in shifts]
            for matrix, shift in zip(matrices, shifts, strict=True):
                matrix[0, 3] = -2.0 * shift
            return [Place(matrix, 0.0) for matrix in matrices]

        monkeypatch.setattr(alignment, "coarse_places", found)

    return compared


@pytest.fixture
def unrefined(monkeypatch):
    """Places are taken as they are."""

    def kept(fixed, moving, start):
        yield from ()
        return start

    monkeypatch.setattr(alignment, "_refined", kept)


def fitted(support, labels, query, known=None):
    one = run_to_end(fit(*(Scaled(v, intensity_scale(v)) for v in (query, support)), labels, "z", known))
    index = np.indices(query.size).reshape(3, -1).astype(float)
    return one, one.labels_at(query, index).reshape(query.size).transpose(2, 1, 0)


def test_an_object_of_another_shape_is_preferred_to_something_else_that_is_more_alike_as_it_is(places):
    (support, labels), (query, true) = heart(0), heart(1, wide=1.35, high=1 / 1.35, beside=True)
    places(_BETWEEN, 0)
    _, found = fitted(support, labels, query)
    assert min(dice(found, true, c) for c in (1, 2)) > 0.6


def test_a_segment_of_which_there_is_twice_as_much_is_followed(places, unrefined):
    (support, labels), (query, true) = heart(0), heart(1, wide=1.4, high=1.4)
    assert np.count_nonzero(true) > 1.9 * np.count_nonzero(labels)
    places(0)
    _, found = fitted(support, labels, query)
    assert min(dice(found, true, c) for c in (1, 2)) > 0.8


def test_a_deformation_that_contradicts_what_is_known_here_is_not_used(places, unrefined):
    (support, labels), (query, _) = heart(0), heart(1, wide=1.2, high=1.2)
    places(0)
    alone, _ = fitted(support, labels, query)
    known = KnownLabels.of_slices({3: labels[3]}, "z", query.size)  # drawn smaller than the image shows it
    told, found = fitted(support, labels, query, known)
    assert alone.field is not None and told.field is None
    assert dice(found[3], labels[3], 1) > 0.9


def test_a_deformation_that_blows_a_segment_up_is_not_used():
    (support, labels), (other, _) = organs(), organs(size=(60, 56, 24), shift=(12, -9, 5), turn=0.3, grow=1.1, seed=1)
    inverted = other.array.max() - other.array
    one, found = fitted(support, labels, Volume(inverted, other.ijk_to_ras, "inverted"))
    assert one.notes  # nothing is alike, and it is said
    assert np.count_nonzero(found == 1) < 2 * np.count_nonzero(labels == 1)


def vessels(number, shift=0) -> tuple[Volume, np.ndarray]:
    """Three discs alike in a row through a body, of which the middle one has label 1, far from a large bright organ and a small one.

    :param shift: columns by which all of it lies further to the right; as many as between two discs.
    """
    row, column = np.mgrid[:64, :120]
    column = column - shift
    image = np.where(np.hypot((column - 45) / 40, (row - 32) / 28) < 1, 0.4, 0.0)
    image[np.hypot((column - 20) / 8, (row - 20) / 9) < 1] = 0.9
    image[np.hypot(column - 72, row - 20) < 5] = 0.7
    middles = 45 + _APART * np.arange(-1, 2)
    for middle in middles:
        image[np.hypot(column - middle, row - 42) < 3] = 0.9
    labels = np.repeat((np.hypot(column - 45, row - 42) < 3)[None], _DEPTH, 0).astype(np.uint8)
    planes = np.repeat(ndimage.gaussian_filter(image, 0.7)[None], _DEPTH, 0)
    planes = planes + 0.02 * np.random.default_rng(number).standard_normal(planes.shape)
    return Volume((1000 * planes).astype(np.int16), np.diag((2.0, 2.0, 6.0, 1.0)), f"vessels {number}"), labels


def test_what_lies_far_around_tells_which_of_several_alike_is_meant():
    (support, labels), (query, true) = vessels(0), vessels(1, shift=_APART)
    _, found = fitted(support, labels, query)
    assert dice(found, true, 1) > 0.7


@pytest.mark.parametrize(("alike_at_the_rim", "taken"), [(0.42, 0.0), (0.60, -2.0 * -20)])
def test_a_place_where_little_could_be_compared_must_be_clearly_more_alike(
    alike_at_the_rim, taken, places, unrefined, monkeypatch
):
    def compared(fixed, moving, near, to_support):
        yield from ()
        return (alike_at_the_rim, 100.0) if to_support[0, 3] else (0.38, 1000.0)

    monkeypatch.setattr(alignment, "_alike_when_deformed", compared)
    (support, labels), (query, _) = heart(0), heart(1)
    places(-20, 0)
    one, _ = fitted(support, labels, query)
    assert one.alignment.to_support[0, 3] == taken
