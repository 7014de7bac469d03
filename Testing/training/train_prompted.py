"""Trains the network of box prompts on synthetic scenes.

    python3 Testing/training/train_prompted.py --folder RUN --bank BANK --only-bank                   beside it: makes 24,000 scenes
    python3 Testing/training/train_prompted.py --folder RUN --bank BANK --minutes 60 --compile        boxes that fit
    cp RUN/weights.npz fitting.npz
    python3 Testing/training/train_prompted.py --folder RUN --bank BANK --minutes 17 --loose 0.4 --finish --compile    then with room
    python3 Testing/training/train_prompted.py --folder RUN --mean-of fitting.npz RUN/weights.npz     the mean of both
    cp RUN/weights.npz mean.npz
    python3 Testing/training/train_prompted.py --folder NEXT --bank BANK --start mean.npz --minutes 60 --loose 0.3 --compile --workers 1
    python3 Testing/training/train_prompted.py --folder NEXT --bank BANK --minutes 26 --loose 0.3 --compile --workers 1 --finish

Stops after ``--minutes`` (of this process's time) and goes on from there when started again, at a constant rate; the last call, with
``--finish``, lets it fall to 0. ``weights.npz`` is the average of the weights; that of the last call is what ships. The mean of the first
two phases answers boxes that fit as well as the first and boxes with room nearly as well as the second
(``Testing/benchmarks/segment/prompts.py``, with and without ``--room 0.15``); going on from it raises both.
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
from prompt_scenes import PART, Bank, Shown, fill_bank, shown  # noqa: E402
from prompted_net import PromptedNet  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from S3NetSegmentLib.engine.common.affine2d import Affine2d  # noqa: E402
from S3NetSegmentLib.engine.segment.objects.box_network import BoxNetwork  # noqa: E402
from S3NetSegmentLib.engine.training.trainer.optimisation import averaged_copy, update_average  # noqa: E402

BATCH = 32
RATE, WARM_UP = 2e-3, 200
AVERAGE = 0.999
BANK_SEED = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the run and its state are")
    parser.add_argument(
        "--bank", type=Path, help="folder of scenes; the first thousand are made where they are missing"
    )
    parser.add_argument(
        "--mean-of", type=Path, nargs="+", help="train nothing: RUN/weights.npz becomes the mean of these"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="weights that a new run begins with, such as those that ship; a run that goes on does not look at them",
    )
    parser.add_argument("--scenes", type=int, default=24000, help="scenes of the bank (default %(default)s)")
    parser.add_argument(
        "--only-bank", action="store_true", help="make scenes, beside others that do, and train nothing"
    )
    parser.add_argument(
        "--blocks", choices=("s3net", "plain"), default="plain", help="the encoder (default %(default)s)"
    )
    parser.add_argument("--consistency", type=float, default=0.0, help="weight of consistency over transformation")
    parser.add_argument(
        "--compile", action="store_true", help="with PyTorch's compiler, which is quicker; needs a C++ compiler"
    )
    parser.add_argument(
        "--minutes", type=float, default=20, help="time of this process, without its workers (default %(default)s)"
    )
    parser.add_argument(
        "--loose", type=float, default=0.0, help="share of boxes with room on all sides (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that make cut-outs beside the training (default %(default)s)"
    )
    parser.add_argument("--finish", action="store_true", help="let the rate fall to 0 during this call")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.mean_of:
        save_mean(options.mean_of, options.folder / "weights.npz")
        return
    if options.bank is None:
        parser.error("--bank is missing: name a folder for the scenes")
    if options.only_bank:
        fill_bank(options.bank, options.scenes, BANK_SEED)
        return
    fill_bank(options.bank, 2 * PART, BANK_SEED)
    Training(options).run()


def save_mean(files: list[Path], to: Path) -> None:
    """The mean of the weights in ``files``; what it says of its training is what the last one says."""
    read = [dict(np.load(path, allow_pickle=False)) for path in files]
    about = read[-1].pop("about")
    mean = {n: np.mean([own[n].astype(np.float32) for own in read], 0).astype(np.float16) for n in read[-1]}
    np.savez(to, about=about, **mean)


class Batches(Dataset):
    """The batch of each step: inputs ``[BATCH, 5, SIDE, SIDE]`` and truths ``[BATCH, SIDE, SIDE]``."""

    def __init__(self, bank: Bank, options):
        self._bank, self._options = bank, options

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        self._bank.refresh()
        rng = np.random.default_rng([self._options.seed, 7, step])
        examples: list[Shown] = []
        while len(examples) < BATCH:
            example = shown(self._bank.draw(rng), rng, self._options.loose)
            examples += [] if example is None else [example]
        return _stacked(examples)


class Training:
    """Network, its average, optimiser and counters; saved every few minutes."""

    def __init__(self, options):
        self.options, self.file = options, options.folder / "state.pt"
        self.bank = Bank(options.bank)
        torch.manual_seed(options.seed)
        self.network = PromptedNet(options.blocks).to(memory_format=torch.channels_last)
        self.step, self.seconds = 0, 0.0
        self.before = {"samples": 0, "minutes": 0.0}  # of the training of the weights that this one began with
        if options.start and not self.file.exists():
            self._start_from(options.start)
        self.average = averaged_copy(self.network)
        self.compiled = torch.compile(self.network) if options.compile else self.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), RATE, weight_decay=1e-3, fused=True)
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.before = state["step"], state["seconds"], state["before"]
        rng = np.random.default_rng(99)
        self.held_out = [example for s in self.bank.held_out if (example := shown(s, rng, options.loose)) is not None]

    def _start_from(self, path: Path) -> None:
        begun = BoxNetwork.load(path)
        blocks = begun.about["blocks"]
        if blocks != self.options.blocks:
            raise SystemExit(f"{path} has blocks {blocks!r}, not {self.options.blocks!r}: name them by --blocks")
        self.network.load_state_dict({name: torch.from_numpy(array) for name, array in begun.weights.items()})
        self.before = {name: begun.about[name] for name in self.before}

    def run(self) -> None:
        start, before, dice, saved = time.process_time(), self.seconds, [], time.process_time()
        budget = 60 * self.options.minutes
        batches = iter(self._batches())
        while (spent := time.process_time() - start) < budget:
            left = 1 - spent / budget
            rate = RATE * min(1.0, (self.step + 1) / WARM_UP) * (left if self.options.finish else 1.0)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            dice.append(self._one_step(*next(batches)))
            self.step += 1
            self.seconds = before + time.process_time() - start
            if time.process_time() - saved > 120:
                self._save(float(np.mean(dice)))
                dice, saved = [], time.process_time()
        self._save(float(np.mean(dice or [0])))

    def _batches(self) -> DataLoader:
        """The batches of this step and all later ones."""
        steps = range(self.step, sys.maxsize)
        return DataLoader(
            Batches(self.bank, self.options), batch_size=None, sampler=steps, num_workers=self.options.workers
        )

    def _one_step(self, inputs: torch.Tensor, truth: torch.Tensor) -> float:
        logits = self._logits(inputs)
        loss, dice = _loss(logits, truth)
        if self.options.consistency and self.step % 4 == 0:
            rng = np.random.default_rng([self.options.seed, 8, self.step])
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
            return self.compiled(inputs.to(memory_format=torch.channels_last)).float()

    def _save(self, dice: float) -> None:
        state = {"network": self.network.state_dict(), "average": self.average.state_dict(), "step": self.step}
        state |= {"optimizer": self.optimizer.state_dict(), "seconds": self.seconds, "before": self.before}
        part = self.file.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.file)
        arrays = {name: value.numpy().astype(np.float16) for name, value in self.average.state_dict().items()}
        samples = self.before["samples"] + self.step * BATCH
        minutes = self.before["minutes"] + self.seconds / 60
        about = {"blocks": self.options.blocks, "samples": samples, "minutes": minutes}
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
            inputs, truth = _stacked(self.held_out[first : first + BATCH])
            answer = self.average(inputs) > 0
            found.append(2 * (answer * truth).sum((1, 2)) / (answer.sum((1, 2)) + truth.sum((1, 2))))
        return float(torch.cat(found).mean())


def _stacked(examples: list[Shown]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([e.inputs for e in examples]), torch.stack([e.truth for e in examples])


def _loss(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """(1 - soft Dice) of each picture plus cross-entropy; and the mean soft Dice."""
    probabilities = logits.sigmoid()
    shared, total = (probabilities * truth).sum((1, 2)), (probabilities + truth).sum((1, 2))
    dice = ((2 * shared + 1) / (total + 1)).mean()
    return 1 - dice + F.binary_cross_entropy_with_logits(logits, truth), float(dice.detach())


if __name__ == "__main__":
    main()
