"""Random geometries: a known object in images of every shape, orientation and kind must be found where it is, by every
method, from the command line and in Slicer alike, and survive files to the voxel."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
from geometries.files import Files, labels_of
from geometries.images import GRIDS
from geometries.scene import MISSING, Scene
from geometries.tasks import TRIED, GeometryTask, random_task

from S3NetSegmentLib.engine.images.formats.seg_nrrd import on_grid_of, read_segmentation

_BENT = 23  # every so many cases the image is also put under a transform that is not linear


def run(count: int, seed: int, first: int = 0) -> list[str]:
    """Tries ``count`` cases from number ``first`` on; prints how many of which kind; returns what went wrong."""
    suite, failures = _Suite(), []
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        for number in range(first, first + count):
            try:
                suite.try_case(number, np.random.default_rng([seed, number]), Path(name))
            except Exception as problem:
                shape, method = TRIED[number % len(TRIED)]
                what = f"{shape} with {GRIDS[number % len(GRIDS)]}, {method}"
                why = str(problem) if isinstance(problem, AssertionError) else traceback.format_exc(limit=-3)
                failures.append(f"geometry --seed {seed} --first {number} --cases 1 ({what}): {why}"[:1500])
    for line in suite.told():
        print(f"geometry  {line}")
    print(f"geometry  {count:,} cases in {time.monotonic() - began:.0f} s, {len(failures)} failures")
    return failures


class _Suite:
    """Does the cases and keeps count."""

    def __init__(self):
        self._scene = None if MISSING else Scene()
        self._tried, self._compared = Counter(), Counter()
        self._worst: dict[str, tuple[float, float]] = {}

    def try_case(self, number: int, rng: np.random.Generator, folder: Path) -> None:
        """Raises AssertionError, or whatever the product raises, if the case does not come out right."""
        task = random_task(number, rng, folder, _write_model)
        shape, method = TRIED[number % len(TRIED)]
        self._tried[f"{shape}: {method}"] += 1
        if task.method == "planes":  # drawings in oblique views exist in Slicer only
            found = [self._in_scene(task, rng)] if self._scene else []
        else:
            found = self._by_files(task, Files(task, folder, rng), folder, rng)
        for other in found[1:]:
            self._compared["answers of two front ends compared"] += 1
            different = int((found[0] != other).sum())
            if different:
                raise AssertionError(f"the front ends differ in {different} voxels of {int((other > 0).sum())}")
        if self._scene and number % _BENT == 0:
            self._compared["non-linear transforms refused"] += 1
            if not self._scene.refuses_a_bend(task):
                raise AssertionError("a non-linear transform was not refused as it should be")

    def told(self) -> list[str]:
        """What was done, and the worst that came of it."""
        lines = [", ".join(f"{n} {name}" for name, n in sorted(self._tried.items()))]
        lines.append(", ".join(f"{n:,} {name}" for name, n in sorted(self._compared.items())) or "one front end only")
        for method, (shift, dice) in sorted(self._worst.items()):
            lines.append(f"{method:<12} largest shift {shift:.2f} voxels, smallest Dice {dice:.3f}")
        if MISSING:
            lines.append(f"the half in Slicer was LEFT OUT: {'; '.join(MISSING)}")
        return lines

    def _by_files(self, task: GeometryTask, files: Files, folder: Path, rng) -> list[np.ndarray]:
        """The answer of the command or of a batch, and that of a script or of a batch in Slicer."""
        in_batch = rng.random() < 0.4
        answer = files.by_batch() if in_batch else files.by_command()
        self._check_grid(answer.ijk_to_ras, task, files)
        found = [labels_of(answer, files.output)]
        self._check(task, found[0], "from files")
        if self._scene is None:
            return found
        if in_batch:
            there = self._scene.batch(files)
            self._check_grid(there.ijk_to_ras, task, files)
            found.append(labels_of(on_grid_of(there, task.image.volume()), files.output))
        else:
            found.append(self._in_scene(files.as_read(), rng))
        if task.image.grid != "sheared":  # Slicer's own files cannot hold such grids
            if not task.image.is_series and not _looks_flat_to_itk(task, files):
                self._compared["images read by Slicer's own reader"] += 1
                self._scene.read_by_slicer(files.image, task.image)
            self._through_slicer(answer, files, folder)
        return found

    def _in_scene(self, task: GeometryTask, rng) -> np.ndarray:
        labels = self._scene.answer(task, rng)
        self._check(task, labels, "in the scene")
        return labels

    def _through_slicer(self, answer, files: Files, folder: Path) -> None:
        if not files.output.endswith(".seg.nrrd"):
            return
        self._compared["segmentations through Slicer and back"] += 1
        place = next(p for p in folder.rglob(files.output))
        again = folder / "again.seg.nrrd"
        self._scene.through_slicer(place, again)
        back = on_grid_of(read_segmentation(again), _as_volume(answer))
        if [s.name for s in back.segments] != [s.name for s in answer.segments]:
            raise AssertionError("a segmentation lost names on the way through Slicer")
        if not np.array_equal(back.flattened(), answer.flattened()):
            raise AssertionError("a segmentation came back changed from Slicer")

    def _check_grid(self, matrix: np.ndarray, task: GeometryTask, files: Files) -> None:
        """The result lies on the grid of the image, to a millionth of a voxel, or as well as the 32 bit numbers of NIfTI tell."""
        wanted, in_nifti = task.image.ijk_to_ras, ".nii" in f"{files.image.name} {files.output}"
        error, step = np.abs(matrix - wanted), np.abs(wanted[:3, :3]).max()
        axes, place = (1e-5, 1.2e-7) if in_nifti else (1e-6, 1e-12)
        if error[:3, :3].max() > axes * step or error[:3, 3].max() > axes * step + place * np.abs(wanted[:3, 3]).max():
            raise AssertionError(f"the result lies elsewhere than the image: {matrix.tolist()}, not {wanted.tolist()}")

    def _check(self, task: GeometryTask, labels: np.ndarray, where: str) -> None:
        """The object is where it is known to be."""
        expected = task.expected()
        if labels.shape != expected.shape:
            raise AssertionError(f"{where}: the result has {labels.shape} voxels, the image {expected.shape}")
        masks = (
            [labels == value for value in range(1, int(labels.max()) + 1)] if task.method == "regions" else [labels > 0]
        )
        dice = [2 * (m & expected).sum() / max(1, m.sum() + expected.sum()) for m in masks]
        if not dice or max(dice) == 0:
            raise AssertionError(f"{where}: nothing was found at the object")
        best = masks[int(np.argmax(dice))]
        shift = float(np.abs(np.argwhere(best).mean(0) - np.argwhere(expected).mean(0)).max())
        worst = self._worst.get(task.method, (0.0, 1.0))
        self._worst[task.method] = max(worst[0], shift), min(worst[1], max(dice))
        if shift > 0.5 or max(dice) < task.floor:
            raise AssertionError(f"{where}: {shift:.2f} voxels beside the object, Dice {max(dice):.3f}")


def _looks_flat_to_itk(task: GeometryTask, files: Files) -> bool:
    """A colour NIfTI of one slice, whose orientation ITK, and so Slicer's own reader, loses."""
    return task.image.is_rgb and len(task.image.mask) == 1 and ".nii" in files.image.name


