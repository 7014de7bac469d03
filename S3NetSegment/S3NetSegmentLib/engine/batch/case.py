"""``Case``: one row of a manifest, in plain values, so that it can travel to any worker; and how its files are read and written."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..images import Segmentation, Volume
from ..images.files import stem_of
from ..images.reading import read_image
from ..images.writing import write_segmentation
from ..tasks.few_shot import FewShotTask
from ..tasks.fields import asked_fields
from ..tasks.segment import ApplyTask, SegmentTask
from ..training.channels import further_channels
from ..training.model_places import model_files
from .columns import TASKS


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
        """The inverse of :meth:`as_plain`."""
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
