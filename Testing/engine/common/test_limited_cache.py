"""What was used last is kept, up to a limit."""

from S3NetSegmentLib.engine.common.limited_cache import LimitedCache


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
