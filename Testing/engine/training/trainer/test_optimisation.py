"""What changes the weights in a step: learning rates, groups of parameters, precision, and the optimiser itself."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_training import ToyTask, toy_trainer

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.nets.unet import CHANNELS, UNetEncoder
from S3NetSegmentLib.engine.training.settings import TrainerSettings, rate_factor
from S3NetSegmentLib.engine.training.trainer.optimisation import chosen_precision, make_optimizer


@pytest.mark.parametrize("schedule", ["cosine", "poly", "stairs", "constant"])
def test_the_learning_rate_rises_and_falls(schedule):
    settings = TrainerSettings(schedule=schedule, warmup=0.1, decay_steps=100, decay=0.5)
    rates = [rate_factor(settings, n, 1000) for n in range(1000)]
    assert (
        rates[0] < 0.02 and max(rates[:150]) > 0.49 and all(np.diff(rates[:100]) > 0) and all(np.diff(rates[100:]) <= 0)
    )
    end = {"cosine": 0.0, "poly": 0.002, "stairs": 0.5**9, "constant": 1.0}[schedule]
    assert rates[-1] == pytest.approx(end, abs=2e-3)
    middle = {"cosine": 0.5, "poly": 0.5**0.9, "stairs": 0.5**5, "constant": 1.0}[schedule]
    assert rates[550] == pytest.approx(middle, abs=1e-6)


def test_nothing_to_train_and_impossible_precision_are_refused():
    with pytest.raises(InputError, match="no weight of the network is to be trained"):
        toy_trainer(task=ToyTask(frozen=True))
    with pytest.raises(InputError, match="precision is 'fp16', which needs a CUDA device"):
        toy_trainer(precision="fp16")


def test_bf16_trains_on_the_cpu_too():
    trainer = toy_trainer(precision="bf16")
    run_to_end(trainer.run())
    assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in trainer.task.parameters())


@pytest.mark.parametrize(("channels", "shape", "across"), [
    ("unet", (4, 1, 32, 32), ()), ("tiny", (4, 1, 32, 32), ()), ("tiny", (4, 1, 4, 32, 32), (2, 1, 1)),
])  # fmt: skip
def test_in_the_precision_that_is_chosen_the_gradients_are_those_of_float32(channels, shape, across):
    torch.manual_seed(0)
    network = UNetEncoder(1, CHANNELS[channels], dropout=False, across=across)
    image = torch.randn(shape)
    of = []
    for dtype in (None, chosen_precision(TrainerSettings(), torch.device("cpu"), is_3d=bool(across))):
        network.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            maps = network(image)
        sum((m.float() ** 2).mean() for m in maps).backward()
        of.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.ndim == image.ndim]))
    assert torch.linalg.norm(of[1] - of[0]) < 0.3 * torch.linalg.norm(of[0])


def test_3d_networks_are_not_trained_in_bf16_on_a_cpu():
    cpu, task = torch.device("cpu"), ToyTask()
    task.volumes = torch.nn.Conv3d(1, 2, 3)
    assert chosen_precision(TrainerSettings(), cpu, is_3d=True) is None
    assert chosen_precision(TrainerSettings(precision="bf16"), cpu) is torch.bfloat16
    with pytest.raises(InputError, match="precision is 'bf16', in which a CPU computes wrong gradients of 3D networks"):
        toy_trainer(task=task, precision="bf16")


def test_groups_of_parameters_have_their_own_rates_and_loss_alone_is_minimised_where_it_is_given():
    class Grouped(ToyTask):
        def parameter_groups(self):
            return [{"params": self.net[0].parameters(), "rate": 0.0}, {"params": self.net[4].parameters()}]

        def forward(self, batch, progress):
            losses = super().forward(batch, progress)
            return {"match": 1000 * losses["match"].detach(), "loss": losses["match"]}

    task = Grouped(dropout=0.0)
    before = {n: t.clone() for n, t in task.net.state_dict().items()}
    trainer = toy_trainer(task=task)
    run_to_end(trainer.run())
    changed = {n for n, t in task.net.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"4.weight", "4.bias"}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_the_optimiser_takes_the_steps_of_torchs_also_after_it_was_kept(kind):
    settings = TrainerSettings(optimizer=kind)
    own, theirs = (torch.linspace(-1, 1, 7).requires_grad_() for _ in range(2))
    task = SimpleNamespace(parameter_groups=lambda: [{"params": [own]}])
    mine = make_optimizer(task, settings)
    options = {"weight_decay": settings.weight_decay} | ({"momentum": 0.9} if kind == "sgd" else {})
    reference = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind]([theirs], settings.learning_rate, **options)
    for step in range(6):
        if step == 3:
            kept, mine = mine.state_dict(), make_optimizer(task, settings)
            mine.load_state_dict(kept)
        for weight, optimizer in ((own, mine), (theirs, reference)):
            optimizer.zero_grad()
            ((weight - 2) ** 4).sum().backward()
            optimizer.step()
        assert torch.equal(own, theirs)
    assert own.requires_grad and not torch.equal(own, torch.linspace(-1, 1, 7))
