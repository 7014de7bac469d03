"""How many threads torch uses for small work."""

import itertools

import pytest
import torch
from few_shot_scenes import tube

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.common.device import one_thread_if, one_threaded
from S3NetSegmentLib.engine.common.progress import Step
from S3NetSegmentLib.engine.few_shot import frame
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot, FewShotSettings
from S3NetSegmentLib.engine.few_shot.voters import propagated


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

    for module, name in ((frame, "registered"), (propagated, "carried")):
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
    assert {("registered", 1), ("carried", 1)} <= seen
    assert not {("registered", 2), ("carried", 2)} & seen
    assert (answers[0].labels == answers[1].labels).all() and (answers[0].confidence == answers[1].confidence).all()
