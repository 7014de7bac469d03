"""Progress steps, the device and its threads, and torch, which is loaded beside the work: whoever advances the steps is never kept waiting for long."""

import itertools
import subprocess
import sys
import threading

import pytest
import torch
from few_shot_scenes import tube
from paths import MODULE

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common import device
from S3NetSegmentLib.engine.common.device import (
    choose_device,
    describe_device,
    is_out_of_memory,
    one_thread_if,
    one_threaded,
)
from S3NetSegmentLib.engine.common.progress import Step, as_part_of, monotonic, run_to_end
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.registration import neighbours
from S3NetSegmentLib.engine.few_shot.voters import propagated

_STEPS = """
import gc, sys, threading, time
sys.path.insert(0, {module!r})
from S3NetSegmentLib.engine.common.device import torch_loaded
assert "torch" not in sys.modules
collections = []  # generation of each, which stops all threads
gc.callbacks.append(lambda phase, info: collections.append(info["generation"]) if phase == "start" else None)
steps, said = torch_loaded(), set()
said.add(next(steps).message)
steps.close()  # the user cancels, and asks again
again = list(torch_loaded())
assert len(again) > 3 and {{step.message for step in again}} | said == {{"Loading PyTorch"}}
import torch
assert torch.zeros(2).sum() == 0 and list(torch_loaded()) == []
assert threading.active_count() == 1
assert collections.count(2) == 1 and gc.isenabled() and gc.get_freeze_count() > 100_000
"""


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


def test_a_thread_loads_it_in_many_steps_also_after_a_cancel_and_its_objects_are_not_searched_for_garbage():
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", _STEPS.format(module=str(MODULE))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "kind"), [("raise OSError('libtorch.so is damaged')", OSError), (None, ModuleNotFoundError)]
)
def test_what_is_wrong_with_it_is_raised_where_the_steps_are_taken(tmp_path, monkeypatch, content, kind):
    for name in [n for n in sys.modules if n.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    if content:
        (tmp_path / "torch.py").write_text(content)
    else:
        monkeypatch.setattr(sys, "meta_path", [])
    threads = set(threading.enumerate())  # those of other tests may end meanwhile
    with pytest.raises(kind):
        run_to_end(device.torch_loaded())
    assert device._loading is None and set(threading.enumerate()) <= threads
    monkeypatch.setitem(sys.modules, "torch", None)
    assert list(device.torch_loaded()) == []  # the import itself will say it


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@one_threaded
def counted(number, fail=False):
    for n in range(number):
        assert torch.get_num_threads() == 1
        yield Step(n / number, "Counting")
    if fail:
        raise ValueError("as asked")
    return torch.get_num_threads()


def test_each_step_is_computed_in_one_thread_and_the_number_is_given_back_between_them(two_threads):
    steps = counted(3)
    for step in itertools.islice(steps, 2):
        assert step.message == "Counting" and torch.get_num_threads() == 2
    steps.close()
    assert run_to_end(counted(3)) == 1 and torch.get_num_threads() == 2


def test_the_number_is_given_back_after_an_error(two_threads):
    with pytest.raises(ValueError, match="as asked"):
        run_to_end(counted(2, fail=True))
    assert torch.get_num_threads() == 2
    with one_thread_if(False):
        assert torch.get_num_threads() == 2


def test_few_shot_carries_learns_and_votes_in_one_thread_and_gives_the_same_answer_with_any_number(
    two_threads, monkeypatch
):
    image = tube()
    seen = set()

    def watched(module, name):
        plain = getattr(module, name)

        def call(*arguments):
            seen.add((name, torch.get_num_threads()))
            return plain(*arguments)

        monkeypatch.setattr(module, name, call)

    for module, name in ((neighbours, "blurred"), (propagated, "carried")):
        watched(module, name)

    def answer():
        product = FewShot(image.volume, FewShotSettings(appearance_steps=20))
        product.set_support([DrawnSlice("z", z, image.truth[z]) for z in (4, 12)])
        steps = product.propagate()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            assert torch.get_num_threads() == threads

    answers = []
    for threads in (2, 1):
        torch.set_num_threads(threads)
        answers.append(answer())
    assert {("blurred", 1), ("carried", 1)} <= seen
    assert not {("blurred", 2), ("carried", 2)} & seen
    assert (answers[0].labels == answers[1].labels).all() and (answers[0].confidence == answers[1].confidence).all()
