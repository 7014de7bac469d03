"""What ``s3net few-shot`` refuses, and how it stops."""

import os
import signal

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import PATIENCE, let_compute, s3net, start
from few_shot_command_line import DRAWN, IMAGE, TRUTH, only, refused, write_labels

from S3NetSegmentLib.cli import main
from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation

# What is written after "few-shot", what the message must hold.
BAD_ARGUMENTS = {
    "ct.nii.gz --support d.nrrd --drawn all -o a.nrrd": "--drawn: all is for a drawing of another image (--support-image)",
    "ct.nii.gz -o out.nrrd": "--support: it is missing; name the file with the drawing, or give --box",
    "ct.nii.gz --drawn 3 -o out.nrrd": "--drawn needs a drawing; name it with --support LABELS",
    "ct.nii.gz --box 3,3,3,9,9,3 -o out.nrrd": "'3,3,3,9,9,3' is not a named box; write NAME=i,j,k,i,j,k",
    "ct.nii.gz --box ball=3,3,9,9 -o out.nrrd": "'ball=3,3,9,9' is not a named box",
    "ct.nii.gz --box ball=3,3,3,9,9,x -o out.nrrd": "is not a named box",
    "ct.nii.gz -o out.nrrd --support": "--support",
    "ct.nii.gz --support drawn.seg.nrrd": "--output",
    "ct.nii.gz --support drawn.seg.nrrd -o drawn.seg.nrrd": "is the drawing",
    "ct.nii.gz --support drawn.seg.nrrd -o ct.nii.gz": "is the input image",
    "ct.nii.gz --support d.nrrd --support-image o.nrrd -o o.nrrd": "is the image 'o.nrrd'",
    "ct.nii.gz --support d.nrrd -o a.nrrd --confidence a.nrrd": "are the same file",
    "ct.nii.gz --support d.nrrd -o a.nrrd --overlay a.jpg": "must end in .png",
    "ct.nii.gz --support d.nrrd --drawn 3,x -o a.nrrd": "'3,x' are not slices",
    "ct.nii.gz --support d.nrrd --drawn -3 -o a.nrrd": "--drawn",
    "ct.nii.gz --support d.nrrd --drawn 3 --drawn 4 -o a.nrrd": "--drawn is given twice",
    "ct.nii.gz --drawn 3 --support d.nrrd --support e.nrrd -o a.nrrd": "must follow the --support",
    "ct.nii.gz --support d.nrrd --segments , -o a.nrrd": "names no segment",
    "ct.nii.gz --support d.nrrd --slices 9:3 -o a.nrrd": "ends before it begins",
    "ct.nii.gz --support d.nrrd --axis q -o a.nrrd": "'q'",
    "ct.nii.gz --support d.nrrd --device gpu -o a.nrrd": "'gpu' is not a device",
    "ct.nii.gz --support d.nrrd --preset paper -o a.nrrd": "--preset",
    "ct.nii.gz --support d.nrrd --method alpnet --encoder default -o a.nrrd": "--method alpnet needs an encoder",
    "ct.nii.gz --support d.nrrd --preset published --encoder default -o a.nrrd": "--preset published needs an encoder",
}


