"""The optimiser of the appearance is torch's, without loading torch's compiler."""

import os
import subprocess
import sys

import pytest
import torch

from S3NetSegmentLib.engine.few_shot.voters.appearance import OneCycleAdamW


@pytest.mark.parametrize("steps", [20, 250])
def test_every_step_equals_torchs_adamw_under_its_one_cycle_schedule(steps):
    generator = torch.Generator().manual_seed(3)
    start = [torch.randn(4, 5, generator=generator), torch.randn(5, generator=generator)]
    target = [torch.randn(p.shape, generator=generator) for p in start]
    own, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
    mine = OneCycleAdamW(own, 6e-3, 1e-2, steps)
    reference = torch.optim.AdamW(theirs, 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(reference, 6e-3, total_steps=steps)
    for _ in range(steps):
        for parameters in (own, theirs):
            sum(((p - t) ** 4).sum() for p, t in zip(parameters, target, strict=True)).backward()
        mine.step()
        reference.step()
        schedule.step()
        reference.zero_grad()
        for a, b in zip(own, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_learning_the_appearance_and_training_do_not_load_torchs_compiler():
    script = (
        "import sys, types, torch\n"
        "from S3NetSegmentLib.engine import run_to_end\n"
        "from S3NetSegmentLib.engine.few_shot.voters.appearance import fit_pixels\n"
        "x = torch.randn(200, 6)\n"
        "y = torch.nn.functional.one_hot((x[:, 0] > 0).long(), 2).float()\n"
        "run_to_end(fit_pixels(x, y, 0, 20))\n"
        "from S3NetSegmentLib.engine.training.optimisation import make_optimizer\n"
        "from S3NetSegmentLib.engine.training.settings import TrainerSettings\n"
        "weight = torch.nn.Parameter(torch.ones(3))\n"
        "task = types.SimpleNamespace(parameter_groups=lambda: [{'params': [weight]}])\n"
        "for kind in ('adamw', 'sgd'):\n"
        "    optimizer = make_optimizer(task, TrainerSettings(optimizer=kind))\n"
        "    weight.square().sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.zero_grad()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
