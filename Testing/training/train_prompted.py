"""Trains the network of box prompts on synthetic scenes: ``python3 Testing/training/train_prompted.py --folder RUN --bank FILE``.

Stops after ``--minutes`` (of processor time) and goes on from there when started again. Training at a constant rate; the
last tenth of the time, with ``--finish``, the rate falls to 0. ``RUN/weights.npz`` is the average of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing / "training"), str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from prompt_scenes import Shown, banked, corrected, load_bank, save_bank, shown  # noqa: E402
from prompted_net import PromptedNet, network_input, point_map  # noqa: E402

from S3NetSegmentLib.engine.common.affine2d import Affine2d  # noqa: E402
from S3NetSegmentLib.engine.training.trainer.optimisation import averaged_copy, update_average  # noqa: E402

BATCH = 16
RATE, WARM_UP = 2e-3, 200
AVERAGE = 0.998
HELD_OUT = 400  # scenes at the bank's end that are only looked at
_CORRECTED = 0.25  # share of the steps in which the network corrects its own first answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the run and its state are")
    parser.add_argument("--bank", type=Path, required=True, help="file of scenes, made if it is not there")
    parser.add_argument("--scenes", type=int, default=8000, help="scenes of a new bank (default %(default)s)")
    parser.add_argument(
        "--blocks", choices=("s3net", "plain"), default="s3net", help="the encoder (default %(default)s)"
    )
    parser.add_argument("--consistency", type=float, default=0.3, help="weight of consistency over transformation")
    parser.add_argument("--minutes", type=float, default=20, help="processor time of this call (default %(default)s)")
    parser.add_argument("--finish", action="store_true", help="let the rate fall to 0 at the end of this call")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.scenes <= HELD_OUT:
        parser.error(f"--scenes {options.scenes}: {HELD_OUT} are only looked at; give more")
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.bank.exists():
        save_bank([banked(options.seed + 500, number) for number in range(options.scenes)], options.bank)
    Training(options).run()


class Training:
    """Network, its average, optimiser and counters; saved every few minutes."""

    def __init__(self, options):
        self.options, self.file = options, options.folder / "state.pt"
        bank = load_bank(options.bank)
        self.bank, held_out = bank[:-HELD_OUT], bank[-HELD_OUT:]
        torch.manual_seed(options.seed)
        self.network = PromptedNet(options.blocks).to(memory_format=torch.channels_last)
        self.average = averaged_copy(self.network)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), RATE, weight_decay=1e-3)
        self.step, self.seconds = 0, 0.0
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
        rng = np.random.default_rng(99)
        self.held_out = [example for s in held_out if (example := shown(s, rng)) is not None]

    def run(self) -> None:
        start, before, dice, saved = time.process_time(), self.seconds, [], time.process_time()
        budget = 60 * self.options.minutes
        while (spent := time.process_time() - start) < budget:
            left = (budget - spent) / (0.25 * budget)
            rate = RATE * min(1.0, (self.step + 1) / WARM_UP) * (min(1.0, left) if self.options.finish else 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            dice.append(self._one_step(np.random.default_rng([self.options.seed, 7, self.step])))
            self.step += 1
            self.seconds = before + time.process_time() - start
            if time.process_time() - saved > 120:
                self._save(float(np.mean(dice)))
                dice, saved = [], time.process_time()
        self._save(float(np.mean(dice or [0])))

    def _one_step(self, rng: np.random.Generator) -> float:
        examples = []
        while len(examples) < BATCH:
            example = shown(self.bank[int(rng.integers(len(self.bank)))], rng)
            examples += [] if example is None else [example]
        features, box, inside, outside, truth = _stacked(examples)
        answer = torch.full_like(truth, 0.5)
        if rng.random() < _CORRECTED:
            with torch.no_grad():
                answer = self._probabilities(self.network, features, box, inside, outside, answer)
            inside, outside = inside.clone(), outside.clone()
            for n, (mine, true) in enumerate(zip(answer, truth, strict=True)):
                found = corrected((mine > 0.5).numpy(), true.bool().numpy())
                if found is not None:
                    target = inside if found[1] else outside
                    target[n] = torch.maximum(target[n], point_map(found[0], target.shape[1:]))
        inputs = network_input(features, box, inside, outside, answer)
        logits = self._logits(inputs)
        loss, dice = _loss(logits, truth)
        if self.options.consistency and self.step % 4 == 0:
            generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
            views = Affine2d.random(
                generator, inputs.shape[-2:], BATCH, rotation=180, scaling=0.15, shear=0.1, shift=0.1
            )
            loss = loss + self.options.consistency * self._inconsistency(inputs, logits, views)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        update_average(self.average, self.network, min(AVERAGE, 1 - 1 / (self.step + 1)))
        return dice

    def _inconsistency(self, inputs, logits, views: Affine2d) -> torch.Tensor:
        """S3-Net's consistency over transformation: the answer to the moved input against the moved answer."""
        moved = self._logits(views.warp(inputs, (1.0, 1.0), padding="border"))
        expected = views.warp(logits.detach().sigmoid()[:, None], (1.0, 1.0))[:, 0]
        valid = views.validity(inputs.shape[-2:], (1.0, 1.0))[:, 0]
        loss = F.binary_cross_entropy_with_logits(moved, expected, reduction="none")
        return (loss * valid).sum() / valid.sum().clamp_min(1)

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.network(inputs.to(memory_format=torch.channels_last)).float()

    @staticmethod
    def _probabilities(network, *prompt) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(network_input(*prompt).to(memory_format=torch.channels_last)).float().sigmoid()

    def _save(self, dice: float) -> None:
        state = {"network": self.network.state_dict(), "average": self.average.state_dict(), "step": self.step}
        state |= {"optimizer": self.optimizer.state_dict(), "seconds": self.seconds}
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.file)
        arrays = {name: value.numpy().astype(np.float16) for name, value in self.average.state_dict().items()}
        about = {"blocks": self.options.blocks, "samples": self.step * BATCH, "minutes": self.seconds / 60}
        np.savez(self.options.folder / "weights.npz", about=np.array(json.dumps(about)), **arrays)
        seen = self._held_out_dice()
        line = about | {"soft dice": round(dice, 4), "held-out dice": round(seen, 4), "wall": round(time.time())}
        with (self.options.folder / "curve.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)

    @torch.no_grad()
    def _held_out_dice(self) -> float:
        """Mean Dice of the averaged network over the held-out scenes."""
        found = []
        for first in range(0, len(self.held_out), BATCH):
            features, box, inside, outside, truth = _stacked(self.held_out[first : first + BATCH])
            answer = (
                self._probabilities(self.average, features, box, inside, outside, torch.full_like(truth, 0.5)) > 0.5
            )
            found.append(2 * (answer * truth).sum((1, 2)) / (answer.sum((1, 2)) + truth.sum((1, 2))))
        return float(torch.cat(found).mean())


def _stacked(examples: list[Shown]) -> tuple[torch.Tensor, ...]:
    names = ("features", "box", "inside", "outside", "truth")
    return tuple(torch.stack([getattr(example, name) for example in examples]) for name in names)


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(1 - soft Dice) of each picture plus cross-entropy; and the mean soft Dice."""
    probabilities = logits.sigmoid()
    shared, total = (probabilities * truth).sum((1, 2)), (probabilities + truth).sum((1, 2))
    dice = ((2 * shared + 1) / (total + 1)).mean()
    return 1 - dice + F.binary_cross_entropy_with_logits(logits, truth), float(dice.detach())


if __name__ == "__main__":
    main()
