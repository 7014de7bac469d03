"""Methods of the few-shot benchmark: the product, and what a user of Slicer has today for the same drawn slices.

Each sees the image and the labels of the drawn slices only. Grow from seeds is Slicer's own filter (slicer-core), Fill
between slices is ITK's morphological contour interpolation (package itk); each is run where its package is installed.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
from few_shot_cases import FewShotCase
from simulated_boxes import boxes_of_slice

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.few_shot.drawings.boxes import boxed_slices
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings
from S3NetSegmentLib.engine.images.volume import slices_first

OURS, BOXES, NEAREST, GROW, FILL = (
    "Few-shot", "Few-shot from boxes", "nearest slice", "Grow from seeds", "Fill between slices"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Answer:
    """Labels ``[Z, H, W]``, slices first; what the method expects of each label's Dice, if it says so; remarks; labels of
    which it says that they may run past their ends."""

    labels: np.ndarray
    expected: dict[int, float] = field(default_factory=dict)
    remark: str = ""
    named: frozenset[int] = frozenset()


def few_shot(case: FewShotCase, drawn: list[int], settings: FewShotSettings) -> Answer:
    labels = slices_first(case.labels, case.axis)
    return _propagated(case, {z: labels[z] for z in drawn}, settings)


def few_shot_from_boxes(case: FewShotCase, drawn: list[int], settings: FewShotSettings) -> Answer:
    """Boxes in place of drawings, each side off by a normal error; the answer's own drawn slices do not count."""
    boxes: dict[int, list] = {}
    for z in drawn:
        for value, own in boxes_of_slice(case, z, np.random.default_rng([settings.seed, z])).items():
            boxes.setdefault(value, []).extend(own)
    slices = run_to_end(boxed_slices(case.volume, boxes, seed=settings.seed))
    found = {s.index: s.labels for s in slices}
    nothing = np.zeros_like(slices_first(case.labels, case.axis)[0])
    return _propagated(case, {z: found.get(z, nothing) for z in drawn}, settings)


def _propagated(case: FewShotCase, drawn: dict[int, np.ndarray], settings: FewShotSettings) -> Answer:
    """What the product makes of ``drawn``: slice number -> labels."""
    product = FewShot(case.volume, settings, case.axis)
    product.set_support([DrawnSlice(case.axis, z, labels) for z, labels in drawn.items()])
    answer = run_to_end(product.propagate())
    mix = ", ".join(f"{part} {share:.2f}" for part, share in answer.mix.items())
    named = frozenset(value for value, outlook in answer.outlook.items() if outlook.runs_past)
    return Answer(slices_first(answer.labels, case.axis), answer.expected_dice, mix, named)


def nearest(case: FewShotCase, drawn: list[int], settings: FewShotSettings) -> Answer:
    labels = slices_first(case.labels, case.axis)
    distance = np.abs(np.arange(len(labels))[:, None] - np.array(drawn))
    return Answer(labels[np.array(drawn)[distance.argmin(1)]])


def grow(case: FewShotCase, drawn: list[int], settings: FewShotSettings) -> Answer:
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    image, seeds = slices_first(case.volume.array, case.axis), _seeds(case, drawn) + 1
    undrawn = np.setdiff1d(np.arange(len(seeds)), drawn)
    seeds[undrawn] = 0  # 1 is the background of a drawn slice
    low, high = np.percentile(image, (0.1, 99.9))
    steps = np.clip((image.astype(np.float32) - low) / (high - low) * 2000, 0, 2000)
    spacing = [case.volume.spacing["xyz".index(a)] for a in case.axis + "zyx".replace(case.axis, "")]

    def vtk_image(array):
        image = vtk.vtkImageData()
        image.SetDimensions(array.shape[::-1])
        image.SetSpacing(*spacing[::-1])
        scalars = numpy_to_vtk(np.ascontiguousarray(array, np.int16).ravel(), deep=1, array_type=vtk.VTK_SHORT)
        image.GetPointData().SetScalars(scalars)
        return image

    tool = slicer.vtkImageGrowCutSegment()
    tool.SetIntensityVolume(vtk_image(steps))
    tool.SetSeedLabelVolume(vtk_image(seeds))
    tool.Update()
    grown = vtk_to_numpy(tool.GetOutput().GetPointData().GetScalars()).reshape(seeds.shape)
    return Answer(np.maximum(grown.astype(np.int16) - 1, 0))


def fill(case: FewShotCase, drawn: list[int], settings: FewShotSettings) -> Answer:
    """In a process of its own: the filter of some ITK releases damages the heap."""
    way = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    with multiprocessing.get_context(way).Pool(1) as pool:
        return Answer(pool.apply(_filled, (_seeds(case, drawn).astype(np.uint8),)))


def _filled(seeds: np.ndarray) -> np.ndarray:
    import itk

    return itk.array_from_image(itk.morphological_contour_interpolator(itk.image_from_array(seeds), axis=2))


def _seeds(case: FewShotCase, drawn: list[int]) -> np.ndarray:
    labels = slices_first(case.labels, case.axis)
    seeds = np.zeros(labels.shape, np.int16)
    seeds[drawn] = labels[drawn]
    return seeds


CONTESTANTS = {OURS: few_shot, BOXES: few_shot_from_boxes, NEAREST: nearest, GROW: grow, FILL: fill}
_PACKAGES = {GROW: "slicer", FILL: "itk"}


def missing_package(name: str) -> str | None:
    """The package that contestant ``name`` needs and that is not installed, or None. Imports it, so that this is not timed."""
    package = _PACKAGES.get(name)
    try:
        if package:
            found = import_module(package)
            if name == FILL:  # which loads its parts when they are first used
                found.image_from_array(np.zeros((2, 2, 2), np.uint8))
                found.MorphologicalContourInterpolator  # noqa: B018
    except ImportError:
        return package
    return None
