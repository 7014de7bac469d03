"""Training in processes of its own: several at once, killed, stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from paths import REPOSITORY
from toy_training import ToyTask, toy_trainer

from S3NetSegmentLib.engine import drain
from S3NetSegmentLib.engine.training.run_folder import RunFolder

TOY = REPOSITORY / "Testing" / "toy_training.py"


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    code = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-port=0",
        "--rdzv-backend=c10d",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOY.parent.parent / "S3NetSegment")}
    command = [*code, "--rdzv-endpoint=localhost:0", str(TOY), "processes", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    one = toy_trainer(task=ToyTask(dropout=0.0), batch=4, optimizer="sgd")
    drain(one.run())
    both = [torch.load(tmp_path / f"rank{r}.pt") for r in (0, 1)]
    assert equal(both[0], both[1])
    assert all(torch.allclose(both[0][n], t, atol=1e-6) for n, t in one.task.state_dict().items())
    assert [e["step"] for e in RunFolder(tmp_path).entries() if "loss" in e] == list(range(1, 13))  # one process wrote


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM"])
def test_a_process_that_is_killed_or_stopped_leaves_a_state_to_go_on_from(tmp_path, number):
    command = [sys.executable, str(TOY), "slow", str(tmp_path)]
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
    process.wait(timeout=30)
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
