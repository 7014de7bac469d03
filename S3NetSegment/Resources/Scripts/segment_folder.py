"""Segments all images of a folder in Slicer, without its window. Where Slicer is not needed, `s3net segment` does the same.

    Slicer --no-splash --no-main-window --python-script segment_folder.py IN_FOLDER OUT_FOLDER [options]

Each image becomes OUT_FOLDER/<name>.seg.nrrd; those that are there already are left as they are. Ends with 0 if all
went well, 1 if an image failed, 2 for wrong arguments.
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

import slicer

ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def main(arguments):
    """Does the work; returns the exit code."""
    options = parsed(arguments)
    if not options.inputs.is_dir():
        print(f"error: {options.inputs} is not a folder", file=sys.stderr)
        return 2
    images = sorted(p for p in options.inputs.iterdir() if stem(p) and not p.name.endswith((".seg.nrrd", ".seg.nhdr")))
    if not images:
        print(f"error: {options.inputs} holds no image ({' '.join(ENDINGS)})", file=sys.stderr)
        return 2
    options.outputs.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number, path in enumerate(images, 1):
        output = options.outputs / f"{stem(path)}.seg.nrrd"
        if output.exists() and not options.overwrite:
            print(f"[{number}/{len(images)}] {path.name}: {output.name} is there already", flush=True)
            continue
        try:
            segment_file(path, output, options)
            print(f"[{number}/{len(images)}] {path.name}: {output.name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"[{number}/{len(images)}] {path.name}: FAILED: {error}", file=sys.stderr, flush=True)
            if not isinstance(error, ValueError):  # not just an image that cannot be used
                traceback.print_exc()
        finally:
            slicer.mrmlScene.Clear()
    print(f"{len(images) - failed} of {len(images)} images are segmented")
    return 1 if failed else 0


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="segment_folder.py", description=__doc__.splitlines()[0])
    parser.add_argument("inputs", type=Path, metavar="IN_FOLDER")
    parser.add_argument("outputs", type=Path, metavar="OUT_FOLDER")
    parser.add_argument("--regions", type=int, help="number of regions")
    parser.add_argument("--preset", choices=("default", "paper"), default="default")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--overwrite", action="store_true", help="also segment images whose result is there already")
    return parser.parse_args(arguments)


def stem(path):
    """The name without its ending, "" for a file that is no image."""
    return next((path.name[: -len(e)] for e in sorted(ENDINGS, key=len, reverse=True) if path.name.lower().endswith(e)), "")  # fmt: skip


def segment_file(path, output, options):
    """Segments one file. What is half written when something fails never bears the result's name."""
    from S3NetSegment import S3NetSegmentLogic

    volume = slicer.util.loadVolume(str(path), properties={"singleFile": True, "show": False})
    segmentation = S3NetSegmentLogic().segment(
        volume, regions=options.regions, preset=options.preset, seed=options.seed, device=options.device
    )
    unfinished = output.with_name("." + output.name)
    try:
        if not slicer.util.saveNode(segmentation, str(unfinished)):
            raise OSError(f"{output} could not be written")
        os.replace(unfinished, output)
    finally:
        unfinished.unlink(missing_ok=True)


if __name__ == "__main__":
    module = str(Path(__file__).resolve().parents[2])
    if module not in sys.path:
        sys.path.insert(0, module)  # also works where the extension is not installed
    try:
        code = main(sys.argv[1:])
    except SystemExit as stop:  # wrong arguments, or --help
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)
