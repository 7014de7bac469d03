"""``s3net few-shot`` from the files to the files."""

import hashlib
import json
import os
import signal
import time

import headless_slicer
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from command_line import s3net, start

from S3NetSegmentLib import __version__
from S3NetSegmentLib.cli import main
from S3NetSegmentLib.cli.arguments import join_coordinates
from S3NetSegmentLib.engine import InputError, Segment, Segmentation, Volume
from S3NetSegmentLib.engine.few_shot.support_files import SupportFile, read_support
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation
from S3NetSegmentLib.engine.nets import dinov2

TERMINOLOGY = (
    "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^"
)
SEGMENTS = [
    Segment("Leber", (1.0, 0.5, 0.0), 3, terminology=TERMINOLOGY, tags={"Segmentation.Status": "inprogress"}),
    Segment("tube ü", (0.0, 0.25, 1.0), 7),
]


def scene(shift=0.0, seed=1):
    """A volume of 14 slices of 3 mm with a bright ball and a dark tube, and their labels (3 and 7)."""
    k, j, i = np.mgrid[:14, :36, :40]
    ball = ((k - 7) * 3.0) ** 2 + (j - 17 - shift) ** 2 + (i - 25) ** 2 < 11**2
    tube = (j - 18) ** 2 + (i - 7 - 0.2 * k) ** 2 < 4**2
    array = np.where(ball, 300, np.where(tube, 20, 120)) + np.random.default_rng(seed).normal(0, 12, ball.shape)
    matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    matrix[:3, 3] = (50, 40, -70)
    return Volume(array.astype(np.int16), matrix, "scene"), np.where(ball, 3, np.where(tube, 7, 0)).astype(np.uint8)


IMAGE, TRUTH = scene()
DRAWN = (5, 9)
QUICK = "--set appearance_steps=60 --set work_voxels=20000 --set leave_one_out=false".split()


