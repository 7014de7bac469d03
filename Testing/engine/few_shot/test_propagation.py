"""Few-shot in one volume, from the drawn slices to the answer."""

import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from few_shot_scenes import Scene, egg, scene, tube, twins
from paths import SAMPLE_DATA

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.few_shot import frame
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.voters import appearance, grown
from S3NetSegmentLib.engine.images.reading import read_image

FAST = FewShotSettings(appearance_steps=20)


def few_shot(image: Scene, slices, settings=FAST, axis="auto") -> FewShot:
    product = FewShot(image.volume, settings, axis)
    product.set_support(slices)
    return product


def propagated(image: Scene, slices, wanted=None, settings=FAST, quick=False):
    return run_to_end(few_shot(image, slices, settings).propagate(wanted, quick))


def sample(name, *values):
    """A shipped image with some of its segments."""
    image, labels = (read_image(SAMPLE_DATA / f"{name}{part}.nii.gz") for part in ("", "_labels"))
    truth = np.where(np.isin(labels.array, values), labels.array, 0).astype(np.uint8)
    return Scene(image, truth)


def test_organs_of_the_sample_ct_are_found_from_three_drawn_slices():
    ct = sample("ct_abdomen", 3, 5)  # right kidney and aorta
    drawn = [12, 26, 42]
    answer = propagated(ct, ct.drawn(*drawn), settings=FewShotSettings(appearance_steps=20, work_voxels=60_000))
    rest = np.setdiff1d(np.arange(len(ct.truth)), drawn)
    assert min(ct.dice(answer.labels, v, rest) for v in (3, 5)) > 0.75
    assert set(answer.expected_dice) == {3, 5}
    assert all(abs(answer.expected_dice[v] - ct.dice(answer.labels, v, rest)) < 0.3 for v in (3, 5))


def test_the_cord_of_the_sample_mr_is_found_from_one_drawn_slice():
    mr = sample("mr_spinal_cord", 1)
    answer = propagated(mr, mr.drawn(26))
    assert mr.dice(answer.labels, 1, np.setdiff1d(np.arange(52), [26])) > 0.85


def test_drawn_slices_are_returned_exactly_and_with_full_confidence():
    image = tube()
    image.truth[5, :3, :3] = 4  # what no propagation would find
    answer = propagated(image, image.drawn(5, 11))
    for z in (5, 11):
        assert np.array_equal(answer.labels[z], image.truth[z]) and (answer.confidence[z] == 1).all()
    assert 0 <= answer.confidence.min() and answer.confidence.max() <= 1 and answer.confidence.dtype == np.float32


def test_the_same_drawing_and_seed_give_the_same_labels_and_confidence():
    image = egg()
    first, second = (propagated(image, image.drawn(9, 14)) for _ in range(2))
    assert np.array_equal(first.labels, second.labels) and np.array_equal(first.confidence, second.confidence)
    assert first.mix == second.mix and first.expected_dice == second.expected_dice


@pytest.fixture
def counts(monkeypatch):
    """How often the long parts of the work were called."""
    counts = {"nearest_seeds": 0, "fit_pixels": 0, "registering": 0}

    def counted(module, name):
        plain = getattr(module, name)

        def call(*arguments):
            counts[name] += 1
            return plain(*arguments)

        monkeypatch.setattr(module, name, call)

    for module, name in ((grown, "nearest_seeds"), (appearance, "fit_pixels"), (frame, "registering")):
        counted(module, name)
    return counts


def test_a_changed_slice_gives_the_answer_of_a_fresh_start_and_costs_less(counts):
    image = tube(depth=20)
    product = few_shot(image, image.drawn(3, 10, 16))
    run_to_end(product.propagate())
    image.truth[10, 22:] = 0
    product.set_support(image.drawn(3, 10, 16))
    before = counts.copy()
    again = run_to_end(product.propagate())
    changed = {name: counts[name] - before[name] for name in counts}
    fresh = propagated(image, image.drawn(3, 10, 16))
    assert np.array_equal(again.labels, fresh.labels) and np.array_equal(again.confidence, fresh.confidence)
    assert all(changed[name] < counts[name] - before[name] - changed[name] for name in counts), (changed, counts)


@pytest.mark.parametrize("changed", [3, 10, 16])
def test_an_edit_searches_no_way_through_the_image_again_and_learns_only_what_it_touched(counts, changed):
    image = tube(depth=20)
    once = FewShotSettings(appearance_steps=20, regrow=0.0)  # the ways of a second GrowCut are its own
    product = few_shot(image, image.drawn(3, 10, 16), once)
    first = run_to_end(product.propagate())
    image.truth[changed, 22:] = 0
    product.set_support(image.drawn(3, 10, 16))
    counts.update(dict.fromkeys(counts, 0))
    again = run_to_end(product.propagate())
    # The appearance of all slices, and that without each of the two others.
    assert counts == {"nearest_seeds": 0, "fit_pixels": 3, "registering": 0}
    fresh = propagated(image, image.drawn(3, 10, 16), settings=once)
    assert np.array_equal(again.labels, fresh.labels) and np.array_equal(again.confidence, fresh.confidence)
    assert again.mix == fresh.mix and again.expected_dice == fresh.expected_dice
    assert not np.array_equal(again.labels, first.labels)


