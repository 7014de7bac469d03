"""The tasks of the geometry suite done by the command line: from files to files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from command_line import s3net_here
from image_files import itk_image, write_raw_nifti

from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation

from .images import KnownImage
from .tasks import NAME, GeometryTask

NETWORK = ("sources=all", "steps=4", "restarts=1")
CLASSICAL = ("sources=classical",)
ENDINGS = (".nii.gz", ".nrrd", ".mha")


def few_shot_settings(task: GeometryTask) -> tuple[str, ...]:
    """Quick ones, with the whole vote in every second case."""
    return ("appearance_steps=20", "work_voxels=20000", f"leave_one_out={'on' if task.seed % 2 else 'off'}")


class Files:
    """The files of one task in ``folder``: the image, the drawing, the answer."""

    def __init__(self, task: GeometryTask, folder: Path, rng: np.random.Generator):
        self.task, self._folder = task, folder
        self.image = self._write(task.image, f"{task.seed}", rng)
        self.other = None if task.other is None else self._write(task.other, f"{task.seed}_other", rng)
        self.drawing = None
        if task.method in ("few-shot", "other image"):
            drawn = Segmentation([task.drawing()], [Segment(NAME, (0.2, 0.9, 0.3), 1)], task.drawn_on.ijk_to_ras)
            ending = ".seg.nrrd" if rng.random() < 0.7 else ".nrrd"
            self.drawing = write_segmentation(drawn, folder / f"{task.seed}_drawn{ending}")
        self.output = f"{task.seed}_out{rng.choice(['.seg.nrrd', '.nii.gz', '.nrrd', '.mha'])}"

    def by_command(self) -> Segmentation:
        """``s3net segment``, ``few-shot`` or ``apply``."""
        task, out = self.task, self._folder / self.output
        frame = ["--frame", task.image.frame] if task.image.is_series else []
        common = [self.image, "-o", out, "--quiet", "--device", "cpu", *frame]
        if task.method == "model":
            self._run("apply", task.model, *common)
        elif self.drawing is not None:
            of_other = ["--support-image", self.other] if self.other else []
            settings = [word for text in few_shot_settings(task) for word in ("--set", text)]
            drawing = ["--support", self.drawing, *of_other, *(["--partial"] if task.partial else [])]
            self._run("few-shot", *common, *drawing, "--axis", task.axis, "--encoder", "default", *settings)
        else:
            self._run("segment", *common, *self._segment_options())
        return read_segmentation(out)

    def by_batch(self, files=None) -> Segmentation:
        """The same as a case of ``s3net batch``; ``files``: how it reads and writes."""
        from S3NetSegmentLib.engine.batch.manifest import read_manifest
        from S3NetSegmentLib.engine.batch.one_case import run_case

        manifest = self._folder / "manifest.json"
        manifest.write_text(json.dumps([self._row()]))
        results = self._folder / ("results" if files is None else "scene")
        (case,) = read_manifest(manifest, results)
        record = run_case(case, results, "cpu", files=files)
        if record["status"] != "done":
            raise AssertionError(f"batch: {record['error']}{record.get('traceback', '')}")
        return read_segmentation(results / self.output)

    def as_read(self) -> GeometryTask:
        """The task with the grids that the files hold: formats keep them with more or less digits."""

        def read(image: KnownImage | None, path: Path | None) -> KnownImage | None:
            if image is None:
                return None
            matrix = read_image(path, image.frame if image.is_series else None).ijk_to_ras
            return dataclasses.replace(image, ijk_to_ras=matrix)

        task = self.task
        return dataclasses.replace(task, image=read(task.image, self.image), other=read(task.other, self.other))

    def _write(self, image: KnownImage, name: str, rng) -> Path:
        """Mostly by writers that are not the engine's own; only that one and raw NIfTI keep sheared grids."""
        path = self._folder / f"{name}{rng.choice(ENDINGS)}"
        first = image.array[0]
        if image.grid == "sheared" and (image.is_rgb or image.is_series):
            path = path.with_name(f"{name}.nii")
            array = image.array[0] if image.is_rgb else image.array
            _write_sheared(path, array, image.ijk_to_ras)
        elif image.grid == "sheared":
            write_image(Volume(first, image.ijk_to_ras), path)
        else:
            if path.name.endswith(".nii.gz") and image.grid == "far away":
                path = path.with_name(f"{name}.nrrd")  # NIfTI keeps places as 32 bit numbers
            frames = [itk_image(frame, image.ijk_to_ras) for frame in image.array]
            sitk.WriteImage(frames[0] if len(frames) == 1 else sitk.JoinSeries(frames), str(path))
        return path

    def _point(self) -> list[float]:
        return [float(v) for v in self.task.image.volume().ras_of(self.task.image.center)]

    def _segment_options(self) -> list[str]:
        task, options = self.task, []
        if task.method == "regions":
            return ["--regions", "3"]
        if task.by_voxel:
            options += ["--pixel", ",".join(map(str, task.image.center))]
        else:
            options += ["--point", ",".join(map(repr, self._point()))]
        if task.slices:
            options += ["--slices", ":".join(map(str, task.slices)), "--axis", task.axis]
        settings = NETWORK if task.method == "network" else CLASSICAL
        return [*options, *(word for text in settings for word in ("--set", text))]

    def _row(self) -> dict:
        task = self.task
        row = {"image": str(self.image), "output": self.output}
        if task.image.is_series:
            row["frame"] = task.image.frame
        if task.method == "model":
            return row | {"method": "apply", "model": str(task.model)}
        if self.drawing is not None:
            row |= {"method": "few-shot", "support": str(self.drawing), "axis": task.axis, "encoder": "default"}
            row |= {"partial": task.partial}
            return (
                row
                | {"settings": list(few_shot_settings(task))}
                | ({"support_image": str(self.other)} if self.other else {})
            )
        if task.method == "regions":
            return row | {"regions": 3}
        row |= {"pixels": [list(task.image.center)]} if task.by_voxel else {"points": [self._point()]}
        row |= {"slices": list(task.slices), "axis": task.axis} if task.slices else {}
        return row | {"settings": list(NETWORK if task.method == "network" else CLASSICAL)}

    def _run(self, *arguments) -> None:
        done = s3net_here(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"s3net {' '.join(map(str, arguments))}: {done.stderr.strip()[-300:]}")


def _write_sheared(path: Path, array: np.ndarray, matrix: np.ndarray) -> None:
    pixdim = np.linalg.norm(matrix[:3, :3], axis=0)
    if array.shape[-1] == 3 and array.dtype == np.uint8:
        write_raw_nifti(
            path, array, sform=matrix[:3], sform_code=1, pixdim=pixdim, datatype=128, dims=array.shape[2::-1]
        )
    else:
        write_raw_nifti(path, array, sform=matrix[:3], sform_code=1, pixdim=[*pixdim, 1])


def labels_of(segmentation: Segmentation, output: str) -> np.ndarray:
    """The labels of an answer ``[K, J, I]``: 1, 2, ... in the order of the segments. Label maps hold just these."""
    return segmentation.flattened() if output.endswith(".seg.nrrd") else segmentation.layers[0]
