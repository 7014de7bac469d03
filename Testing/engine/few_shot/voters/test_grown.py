"""GrowCut: the labels of Slicer's "Grow from seeds", as a generator."""

import numpy as np
import pytest
from paths import SAMPLE_DATA
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot.voters.grown import UNREACHED, grow_labels, labels_of, nearest_seeds
from S3NetSegmentLib.engine.images.reading import read_image


def grown_by_slicer(image, seeds):
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    vtk = pytest.importorskip("vtk")
    if not hasattr(slicer, "vtkImageGrowCutSegment"):
        pytest.skip("this slicer-core has no vtkImageGrowCutSegment")
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    def vtk_image(array):
        out = vtk.vtkImageData()
        out.SetDimensions(array.shape[::-1])
        flat = np.ascontiguousarray(array, np.int16).ravel()
        out.GetPointData().SetScalars(numpy_to_vtk(flat, deep=1, array_type=vtk.VTK_SHORT))
        return out

    tool = slicer.vtkImageGrowCutSegment()
    tool.SetIntensityVolume(vtk_image(image))
    tool.SetSeedLabelVolume(vtk_image(seeds))
    tool.Update()
    return vtk_to_numpy(tool.GetOutput().GetPointData().GetScalars()).reshape(image.shape)


def drawn_seeds(labels, indices):
    seeds = np.zeros(labels.shape, np.uint8)
    for z in indices:
        seeds[z] = labels[z] + 1
    return seeds


@pytest.mark.parametrize(("name", "indices"), [("ct_abdomen", (13, 27, 41)), ("mr_spinal_cord", (26,))])
def test_labels_agree_with_grow_from_seeds_of_slicer(name, indices):
    image = read_image(SAMPLE_DATA / f"{name}.nii.gz").array.astype(np.int16)
    labels = read_image(SAMPLE_DATA / f"{name}_labels.nii.gz").array
    seeds = drawn_seeds(labels, indices)
    expected = grown_by_slicer(image, seeds)
    found, _ = run_to_end(grow_labels(image, seeds))
    assert (found == expected).mean() > 0.99
    for value in np.unique(seeds[seeds > 1]):  # the background is most of the volume
        mine, theirs = found == value, expected == value
        assert 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) > 0.98


def test_distances_are_the_shortest_over_all_paths():
    rng = np.random.default_rng(1)
    image = rng.integers(-300, 2000, (4, 6, 7)).astype(np.int16)
    seeds = np.zeros(image.shape, np.uint8)
    seeds[0, 0, 0], seeds[3, 5, 6] = 1, 2
    labels, distances = run_to_end(grow_labels(image, seeds, bucket=8))
    expected = exact_distances(image, np.flatnonzero(seeds))
    assert np.array_equal(distances.ravel(), expected.min(0))
    clear = expected[0] != expected[1]
    assert np.array_equal(labels.ravel()[clear], np.where(expected[0] < expected[1], 1, 2)[clear])


def exact_distances(image, sources):
    index = np.arange(image.size).reshape(image.shape)
    rows, columns, costs = [], [], []
    for offset in np.ndindex(3, 3, 3):
        step = np.array(offset) - 1
        a = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, image.shape, strict=True))
        b = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(step, image.shape, strict=True))
        rows.append(index[a].ravel())
        columns.append(index[b].ravel())
        # An edge of no cost is no edge in a sparse graph, so all cost 1e-6 more.
        costs.append(np.abs(image[a].astype(int) - image[b]).ravel() + 1e-6)
    graph = coo_array((np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))))
    return np.round(dijkstra(graph.tocsr(), indices=sources)).astype(int)


def test_seeds_keep_their_labels_and_every_voxel_gets_one():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 500, (5, 9, 8)).astype(np.int16)
    seeds = np.zeros(image.shape, np.uint8)
    seeds[2] = rng.integers(0, 4, seeds.shape[1:])
    labels, distances = run_to_end(grow_labels(image, seeds))
    assert np.array_equal(labels[seeds > 0], seeds[seeds > 0]) and (distances[seeds > 0] == 0).all()
    assert (labels > 0).all() and (distances < UNREACHED).all()


def test_without_seeds_nothing_is_labelled_and_with_seeds_everywhere_nothing_changes():
    image = np.zeros((3, 4, 5), np.int16)
    labels, distances = run_to_end(grow_labels(image, np.zeros(image.shape, np.uint8)))
    assert not labels.any() and (distances == UNREACHED).all()
    seeds = np.full(image.shape, 3, np.uint8)
    assert np.array_equal(run_to_end(grow_labels(image, seeds))[0], seeds)


def test_width_of_the_buckets_changes_no_distance():
    rng = np.random.default_rng(3)
    image = np.cumsum(rng.integers(-40, 40, (6, 20, 20)), 2).astype(np.int16)
    seeds = np.zeros(image.shape, np.uint8)
    seeds[0, 3, 3], seeds[5, 15, 15], seeds[2, 0, 19] = 1, 2, 3
    narrow, wide = (run_to_end(grow_labels(image, seeds, bucket))[1] for bucket in (1, 500))
    assert np.array_equal(narrow, wide)


def test_input_is_not_changed_and_the_same_input_gives_the_same_labels():
    rng = np.random.default_rng(4)
    image = rng.integers(0, 30, (6, 30, 30)).astype(np.int16)  # many ties
    seeds = np.zeros(image.shape, np.uint8)
    seeds[0, 5], seeds[5, 20] = 1, 2
    kept = image.copy(), seeds.copy()
    first, second = (run_to_end(grow_labels(image, seeds))[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(image, kept[0]) and np.array_equal(seeds, kept[1])


def test_large_work_gives_many_steps_of_progress():
    rng = np.random.default_rng(5)
    image = rng.integers(0, 2000, (12, 100, 100)).astype(np.int16)
    seeds = np.zeros(image.shape, np.uint8)
    seeds[0, 50, 50] = 1
    steps = list(grow_labels(image, seeds))
    assert len(steps) >= 4 and all(0 <= s.fraction <= 1 for s in steps)


def test_other_labels_of_the_same_seeds_need_no_new_search():
    rng = np.random.default_rng(6)
    image = rng.integers(0, 30, (7, 24, 24)).astype(np.int16)  # many ties
    seeds = np.zeros(image.shape, np.uint8)
    seeds[[0, 6]] = rng.integers(1, 4, (2, 24, 24))
    seeds[3, 10:14, 5] = 2
    nearest, distances = run_to_end(nearest_seeds(image, seeds > 0))
    edited = np.where(seeds > 0, 5 - seeds, 0).astype(np.uint8)
    for labels in (seeds, edited):
        expected, expected_distances = run_to_end(grow_labels(image, labels))
        assert np.array_equal(labels_of(nearest, labels), expected) and np.array_equal(distances, expected_distances)
    assert (labels_of(nearest, edited) != labels_of(nearest, seeds)).any()


def test_without_seeds_there_is_nothing_to_label():
    image = np.zeros((2, 3, 4), np.int16)
    nearest, distances = run_to_end(nearest_seeds(image, np.zeros(image.shape, bool)))
    assert (nearest == -1).all() and (distances == UNREACHED).all()
    assert not labels_of(nearest, np.ones(image.shape, np.uint8)).any()