def test_after_many_edits_and_a_new_slice_the_answer_is_that_of_a_fresh_start():
    image = egg()
    product = few_shot(image, image.drawn(7, 12))
    run_to_end(product.propagate((9, 9), quick=True))
    run_to_end(product.propagate())
    for number, (drawn, column) in enumerate((((7, 12), 20), ((7, 10, 12), 24), ((10, 12), 18))):
        image.truth[drawn[0], :, column : column + 3 + number] = 0
        product.set_support(image.drawn(*drawn))
        again, fresh = run_to_end(product.propagate()), propagated(image, image.drawn(*drawn))
        assert np.array_equal(again.labels, fresh.labels) and np.array_equal(again.confidence, fresh.confidence)


def test_a_dropped_run_leaves_the_object_as_it_was():
    image = tube()
    product = few_shot(image, image.drawn(4, 12))
    for count in (1, 25):
        steps = product.propagate()
        list(itertools.islice(steps, count))
        steps.close()
    assert np.array_equal(run_to_end(product.propagate()).labels, propagated(image, image.drawn(4, 12)).labels)


def test_progress_rises_from_nothing_to_everything():
    image = tube()
    steps = list(few_shot(image, image.drawn(4, 12)).propagate())
    fractions = [s.fraction for s in steps]
    assert len(steps) > 20 and all(0 <= f <= 1 for f in fractions) and fractions[-1] > 0.8
    assert sum(b < a - 1e-9 for a, b in itertools.pairwise(fractions)) == 0
    assert all(s.message for s in steps)


def test_only_the_wanted_slices_are_filled_and_they_are_those_of_the_whole_volume():
    image = tube()
    whole, part = (propagated(image, image.drawn(3, 12), wanted).labels for wanted in (None, (6, 8)))
    assert not part[:3].any() and not part[13:].any() and not part[4:6].any()
    assert np.array_equal(part[3], image.truth[3])  # drawn slices are always there
    assert image.dice(part, slices=slice(6, 9)) > 0.9
    assert (part[6:9] != whole[6:9]).mean() < 0.01


def test_the_quick_answer_is_near_the_full_one():
    image = tube()
    answer = propagated(image, image.drawn(3, 12), (8, 8), quick=True)
    assert image.dice(answer.labels, slices=slice(8, 9)) > 0.9 and set(answer.mix) == {"registered", "grown"}


def test_twins_of_equal_appearance_neither_swap_nor_bleed():
    image = twins()
    for drawn in ((8,), (2, 13)):
        labels = propagated(image, image.drawn(*drawn)).labels
        assert min(image.dice(labels, value) for value in (1, 2)) > 0.9
        swapped = ((labels == 1) & (image.truth == 2)) | ((labels == 2) & (image.truth == 1))
        assert swapped.sum() < 0.01 * (image.truth > 0).sum()


def test_scattered_targets_are_not_carried():
    truth = np.zeros((10, 64, 64), np.uint8)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for z, (row, column) in itertools.product(range(10), rng.integers(5, 59, (9, 2))):
        if (row + column + z) % 4:
            truth[z][(y - row) ** 2 + (x - column) ** 2 <= 1] = 1
    image = scene(truth, {0: 40, 1: 120}, noise=3)
    answer = propagated(image, image.drawn(2, 7))
    assert set(answer.mix) == {"grown", "appearance"} and image.dice(answer.labels) > 0.5
    compact = propagated(image, image.drawn(2, 7), settings=FewShotSettings(appearance_steps=20, target="compact"))
    assert "carried" in compact.mix


def test_an_object_that_leaves_the_first_region_is_followed_beyond_it():
    truth = np.zeros((30, 40, 120), np.uint8)
    for z in range(30):
        truth[z, 14:26, 4 + 3 * z : 16 + 3 * z] = 1
    image = scene(truth, {0: 40, 1: 100}, noise=4)
    followed, clipped = (
        propagated(image, image.drawn(15), settings=FewShotSettings(appearance_steps=20, growing=n)) for n in (3, 0)
    )
    assert image.dice(followed.labels) > image.dice(clipped.labels) + 0.05


@pytest.mark.parametrize("axis", "xyz")
def test_slices_may_be_drawn_across_any_axis(axis):
    base = tube(depth=40)
    along = np.moveaxis(base.truth, 0, "zyx".index(axis)).copy()
    image = Scene(Volume(np.moveaxis(base.volume.array, 0, "zyx".index(axis)).copy(), np.eye(4)), along)
    answer = propagated(image, image.drawn(12, 28, axis=axis))
    assert answer.axis == axis and image.dice(answer.labels) > 0.9