def only(labels, slices, axis=0):
    out = np.zeros_like(labels)
    index = (slice(None),) * axis + (list(slices),)
    out[index] = labels[index]
    return out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the image and the drawing on two slices, as .seg.nrrd; the working directory."""
    write_image(IMAGE, tmp_path / "ct.nii.gz")
    write_segmentation(Segmentation([only(TRUTH, DRAWN)], SEGMENTS, IMAGE.ijk_to_ras), tmp_path / "drawn.seg.nrrd")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("S3NET_WEIGHTS", str(tmp_path / "weights"))  # not those of whoever runs the tests
    return tmp_path


def write_labels(labels, name, matrix=IMAGE.ijk_to_ras):
    write_image(Volume(labels, matrix, "labels"), name)


def run(text, capsys):
    """The command in this process; its summary."""
    texts = ["few-shot", *join_coordinates(text.split()), *QUICK, "--quiet", "--json"]
    arguments = main.build_parser().parse_args(texts)
    arguments.check(arguments)
    assert main.run(arguments) == 0
    return json.loads(capsys.readouterr().out)


def support_of(text):
    """The support that the command would use."""
    arguments = main.build_parser().parse_args(["few-shot", "ct.nii.gz", "-o", "out.nrrd", *text.split()])
    arguments.check(arguments)
    files = [SupportFile(**drawing) for drawing in arguments.support]
    return read_support(files, IMAGE, arguments.axis, arguments.segments, complete=not arguments.partial)


def contents(support):
    """What is drawn, comparable."""
    return [(s.axis, s.index, s.labels.tolist(), s.complete) for s in support.drawings]


def refused(text):
    """What the command says when it refuses its arguments or input."""
    arguments = main.build_parser().parse_args(["few-shot", *join_coordinates(text.split()), "--quiet"])
    arguments.check(arguments)
    with pytest.raises(InputError) as caught:
        main.run(arguments)
    assert not os.path.exists("out.seg.nrrd") and not os.path.exists("out.nrrd")
    return str(caught.value)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def undrawn(labels, drawn=DRAWN):
    return np.delete(labels, list(drawn), axis=0)


def test_two_drawn_slices_become_the_segments_of_the_volume_with_names_colours_and_values(folder, capsys):
    files = "-o out.seg.nrrd --confidence sure.nii.gz --overlay look.png"
    summary = run(f"ct.nii.gz --support drawn.seg.nrrd {files} --seed 4", capsys)
    found = read_segmentation(folder / "out.seg.nrrd")
    assert [(s.name, s.color, s.value) for s in found.segments] == [(s.name, s.color, s.value) for s in SEGMENTS]
    assert found.segments[0].terminology == TERMINOLOGY
    labels = found.layers[0]
    assert np.allclose(found.ijk_to_ras, IMAGE.ijk_to_ras) and labels.shape == TRUTH.shape
    assert np.array_equal(labels[list(DRAWN)], TRUTH[list(DRAWN)])
    for value in (3, 7):
        assert dice(undrawn(labels) == value, undrawn(TRUTH) == value) > 0.9
    sure = read_image(folder / "sure.nii.gz").array
    assert sure.shape == TRUTH.shape and 0 <= sure.min() < sure.max() <= 1 and (sure[list(DRAWN)] == 1).all()
    picture = sitk.GetArrayFromImage(sitk.ReadImage("look.png"))
    assert max(picture.shape[:2]) == 768 and np.ptp(picture.astype(int), axis=2).max() > 50
    tags = found.segments[0].tags
    assert tags["Segmentation.Status"] == "inprogress" and tags["S3NetSegment.Version"] == __version__
    assert tags["S3NetSegment.Support"] == "drawn.seg.nrrd z=5,9" and tags["S3NetSegment.Seed"] == "4"

    assert summary["command"] == "few-shot" and summary["part"]["axis"] == "z" and summary["seed"] == 4
    assert summary["support"][0]["drawn"] == [5, 9] and summary["support"][0]["image"] is None
    assert [s["label_value"] for s in summary["segments"]] == [3, 7]
    for segment, value in zip(summary["segments"], (3, 7), strict=True):
        assert segment["voxels"] == (labels == value).sum()
        assert segment["volume_ml"] == pytest.approx(segment["voxels"] * 0.003)
        assert 0.5 < segment["expected_dice"] <= 1
    assert sum(summary["mix"].values()) == pytest.approx(1, abs=0.01)
    suggested = [entry["slice"] for entry in summary["next_slices"]]
    assert 1 <= len(suggested) <= 3 and not set(suggested) & set(DRAWN)
    assert all(abs(a - b) > 1 for n, a in enumerate(suggested) for b in suggested[:n])
    assert set(summary["outputs"]) == {"output", "confidence", "overlay"}


def test_a_label_map_gives_a_label_map_with_the_same_values_also_large_ones(folder, capsys):
    labels = only(TRUTH, DRAWN).astype(np.uint16)
    write_labels(np.where(labels == 7, 1000, labels), "drawn.nrrd")
    summary = run("ct.nii.gz --support drawn.nrrd -o out.nii.gz", capsys)
    found = read_image(folder / "out.nii.gz").array
    assert set(np.unique(found)) == {0, 3, 1000} and dice(undrawn(found) == 1000, undrawn(TRUTH) == 7) > 0.9
    assert [s["name"] for s in summary["segments"]] == ["Segment 3", "Segment 1000"]


def test_people_read_volumes_expected_dice_and_the_slices_to_draw_next(folder):
    files = ["ct.nii.gz", "--support", "drawn.seg.nrrd", "-o", "out.seg.nrrd", "--encoder", "default", *QUICK]
    done = s3net("few-shot", *files, folder=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "40 x 36 x 14" in lines[0] and lines[1] == "drawn: slice 5, 9 along z"
    assert "Leber" in lines[2] and " ml   expected Dice 0." in lines[2]
    assert "draw next, most useful first: slice " in done.stdout and lines[-1] == "wrote out.seg.nrrd"
    assert all(line.startswith("s3net: ") and "%" in line for line in done.stderr.splitlines())


def test_the_same_command_twice_writes_the_same_bytes(folder, capsys):
    for name in ("one", "two"):
        run(f"ct.nii.gz --support drawn.seg.nrrd -o {name}.seg.nrrd --confidence {name}.nrrd", capsys)
    for ending in (".seg.nrrd", ".nrrd"):
        assert (folder / f"one{ending}").read_bytes() == (folder / f"two{ending}").read_bytes()


def test_chosen_segments_alone_are_answered_and_the_others_count_as_background(folder, capsys):
    summary = run("ct.nii.gz --support drawn.seg.nrrd -o out.seg.nrrd --segments leber", capsys)
    assert [s["name"] for s in summary["segments"]] == ["Leber"]
    found = read_segmentation(folder / "out.seg.nrrd")
    assert set(np.unique(found.layers[0])) == {0, 3} and dice(undrawn(found.layers[0]) == 3, undrawn(TRUTH) == 3) > 0.9


def test_an_unknown_segment_is_refused_with_the_names_there_are(folder):
    text = refused("ct.nii.gz --support drawn.seg.nrrd -o out.seg.nrrd --segments Milz")
    assert "'Milz'" in text and "Leber, tube ü" in text


def test_drawn_slices_may_be_named_and_hold_nothing(folder):
    write_labels(only(TRUTH, (4, 7, 10)), "drawn.nrrd")
    support = support_of("--support drawn.nrrd --drawn 4,10,13")
    assert [(s.index, s.labels.any()) for s in support.drawings] == [(4, True), (10, True), (13, False)]
    assert any("other slices than --drawn" in note for note in support.notes)


def test_slices_across_another_axis_are_found_by_themselves(folder):
    write_labels(only(TRUTH, (20, 25, 30), axis=2), "drawn.nrrd")
    support = support_of("--support drawn.nrrd")
    assert [(s.axis, s.index) for s in support.drawings] == [("x", 20), ("x", 25), ("x", 30)]
    assert (
        support_of("--support drawn.nrrd --axis z").facts[0]["drawn"]
        == np.flatnonzero(only(TRUTH, (20, 25, 30), axis=2).any((1, 2))).tolist()
    )


def test_only_the_slices_asked_for_are_answered(folder, capsys):
    run("ct.nii.gz --support drawn.seg.nrrd --slices 5:7 -o out.nrrd", capsys)
    labels = read_image(folder / "out.nrrd").array
    assert labels[6].any() and not labels[:5].any() and not labels[10:].any()


def test_a_partial_drawing_says_nothing_of_what_lies_far_from_it(folder, capsys):
    run("ct.nii.gz --support drawn.seg.nrrd --segments Leber --partial -o out.nrrd", capsys)
    labels = read_image(folder / "out.nrrd").array
    assert dice(undrawn(labels) == 3, undrawn(TRUTH) == 3) > 0.8


def test_a_corrected_answer_is_the_next_drawing(folder, capsys):
    run("ct.nii.gz --support drawn.seg.nrrd -o first.seg.nrrd", capsys)
    first = read_segmentation("first.seg.nrrd")
    labels = first.layers[0].copy()
    labels[7], labels[2] = TRUTH[7], 3  # a corrected slice, and one that is wrong
    write_segmentation(Segmentation([labels], first.segments, first.ijk_to_ras), "corrected.seg.nrrd")
    run("ct.nii.gz --support corrected.seg.nrrd --drawn 5,7,9 -o second.seg.nrrd", capsys)
    second = read_segmentation("second.seg.nrrd")
    assert np.array_equal(second.layers[0][7], TRUTH[7]) and not (second.layers[0][2] == 3).all()
    assert [s.tags["S3NetSegment.Support"] for s in second.segments] == ["corrected.seg.nrrd z=5,7,9"] * 2


def test_a_drawing_on_planes_alone_is_answered(folder, capsys):
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, 1] += 0.3 * matrix[:3, 0]
    write_labels(only(TRUTH, DRAWN), "sheared.nrrd", matrix)
    summary = run("ct.nii.gz --support sheared.nrrd -o out.nrrd", capsys)
    assert summary["support"][0]["drawn_planes"] == 2 and all(s["voxels"] > 50 for s in summary["segments"])


def test_a_colour_volume_is_answered_too(folder, capsys):
    grey = np.clip((IMAGE.array.astype(float) + 50) * 0.6, 0, 255).astype(np.uint8)
    picture = sitk.GetImageFromArray(np.stack([grey, grey // 2, 255 - grey], -1), isVector=True)
    picture.CopyInformation(sitk.ReadImage("ct.nii.gz"))
    sitk.WriteImage(picture, "colour.nrrd")
    run("colour.nrrd --support drawn.seg.nrrd -o out.nrrd", capsys)
    labels = read_image(folder / "out.nrrd").array
    assert dice(undrawn(labels) == 3, undrawn(TRUTH) == 3) > 0.85


def test_what_was_hardly_drawn_and_slices_that_hold_no_other_part_are_said(folder, capsys):
    pixel = np.zeros_like(TRUTH)
    pixel[5, 17, 25] = 1
    write_labels(pixel, "pixel.nrrd")
    summary = run("ct.nii.gz --support pixel.nrrd -o out.nrrd", capsys)
    assert any("segment 'Segment 1': at most 8 pixels" in note for note in summary["notes"])
    summary = run("ct.nii.gz --support drawn.seg.nrrd --slices 5:5 -o out.nrrd", capsys)
    assert [s["expected_dice"] for s in summary["segments"]] == [None, None]


def test_a_doubtful_axis_is_said(folder):
    wide = support_of("--support drawn.seg.nrrd --axis x")
    assert any("on only 2 along z" in note for note in wide.notes)
    narrow = np.zeros_like(TRUTH)
    narrow[[4, 7, 10], 16:22, 24:26] = 1  # two pixels wide: fewer slices along x than are drawn along z
    write_labels(narrow, "narrow.nrrd")
    support = support_of("--support narrow.nrrd")
    assert support.facts[0]["axis"] == "x" and any("slice 4, 7, 10 along z, say --axis z" in n for n in support.notes)
    assert not support_of("--support drawn.seg.nrrd").notes


def test_of_overlapping_segments_the_smaller_counts_and_it_is_said(folder):
    inner = np.zeros_like(TRUTH)
    inner[5, 14:20, 22:28] = 1
    segments = [SEGMENTS[0], Segment("core", (1, 0, 0), 1, layer=1)]
    write_segmentation(Segmentation([only(TRUTH, DRAWN), inner], segments, IMAGE.ijk_to_ras), "nested.seg.nrrd")
    support = support_of("--support nested.seg.nrrd")
    assert any("'Leber' and 'core' overlap in 36 voxels" in note for note in support.notes)
    assert np.array_equal(support.drawings[0].labels == 2, inner[5] == 1) and (support.drawings[0].labels == 1).any()


def test_a_drawing_that_was_cropped_and_flipped_keeps_its_place_without_a_note(folder):
    flipped = only(TRUTH, DRAWN)[:, ::-1, 4:38]
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, 3] = IMAGE.ras_of((4, TRUTH.shape[1] - 1, 0))
    matrix[:3, 1] *= -1
    write_labels(flipped.copy(), "part.nrrd", matrix)
    support = support_of("--support part.nrrd")
    assert not support.notes and not support.facts[0]["resampled"]
    assert contents(support) == contents(support_of("--support drawn.seg.nrrd"))


@pytest.mark.skipif(not headless_slicer.AVAILABLE, reason=headless_slicer.WHY_NOT)
def test_a_drawing_that_slicer_saved_and_cropped_is_the_same_drawing(folder):
    headless_slicer.start().new_scene()
    import slicer

    def storage(name):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        node.SetFileName(str(folder / name))
        return node

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage("drawn.seg.nrrd").ReadData(node)
    writer = storage("slicer.seg.nrrd")
    writer.SetCropToMinimumExtent(True)
    assert writer.WriteData(node)
    assert sitk.ReadImage("slicer.seg.nrrd").GetSize() != IMAGE.size
    saved, own = support_of("--support slicer.seg.nrrd"), support_of("--support drawn.seg.nrrd")
    assert contents(saved) == contents(own) and not saved.notes
    assert [(s.name, s.color) for s in saved.segments] == [(s.name, s.color) for s in own.segments]
    assert saved.segments[0].terminology == TERMINOLOGY


def test_a_drawing_on_a_finer_grid_is_brought_onto_the_images_grid_and_it_is_said(folder):
    fine = np.repeat(np.repeat(TRUTH, 2, 1), 2, 2)
    fine = np.stack([np.zeros_like(fine), fine, np.zeros_like(fine)], 1).reshape(-1, *fine.shape[1:])  # 1 mm slices
    matrix = IMAGE.ijk_to_ras @ np.diag([0.5, 0.5, 1 / 3, 1])
    matrix[:3, 3] = IMAGE.ras_of((-0.25, -0.25, -1 / 3))
    write_labels(only(fine, [3 * k + 1 for k in DRAWN]), "fine.nrrd", matrix)
    support = support_of("--support fine.nrrd")
    assert any("another grid" in note and "nearest neighbour" in note for note in support.notes)
    assert contents(support) == contents(support_of("--support drawn.seg.nrrd"))
    named = support_of("--support fine.nrrd --drawn 5,9,12")
    assert contents(named)[:2] == contents(support) and not named.drawings[2].labels.any()


def write_askew_drawing(path):
    """The ball's middle slice as if it had been drawn on a plane that leans by 0.2; returns its centre."""
    turn = np.array([[np.cos(0.2), 0, np.sin(0.2)], [0, 1, 0], [-np.sin(0.2), 0, np.cos(0.2)]])
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, :3] = turn @ matrix[:3, :3]
    centre = IMAGE.ras_of((25, 17, 7))
    matrix[:3, 3] = centre - matrix[:3, :3] @ (25, 17, 7)
    write_labels(only(TRUTH, (7,)), path, matrix)
    return centre


