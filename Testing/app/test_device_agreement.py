"""The benchmark that compares a graphics card with the CPU: what it compares, and that it sees a difference."""

import sys

import numpy as np
import pytest
import torch
from paths import REPOSITORY


@pytest.fixture
def agreement(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "Testing" / "benchmarks" / "training"), *sys.path])
    import device_agreement

    return device_agreement


def test_dice_is_that_of_all_labels_that_either_has(agreement):
    found, expected = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 3, 2]])
    assert agreement.mean_dice(found, found) == 1
    assert agreement.mean_dice(found, expected) == pytest.approx((2 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize("wrong", [None, "s3net", "alpnet", "trained", "answer"])
def test_each_method_is_compared_with_the_cpu_and_what_differs_there_is_seen(agreement, monkeypatch, wrong):
    device = torch.device("meta")

    def fake(name, place):
        def made(*arguments):
            where = arguments[place]
            return (name, where) if name == "trained" else np.array([1, 2 - (wrong == name and where == device)])

        return made

    for name, place in (("s3net", 1), ("alpnet", 2), ("trained", 0)):
        monkeypatch.setattr(agreement, name, fake(name, place))
    differs = {"trained": lambda task, where: task[1] == device, "answer": lambda task, where: where == device}

    def answer(task, volume, where):
        return np.array([1, 2 - (wrong in differs and differs[wrong](task, where))])

    monkeypatch.setattr(agreement, "answer", answer)
    monkeypatch.setattr(agreement, "organs", lambda: (None, np.array([1, 2])))
    monkeypatch.setattr(agreement, "phantom", lambda *_: (np.ones((1, 2, 2)), np.array([1, 2])))
    found = {(what, precision): of_cpu for what, precision, of_cpu, _ in agreement.agreements(device, 3)}
    expected = {
        "s3net": {"s3net, default", "s3net, paper"}, "alpnet": {"alpnet, published"}, "trained": {"ideal, 3 steps"},
        "answer": {"ideal, the same weights", "ideal, 3 steps"}, None: set(),
    }  # fmt: skip
    assert {what for (what, _), of_cpu in found.items() if of_cpu < 1} == expected[wrong]
    assert {precision for what, precision in found if what == "ideal, 3 steps"} == set(agreement.precisions(device))


def test_without_a_card_it_says_so(agreement, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["device_agreement.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device here"):
        agreement.main()
