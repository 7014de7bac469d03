"""The box around a mask, and the overlap of two; and what was used last is kept, up to a limit."""

import numpy as np
import pytest

from S3NetSegmentLib.engine.common.arrays import LimitedCache, bounding_box, box_around, dice


def test_the_box_is_the_smallest_and_a_margin_stays_inside_at_its_beginning():
    mask = np.zeros((5, 6, 7), bool)
    mask[1:3, 4, 0:2] = True
    assert bounding_box(mask) == (slice(1, 3), slice(4, 5), slice(0, 2))
    assert box_around(mask, 2) == (slice(0, 5), slice(2, 7), slice(0, 4))
    assert mask[box_around(mask, 2)].sum() == mask.sum()


def test_an_empty_mask_has_no_box():
    assert bounding_box(np.zeros((3, 3), bool)) is None
    with pytest.raises(ValueError, match="empty"):
        box_around(np.zeros((3, 3), bool))


def test_dice_is_twice_the_common_part_of_both():
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 1], bool)
    assert dice(a, b) == pytest.approx(2 / 5) and dice(a, a) == 1 and dice(a & b & False, a & False) == 0


def test_what_was_not_used_for_longest_goes_first():
    cache = LimitedCache(2)
    for name in "ab":
        cache.add(name, name.upper())
    assert cache.get("a") == "A"  # which is now younger than b
    assert cache.add("c", "C") == "C"
    assert [cache.get(name) for name in "abc"] == ["A", None, "C"]


def test_sizes_count_against_the_limit_and_one_entry_always_stays():
    cache = LimitedCache(100)
    cache.add("small", 1, 40)
    cache.add("other", 2, 40)
    cache.add("third", 3, 40)
    assert [cache.get(name) for name in ("small", "other", "third")] == [None, 2, 3]
    cache.add("huge", 4, 1000)
    assert [cache.get(name) for name in ("other", "third", "huge")] == [None, None, 4]
    cache.add("huge", 5, 10)
    assert cache.get("huge") == 5
