"""A click in a volume is looked at in the three slices through it."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.segment import find_regions as searching
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.objects.volume_features import agreement_of_sections
from S3NetSegmentLib.engine.segment.point_in_slices import SeenSlices, seen_in_slices

LABELS = np.array([[0, 0, 1], [2, 2, 1]])
SETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
POINT = (16, 11, 20)  # k, j, i


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def ellipsoid(size=1.0):
    grids = np.ogrid[:32, :26, :40]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grids, POINT, (9, 6, 12), strict=True)) <= size**2


def volume_of(truth, matrix=None):
    values = 200 + 300 * truth + np.random.default_rng(0).normal(0, 20, truth.shape)
    return Volume(values.astype(np.int16), np.diag((-1.0, -1.0, 1.0, 1.0)) if matrix is None else matrix, "ellipsoid")


@pytest.fixture(scope="module")
def ellipsoid_regions():
    return run_to_end(find_regions(volume_of(ellipsoid()), device="cpu"))


def seen(regions, point=POINT):
    steps = seen_in_slices(
        regions.volume.ordered, regions._grid.order.voxel(point[::-1]), regions._grid, regions._objects.graph.labels,
        settings=regions.settings, radius_mm=None, find_regions=find_regions,
    )  # fmt: skip
    return run_to_end(steps)


def test_sections_agree_by_their_dice():
    mask = np.array([[True, True, False], [False, False, False]])
    assert agreement_of_sections(SETS, LABELS, mask) == pytest.approx([1.0, 2 * 2 / (4 + 2), 0.0])


def test_a_candidate_counts_the_more_the_better_its_sections_agree_and_the_surer_the_slice_is():
    first, ring = LABELS == 0, LABELS == 2
    scores = np.zeros(3)
    sure = SeenSlices([LABELS], [first], [0.9]).weighed(scores, SETS)
    assert sure.argmax() == 0 and sure[0] > sure[1] > sure[2] == 0
    doubtful = SeenSlices([LABELS], [first], [0.3]).weighed(scores, SETS)
    assert doubtful == pytest.approx(sure / 3)
    both = SeenSlices([LABELS, LABELS], [first, ring], [0.9, 0.3]).weighed(scores, SETS)
    assert both.argmax() == 0 and both[2] > 0
    assert SeenSlices([], [], []).weighed(scores, SETS) == pytest.approx(scores)


def test_each_slice_shows_its_section_of_the_object(ellipsoid_regions):
    found, truth = seen(ellipsoid_regions), ellipsoid()
    assert len(found.masks) == 3 and min(found.expected) > 0.5
    for mask, section in zip(found.masks, (truth[:, :, 20], truth[:, 11], truth[16]), strict=True):
        assert dice(mask, section) > 0.9


def test_slices_of_a_volume_that_is_stored_otherwise_are_those_through_the_point():
    truth = ellipsoid()
    matrix = np.diag((-1.0, -1.0, 1.0, 1.0))[:, [2, 0, 1, 3]]  # i goes upwards, j to the left, k to the back
    stored = np.ascontiguousarray(truth.transpose(1, 2, 0))
    regions = run_to_end(find_regions(volume_of(stored, matrix), device="cpu"))
    point = (POINT[1], POINT[2], POINT[0])
    for mask, section in zip(seen(regions, point).masks, (truth[:, :, 20], truth[:, 11], truth[16]), strict=True):
        assert dice(mask, section) > 0.9
    assert dice(regions.object_at([point[::-1]]).mask, stored) > 0.9


def test_a_thin_volume_has_slices_along_one_axis_alone():
    truth = ellipsoid()[12:18]
    regions = run_to_end(find_regions(volume_of(truth), device="cpu"))
    found = seen(regions, (4, *POINT[1:]))
    assert [mask.shape for mask in found.masks] == [truth.shape[1:]]


def test_a_slice_without_contrast_says_nothing():
    truth = ellipsoid()
    image = volume_of(truth)
    image.array[:, :, 1] = 200
    regions = run_to_end(find_regions(image, device="cpu"))
    assert len(seen(regions, (16, 11, 1)).masks) == 2
    assert regions.object_at([(1, 11, 16)]).mask[16, 11, 1]


def test_of_nested_objects_the_one_that_the_slices_show_is_chosen(monkeypatch):
    whole, core = ellipsoid(), ellipsoid(size=0.5)
    regions = run_to_end(find_regions(volume_of(whole + 1.0 * core), device="cpu"))
    labels = seen(regions).labels
    for meant, point in ((core, POINT), (whole, (16, 11, 21))):  # two points, so that nothing is remembered
        sections = [meant[:, :, point[2]], meant[:, 11], meant[16]]

        def told(*_, sections=sections, **__):
            yield from ()
            return SeenSlices(labels, sections, [0.9] * 3)

        monkeypatch.setattr(searching, "seen_in_slices", told)
        assert dice(regions.object_at([point[::-1]]).mask, meant) > 0.9


def test_where_the_network_alone_was_asked_for_the_slices_have_no_say(ellipsoid_regions, monkeypatch):
    def searched(*_, **__):
        raise AssertionError("slices were searched without the network")

    monkeypatch.setattr(searching, "seen_in_slices", searched)
    regions = copy.copy(ellipsoid_regions)
    regions._ranked = {}
    with pytest.raises(AssertionError, match="slices were searched"):
        regions.object_at([POINT[::-1]])
    regions.settings = replace(regions.settings, sources="s3net")
    assert dice(regions.object_at([POINT[::-1]]).mask, ellipsoid()) > 0.9
