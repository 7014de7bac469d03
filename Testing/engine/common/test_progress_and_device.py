"""Generators of progress steps, and the choice of the device."""

import pytest

from S3NetSegmentLib.engine import InputError, Step, run_to_end
from S3NetSegmentLib.engine.common.device import choose_device, describe_device, is_out_of_memory
from S3NetSegmentLib.engine.common.progress import as_part_of, monotonic


def work(count):
    for n in range(count):
        yield Step(n / count, f"part {n}")
    return count * 10


def test_a_drained_work_returns_its_result_and_shows_its_steps():
    seen = []
    assert run_to_end(work(3), seen.append) == 30
    assert [s.message for s in seen] == ["part 0", "part 1", "part 2"]


def test_a_part_of_a_larger_work_keeps_its_share_of_the_progress():
    seen = []
    assert run_to_end(as_part_of(work(4), 0.5, 0.9), seen.append) == 40
    assert [round(s.fraction, 3) for s in seen] == [0.5, 0.6, 0.7, 0.8]


def test_rising_progress_never_falls_and_keeps_result_and_messages():
    def uneven():
        for fraction in (0.1, 0.6, 0.2, 0.7):
            yield Step(fraction, f"at {fraction}")
        return "done"

    seen = []
    assert run_to_end(monotonic(uneven()), seen.append) == "done"
    assert [s.fraction for s in seen] == [0.1, 0.6, 0.6, 0.7] and seen[2].message == "at 0.2"


def test_a_dropped_work_does_not_go_on():
    steps = work(3)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_auto_and_cpu_can_always_be_chosen():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    assert "torch" in describe_device()


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cpu:x", None])
def test_a_device_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(InputError, match="device"):
        choose_device(name)


def test_full_memory_is_told_from_other_errors():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
