"""The labelled sets of the training benchmark: which patients train and which test, and the score of a volume."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

_testing = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from paths import SHARED_DATA  # noqa: E402

from S3NetSegmentLib.engine.common.progress import run_to_end  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402
from S3NetSegmentLib.engine.training.cohort.folder import Case, Cohort, read_cohort  # noqa: E402
from S3NetSegmentLib.engine.training.model.sliding_window import Stack, Windows  # noqa: E402
from S3NetSegmentLib.engine.training.preparation import choose_layout  # noqa: E402
from S3NetSegmentLib.engine.training.settings import CohortSettings  # noqa: E402
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout  # noqa: E402

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class DataSet:
    """A labelled set: ``train`` and ``test`` patients are drawn from it, ``labelled`` of the former have labels."""

    folder: str
    classes: tuple[str, ...]
    layout: SliceLayout
    train: int
    test: int
    labelled: int

    def seen_by(self, settings: CohortSettings) -> DataSet:
        """The same set in slices or patches as ``settings`` ask for."""
        layout = dataclasses.replace(self.layout, neighbours=settings.neighbours)
        if settings.dimensions == 3:
            images = (read_image(path) for path in sorted((SHARED_DATA / self.folder).glob("*_image.nii.gz")))
            chosen, _ = choose_layout(
                list(images), spacing=layout.spacing, plane=layout.plane, depth=settings.patch_depth
            )
            layout = dataclasses.replace(layout, depth=chosen.depth, thickness=chosen.thickness)
        return dataclasses.replace(self, layout=layout)


SETS = {
    "acdc": DataSet("mr_cardiac_acdc", ("RV", "myocardium", "LV"), SliceLayout("axial", 4.0, 48), 10, 5, 3),
    "hippocampus": DataSet("mr_hippocampus_msd", ("anterior", "posterior"), SliceLayout("axial", 1.0, 56), 24, 12, 4),
}


def drawn_cohorts(data: DataSet, labelled: int, seed: int, folder: Path) -> tuple[Cohort, Cohort]:
    """Training cohort, whose first patients have labels, and test cohort, as folders of links."""
    images: dict[str, list[Path]] = {}
    for path in sorted((SHARED_DATA / data.folder).glob("*_image.nii.gz")):
        images.setdefault("_".join(path.name.split("_")[: -2 if data.folder.endswith("acdc") else -1]), []).append(path)
    patients = sorted(images)
    if len(patients) < data.train + data.test:
        sys.exit(f"{SHARED_DATA / data.folder} holds {len(patients)} patients; {data.train + data.test} are needed")
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    groups = {"train": order[: data.train], "test": order[data.train : data.train + data.test]}
    cohorts = []
    for name, members in groups.items():
        known = {}
        for number, patient in enumerate(members):
            for path in images[patient]:
                case = path.name.removesuffix("_image.nii.gz")
                known[case] = patient
                link(path, folder / name / "images" / f"{case}.nii.gz")
                if name == "test" or number < labelled:
                    link(path.with_name(f"{case}_label.nii.gz"), folder / name / "labels" / f"{case}.nii.gz")
        classes = [{"name": c, "value": n} for n, c in enumerate(data.classes, 1)]
        (folder / name / "cohort.json").write_text(json.dumps({"patients": known, "classes": classes}))
        cohorts.append(run_to_end(read_cohort(folder / name)))
    return tuple(cohorts)


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


@torch.inference_mode()
def volume_dice(network: torch.nn.Module, case: Case, layout: SliceLayout, cohort: Cohort) -> list[float]:
    """Dice of each class on the volume's own voxels; NaN if neither side has the structure."""
    volume = case.read_volume()
    truth = case.read_labels(cohort.classes, volume)
    slices, found = layout.of(volume), np.zeros(volume.array.shape, np.uint8)
    planes = slices.oriented(found)
    network.eval()
    # The middle is all that the networks of this benchmark are trained on.
    middle = Windows(slices.scaled, layout.side, middle_only=True)
    stack = Stack(slices) if layout.is_3d else None

    def answer(images):
        return middle.mean(images, lambda part: _answer(network, part))

    for first in range(slices.native_count):
        here = first, first + 1
        steps = answer(torch.from_numpy(slices.resampled(*here))) if stack is None else stack.at(*here, _CPU, answer)
        planes[first] = slices.restored(run_to_end(steps)).argmax(1)[0].numpy()
    values = []
    for label in range(1, len(cohort.classes) + 1):
        ours, theirs = found == label, truth == label
        size = int(ours.sum() + theirs.sum())
        values.append(2 * int((ours & theirs).sum()) / size if size else float("nan"))
    return values


def _answer(network: torch.nn.Module, images: torch.Tensor):
    yield
    return network(images).softmax(1)