def test_a_drawing_askew_to_the_image_is_used_as_planes(folder):
    centre = write_askew_drawing("askew.nrrd")
    support = support_of("--support askew.nrrd")
    (plane,) = support.drawings
    assert any("used as planes" in note for note in support.notes) and support.facts[0]["drawn_planes"] == 1
    assert np.allclose((plane.plane_to_ras @ (25, 17, 0, 1))[:3], centre)
    assert set(np.unique(plane.labels)) == {0, 1, 2} and plane.labels.shape == TRUTH.shape[1:]
    named = support_of("--support askew.nrrd --drawn 7")  # the user says that a slice of the image is drawn
    assert dice(named.drawings[0].labels == 1, TRUTH[7] == 3) > 0.3


def test_segments_of_several_drawings_are_one_where_their_names_are(folder):
    first, second = (only(TRUTH, [k]) for k in DRAWN)
    write_segmentation(Segmentation([first], SEGMENTS, IMAGE.ijk_to_ras), "first.seg.nrrd")
    other = [Segment("tube ü", (1, 1, 1), 3), Segment("Leber", (0, 0, 0), 7)]  # the values the other way round
    swapped = np.where(second == 3, 7, np.where(second == 7, 3, 0)).astype(np.uint8)
    write_segmentation(Segmentation([swapped], other, IMAGE.ijk_to_ras), "second.seg.nrrd")
    support = support_of("--support first.seg.nrrd --support second.seg.nrrd")
    assert [(s.name, s.value) for s in support.segments] == [("Leber", 3), ("tube ü", 7)]
    assert contents(support) == contents(support_of("--support drawn.seg.nrrd"))


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


