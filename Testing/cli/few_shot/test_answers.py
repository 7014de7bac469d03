"""``s3net few-shot`` from the files to the files."""

import hashlib

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from command_line import s3net
from few_shot_command_line import (
    DRAWN,
    IMAGE,
    QUICK,
    SEGMENTS,
    TERMINOLOGY,
    TRUTH,
    dice,
    only,
    refused,
    run,
    support_of,
    undrawn,
    write_labels,
    write_oblique_drawing,
)
from image_files import write_dicom_series

from S3NetSegmentLib import __version__
from S3NetSegmentLib.cli.few_shot_results import print_summary
from S3NetSegmentLib.engine import Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation
from S3NetSegmentLib.engine.nets import dinov2


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


@pytest.fixture
def nested(folder):
    """A drawing of the ball, its core and the tube on two slices, the core in a layer of its own; the truth of each."""
    k, j, i = np.mgrid[:14, :36, :40]
    masks = [TRUTH == 3, TRUTH == 7, ((k - 7) * 3.0) ** 2 + (j - 17) ** 2 + (i - 25) ** 2 < 7.5**2]
    image = IMAGE.array + np.where(masks[2], 150, 0)
    write_image(Volume(image.astype(np.int16), IMAGE.ijk_to_ras, "scene"), folder / "nested.nii.gz")
    segments = [*SEGMENTS, Segment("core", (1, 0, 0), 3, layer=1)]
    layers = [only(TRUTH, DRAWN), only(np.where(masks[2], 3, 0).astype(np.uint8), DRAWN)]
    write_segmentation(Segmentation(layers, segments, IMAGE.ijk_to_ras), folder / "nested.seg.nrrd")
    return masks


def test_segments_that_overlap_are_answered_and_written_whole_with_their_numbers(nested, folder, capsys):
    summary = run("nested.nii.gz --support nested.seg.nrrd -o out.seg.nrrd --overlay look.png", capsys)
    found = read_segmentation("out.seg.nrrd")
    assert [(s.name, s.value) for s in found.segments] == [("Leber", 3), ("tube ü", 7), ("core", 3)]
    for segment, facts, truth in zip(found.segments, summary["segments"], nested, strict=True):
        mask = found.mask(segment)
        assert np.array_equal(mask[list(DRAWN)], truth[list(DRAWN)])
        assert dice(undrawn(mask), undrawn(truth)) > 0.85
        assert facts["voxels"] == mask.sum() and facts["volume_ml"] == pytest.approx(mask.sum() * 0.003)
        assert abs(facts["expected_dice"] - dice(undrawn(mask), undrawn(truth))) < 0.25
    picture = sitk.GetArrayFromImage(sitk.ReadImage("look.png")).astype(int)
    for colour in ((255, 128, 0), (255, 0, 0)):  # both outlines are seen
        assert (np.abs(picture - colour).max(-1) < 10).sum() > 20


def test_a_label_map_of_segments_that_overlap_shows_the_smaller_and_says_what_is_lost(nested, folder, capsys):
    summary = run("nested.nii.gz --support nested.seg.nrrd -o out.nii.gz", capsys)
    labels = read_image("out.nii.gz").array
    assert set(np.unique(labels)) == {0, 1, 3, 7} and np.array_equal(labels[5] == 1, nested[2][5])
    lost = summary["segments"][0]["voxels"] - (labels == 3).sum()
    assert any(f"lose voxels: 'Leber' {lost:,}; write .seg.nrrd" in note for note in summary["notes"])
    assert any("in the label map it is 1 for 'core'" in note for note in summary["notes"])


