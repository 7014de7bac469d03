"""One click in a volume gives one three-dimensional object."""

import copy
import threading
import time
import tracemalloc

import numpy as np
import pytest

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.objects import objects_of_volume, volume_objects
from S3NetSegmentLib.engine.segment.regions.maps import volume_maps, volume_working_shape
from S3NetSegmentLib.engine.segment.settings import SegmentSettings

ISOTROPIC = (1.0, 1.0, 1.0)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def ball(shape, centre, radius, spacing=ISOTROPIC):
    grids = np.ogrid[tuple(map(slice, shape))]
    return sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, spacing, strict=True)) <= radius**2


def noisy(values, seed=0, noise=0.03):
    return (values + np.random.default_rng(seed).normal(0, noise, values.shape)).astype(np.float32)


def objects_of(features, spacing=ISOTROPIC, seed=0):
    maps = run_to_end(volume_maps(features, spacing, SegmentSettings(), np.random.default_rng(seed)))
    return run_to_end(objects_of_volume(features, maps, spacing))


@pytest.fixture(scope="module")
def two_balls():
    """A large and a small ball of different brightness on a dark ground."""
    shape = (40, 44, 48)
    large, small = ball(shape, (20, 22, 16), 11), ball(shape, (20, 22, 38), 6)
    return noisy(0.2 + 0.5 * large + 0.3 * small), large, small


@pytest.fixture(scope="module")
def fractions():
    """How far the making of ``ball_maps`` was at each of its steps."""
    return []


@pytest.fixture(scope="module")
def ball_maps(two_balls, fractions):
    steps = volume_maps(two_balls[0], ISOTROPIC, SegmentSettings(), np.random.default_rng(0))
    return run_to_end(steps, lambda step: fractions.append(step.fraction))


@pytest.fixture(scope="module")
def ball_objects(two_balls, ball_maps):
    return run_to_end(objects_of_volume(two_balls[0], ball_maps, ISOTROPIC))


@pytest.fixture(scope="module")
def nested():
    """Objects of a small ball in the middle of a large one, and both balls."""
    shape = (40, 44, 44)
    inner, outer = ball(shape, (20, 22, 22), 6), ball(shape, (20, 22, 22), 15)
    return objects_of(noisy(0.2 + 0.3 * outer + 0.3 * inner)), inner, outer


class TestWorkingShape:
    def test_a_small_volume_keeps_its_own_grid(self):
        assert volume_working_shape((100, 128, 120), (2.0, 0.7, 0.7)) == (100, 128, 120)

    def test_a_large_volume_is_bounded_and_about_isotropic(self):
        shape, spacing = (300, 512, 512), (1.5, 0.8, 0.8)
        work = volume_working_shape(shape, spacing, 2_000_000)
        sides = np.array(spacing) * shape / work
        assert 1_800_000 < np.prod(work) <= 2_000_000
        assert sides.max() / sides.min() < 1.05

    def test_thick_slices_are_kept_while_the_other_axes_can_give_way(self):
        work = volume_working_shape((20, 1024, 1024), (5.0, 0.4, 0.4), 2_000_000)
        assert work[0] == 20
        assert np.prod(work) <= 2_000_000

    def test_an_extreme_spacing_still_gives_a_grid_within_bounds(self):
        for shape, spacing in (((3000, 50, 50), (0.001, 1000.0, 1000.0)), ((2, 3000, 3000), (1e4, 1e-3, 1e-3))):
            work = volume_working_shape(shape, spacing, 1_000_000)
            assert min(work) >= 1
            assert np.prod(work) <= 1_000_000


