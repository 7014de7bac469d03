"""``Case``: one row of a manifest, in plain values, so that it can travel to any worker; how its files are read and written, and what a method made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from ..images import Segmentation, Volume
from ..images.files import stem_of
from ..images.overlay import montage
from ..images.reading import read_image
from ..images.resample import resized
from ..images.writing import write_segmentation
from ..results import described, frame_notes, frame_sizes
from ..tasks.few_shot import FewShotTask
from ..tasks.fields import asked_fields
from ..tasks.segment import ApplyTask, SegmentTask
from ..training.cohort.channels import further_channels
from ..training.model.places import model_files
from .columns import TASKS

_SHOWN, _COLUMNS = 9, 3  # frames in the picture of a case


@dataclass(frozen=True)
class Case:
    """One image and what is wanted of it. Paths are absolute, ``output`` is relative to the output folder, with "/".

    :param row: for messages, e.g. "row 3".
    :param task: what is asked.
    :param series: of a DICOM folder, as for :func:`read_image`. ``frame``: likewise, or "all" for each of them in a 4D result.
    :param device: None: what the batch says.
    """

    row: str
    image: str
    output: str
    task: SegmentTask | FewShotTask | ApplyTask = field(default_factory=SegmentTask)
    series: str | None = None
    frame: int | str | None = None
    confidence: bool = False
    device: str | None = None

    @property
    def method(self) -> str:
        """ "segment", "few-shot" or "apply"."""
        return next(name for name, task_class in TASKS.items() if isinstance(self.task, task_class))

    @property
    def name(self) -> str:
        """The output without its format part: the name of the case in records and reports."""
        path = PurePosixPath(self.output)
        return str(path.with_name(stem_of(path.name)))

    @property
    def frame_number(self) -> int | None:
        """The frame that is meant; None where the image has one, or all are meant."""
        return self.frame if isinstance(self.frame, int) else None

    @property
    def encoder(self) -> str:
        """The encoder that Few-shot is to use; "default" (none) for the other methods."""
        return self.task.encoder if isinstance(self.task, FewShotTask) else "default"

    def outputs(self) -> dict[str, str]:
        """The files that the case writes, relative to the output folder: what -> name."""
        files = {"segmentation": self.output, "overlay": f"{self.name}_overlay.png"}
        return files | ({"confidence": f"{self.name}_confidence.nii.gz"} if self.confidence else {})

    def inputs(self) -> dict[str, str]:
        """The files and folders that the case reads: role -> path. InputError for a folder that holds no model."""
        found = {"image": self.image}
        if isinstance(self.task, FewShotTask):
            for number, file in enumerate(self.task.files, 1):
                found[f"support {number}"] = file.labels
                found |= {f"support image {number}": file.image} if file.image else {}
            found |= {"labels": self.task.labels} if self.task.labels else {}
        if isinstance(self.task, ApplyTask):
            files = [str(file) for file in model_files(self.task.model)]
            roles = ["model"] if len(files) == 1 else [f"model {number}" for number in range(1, len(files) + 1)]
            found |= dict(zip(roles, files, strict=True))
            found |= {f"channel {n}": str(path) for n, path in enumerate(further_channels(self.image), 1)}
        return found

    def as_plain(self) -> dict:
        """The case in plain values, for a worker that does not have this package yet."""
        return {"method": self.method, **dataclasses.asdict(self)}

    @classmethod
    def from_plain(cls, facts: dict) -> Case:
        others = {name: value for name, value in facts.items() if name not in ("method", "task")}
        return cls(task=TASKS[facts["method"]](**facts["task"]), **others)

    def what_counts(self) -> dict:
        """Everything but the inputs' places, and where it is computed, that the result depends on."""
        facts = self.as_plain()
        for name in ("row", "device", "image"):
            del facts[name]
        for name, one in asked_fields(type(self.task)).items():
            if one.form.is_path:
                del facts["task"][name]
        return facts


class CaseFiles:
    """How a case reads images and writes segmentations: with the engine's own readers and writers. Slicer brings its own, which
    does the same through its scene."""

    def read_image(self, path: str, frame: int | None = None, series: str | None = None) -> Volume:
        """The image at ``path``; raises as :func:`read_image`."""
        return read_image(path, frame, series)

    def write_segmentation(self, segmentation: Segmentation, path: Path, volume: Volume) -> None:
        """Writes a ``.seg.nrrd`` that belongs to ``volume``; raises as :func:`write_segmentation`."""
        write_segmentation(segmentation, path)


@dataclass
class CaseResult:
    """What a method made of a case, or of each frame of it, as the files and the record need it.

    :param label_map: the segmentation in one layer, for label maps; None: as it is.
    :param frames: the results of all frames of a 4D image; (): this is the only one. The other fields then sum them up.
    """

    segmentation: Segmentation
    confidence: float | None
    confidence_map: Volume | None
    picture: np.ndarray
    device: str
    seed: int
    settings: dict
    notes: list[str]
    label_map: Segmentation | None = None
    frames: tuple[CaseResult, ...] = ()

    def described(self) -> dict:
        """What the record says of the segments, see :func:`~..results.described` and, of several frames,
        :func:`~..frames.frame_sizes`; and of each frame."""
        if not self.frames:
            return {"segments": described(self.segmentation)}
        each = [described(frame.segmentation) for frame in self.frames]
        return {"segments": frame_sizes(each), "frames": each}


def joined(frames: Sequence[CaseResult]) -> CaseResult:
    """The result of a 4D image from those of its frames; the picture shows some of them."""
    first = frames[0]
    sure = [frame.confidence for frame in frames if frame.confidence is not None]
    shown = np.linspace(0, len(frames) - 1, min(_SHOWN, len(frames))).round().astype(int)
    pictures = [shrunk(frames[n].picture, max(frames[n].picture.shape[:2]) // _COLUMNS) for n in shown]
    return CaseResult(
        first.segmentation, float(np.mean(sure)) if sure else None, None, montage(pictures, _COLUMNS), frames[-1].device,
        first.seed, first.settings, frame_notes([frame.notes for frame in frames]), frames=tuple(frames),
    )  # fmt: skip


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """``picture`` with ``side`` pixels along its longer side."""
    scale = side / max(picture.shape[:2])
    shape = [max(round(n * scale), 1) for n in picture.shape[:2]]
    return np.rint(np.clip(resized(picture, shape), 0, 255)).astype(np.uint8)