@pytest.mark.parametrize("kind", ["partial", "askew"])
def test_parts_of_slices_and_oblique_planes_of_another_image_are_taken_to_this_one(folder, capsys, kind):
    image, truth = scene(shift=3, seed=9)
    write_image(image, "next.nii.gz")
    if kind == "partial":
        arguments = "--support drawn.seg.nrrd --support-image ct.nii.gz --partial"
    else:
        write_askew_drawing("askew.nrrd")
        arguments = "--support askew.nrrd --support-image ct.nii.gz"
    (other,) = support_of(arguments).drawings
    assert not other.is_whole and all(d.complete == (kind == "askew") for d in other.drawings)
    summary = run(f"next.nii.gz {arguments} -o out.nrrd", capsys)
    found = read_segmentation("out.nrrd").layers[0]
    for value, drawn_as in ((3, 3), (7, 7)) if kind == "partial" else ((3, 3),):
        assert dice(found == drawn_as, truth == value) > 0.8
    assert summary["support"][0]["image"] == str(folder / "ct.nii.gz")


def test_an_encoder_from_a_file_votes_or_answers_alone(folder, capsys, monkeypatch):
    shape = dinov2.Architecture(12, 1, 2, 24)
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, "dinov2-tiny14": shape})
    torch.save(dict(shape.build().initialize(torch.Generator().manual_seed(0)).state_dict()), "tiny.pth")
    digest = hashlib.sha256((folder / "tiny.pth").read_bytes()).hexdigest()
    voted = run("ct.nii.gz --support drawn.seg.nrrd -o voted.seg.nrrd --encoder tiny.pth", capsys)
    alone = run("ct.nii.gz --support drawn.seg.nrrd -o alone.seg.nrrd --encoder tiny.pth --method alpnet", capsys)
    for summary in (voted, alone):
        assert summary["encoder"] == {"name": "tiny.pth", "sha256": digest}
    assert "carried" in voted["mix"] and list(alone["mix"]) == ["prototypes"] and alone["method"] == "alpnet"
    found = read_segmentation("alone.seg.nrrd")
    assert found.segments[0].tags["S3NetSegment.Encoder"] == f"tiny.pth sha256 {digest}"
    assert np.array_equal(found.layers[0][list(DRAWN)], TRUTH[list(DRAWN)])
    write_askew_drawing("askew.nrrd")
    elsewhere = (
        "ct.nii.gz --support askew.nrrd --support-image ct.nii.gz -o plane.nrrd --encoder tiny.pth --method alpnet"
    )
    assert list(run(elsewhere, capsys)["mix"]) == ["prototypes"]
    assert (read_segmentation("plane.nrrd").layers[0] > 0).any()


