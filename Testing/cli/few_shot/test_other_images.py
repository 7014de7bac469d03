"""``s3net few-shot`` with a drawing in another image than the one that is answered."""

import re

import numpy as np
import pytest
from command_line import s3net
from few_shot_command_line import (
    IMAGE,
    QUICK,
    SEGMENTS,
    TRUTH,
    dice,
    only,
    run,
    scene,
    support_of,
    write_labels,
    write_oblique_drawing,
)

from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image


def test_a_picture_is_told_in_pixels_and_has_no_next_slice(folder):
    for name, k in (("one", 6), ("two", 7)):
        write_image(Volume(IMAGE.array[k : k + 1].copy(), IMAGE.ijk_to_ras, name), f"{name}.nii.gz")
    write_labels(TRUTH[6:7].copy(), "drawn.nrrd")
    files = [
        "two.nii.gz",
        "--support",
        "drawn.nrrd",
        "--support-image",
        "one.nii.gz",
        "-o",
        "out.nrrd",
        "--encoder",
        "default",
    ]
    done = s3net("few-shot", *files, *QUICK, folder=folder)
    assert "drawn: picture one.nii.gz\n" in done.stdout
    pixels, area = re.search(r"Segment 3 +(\d+) pixels \((\d+) mm²\) +expected Dice 0\.", done.stdout).groups()
    assert pixels == area and float(pixels) == pytest.approx(np.count_nonzero(TRUTH[7] == 3), rel=0.02)
    assert "draw next" not in done.stdout and " ml" not in done.stdout


@pytest.mark.usefixtures("few_places")
def test_a_drawing_in_another_image_is_taken_to_this_one(folder, capsys):
    image, truth = scene(shift=3, seed=9)
    write_image(image, "next.nii.gz")
    summary = run("next.nii.gz --support drawn.seg.nrrd --support-image ct.nii.gz -o out.seg.nrrd", capsys)
    found = read_segmentation("out.seg.nrrd")
    for segment, value in zip(found.segments, (3, 7), strict=True):
        assert dice(found.mask(segment), truth == value) > 0.85
    assert found.segments[0].name == "Leber" and found.segments[0].color == SEGMENTS[0].color
    assert found.segments[0].tags["S3NetSegment.Support"] == "drawn.seg.nrrd on ct.nii.gz z=5,9"
    assert summary["support"][0]["image"] == str(folder / "ct.nii.gz")


@pytest.mark.usefixtures("few_places")
@pytest.mark.parametrize("kind", ["partial", "oblique"])
def test_parts_of_slices_and_oblique_planes_of_another_image_are_taken_to_this_one(folder, capsys, kind):
    image, truth = scene(shift=3, seed=9)
    write_image(image, "next.nii.gz")
    if kind == "partial":
        arguments = "--support drawn.seg.nrrd --support-image ct.nii.gz --partial"
    else:
        write_oblique_drawing("oblique.nrrd")
        arguments = "--support oblique.nrrd --support-image ct.nii.gz"
    (other,) = support_of(arguments).drawings
    assert not other.is_whole and all(d.complete == (kind == "oblique") for d in other.drawings)
    summary = run(f"next.nii.gz {arguments} -o out.nrrd", capsys)
    found = read_segmentation("out.nrrd").layers[0]
    for value, drawn_as in ((3, 3), (7, 7)) if kind == "partial" else ((3, 3),):
        assert dice(found == drawn_as, truth == value) > 0.8
    assert summary["support"][0]["image"] == str(folder / "ct.nii.gz")


@pytest.mark.usefixtures("few_places")
def test_drawings_here_and_in_another_image_go_together(folder):
    write_labels(TRUTH, "whole.nrrd")
    write_labels(only(TRUTH, [6]), "one.nrrd")
    support = support_of("--support whole.nrrd --support-image ct.nii.gz --support one.nrrd")
    other, here = support.drawings
    assert other.drawn is None and np.array_equal(other.labels > 0, TRUTH > 0) and not support.notes
    fully = support_of("--support drawn.seg.nrrd --support-image ct.nii.gz --drawn all").drawings
    assert [(f.drawn, f.axis) for f in fully] == [(None, "z")]
    assert here.index == 6 and [s.name for s in support.segments] == ["Segment 3", "Segment 7"]


@pytest.mark.usefixtures("few_places")
def test_another_kind_of_image_is_pointed_out(folder, capsys):
    write_image(Volume((400 - IMAGE.array).astype(np.int16), IMAGE.ijk_to_ras, "inverted"), "inverted.nii.gz")
    summary = run("inverted.nii.gz --support drawn.seg.nrrd --support-image ct.nii.gz -o out.nrrd", capsys)
    assert any("little alike" in note for note in summary["notes"])
