"""The trainer: going on after any stop, time, validation, failures, several processes."""

import json
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_training import ToyTask, toy_trainer

from S3NetSegmentLib.engine import InputError, ResourceError, Step, run_to_end
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder
from S3NetSegmentLib.engine.training.trainer.trainer import TrainingError


def weights(trainer):
    return trainer.task.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_training_lowers_the_loss_and_leaves_the_global_random_numbers_alone(tmp_path):
    before = torch.get_rng_state()
    trainer = toy_trainer(tmp_path, steps=100, task=ToyTask(dropout=0.0))
    result = run_to_end(trainer.run())
    losses = [e["loss"] for e in log(tmp_path) if "loss" in e]
    assert result.steps == 100 and result.reason == "finished" and len(losses) == 100
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    assert torch.equal(before, torch.get_rng_state())
    assert read_image(tmp_path / "curves.png").is_rgb


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_that_is_stopped_and_goes_on_is_bit_for_bit_the_uninterrupted_one(tmp_path, optimizer):
    whole = toy_trainer(optimizer=optimizer)
    run_to_end(whole.run())
    for _ in range(2):  # stopped twice
        part = toy_trainer(tmp_path, task=ToyTask(seed=5), optimizer=optimizer)
        part.task.backbone.load_state_dict(whole.task.backbone.state_dict())
        if not part.resume():
            part.task.load_state_dict(ToyTask().state_dict())
        steps = part.run()
        for _ in range(4):
            next(steps)
        steps.close()
    last = toy_trainer(tmp_path, task=ToyTask(seed=7), optimizer=optimizer)
    last.task.backbone.load_state_dict(whole.task.backbone.state_dict())
    assert last.resume() and last.step == 8
    run_to_end(last.run())
    assert equal(weights(whole), weights(last))
    assert [e["step"] for e in log(tmp_path) if "loss" in e] == list(range(1, 13))