def test_crossing_planes_are_kept_and_help():
    image = egg(depth=24, background=75)
    answer = propagated(image, [*image.drawn(11), *image.drawn(20, axis="x")])
    assert np.array_equal(answer.labels[:, :, 20], image.truth[:, :, 20])
    assert image.dice(answer.labels) >= image.dice(propagated(image, image.drawn(11)).labels) - 0.01


def test_a_partial_drawing_says_nothing_of_what_is_far_from_it():
    image = tube(drift=0)
    image.truth[:, 2:7, 30:36] = 1  # a second part that is not drawn
    slices = image.drawn(8)
    slices[0].labels[2:7, 30:36] = 0
    part = [DrawnSlice("z", 8, slices[0].labels, complete=False)]
    labels = propagated(image, part).labels
    assert np.array_equal(labels[8][10:30] > 0, slices[0].labels[10:30] > 0)
    found, true = labels[4, 10:30] > 0, image.truth[4, 10:30] > 0
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.85


def test_a_segment_of_one_pixel_does_not_fail():
    image = tube()
    labels = np.zeros((40, 40), np.uint8)
    labels[20, 16] = 1
    answer = propagated(image, [DrawnSlice("z", 8, labels)])
    assert answer.labels[8, 20, 16] == 1 and np.count_nonzero(answer.labels[8]) == 1


def test_a_volume_of_one_slice_is_its_drawing():
    image = tube(depth=1)
    answer = propagated(image, image.drawn(0))
    assert np.array_equal(answer.labels, image.truth) and answer.next_slices == []


def test_drawing_on_every_slice_returns_the_drawing():
    image = tube(depth=6)
    answer = propagated(image, image.drawn(*range(6)))
    assert np.array_equal(answer.labels, image.truth) and answer.next_slices == []


def test_the_next_slice_to_draw_is_an_undrawn_one_and_the_least_sure():
    image = egg()
    answer = propagated(image, image.drawn(12))
    numbers = [z for z, _ in answer.next_slices]
    wrong = [w for _, w in answer.next_slices]
    assert 12 not in numbers and wrong == sorted(wrong, reverse=True) and wrong[0] > 0
    doubt = (1 - answer.confidence).sum((1, 2))
    assert numbers[0] == int(doubt.argmax())


def test_bad_input_is_refused_with_its_name_and_leaves_the_support():
    image = tube()
    product = few_shot(image, image.drawn(4))
    for slices, words in (
        ([], "nothing is drawn"),
        ([DrawnSlice("z", 4, np.zeros((40, 40), np.uint8))], "nothing is drawn"),
        ([DrawnSlice("z", 99, image.truth[4])], "slice 99"),
        ([DrawnSlice("z", 4, image.truth[4][:30])], "shape"),
    ):
        with pytest.raises(InputError, match=words):
            product.set_support(slices)
    assert image.dice(run_to_end(product.propagate()).labels) > 0.8
    with pytest.raises(InputError, match="slices 3 to 40"):
        run_to_end(product.propagate((3, 40)))
    with pytest.raises(InputError, match="constant"):
        FewShot(Volume(np.zeros((4, 8, 8), np.float32), np.eye(4)))
    with pytest.raises(InputError, match="nothing is drawn"):
        FewShot(image.volume).propagate()


@pytest.mark.parametrize(
    "text", ["regrow=0.95", "sure=0.2", "growing=-1", "target=round", "work_voxels=5", "nothing=1"]
)
def test_settings_out_of_range_are_refused(text):
    with pytest.raises(InputError, match=text.partition("=")[0]):
        FewShotSettings().with_texts([text])


def test_constant_slices_inside_a_volume_do_not_fail():
    image = tube()
    image.volume.array[10:] = 40.0
    answer = propagated(image, image.drawn(5))
    assert np.isfinite(answer.confidence).all() and image.dice(answer.labels, slices=slice(0, 9)) > 0.85


def test_growcut_on_a_coarser_grid_is_near_that_of_the_image():
    image = twins()
    large = Scene(
        Volume(np.repeat(np.repeat(image.volume.array, 2, 1), 2, 2), np.eye(4)),
        np.repeat(np.repeat(image.truth, 2, 1), 2, 2),
    )
    answer = propagated(large, large.drawn(8), settings=FewShotSettings(appearance_steps=20, grow_voxels=50_000))
    assert min(large.dice(answer.labels, value) for value in (1, 2)) > 0.9


def test_memory_stays_within_a_few_times_the_volume():
    image = tube(depth=30, size=100, radius=16)
    product = few_shot(image, image.drawn(15), FewShotSettings(appearance_steps=20, work_voxels=50_000))
    gc.collect()
    tracemalloc.start()
    run_to_end(product.propagate())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * image.truth.size  # bytes; numpy's share, of which labels and confidence are 5 per voxel