def test_boxes_take_the_place_of_a_drawing_and_go_on_from_one(folder, capsys):
    def boxes(k):
        corners = [
            [str(v) for c in (p.min(0), p.max(0)) for v in (c[1], c[0], k)]
            for p in map(np.argwhere, (TRUTH[k] == 7, TRUTH[k] == 3))
        ]
        return " ".join(f"--box {name}={','.join(own)}" for name, own in zip(("tube", "Leber"), corners, strict=True))

    summary = run(f"ct.nii.gz {boxes(5)} {boxes(9)} -o out.seg.nrrd", capsys)
    assert [(s["labels"], s["drawn"]) for s in summary["support"]] == [("the boxes across z", [5, 9])]
    found = read_segmentation("out.seg.nrrd")
    assert [s.name for s in found.segments] == ["tube", "Leber"]
    for segment, value in zip(found.segments, (7, 3), strict=True):
        assert dice(undrawn(found.mask(segment)), undrawn(TRUTH == value)) > 0.85
    summary = run(f"ct.nii.gz --support drawn.seg.nrrd {boxes(8)} -o out.seg.nrrd", capsys)
    assert [s["drawn"] for s in summary["support"]] == [[5, 9], [8]]
    assert [s["name"] for s in summary["segments"]] == ["Leber", "tube ü", "tube"]


def test_people_read_volumes_expected_dice_and_the_slices_to_draw_next(folder):
    files = ["ct.nii.gz", "--support", "drawn.seg.nrrd", "-o", "out.seg.nrrd", "--encoder", "default", *QUICK]
    done = s3net("few-shot", *files, folder=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "40 x 36 x 14" in lines[0] and lines[1] == "drawn: slices 5, 9 along z"
    assert "Leber" in lines[2] and " ml   expected Dice 0." in lines[2]
    at = lines.index("draw next along z, most useful first:")
    assert all(line.startswith("  slice ") and ("doubtful" in line or "end" in line) for line in lines[at + 1 : at + 4])
    assert lines[-1] == "wrote out.seg.nrrd"
    assert all(line.startswith("s3net: ") and ("%" in line or "note: " in line) for line in done.stderr.splitlines())


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
    assert not any("one plane oblique" in note for note in summary["notes"])
    assert summary["support"][0]["drawn_planes"] == 2 and all(s["voxels"] > 50 for s in summary["segments"])


def test_one_oblique_plane_is_told_by_its_segments_and_how_it_was_drawn(folder):
    write_oblique_drawing("oblique.nrrd")
    done = s3net(
        "few-shot",
        "ct.nii.gz",
        "--support",
        "oblique.nrrd",
        "-o",
        "out.nrrd",
        "--encoder",
        "default",
        *QUICK,
        folder=folder,
    )
    assert "drawn: 1 plane, oblique to the slices\n" in done.stdout
    assert "note: 'Segment 3' and 'Segment 7' are drawn on one plane oblique to the slices" in done.stderr


def test_a_slice_past_the_end_is_suggested_as_an_empty_one(folder, capsys):
    """The ball ends between slices 3 and 10; where the tube is left out, slices beyond hold nothing."""
    write_labels(np.where(only(TRUTH, [6]) == 3, 3, 0).astype(np.uint8), "six.nrrd")
    summary = run("ct.nii.gz --support six.nrrd -o out.nrrd", capsys)
    for entry in summary["next_slices"]:
        empty = not (TRUTH[entry["slice"]] == 3).any()
        assert entry["expected_empty"] == ("probably ends before it" in entry["reason"])
        assert empty or not entry["expected_empty"]
    assert 0 <= summary["segments"][0]["expected_past_end"] < 0.5


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


def test_an_encoder_from_a_file_votes_or_answers_alone(folder, capsys, monkeypatch):
    shape = dinov2.Architecture(12, 1, 2, 24)
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, "dinov2-tiny14": shape})
    torch.save(dict(shape.build().initialize(torch.Generator().manual_seed(0)).state_dict()), "tiny.pth")
    digest = hashlib.sha256((folder / "tiny.pth").read_bytes()).hexdigest()
    voted = run("ct.nii.gz --support drawn.seg.nrrd -o voted.seg.nrrd --encoder tiny.pth", capsys)
    alone = run("ct.nii.gz --support drawn.seg.nrrd -o alone.seg.nrrd --encoder tiny.pth --method alpnet", capsys)
    for summary in (voted, alone):
        share = summary["mix"].get("prototypes", 0)
        assert summary["encoder"] == {"name": "tiny.pth", "sha256": digest, "share": share}
    assert "carried" in voted["mix"] and list(alone["mix"]) == ["prototypes"] and alone["method"] == "alpnet"
    found = read_segmentation("alone.seg.nrrd")
    assert found.segments[0].tags["S3NetSegment.Encoder"] == f"tiny.pth sha256 {digest}"
    assert np.array_equal(found.layers[0][list(DRAWN)], TRUTH[list(DRAWN)])
    write_oblique_drawing("oblique.nrrd")
    elsewhere = (
        "ct.nii.gz --support oblique.nrrd --support-image ct.nii.gz -o plane.nrrd --encoder tiny.pth --method alpnet"
    )
    assert list(run(elsewhere, capsys)["mix"]) == ["prototypes"]
    assert (read_segmentation("plane.nrrd").layers[0] > 0).any()


