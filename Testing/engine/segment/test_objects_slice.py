"""From the regions of a slice to an object: clicks, further points, the main object, odd slices."""

import numpy as np
import pytest
from scipy import ndimage

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.objects import SliceObjects
from S3NetSegmentLib.engine.segment.objects.correction import corrected
from S3NetSegmentLib.engine.segment.regions import slice_maps
from S3NetSegmentLib.engine.segment.settings import SegmentSettings


def disk(centre, radius, shape=(96, 128)):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


BIG, SMALL = disk((48, 60), 24), disk((20, 110), 7)


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def features(request):
    """Two disks on a noisy ground."""
    rng = np.random.default_rng(0)
    picture = np.full((96, 128, request.param), 0.3, np.float32)
    picture[BIG], picture[SMALL] = 0.6, 0.7
    picture = ndimage.gaussian_filter(picture, (1, 1, 0))
    return (picture + 0.02 * rng.standard_normal(picture.shape)).astype(np.float32)


def objects_of(features, spacing=(1.0, 1.0), seed=0):
    maps = run_to_end(slice_maps(features, spacing, SegmentSettings(), np.random.default_rng(seed)))
    return SliceObjects(features, maps, spacing)


@pytest.fixture(scope="module")
def objects(features):
    return objects_of(features)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(("point", "truth"), [((48, 60), BIG), ((55, 75), BIG), ((20, 110), SMALL)])
def test_a_click_finds_the_object_under_it(objects, point, truth):
    ranked = objects.ranked(point)
    assert dice(ranked.masks[ranked.best], truth) > 0.93


def test_every_step_of_the_ladder_holds_the_click_and_sizes_ascend(objects):
    ranked = objects.ranked((48, 60))
    assert all(mask[48, 60] for mask in ranked.masks)
    sizes = [mask.sum() for mask in ranked.masks]
    assert sizes == sorted(sizes) and len(ranked.scores) == len(sizes)
    assert 1 <= len(ranked.alternatives) <= 3 and ranked.alternatives[0] == ranked.best


def test_a_click_on_the_background_gives_something(objects):
    ranked = objects.ranked((5, 5))
    assert ranked.masks[ranked.best][5, 5]


def test_candidates_with_a_forbidden_point_are_left_out(objects):
    ranked = objects.ranked((5, 5), forbidden=[(90, 5)])
    free = [mask for mask in ranked.masks if not mask[90, 5]]
    assert len(free) in (0, len(ranked.masks))
    ranked = objects.ranked((48, 60), forbidden=[(5, 5)])
    assert not any(mask[5, 5] for mask in ranked.masks)


def test_a_radius_in_millimetres_moves_the_choice(features):
    objects = objects_of(features, spacing=(2.0, 2.0))

    def area(radius_mm):
        ranked = objects.ranked((5, 5), radius_mm=radius_mm)
        return ranked.masks[ranked.best].sum()

    assert area(4.0) < area(100.0)


def test_adding_a_point_takes_in_its_object_and_keeps_the_rest(objects):
    edited = objects.edited(BIG, (20, 110), True, [(5, 5)])
    assert dice(edited, BIG | SMALL) > 0.93 and not edited[5, 5]


def test_removing_a_point_takes_its_object_away_and_keeps_the_protected(objects):
    edited = objects.edited(BIG | SMALL, (20, 110), False, [(48, 60)])
    assert dice(edited, BIG) > 0.93 and edited[48, 60]


def test_a_point_that_is_right_already_changes_nothing(objects):
    assert np.array_equal(objects.edited(BIG, (48, 60), True), BIG)
    assert np.array_equal(objects.edited(BIG, (5, 5), False), BIG)


@pytest.mark.parametrize("protected", [[], [(48, 60)], [(48, 98), (48, 75)]])
@pytest.mark.parametrize(("add", "point"), [(True, (48, 100)), (False, (48, 62)), (False, (48, 60))])
def test_a_correction_is_obeyed_and_never_changes_a_protected_point(add, point, protected):
    mask, regions = disk((48, 60), 20), np.stack([disk((48, 100), 15), disk((48, 60), 6), np.ones((96, 128), bool)])
    kept = [p for p in protected if p != point]
    found = corrected(mask, point, add, regions, kept, [disk((48, 60), 9), np.ones((96, 128), bool)])
    assert found[point] == add
    assert all(found[p] == mask[p] for p in kept)