def _write_model(volume, path: Path) -> Path:
    """A model that takes what is brighter than 0.7 of the whole range for the object, on slices that suit ``volume``."""
    import torch

    from S3NetSegmentLib.engine.nets.unet import TwoStreamUNet
    from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass
    from S3NetSegmentLib.engine.training.model.model_file import Model, describe_network, network_tensors, save_model
    from S3NetSegmentLib.engine.training.preparation import choose_layout

    network = TwoStreamUNet(2, 1, (2, 4), dropout=False).eval()
    heads = [decoder.head for decoder in network.decoders]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                module.weight.zero_()
                module.bias.zero_()
                if isinstance(module, torch.nn.Conv2d) and module.weight.shape[-1] == 3 and module not in heads:
                    module.weight[0, 0, 1, 1] = 1.0  # the first channel passes through unchanged
        for head in heads:
            head.weight[1, 0, 1, 1], head.bias[1] = 40.0, -28.0
    layout, _notes = choose_layout([volume], side=128)
    classes = (LabelClass("Ball", 1, (0.2, 0.9, 0.3)),)
    return save_model(Model("segmenter", describe_network(network), network_tensors(network), layout, classes), path)


def _as_volume(segmentation):
    from S3NetSegmentLib.engine import Volume

    return Volume(segmentation.layers[0], segmentation.ijk_to_ras, "answer")