class TestMaps:
    def test_every_supervoxel_is_connected_and_numbered(self, ball_maps):
        from scipy import ndimage

        maps = ball_maps
        labels = maps["supervoxels"][0]
        assert set(np.unique(labels)) == set(range(maps.graph.count))
        for number in np.random.default_rng(0).choice(maps.graph.count, 30):
            assert ndimage.label(labels == number, np.ones((3, 3, 3)))[1] == 1

    def test_sums_of_the_graph_are_those_of_the_voxels(self, two_balls):
        features = two_balls[0][10:30]
        maps = run_to_end(volume_maps(features, (2.0, 1.0, 1.5), SegmentSettings(), np.random.default_rng(0)))
        graph, voxel = maps.graph, 3.0
        assert graph.volume.sum() == pytest.approx(graph.labels.size * voxel)
        own = graph.labels == 7
        assert graph.volume[7] == np.count_nonzero(own) * voxel
        assert graph.mean[7] == pytest.approx(graph.standard[own].mean(0), abs=1e-4)

    def test_the_surface_of_a_union_counts_only_its_outer_faces(self, ball_maps):
        from S3NetSegmentLib.engine.segment.regions.volume_graph import Columns, union_sums

        maps = ball_maps
        tree = maps.trees["border"]
        node = int(np.argmin(np.abs(tree.inside[:, 0] - 3000)))
        mask = np.pad(np.isin(maps.graph.labels, tree.members(node)), 1)
        faces = sum(np.count_nonzero(np.diff(mask.astype(np.int8), axis=axis)) for axis in range(3))
        sums = union_sums(tree.inside[[node]], tree.inner[[node]])
        assert sums[0, Columns.VOLUME] == mask.sum()
        assert sums[0, Columns.SURFACE] == pytest.approx(faces)

    def test_each_merge_tree_ends_in_the_whole_volume(self, ball_maps):
        maps = ball_maps
        for tree in maps.trees.values():
            assert len(tree.members(tree.path(5)[-1])) == maps.graph.count

    def test_objects_are_prepared_map_by_map(self, two_balls, ball_maps):
        fractions = [s.fraction for s in objects_of_volume(two_balls[0], ball_maps, ISOTROPIC)]
        assert len(fractions) == sum(len(found) for source, found in ball_maps.items() if source != "supervoxels")
        assert np.all(np.diff(fractions) > 0)

    def test_work_is_cut_into_many_steps_with_growing_fractions(self, ball_maps, fractions):
        assert len(fractions) > 40
        assert all(0 <= f <= 1 for f in fractions)
        assert np.all(np.diff(fractions) > -1e-9)