def test_where_every_hypothesis_touches_a_protected_point_the_point_alone_changes():
    mask = disk((48, 60), 20)
    found = corrected(mask, (48, 100), True, disk((48, 100), 15)[None], [(48, 99), (48, 101), (47, 100), (49, 100)])
    assert np.argwhere(found != mask).tolist() == [[48, 100]]
    everything = corrected(np.ones((1, 1), bool), (0, 0), False, np.ones((1, 1, 1), bool))
    assert not everything.any()


def test_a_point_in_the_middle_of_a_region_stands_for_it_and_one_at_its_rim_for_its_surroundings():
    mask, regions = disk((48, 40), 20), np.stack([disk((48, 80), radius) for radius in (21, 22, 23)])
    middle = corrected(mask, (48, 81), True, regions)
    rim = corrected(mask, (48, 100), True, regions)
    assert dice(middle, mask | regions[1]) > 0.97
    assert dice(rim, mask | regions[1]) < 0.95


@pytest.mark.parametrize("point", [(48, 82), (45, 84)])
def test_a_point_off_the_middle_of_a_region_still_stands_for_it(point):
    """Hands do not meet the middle; before, a disk was cut out around such a point, and most of the region stayed."""
    mask, region = disk((48, 40), 20), disk((48, 82), 12)
    region &= ~mask
    assert dice(corrected(mask | region, point, False, region[None]), mask) > 0.97


def test_a_point_in_the_middle_of_a_leak_speaks_for_the_answer_without_it_and_one_in_a_small_part_for_this_part():
    true, leak, bump = disk((30, 30), 14), disk((55, 90), 30), disk((30, 48), 5)
    answers = [true & ~bump, true | bump, true | bump | leak]
    assert np.array_equal(corrected(answers[2], (55, 90), False, leak[None], [(30, 30)], answers), answers[1])
    small = corrected(answers[1], (30, 48), False, bump[None], [(30, 30)], answers)
    assert not small[30, 48] and dice(small, true) > 0.95


def test_where_the_size_is_known_no_other_answer_is_guessed_at():
    """After a box, what was nearly right stays; a click leaves the size open, so there even a doubtful answer may be meant."""
    mask, point = disk((48, 60), 30), (48, 60)
    answers = [disk(middle, 8) for middle in ((48, 38), (48, 82), (26, 60), (70, 60))] + [mask]
    regions, held = disk(point, 6)[None], [(48, 38)]
    guessed, kept = (corrected(mask, point, False, regions, held, answers, known) for known in (False, True))
    assert np.array_equal(guessed, answers[0])
    assert not kept[point] and dice(kept, mask) > 0.9


def test_a_part_is_added_hardly_beyond_the_largest_answer():
    mask, region = disk((48, 40), 20), disk((48, 60), 30)
    largest = np.zeros_like(mask)
    largest[20:76, 15:80] = True
    found = corrected(mask, (48, 68), True, region[None], [], [largest])
    assert found[48, 68] and not found[:, 90:].any() and not found[:12].any()
    assert corrected(mask, (48, 110), True, disk((48, 110), 8)[None], [], [largest])[48, 116]


def test_the_main_object_is_the_large_one_in_the_middle(objects):
    ranked = run_to_end(objects.main_steps())
    assert dice(ranked.masks[ranked.best], BIG) > 0.93


def test_where_every_region_touches_the_frame_there_is_no_main_object():
    features = np.zeros((64, 64, 1), np.float32)
    features[:, 32:] = 1
    halves = (features[..., 0] > 0.5).astype(np.uint16)
    assert run_to_end(SliceObjects(features, {"kmeans_fine": [halves]}).main_steps()) is None


def test_the_same_seed_gives_the_same_answer(features):
    first, second = (objects_of(features, seed=3).ranked((48, 60)) for _ in range(2))
    assert first.best == second.best and np.array_equal(first.scores, second.scores)
    assert all(np.array_equal(a, b) for a, b in zip(first.masks, second.masks, strict=True))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (40, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiny_and_constant_slices_answer_with_a_mask(shape, channels):
    objects = objects_of(np.full((*shape, channels), 0.5, np.float32))
    point = (shape[0] // 2, shape[1] // 2)
    ranked = objects.ranked(point)
    assert ranked.masks[ranked.best][point]
    ranked = run_to_end(objects.main_steps())
    assert ranked is None or ranked.masks
    assert not objects.edited(np.ones(shape, bool), point, False).all()


def test_any_set_of_sources_will_do(features):
    maps = run_to_end(slice_maps(features, (1.0, 1.0), SegmentSettings(), np.random.default_rng(0)))
    for source in maps:
        ranked = SliceObjects(features, {source: maps[source]}).ranked((48, 60))
        assert ranked.masks[ranked.best][48, 60]
