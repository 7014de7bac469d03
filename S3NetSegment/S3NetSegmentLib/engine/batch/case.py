"""``Case``: one row of a manifest, in plain values, so that it can travel to any worker."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..few_shot.support_files import SupportFile
from ..images.files import stem_of
from ..methods.few_shot_task import FewShotTask
from ..methods.segment_task import SegmentTask

METHODS = ("segment", "few-shot", "apply")


@dataclass(frozen=True)
class Case:
    """One image and what is wanted of it. Paths are absolute, ``output`` is relative to the output folder, with "/".

    :param row: for messages, e.g. "row 3".
    :param series: of a DICOM folder, as for :func:`read_image`.
    :param slices: first and last slice, both included; None: all.
    :param support, support_image, drawn: for each drawing its labels, its image (None: the case's own) and its drawn
        slices ("all": every one, None: those with labels); equally long.
    :param labels: file with the names of the values of drawings that are label maps.
    :param device: None: what the batch says.
    The others are as in :class:`SegmentTask` and :class:`FewShotTask`; ``settings`` holds "name=value" texts.
    """

    row: str
    image: str
    output: str
    method: str = "segment"
    series: str | None = None
    frame: int | None = None
    axis: str = "auto"
    slices: tuple[int, int] | None = None
    points: tuple[tuple[float, ...], ...] = ()
    not_points: tuple[tuple[float, ...], ...] = ()
    pixels: tuple[tuple[int, ...], ...] = ()
    not_pixels: tuple[tuple[int, ...], ...] = ()
    radius: float | None = None
    regions: int | None = None
    regions_only: bool = False
    support: tuple[str, ...] = ()
    support_image: tuple[str | None, ...] = ()
    drawn: tuple[tuple[int, ...] | str | None, ...] = ()
    labels: str | None = None
    segments: tuple[str, ...] = ()
    partial: bool = False
    encoder: str = "auto"
    model: str | None = None
    preset: str = "default"
    settings: tuple[str, ...] = ()
    seed: int | None = None
    confidence: bool = False
    device: str | None = None

    @property
    def name(self) -> str:
        """The output without its format part: the name of the case in records and reports."""
        path = PurePosixPath(self.output)
        return str(path.with_name(stem_of(path.name)))

    def outputs(self) -> dict[str, str]:
        """The files that the case writes, relative to the output folder: what -> name."""
        files = {"segmentation": self.output, "overlay": f"{self.name}_overlay.png"}
        return files | ({"confidence": f"{self.name}_confidence.nii.gz"} if self.confidence else {})

    def inputs(self) -> dict[str, str]:
        """The files and folders that the case reads: role -> path."""
        found = {"image": self.image}
        for number, (labels, image) in enumerate(zip(self.support, self.support_image, strict=True), 1):
            found[f"support {number}"] = labels
            found |= {f"support image {number}": image} if image else {}
        found |= {"labels": self.labels} if self.labels else {}
        return found | ({"model": self.model} if self.model else {})

    def segment_task(self) -> SegmentTask:
        """The case as a task of Segment."""
        return SegmentTask(
            self.axis, self.slices, self.points, self.not_points, self.pixels, self.not_pixels, self.radius, self.regions,
            self.regions_only, preset=self.preset, assignments=self.settings, seed=self.seed,
        )  # fmt: skip

    def few_shot_task(self) -> FewShotTask:
        """The case as a task of Few-shot."""
        drawings = zip(self.support, self.support_image, self.drawn, strict=True)
        files = tuple(SupportFile(*drawing, names=self.labels) for drawing in drawings)
        return FewShotTask(
            files, self.axis, self.segments, self.partial, self.slices, self.encoder, assignments=self.settings, seed=self.seed
        )  # fmt: skip

    def what_counts(self) -> dict:
        """Everything but the inputs' places, and where it is computed, that the result depends on."""
        facts = dataclasses.asdict(self)
        for name in ("row", "device", "image", "support", "support_image", "labels", "model"):
            del facts[name]
        return facts