class TestOneClick:
    def test_a_click_in_a_ball_gives_the_ball(self, two_balls, ball_objects):
        _, large, small = two_balls
        for truth, point in ((large, (20, 22, 16)), (small, (20, 22, 38)), (large, (14, 18, 12))):
            ranked = ball_objects.ranked(point)
            assert dice(ranked.masks[ranked.best], truth) > 0.9

    def test_touching_balls_of_equal_brightness_are_told_apart_on_the_ladder(self):
        shape = (36, 40, 60)
        first, second = ball(shape, (18, 20, 18), 11), ball(shape, (18, 20, 39), 11)
        objects = objects_of(noisy(0.2 + 0.6 * (first | second)))
        ranked = objects.ranked((18, 20, 16))
        assert max(dice(mask, first) for mask in ranked.masks) > 0.85
        assert max(dice(mask, first | second) for mask in ranked.masks) > 0.9

    def test_nested_bodies_are_both_on_the_ladder(self, nested):
        objects, inner, outer = nested
        ranked = objects.ranked((20, 22, 22))
        assert max(dice(mask, inner) for mask in ranked.masks) > 0.9
        assert max(dice(mask, outer) for mask in ranked.masks) > 0.9

    def test_an_object_in_thick_slices_is_found(self):
        shape, spacing = (9, 80, 80), (6.0, 1.0, 1.0)
        truth = ball(shape, (4, 40, 40), 20, spacing)
        ranked = objects_of(noisy(0.3 + 0.4 * truth), spacing).ranked((4, 40, 40))
        assert dice(ranked.masks[ranked.best], truth) > 0.9

    def test_candidates_are_distinct_ordered_by_size_and_hold_the_click(self, ball_objects):
        point = (20, 22, 38)
        ranked = ball_objects.ranked(point)
        sizes = [np.count_nonzero(mask) for mask in ranked.masks]
        assert np.all(np.diff(sizes) > 0)
        assert sizes[-1] > 5 * sizes[0]
        assert all(mask[point] and mask.dtype == bool for mask in ranked.masks)
        assert len({mask.tobytes() for mask in ranked.masks}) == len(sizes)

    def test_alternatives_are_clearly_different_and_begin_with_the_choice(self, ball_objects):
        ranked = ball_objects.ranked((20, 22, 16))
        assert ranked.alternatives[0] == ranked.best == int(np.argmax(ranked.scores))
        shown = [ranked.masks[i] for i in ranked.alternatives]
        assert 1 <= len(shown) <= 3
        assert all(dice(a, b) < 0.9 for n, a in enumerate(shown) for b in shown[:n])

    def test_a_radius_moves_the_choice_to_its_size(self, nested):
        objects, inner, outer = nested
        for truth, radius in ((inner, 6.0), (outer, 15.0)):
            ranked = objects.ranked((20, 22, 22), radius_mm=radius)
            assert dice(ranked.masks[ranked.best], truth) > 0.85

    def test_a_forbidden_point_is_left_out(self, ball_objects):
        ranked = ball_objects.ranked((20, 22, 16), forbidden=[(20, 22, 38), (2, 2, 2)])
        assert not any(mask[20, 22, 38] or mask[2, 2, 2] for mask in ranked.masks)

    def test_a_click_on_the_background_is_answered(self, ball_objects):
        ranked = ball_objects.ranked((1, 1, 1))
        assert len(ranked.masks) >= 1
        assert ranked.masks[ranked.best][1, 1, 1]

    def test_small_holes_in_an_object_are_filled(self):
        shape = (40, 40, 40)
        truth, hole = ball(shape, (20, 20, 20), 13), ball(shape, (20, 20, 27), 2)
        ranked = objects_of(noisy(0.2 + 0.5 * (truth & ~hole), noise=0.01)).ranked((20, 20, 16))
        best = max(ranked.masks, key=lambda mask: dice(mask, truth))
        assert best[20, 20, 27]

    def test_colour_volumes_are_searched_in_all_channels(self):
        shape = (24, 30, 30)
        truth = ball(shape, (12, 15, 15), 8)
        features = np.full((*shape, 3), 0.5, np.float32)
        features[truth, 1] = 0.9  # equally light, another hue
        ranked = objects_of(noisy(features)).ranked((12, 15, 15))
        assert dice(ranked.masks[ranked.best], truth) > 0.9


class TestFurtherPoints:
    def test_an_added_point_adds_its_region_and_keeps_the_rest(self, two_balls, ball_objects):
        _, large, small = two_balls
        mask = ball_objects.edited(large, (20, 22, 38), True)
        assert dice(mask, large | small) > 0.9
        assert mask[large].all()

    def test_a_removed_point_takes_its_region_away(self, two_balls, ball_objects):
        _, large, small = two_balls
        mask = ball_objects.edited(large | small, (20, 22, 38), False)
        assert dice(mask, large) > 0.9
        assert not mask[20, 22, 38]

    def test_a_protected_point_is_never_touched(self, two_balls, ball_objects):
        _, large, small = two_balls
        for add in (True, False):
            start = large if add else large | small
            mask = ball_objects.edited(start, (20, 22, 38), add, protected=[(20, 22, 36)])
            assert mask[20, 22, 36] == start[20, 22, 36]
            assert mask[20, 22, 38] == add

    def test_a_further_point_changes_only_what_hangs_together_with_it(self, two_balls, ball_objects):
        _, large, _ = two_balls
        slab = np.zeros_like(large)
        slab[17:24] = large[17:24]  # a cap of the ball is missing above and another one below
        changed = ball_objects.edited(slab, (13, 22, 16), True) ^ slab
        assert changed[:17].any()
        assert not changed[24:].any()

    def test_a_point_that_changes_nothing_returns_an_equal_copy(self, two_balls, ball_objects):
        _, large, _ = two_balls
        mask = ball_objects.edited(large, (20, 22, 16), True)
        assert np.array_equal(mask, large)
        assert mask is not large