def test_drawings_here_and_in_another_image_go_together(folder):
    write_labels(TRUTH, "whole.nrrd")
    write_labels(only(TRUTH, [6]), "one.nrrd")
    support = support_of("--support whole.nrrd --support-image ct.nii.gz --support one.nrrd")
    other, here = support.drawings
    assert other.drawn is None and np.array_equal(other.labels > 0, TRUTH > 0) and not support.notes
    fully = support_of("--support drawn.seg.nrrd --support-image ct.nii.gz --drawn all").drawings
    assert [(f.drawn, f.axis) for f in fully] == [(None, "z")]
    assert here.index == 6 and [s.name for s in support.segments] == ["Segment 3", "Segment 7"]


def test_another_kind_of_image_is_pointed_out(folder, capsys):
    write_image(Volume((400 - IMAGE.array).astype(np.int16), IMAGE.ijk_to_ras, "inverted"), "inverted.nii.gz")
    summary = run("inverted.nii.gz --support drawn.seg.nrrd --support-image ct.nii.gz -o out.nrrd", capsys)
    assert any("little alike" in note for note in summary["notes"])


# What is written after "few-shot", what the message must hold.
BAD_ARGUMENTS = {
    "ct.nii.gz -o out.nrrd": "--support LABELS is missing",
    "ct.nii.gz -o out.nrrd --support": "--support",
    "ct.nii.gz --support drawn.seg.nrrd": "--output",
    "ct.nii.gz --support drawn.seg.nrrd -o drawn.seg.nrrd": "is the drawing",
    "ct.nii.gz --support drawn.seg.nrrd -o ct.nii.gz": "is the input image",
    "ct.nii.gz --support d.nrrd --support-image o.nrrd -o o.nrrd": "is the image 'o.nrrd'",
    "ct.nii.gz --support d.nrrd -o a.nrrd --confidence a.nrrd": "are the same file",
    "ct.nii.gz --support d.nrrd -o a.nrrd --overlay a.jpg": "must end in .png",
    "ct.nii.gz --support d.nrrd --drawn 3,x -o a.nrrd": "'3,x' are no slices",
    "ct.nii.gz --support d.nrrd --drawn -3 -o a.nrrd": "--drawn",
    "ct.nii.gz --support d.nrrd --drawn 3 --drawn 4 -o a.nrrd": "--drawn is given twice",
    "ct.nii.gz --drawn 3 --support d.nrrd --support e.nrrd -o a.nrrd": "must follow the --support",
    "ct.nii.gz --support d.nrrd --segments , -o a.nrrd": "names no segment",
    "ct.nii.gz --support d.nrrd --slices 9:3 -o a.nrrd": "ends before it begins",
    "ct.nii.gz --support d.nrrd --axis q -o a.nrrd": "'q'",
    "ct.nii.gz --support d.nrrd --device gpu -o a.nrrd": "'gpu' is not a device",
    "ct.nii.gz --support d.nrrd --preset paper -o a.nrrd": "--preset",
    "ct.nii.gz --support d.nrrd --method alpnet --encoder default -o a.nrrd": "--method alpnet needs an encoder",
}