@pytest.mark.parametrize("text", BAD_ARGUMENTS)
def test_bad_arguments_are_refused_before_anything_is_read(text, capsys):
    with pytest.raises(SystemExit) as stop:
        arguments = main.build_parser().parse_args(["few-shot", *text.split()])
        arguments.check(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and BAD_ARGUMENTS[text] in error and error.count("\n") == 1


# What follows "ct.nii.gz -o out.seg.nrrd", what the message must hold.
BAD_INPUT = {
    "--box ball=3,3,3,9,9,7": "box 3,3,3,9,9,7 lies in no single slice",
    "--box ball=3,3,20,9,9,20": "lies outside the searched part",
    "--support missing.seg.nrrd": "there is no file or folder 'missing.seg.nrrd'",
    "--support empty.nrrd": "'empty.nrrd' holds nothing of any segment",
    "--support whole.nrrd": "is drawn on every slice along z",
    "--support away.nrrd": "lie outside image 'ct'",
    "--support drawn.seg.nrrd --drawn 5,14": "drawn slice 14 along z does not exist",
    "--support drawn.seg.nrrd --drawn 2,3": "nothing is drawn on slice 2, 3 along z",
    "--support away.nrrd --support-image ct.nii.gz": "lie outside image 'ct'",
    "--support drawn.seg.nrrd --support-image flat.nrrd": "is constant",
    "--support drawn.seg.nrrd --support-image frames.nrrd": "'frames.nrrd' is 4D",
    "--support drawn.seg.nrrd --support-image missing.nrrd": "no file or folder 'missing.nrrd'",
    "--support drawn.seg.nrrd --slices 3:40": "slices 3 to 40",
    "--support drawn.seg.nrrd --set nonsense=1": "'nonsense=1'",
    "--support drawn.seg.nrrd --set margin=99": "from 0.1 to 10",
    "--support drawn.seg.nrrd --method alpnet": "s3net weights get",
    "--support drawn.seg.nrrd --encoder dinov2-vits14": "not on this computer",
    "--support drawn.seg.nrrd --encoder dinov2": "encoder is 'dinov2'",
    "--support drawn.seg.nrrd --encoder no/file.pth": "there is no file 'no/file.pth'",
    "--support ct.nii.gz": "Is it the image itself?",
    "--support nan.nrrd": "NaN",
    "--support broken.nrrd": "labels must be whole numbers",
    "--support twins.seg.nrrd": "two segments named 'twin'",
    "--support drawn.seg.nrrd --support small.seg.nrrd": "has a segment 'leber' beside 'Leber'; if they are one, give them one name",
    "--box a=20,10,5,30,25,5 --box A=20,10,9,30,25,9": "has a segment 'A' beside 'a'",
    "--support cut.seg.nrrd": "cut.seg.nrrd",
    "--support layer.seg.nrrd": "'layer.seg.nrrd' says Segment0_Layer:=5, and has 1 layers, 0 to 0",
    "--support frames.nrrd": "'frames.nrrd' is 4D",
    "--support colours.nrrd": "is in colour, not a label map",
    "--support large.nrrd": "254 are possible at once",
    "--support drawn.seg.nrrd --encoder drawn.seg.nrrd": "no file of weights",
}


@pytest.mark.parametrize("text", BAD_INPUT)
def test_input_that_cannot_be_used_is_refused_with_the_reason(folder, text):
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, 3] += 500
    write_labels(np.zeros_like(TRUTH), "empty.nrrd")
    write_labels(np.maximum(TRUTH, 1), "whole.nrrd")
    write_labels(np.full_like(TRUTH, 9), "flat.nrrd")
    write_labels(only(TRUTH, DRAWN), "away.nrrd", matrix)
    write_labels(np.where(TRUTH == 3, np.nan, TRUTH), "nan.nrrd")
    write_labels(TRUTH * 0.3, "broken.nrrd")
    twins = [Segment("twin", (1, 0, 0), 3), Segment("twin", (0, 1, 0), 7)]
    write_segmentation(Segmentation([only(TRUTH, DRAWN)], twins, IMAGE.ijk_to_ras), "twins.seg.nrrd")
    write_segmentation(
        Segmentation([only(TRUTH, (7,))], [Segment("leber", (1, 0, 0), 3)], IMAGE.ijk_to_ras), "small.seg.nrrd"
    )
    content = (folder / "drawn.seg.nrrd").read_bytes()
    (folder / "cut.seg.nrrd").write_bytes(content[: len(content) - 100])
    (folder / "layer.seg.nrrd").write_bytes(content.replace(b"Segment0_Layer:=0", b"Segment0_Layer:=5"))
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([TRUTH, TRUTH]), isVector=False), "frames.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([TRUTH, 0 * TRUTH, TRUTH], -1), isVector=True), "colours.nrrd")
    many = np.zeros(TRUTH.shape, np.uint16)
    many[5].reshape(-1)[:255] = np.arange(1, 256)
    write_labels(many, "large.nrrd")
    assert BAD_INPUT[text] in refused(f"ct.nii.gz -o out.seg.nrrd {text}")


def test_bad_input_ends_with_code_2_and_one_line(folder):
    done = s3net("few-shot", "ct.nii.gz", "--support", "missing.nrrd", "-o", "out.nrrd", folder=folder)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "missing.nrrd" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind on Windows")
def test_ctrl_c_stops_cleanly_and_leaves_no_file(tmp_path):
    rng = np.random.default_rng(0)
    write_image(Volume(rng.integers(0, 400, (40, 160, 160)).astype(np.int16), np.eye(4), "noise"), tmp_path / "n.nrrd")
    labels = np.zeros((40, 160, 160), np.uint8)
    labels[[10, 30], 40:120, 40:120] = 1
    write_image(Volume(labels, np.eye(4), "labels"), tmp_path / "l.nrrd")
    files = ["--support", "l.nrrd", "-o", "out.seg.nrrd", "--overlay", "o.png", "--encoder", "default"]
    with start("few-shot", "n.nrrd", *files, "--set", "appearance_steps=5000", folder=tmp_path) as process:
        first = process.stderr.readline()
        assert "%" in first, first
        let_compute(process, 0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "stopped" in err and "Traceback" not in err and not out
    assert {path.name for path in tmp_path.iterdir()} == {"n.nrrd", "l.nrrd"}
