"""The ladder of a volume: refined masks whose sizes ascend, made one by one."""

import numpy as np
import pytest

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.segment.objects import objects_of_volume, volume_masks
from S3NetSegmentLib.engine.segment.objects.volume_masks import Sized, fitted
from S3NetSegmentLib.engine.segment.regions.maps import volume_maps
from S3NetSegmentLib.engine.segment.settings import SegmentSettings

POINT = (18, 20, 20)


def noisy_bodies():
    """Nested and touching bodies under so much noise that refinement changes the sizes of most candidates."""
    z, y, x = np.ogrid[:36, :40, :52]
    values = sum(
        0.25 * ((z - 18) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= r**2)
        for b, c, r in ((20, 20, 6), (20, 20, 13), (20, 40, 9))
    )
    return (values + np.random.default_rng(4).normal(0, 0.12, values.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def objects():
    features, spacing = noisy_bodies(), (1.0, 1.0, 1.0)
    maps = run_to_end(volume_maps(features, spacing, SegmentSettings(), np.random.default_rng(0)))
    return run_to_end(objects_of_volume(features, maps, spacing))


def free_sizes(objects, ranked):
    """Sizes of the ladder's masks without the room that they have to keep to."""
    return [np.count_nonzero(volume_masks.object_mask(objects.graph, s, [POINT])) for s in ranked.masks._sets]


class TestOrder:
    @pytest.mark.parametrize("counted", [0, 20_000, volume_masks._COUNTED])
    def test_sizes_ascend_strictly_however_many_masks_were_counted(self, objects, monkeypatch, counted):
        monkeypatch.setattr(volume_masks, "_COUNTED", counted)
        ranked = objects.ranked(POINT)
        sizes = [np.count_nonzero(mask) for mask in ranked.masks]
        assert len(sizes) > 15
        assert np.all(np.diff(sizes) > 0)

    def test_refined_sizes_do_turn_where_nothing_holds_them(self, objects, monkeypatch):
        monkeypatch.setattr(volume_masks, "_COUNTED", 0)
        assert np.any(np.diff(free_sizes(objects, objects.ranked(POINT))) <= 0)

    def test_counted_masks_are_the_freely_refined_ones(self, objects):
        ranked = objects.ranked(POINT)
        for mask, members in list(zip(ranked.masks, ranked.masks._sets, strict=True))[:10]:
            assert np.array_equal(mask, volume_masks.object_mask(objects.graph, members, [POINT]))

    def test_what_keeps_to_its_room_is_nearly_the_freely_refined_mask(self, objects, monkeypatch):
        monkeypatch.setattr(volume_masks, "_COUNTED", 0)
        ranked = objects.ranked(POINT)
        free = [volume_masks.object_mask(objects.graph, s, [POINT]) for s in ranked.masks._sets]
        dice = [
            2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(ranked.masks, free, strict=True) if a.sum() > 500
        ]
        assert np.mean(dice) > 0.97

    def test_every_step_hangs_together_and_holds_the_point(self, objects, monkeypatch):
        from scipy import ndimage

        monkeypatch.setattr(volume_masks, "_COUNTED", 0)
        for mask in objects.ranked(POINT).masks:
            assert mask[POINT] and ndimage.label(mask)[1] == 1

    def test_points_outside_are_kept_out_and_the_order_holds(self, objects):
        ranked = objects.ranked(POINT, forbidden=[(18, 20, 26), (18, 26, 20)])
        assert not any(mask[18, 20, 26] or mask[18, 26, 20] for mask in ranked.masks)
        assert np.all(np.diff([np.count_nonzero(mask) for mask in ranked.masks]) > 0)


class TestCost:
    def test_a_click_makes_the_small_masks_and_the_answers_alone(self, objects, monkeypatch):
        monkeypatch.setattr(volume_masks, "_COUNTED", 20_000)
        made = []
        plain = volume_masks.object_part

        def counting(graph, members, *more):
            made.append(members)
            return plain(graph, members, *more)

        monkeypatch.setattr(volume_masks, "object_part", counting)
        monkeypatch.setattr(volume_masks, "object_part", counting)
        ranked = objects.ranked(POINT)
        assert 3 <= len(made) < len(ranked.masks)
        del made[:]
        assert ranked.masks[ranked.best].any() and not made  # an answer that was just compared is not made again


class TestFittedSize:
    def disk(self):
        y, x = np.mgrid[:40, :40]
        belongs = (12 - np.hypot(y - 20, x - 20))[None]
        return Sized(lambda level: belongs > level, np.ones(belongs.shape, bool), belongs)

    def test_a_size_with_room_is_left_as_it_is(self):
        disk = self.disk()
        assert np.array_equal(fitted(disk, 100, 1000), disk.above(0.0))

    @pytest.mark.parametrize(("low", "high"), [(200, 250), (700, 800)])
    def test_the_border_moves_until_the_nearer_limit_is_kept(self, low, high):
        disk = self.disk()
        mask = fitted(disk, low, high)
        assert low <= mask.sum() <= high
        assert np.array_equal(mask, disk.above(np.min(disk.belongs[mask]) - 1e-9))

    def test_a_jump_of_the_size_is_bridged_layer_by_layer(self):
        def above(level):  # a part comes loose at any level above 0
            mask = np.zeros((1, 20, 40), bool)
            mask[:, 5:15, : 38 if level <= 0 else 10] = True
            return mask

        border = above(0.0) & ~above(1.0)
        mask = fitted(Sized(above, border, np.where(border, 0.5, 1.0)), 195, 205)
        assert mask.sum() == 205
        assert (mask & ~above(0.0)).sum() == 0 and mask[above(1.0)].all()

    def test_where_no_level_reaches_the_size_the_mask_grows_but_not_into_points_outside(self):
        part = np.zeros((1, 9, 9), bool)
        part[0, 4, 4] = True
        nothing = np.zeros(part.shape, bool)
        mask = fitted(Sized(lambda _: part, nothing, np.zeros(part.shape), ((0, 4, 5),)), 20, 30)
        assert mask.sum() == 20 and not mask[0, 4, 5] and mask[0, 4, 4]
