"""Training in processes of its own: several at once, killed, stopped."""

import os
import signal
import subprocess
import sys
import time

import ideal_processes
import pytest
import torch
import toy_training
from forked import forked_ranks
from ideal_processes import BATCH, ideal_trainer
from paths import REPOSITORY
from toy_training import ToyTask, toy_trainer

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.training.trainer import processes as training_processes
from S3NetSegmentLib.engine.training.trainer.processes import joined_processes
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    forked_ranks(toy_training.train_in_processes, tmp_path)
    one = toy_trainer(task=ToyTask(dropout=0.0), batch=4, optimizer="sgd")
    run_to_end(one.run())
    both = [torch.load(tmp_path / f"rank{r}.pt") for r in (0, 1)]
    assert equal(both[0], both[1])
    assert all(torch.allclose(both[0][n], t, atol=1e-6) for n, t in one.task.state_dict().items())
    assert [e["step"] for e in RunFolder(tmp_path).entries() if "loss" in e] == list(range(1, 13))  # one process wrote
    # a thread of Gloo that outlives the group aborts the process where it meets the end of Python
    assert [(tmp_path / f"threads{rank}.txt").read_text() for rank in (0, 1)] == ["", ""]


@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_ideal_in_two_processes_equals_one_that_computes_the_batch_in_two_parts(tmp_path, kind):
    forked_ranks(ideal_processes.train_in_processes, kind, tmp_path)
    one = ideal_trainer(kind, 2 * BATCH)
    one._optimisation._parts = 2  # as for lack of memory
    before = {n: t.clone() for n, t in one.task.state_dict().items()}
    run_to_end(one.run())
    both = [torch.load(tmp_path / f"rank{r}.pt") for r in (0, 1)]
    assert equal(both[0], both[1])
    # how far the teacher is to be trusted is counted on the slices of the first process alone
    after = {n: t for n, t in one.task.state_dict().items() if not n.startswith("trust.")}
    assert all(torch.allclose(both[0][n], t, atol=2e-5) for n, t in after.items())
    assert max((after[n] - t).abs().max().item() for n, t in before.items() if n in after) > 1e-3  # it has learnt


@pytest.mark.parametrize("kind", ["finetune", "pretrain"])
def test_ideal_in_bfloat16_follows_float32(kind):
    losses = {}
    for precision in ("fp32", "bf16"):
        trainer = ideal_trainer(kind, precision=precision)
        seen = losses[precision] = []
        trainer._record = lambda values, seen=seen: seen.append(float(values["loss"]))
        run_to_end(trainer.run())
        assert all(torch.isfinite(t).all() for t in trainer.task.state_dict().values() if t.is_floating_point())
        assert all(p.dtype == torch.float32 for p in trainer.task.parameters())
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.03)
    assert losses["bf16"] != losses["fp32"]


def test_a_loss_that_is_no_number_in_one_process_is_told_by_all(tmp_path):
    forked_ranks(toy_training.train_into_nothing, tmp_path)
    told = [(tmp_path / f"told{rank}.txt").read_text() for rank in (0, 1)]
    assert all(
        "not a finite number at step 6 (match;" in text and "the state of step 5 is kept" in text for text in told
    )


# ---- devices


@pytest.fixture
def machine(monkeypatch):
    """A machine with two CUDA devices, started by torchrun as its second process; returns what is done in order."""
    done = []
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("set", device)))
    chosen = lambda name: done.append(("choose", name)) or torch.device("cpu" if name == "cpu" else "cuda")  # noqa: E731
    monkeypatch.setattr(training_processes, "choose_device", chosen)
    dist = training_processes.dist
    monkeypatch.setattr(
        dist, "init_process_group", lambda backend, **more: done.append((backend, more.get("device_id")))
    )
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: done.append("left"))
    return done


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_each_process_takes_its_own_cuda_device_before_anything_touches_cuda(machine, name):
    with joined_processes(name) as (processes, device):
        assert (processes.rank, processes.count, device) == (1, 2, torch.device("cuda", 1))
    assert machine == [("set", 1), ("choose", name), ("nccl", torch.device("cuda", 1)), "left"]


def test_processes_without_cuda_compute_on_the_cpu(machine, monkeypatch):
    with joined_processes("cpu") as (_, device):
        assert device == torch.device("cpu")
    assert machine == [("choose", "cpu"), ("gloo", None), "left"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(training_processes, "choose_device", lambda name: torch.device("mps"))
    with joined_processes("auto") as (_, device):
        assert device == torch.device("cpu")  # several processes cannot share an Apple GPU


@pytest.mark.parametrize(
    ("name", "local", "said"),
    [("cuda:1", 0, "all processes would share it"), ("mps", 0, "only CUDA and the CPU"), ("cuda", 2, "it has 2 CUDA devices")],
)  # fmt: skip
def test_devices_that_several_processes_cannot_have_are_refused(machine, monkeypatch, name, local, said):
    monkeypatch.setenv("LOCAL_RANK", str(local))
    with pytest.raises(InputError, match=said), joined_processes(name):
        pass
    assert not machine


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_process_that_is_killed_or_stopped_leaves_a_state_to_go_on_from(tmp_path, number):
    command = [sys.executable, str(REPOSITORY / "Testing" / "support" / "toy_training.py"), str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    seen = 0
    for line in process.stdout:
        seen = int(line.split()[2])
        if seen >= 20:
            time.sleep(0.02)  # at any point of a step or of a write
            process.send_signal(getattr(signal, number))
            break
    rest = process.stdout.read().splitlines()
    process.wait(timeout=600)
    seen = max([seen, *(int(line.split()[2]) for line in rest if line.count(" ") >= 4)])
    state = RunFolder(tmp_path).read_state()
    assert seen - 1 <= state["step"] <= seen + 1
    again = toy_trainer(tmp_path, steps=100_000, schedule="constant", warmup=0.0, checkpoint_minutes=0.0)
    assert again.resume()
    steps = again.run()
    for _ in range(3):
        next(steps)
    steps.close()
    straight = toy_trainer(steps=100_000, schedule="constant", warmup=0.0)
    walk = straight.run()
    while straight.step < again.step:
        next(walk)
    assert equal(straight.task.state_dict(), again.task.state_dict())
    walk.close()