def test_what_was_logged_after_the_kept_state_is_not_logged_twice(tmp_path):
    steps = toy_trainer(tmp_path, checkpoint_minutes=1000.0).run()
    for _ in range(3):
        next(steps)
    steps.close()
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 9, "loss": 1.0}\n{"step": 10, "lo')  # a process that was killed while it wrote
    trainer = toy_trainer(tmp_path)
    trainer.resume()
    run_to_end(trainer.run())
    assert [e["step"] for e in log(tmp_path) if "loss" in e] == list(range(1, 13))


def test_other_settings_another_network_and_damaged_states_are_refused(tmp_path):
    run_to_end(toy_trainer(tmp_path, steps=2).run())
    with pytest.raises(InputError, match=r"other settings \(weight_decay was 0.0001, is 0.1\)"):
        toy_trainer(tmp_path, steps=2, weight_decay=0.1).resume()
    longer = toy_trainer(tmp_path, steps=4)
    assert longer.resume() and run_to_end(longer.run()).steps == 4
    wide = ToyTask()
    wide.net[0] = torch.nn.Conv2d(1, 12, 3)
    with pytest.raises(InputError, match="another network"):
        toy_trainer(tmp_path, task=wide).resume()
    state = (tmp_path / "state.pt").read_bytes()
    for content, message in ((b"", "empty"), (state[: len(state) // 2], "cut off"), (b"PK nonsense", "damaged")):
        (tmp_path / "state.pt").write_bytes(content)
        with pytest.raises(InputError, match=message):
            toy_trainer(tmp_path).resume()
    torch.save({"format": "something else"}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="not the state of a training run"):
        toy_trainer(tmp_path).resume()
    torch.save({"format": "S3NetSegment training state", "version": 99}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="another version"):
        toy_trainer(tmp_path).resume()


def test_a_full_disk_leaves_the_last_good_state(tmp_path):
    resource = pytest.importorskip("resource")
    trainer = toy_trainer(tmp_path, steps=2)
    run_to_end(trainer.run())
    kept = (tmp_path / "state.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(ResourceError, match="disk or the quota is full"):
            RunFolder(tmp_path).write_state({"tensors": torch.zeros(5000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert (tmp_path / "state.pt").read_bytes() == kept
    assert not list(tmp_path.glob(".*"))


def test_a_loss_that_is_no_number_stops_with_the_last_good_state_and_the_cause(tmp_path):
    trainer = toy_trainer(tmp_path, task=ToyTask(poison=7), checkpoint_minutes=0.0)
    with pytest.raises(
        TrainingError, match=r"not a finite number at step 8 \(match; learning rate .*the state of step 7 is kept"
    ):
        run_to_end(trainer.run())
    assert RunFolder(tmp_path).read_state()["step"] == 7
    assert log(tmp_path)[-1] == {"event": "failed", "step": 8, "broken": "match"}


def test_after_a_loss_that_was_no_number_the_run_goes_on_with_the_remedies_that_are_named(tmp_path):
    class Fragile(ToyTask):
        rate = 1.0

        def forward(self, batch, progress):
            losses = super().forward(batch, progress)
            return losses if self.rate < 0.02 or batch["step"] < 7 else {"match": losses["match"] * float("inf")}

    with pytest.raises(
        TrainingError, match=r"Go on from there \(resume\), or begin anew, with one of learning_rate=0.013"
    ):
        run_to_end(toy_trainer(tmp_path, task=Fragile(), checkpoint_minutes=0.0).run())
    task = Fragile()
    task.rate = 0.0125
    again = toy_trainer(tmp_path, task=task, learning_rate=0.0125, precision="bf16", clip=1.0)
    assert again.resume() and again.step == 7
    result = run_to_end(again.run())
    assert result.steps == 12 and "From step 7 on with learning_rate 0.0125 instead of 0.05." in result.notes
    assert [e["step"] for e in log(tmp_path) if "loss" in e] == list(range(1, 13))


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    trainer = toy_trainer(tmp_path, checkpoint_minutes=0.0)
    steps = trainer.run()
    next(steps)
    trainer.task.average[0] = float("nan")
    with pytest.raises(TrainingError, match="'average' are not finite numbers"):
        next(steps)
    assert RunFolder(tmp_path).read_state()["step"] == 1


def test_too_little_memory_divides_the_batch_and_says_so(tmp_path):
    class Greedy(ToyTask):
        largest = 4

        def forward(self, batch, progress):
            if len(batch["image"]) > self.largest:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
            return super().forward(batch, progress)

    plain = toy_trainer(task=ToyTask(dropout=0.0), batch=8, optimizer="sgd")
    run_to_end(plain.run())
    task = Greedy(dropout=0.0)
    divided = toy_trainer(tmp_path, task=task, batch=8, optimizer="sgd")
    result = run_to_end(divided.run())
    assert "computed in 2 parts" in result.notes[0]
    for a, b in zip(plain.task.parameters(), divided.task.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    again = toy_trainer(tmp_path, task=Greedy(dropout=0.0), batch=8, optimizer="sgd", steps=13)
    again.resume()
    assert "computed in 2 parts" in run_to_end(again.run()).notes[0]
    none = Greedy()
    none.largest = 0
    with pytest.raises(ResourceError, match="not enough for one sample"):
        run_to_end(toy_trainer(task=none).run())


@pytest.mark.parametrize("side,threads", [(64, 1), (256, 2)])
def test_small_batches_are_computed_in_one_thread_and_large_ones_in_the_users_number(side, threads):
    class Watched(ToyTask):
        def forward(self, batch, progress):
            seen.append(torch.get_num_threads())
            return super().forward(batch, progress)

    seen, before = [], torch.get_num_threads()
    trainer = toy_trainer(task=Watched(), batch=8, side=side, steps=2)
    torch.set_num_threads(2)
    try:
        for _ in trainer.run():
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [threads] * 2


def scores(values):
    """A validation with these scores one after the other."""
    values = iter(values)

    def validate(step):
        yield Step(0.5, "looking")
        return {"score": next(values)}

    return validate


def test_the_best_validation_is_kept_and_patience_ends_the_run(tmp_path):
    kept = []
    trainer = toy_trainer(
        tmp_path,
        validate=scores([0.2, 0.5, 0.4, 0.3, 0.9]),
        keep_best=lambda *a: kept.append(a),
        validate_every=2,
        patience=2,
    )
    result = run_to_end(trainer.run())
    assert (result.steps, result.reason, result.best_step, result.best_score) == (8, "patience", 4, 0.5)
    assert kept == [(2, {"score": 0.2}), (4, {"score": 0.5})]
    again = toy_trainer(tmp_path, validate=scores([0.6] * 9), keep_best=lambda *a: kept.append(a), validate_every=2)
    again.resume()
    assert run_to_end(again.run()).best_step == 10  # the best before the stop still counts


def test_a_stop_during_validation_does_it_again(tmp_path):
    steps = toy_trainer(tmp_path, validate=scores([0.1]), validate_every=3).run()
    for step in steps:
        if step.message.startswith("Validation"):
            break
    steps.close()
    again = toy_trainer(tmp_path, validate=scores([0.7, 0.6, 0.5, 0.4]), validate_every=3)
    again.resume()
    assert again.step == 3
    assert run_to_end(again.run()).best_step == 3


@pytest.mark.parametrize("steps", [3, 12])
def test_a_wish_to_stop_that_comes_during_validation_is_heard_at_once_and_the_validation_stays_due(tmp_path, steps):
    wishes = []

    def long_validation(step):
        for number in range(1000):
            wishes.append(number)
            yield Step(number / 1000, "looking")
        raise AssertionError("nobody waits so long")

    trainer = toy_trainer(
        tmp_path, validate=long_validation, validate_every=3, stop=lambda: len(wishes) > 5, steps=steps
    )
    assert run_to_end(trainer.run()).reason == "stopped" and len(wishes) < 10
    state = RunFolder(tmp_path).read_state()
    assert state["step"] == 3 and state["validation_due"]
    stuck = toy_trainer(tmp_path, validate=long_validation, validate_every=3, stop=lambda: True, steps=steps)
    stuck.resume()
    assert run_to_end(stuck.run()).reason == "stopped"
    again = toy_trainer(tmp_path, validate=scores([0.7, 0.6, 0.5, 0.4]), validate_every=3, steps=steps)
    again.resume()
    result = run_to_end(again.run())
    assert (result.best_step, result.steps, result.reason) == (3, steps, "finished")


def test_without_validation_the_last_state_is_kept():
    kept = []
    run_to_end(toy_trainer(keep_best=lambda *a: kept.append(a)).run())
    assert kept == [(12, {})]


@pytest.mark.parametrize("slower", [1, 3])
def test_steps_are_planned_to_fit_into_the_minutes(tmp_path, slower):
    """Also where the machine becomes slower after a third of the time."""
    now = [0.0]

    def clock():
        now[0] += 0.1 if now[0] < 20 else 0.1 * slower  # each look at the clock; a few in each step
        return now[0]

    trainer = toy_trainer(tmp_path, steps=100_000, minutes=1.0, clock=clock)
    result = run_to_end(trainer.run())
    plans = [e["steps"] for e in log(tmp_path) if e.get("event") == "plan"]
    assert result.steps == plans[-1] < 1000 and 50 < result.seconds <= 61 and result.reason == "finished"
    assert log(tmp_path)[-2]["learning_rate"] < 0.05 * 0.05  # the schedule has come to its end
    more = toy_trainer(tmp_path, steps=100_000, minutes=2.0, clock=clock)
    more.resume()
    assert run_to_end(more.run()).steps > 1.4 * result.steps


def test_a_measure_that_is_no_number_does_not_stop_the_run(tmp_path):
    class Unsure(ToyTask):
        def forward(self, batch, progress):
            return {**super().forward(batch, progress), "_sure": torch.tensor(float("nan"))}

    assert run_to_end(toy_trainer(tmp_path, task=Unsure()).run()).steps == 12
    assert log(tmp_path)[0]["_sure"] is None


def test_numbers_go_to_tensorboard_where_it_is_installed(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def close(self):
            written.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    run_to_end(toy_trainer(tmp_path, steps=2).run())
    assert written[0] == (str(tmp_path / "tensorboard"), 1) and written[-1] == "closed"
    assert {("loss", 1), ("match", 2), ("learning_rate", 2)} <= {w for w in written if len(w) == 2}


@pytest.mark.parametrize("seed", range(3))
def test_the_plan_stays_where_the_speed_only_trembles_and_is_not_told_before_it_is_known(tmp_path, seed):
    now, numbers = [0.0], np.random.default_rng(seed)

    def clock():
        now[0] += 0.1 * numbers.uniform(0.9, 1.1)
        return now[0]

    run_to_end(toy_trainer(tmp_path, steps=100_000, minutes=1.0, clock=clock).run())
    entries = list(log(tmp_path))
    plans = [e for e in entries if e.get("event") == "plan"]
    assert len(plans) <= 2 and plans[-1]["steps"] == pytest.approx(plans[0]["steps"], rel=0.06)
    told = [(e["step"], e.get("steps")) for e in entries if "loss" in e and "event" not in e]
    assert {steps for step, steps in told if step < plans[0]["step"]} <= {None}
    assert {steps for step, steps in told if step > plans[0]["step"]} == {plan["steps"] for plan in plans}
