"""What several models, mirrored slices bring: ``python3 Testing/benchmarks/training/train_ensembles.py``.

Models of the preset ``tiny`` with the same few labelled ACDC patients and different seeds, for each of the divisions of ``train_arms.py``:
each alone, the mean of the first three and of all, and the first with its slices mirrored, too (training does not mirror them by
default; ``--change flip=true`` does). Mean Dice (%) of the classes on the volumes' own voxels; failures are structures below 50.
Last come the means over all divisions.

    --steps N, --members M, --seeds S,... (divisions), --change NAME=VALUE     as for train_arms.py; a model takes one to four minutes
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from train_arms import Recipe, arm_batches, arm_settings, failures, trained  # noqa: E402
from train_cases import SETS, drawn_cohorts, volume_dice  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.nets.unet import CHANNELS  # noqa: E402
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning  # noqa: E402
from S3NetSegmentLib.engine.training.slices.bank import SliceBank, build_bank  # noqa: E402


class Mean(torch.nn.Module):
    """The mean probabilities of ``networks``, with ``flip`` also of mirrored slices, as logits."""

    def __init__(self, networks: list[torch.nn.Module], flip: bool = False):
        super().__init__()
        self.networks, self._flip = torch.nn.ModuleList(networks), flip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = [network(images).softmax(1) for network in self.networks]
        if self._flip:
            found += [network(images.flip(-1)).softmax(1).flip(-1) for network in self.networks]
        return torch.stack(found).mean(0).log()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--labelled", type=int, default=3)
    parser.add_argument("--seeds", type=lambda t: [int(v) for v in t.split(",")], default=[0, 1, 2])
    parser.add_argument("--change", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    others = {"pretraining_change": [], "pretraining_steps": None, "paper_steps": None}
    recipe = Recipe.of(argparse.Namespace(**vars(options), **others))
    data = SETS["acdc"].seen_by(recipe.cohort)
    scores: dict[str, list[np.ndarray]] = {}  # of each division, [volumes, classes]; first those of the single models
    print("| division | models | Dice | failures |\n|---|---|---|---|", flush=True)
    for division in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            train, test = drawn_cohorts(data, options.labelled, division, Path(folder))
            bank = run_to_end(build_bank(train.cases, train.classes, data.layout))
            networks = [network(bank, recipe, 10 * division + member) for member in range(options.members)]
            wanted = {f"{n}": Mean([one]) for n, one in enumerate(networks, 1)}
            wanted |= {f"mean of {n}": Mean(networks[:n]) for n in sorted({3, len(networks)}) if 1 < n <= len(networks)}
            wanted["1, mirrored, too"] = Mean(networks[:1], flip=True)
            for name, model in wanted.items():
                dice = np.array([volume_dice(model, case, data.layout, test) for case in test.cases])
                scores.setdefault(name, []).append(dice)
                print(row(division, name, [dice]), flush=True)
            alone = [scores[f"{n}"][-1] for n in range(1, options.members + 1)]
            print(row(division, f"one model (mean of the {options.members})", alone), flush=True)
    for name, each in scores.items():
        print(row("all", name, each))
    alone = [dice for n in range(1, options.members + 1) for dice in scores[f"{n}"]]
    print(row("all", f"one model (mean of the {options.members})", alone))


def row(division: int | str, name: str, scores: list[np.ndarray]) -> str:
    """A row of the table: means over ``scores``, the Dice of models or divisions."""
    dice, failed = (np.mean([f(one) for one in scores]) for f in (np.nanmean, failures))
    return f"| {division} | {name} | {100 * dice:.1f} | {failed:.1f} |"


def network(bank: SliceBank, recipe: Recipe, seed: int) -> torch.nn.Module:
    """A network that was trained as the arm ``plus`` of ``train_arms.py``."""
    settings = arm_settings("plus", recipe)
    across = bank.layout.across(len(CHANNELS[settings.network]))
    task = IdealFinetuning(
        len(SETS["acdc"].classes) + 1, settings, in_channels=bank.layout.inputs, across=across, seed=seed
    )
    trained(task, arm_batches("plus", bank, seed, recipe), recipe.trainer, seed)
    return task.predictor()


if __name__ == "__main__":
    main()
