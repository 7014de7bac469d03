"""``s3net series``: the DICOM series in a folder."""

from __future__ import annotations

import argparse
import os

from .arguments import finish, new_command
from .terminal import about, report

DESCRIPTION = """\
Lists the DICOM image series in a folder, or in the folders below it (a disc): number, description, modality, slices.

The number (or the UID, or the description) chooses a series for the other commands with --series."""
EXAMPLES = """\
examples:
  s3net series dicom_folder
  s3net segment dicom_folder --series 4 -o regions.seg.nrrd"""


def register(commands) -> None:
    parser = new_command(commands, "series", "list the DICOM series in a folder", DESCRIPTION, EXAMPLES)
    parser.add_argument("folder", metavar="FOLDER", help="a folder of DICOM files, or of folders with them")
    finish(parser, run)


def run(arguments: argparse.Namespace) -> int:
    """Reads all headers and prints the list. Returns the exit code; errors pass through."""
    from ..engine.common.errors import InputError
    from ..engine.images.dicom.series import find_series, nothing_found
    from ..engine.images.reading import checked_path

    folder = checked_path(arguments.folder)
    if not folder.is_dir():
        folder = folder.parent
    found = find_series(folder)
    if not found.series and not arguments.json:
        raise InputError(nothing_found(folder, found))
    return report(arguments, _facts(arguments, folder, found), lambda: _print(found))


def _facts(arguments, folder, found) -> dict:
    return {
        **about(arguments, folder=os.path.abspath(folder)),
        "series": [
            {
                "number": s.number, "description": s.description, "modality": s.modality, "slices": s.count, "uid": s.uid,
                "study": s.study, "size": s.files[0].size, "example": str(s.files[0].path),
            }
            for s in found.series
        ],
        "damaged": list(found.damaged), "other_objects": list(found.others),
    }  # fmt: skip


def _print(found) -> None:
    width = max(11, *(len(s.description) for s in found.series))
    print(f"number  {'description':<{width}}  modality  slices  size         UID")
    for s in found.series:
        number = "-" if s.number is None else s.number
        size = " x ".join(map(str, s.files[0].size))
        print(f"{number:>6}  {s.description:<{width}}  {s.modality:<8}  {s.count:>6}  {size:<11}  {s.uid or '-'}")
    if found.others:
        print(f"and {len(found.others)} DICOM objects that are not images: {', '.join(sorted(set(found.others)))}")
    if found.damaged:
        print(f"and {len(found.damaged)} DICOM files that are cut off or damaged: {', '.join(found.damaged[:5])}")