@pytest.mark.parametrize("text", BAD_ARGUMENTS)
def test_bad_arguments_are_refused_before_anything_is_read(text, capsys):
    with pytest.raises(SystemExit) as stop:
        arguments = main.build_parser().parse_args(["few-shot", *join_coordinates(text.split())])
        arguments.check(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and BAD_ARGUMENTS[text] in error and error.count("\n") == 1


# What follows "ct.nii.gz -o out.seg.nrrd", what the message must hold.
BAD_INPUT = {
    "--support missing.seg.nrrd": "there is no file or folder 'missing.seg.nrrd'",
    "--support empty.nrrd": "'empty.nrrd' holds nothing of any segment",
    "--support whole.nrrd": "is drawn on every slice along z",
    "--support away.nrrd": "lie outside image 'ct'",
    "--support drawn.seg.nrrd --drawn all": "is drawn on every slice along z",
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
    "--support broken.nrrd": "broken values",
    "--support twins.seg.nrrd": "two segments named 'twin'",
    "--support cut.seg.nrrd": "cut.seg.nrrd",
    "--support layer.seg.nrrd": "'layer.seg.nrrd': segment 'Leber' is in layer 5",
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
    content = (folder / "drawn.seg.nrrd").read_bytes()
    (folder / "cut.seg.nrrd").write_bytes(content[: len(content) - 100])
    (folder / "layer.seg.nrrd").write_bytes(content.replace(b"Segment0_Layer:=0", b"Segment0_Layer:=5"))
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([TRUTH, TRUTH]), isVector=False), "frames.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([TRUTH] * 3, -1), isVector=True), "colours.nrrd")
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
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped" in err and "Traceback" not in err and not out
    assert {path.name for path in tmp_path.iterdir()} == {"n.nrrd", "l.nrrd"}