def test_the_published_preset_answers_by_prototypes_alone_and_is_recorded(folder, capsys, monkeypatch):
    shape = dinov2.Architecture(12, 1, 2, 24)
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, "dinov2-tiny14": shape})
    torch.save(dict(shape.build().initialize(torch.Generator().manual_seed(0)).state_dict()), "tiny.pth")
    asked = "ct.nii.gz --support drawn.seg.nrrd -o out.seg.nrrd --encoder tiny.pth --preset published"
    summary = run(f"{asked} --set encoder_side=84", capsys)
    assert list(summary["mix"]) == ["prototypes"] and summary["method"] == "alpnet"
    found = read_segmentation("out.seg.nrrd")
    tags = found.segments[0].tags
    assert tags["S3NetSegment.Preset"] == "published" and "encoder_input" in "".join(tags.values())
    assert np.array_equal(found.layers[0][list(DRAWN)], TRUTH[list(DRAWN)])


def test_an_encoder_to_which_the_vote_gives_nothing_is_told_and_recorded_so(folder, capsys, monkeypatch):
    from S3NetSegmentLib.engine.few_shot.vote import propagation

    shape = dinov2.Architecture(12, 1, 2, 24)
    monkeypatch.setattr(dinov2, "ARCHITECTURES", {**dinov2.ARCHITECTURES, "dinov2-tiny14": shape})
    torch.save(dict(shape.build().initialize(torch.Generator().manual_seed(0)).state_dict()), "tiny.pth")
    some = run("ct.nii.gz --support drawn.seg.nrrd -o out.seg.nrrd --encoder tiny.pth", capsys)
    print_summary(some)
    assert "encoder: tiny.pth, 5 % of the vote\n" in capsys.readouterr().out
    monkeypatch.setattr(propagation, "further_share", lambda *arguments: 0.0)
    none = run("ct.nii.gz --support drawn.seg.nrrd -o out.seg.nrrd --encoder tiny.pth", capsys)
    print_summary(none)
    assert (
        "encoder: tiny.pth took no part, since drawn slices" in capsys.readouterr().out
        and none["encoder"]["share"] == 0
    )
    assert read_segmentation("out.seg.nrrd").segments[0].tags["S3NetSegment.Encoder"].endswith(", took no part")


def test_segments_that_overlap_are_whole_in_a_dicom_seg(nested, folder, capsys):
    write_dicom_series(folder / "series", read_image("nested.nii.gz").array, IMAGE.ijk_to_ras)
    summary = run("series --support nested.seg.nrrd -o out.dcm", capsys)
    found = read_segmentation("out.dcm")
    for facts, truth in zip(summary["segments"], nested, strict=True):
        (segment,) = (s for s in found.segments if s.name == facts["name"])
        assert found.mask(segment).sum() == facts["voxels"] > truth[list(DRAWN)].sum()