class TestOddVolumes:
    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 3), (1, 40, 40), (40, 1, 1), (3, 3, 3)])
    def test_tiny_and_thin_volumes_are_answered(self, shape):
        features = np.random.default_rng(0).random(shape).astype(np.float32)
        ranked = objects_of(features).ranked((0, 0, 0))
        assert ranked.masks[ranked.best].shape == shape
        assert ranked.masks[ranked.best][0, 0, 0]

    def test_a_constant_volume_is_answered(self):
        ranked = objects_of(np.full((12, 14, 16), 0.4, np.float32)).ranked((6, 7, 8))
        assert ranked.masks[ranked.best][6, 7, 8]
        assert np.isfinite(ranked.scores).all()

    def test_a_single_slice_gives_the_disk_that_was_clicked(self):
        shape = (1, 64, 64)
        truth = ball(shape, (0, 32, 32), 14)
        ranked = objects_of(noisy(0.2 + 0.5 * truth)).ranked((0, 32, 32))
        assert dice(ranked.masks[ranked.best], truth) > 0.9


class TestSources:
    def test_a_plain_dict_of_label_maps_is_enough(self, two_balls):
        features, large, small = two_balls
        labels = (large + 2 * small).astype(np.uint8)
        ranked = run_to_end(objects_of_volume(features, {"s3net": [labels]}, ISOTROPIC)).ranked((20, 22, 16))
        assert len(ranked.masks) == 1
        assert dice(ranked.masks[0], large) > 0.9

    def test_further_label_maps_join_the_others(self, two_balls, ball_maps, ball_objects):
        features, large, _ = two_balls
        half = large.copy()
        half[:, :, 16:] = False  # a cut through uniform matter that no other source sees
        maps = copy.copy(ball_maps)
        before = len(ball_objects.measured((20, 22, 12)).table)
        maps["s3net"] = [half.astype(np.uint8)]
        objects = run_to_end(objects_of_volume(features, maps, ISOTROPIC))
        assert len(objects.measured((20, 22, 12)).table) == before + 1


class TestCost:
    def test_the_same_seed_gives_the_same_answer(self):
        features = noisy(0.2 + 0.5 * ball((24, 28, 30), (12, 14, 15), 8))
        first, second = (objects_of(features, seed=3).ranked((12, 14, 15)) for _ in range(2))
        assert np.array_equal(first.scores, second.scores)
        assert all(np.array_equal(a, b) for a, b in zip(first.masks, second.masks, strict=True))

    def test_masks_are_made_one_at_a_time(self, two_balls, ball_objects):
        ball_objects.ranked((20, 22, 16))
        tracemalloc.start()
        ranked = ball_objects.ranked((20, 22, 16))
        count = sum(1 for mask in ranked.masks if mask.any())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count > 20
        assert peak < 0.5 * count * two_balls[0].size

    def test_a_volume_has_no_main_object(self, ball_objects):
        assert run_to_end(ball_objects.main_steps()) is None


def test_the_window_does_not_wait_for_the_masks_of_the_answers(ball_objects, monkeypatch):
    rank_ladder, threads, messages = volume_objects.rank_ladder, [], []

    def slow(*arguments):
        threads.append(threading.current_thread())
        time.sleep(0.2)
        return rank_ladder(*arguments)

    monkeypatch.setattr(volume_objects, "rank_ladder", slow)
    run_to_end(ball_objects.ranked_steps((20, 22, 16)), lambda step: messages.append(step.message))
    assert threads and threads[0] is not threading.current_thread()
    assert messages.count("Comparing answers") > 1
