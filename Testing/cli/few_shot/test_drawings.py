"""Which drawing ``s3net few-shot`` reads out of the files it is given."""

import headless_slicer
import numpy as np
import pytest
import SimpleITK as sitk
from few_shot_command_line import (
    DRAWN,
    IMAGE,
    SEGMENTS,
    TERMINOLOGY,
    TRUTH,
    contents,
    dice,
    only,
    support_of,
    write_labels,
    write_oblique_drawing,
)

from S3NetSegmentLib.engine import InputError, Segment, Segmentation
from S3NetSegmentLib.engine.few_shot.drawings.support import mixed_slices, on_volume
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot
from S3NetSegmentLib.engine.images.writing import write_segmentation


def test_a_doubtful_axis_is_said(folder):
    wide = support_of("--support drawn.seg.nrrd --axis x")
    assert any("on only 2 along z" in note for note in wide.notes)
    narrow = np.zeros_like(TRUTH)
    narrow[[4, 7, 10], 16:22, 24:26] = 1  # two pixels wide: fewer slices along x than are drawn along z
    write_labels(narrow, "narrow.nrrd")
    support = support_of("--support narrow.nrrd")
    assert support.facts[0]["axis"] == "x" and any("slice 4, 7, 10 along z, say --axis z" in n for n in support.notes)
    assert not support_of("--support drawn.seg.nrrd").notes


@pytest.mark.parametrize("lean", [(0, 1.0, 0), (0.3, 0.5, 0), (0, 0.4, 0.4), (0, -2.0, 0)])
def test_one_plane_of_voxels_oblique_to_the_slices_is_told_to_be_strips(folder, lean):
    k, j, i = (n - n.mean() for n in np.indices(TRUTH.shape))
    across = np.array((1, *lean[1:])) / np.linalg.norm((1, *lean[1:]))
    drawn = np.where(np.abs(across[0] * k + across[1] * j + across[2] * i + lean[0]) < 0.5, 3, 0).astype(np.uint8)
    write_labels(drawn * (np.abs(k) < 4) * (np.abs(j) < 9) * (np.abs(i) < 9), "strips.nrrd")
    (note,) = support_of("--support strips.nrrd").notes
    assert "lies on one plane oblique to the slices" in note and "holds only a strip of it" in note
    straight = np.zeros_like(drawn)
    straight[:, 20, :] = drawn.max(1)
    write_labels(straight, "straight.nrrd")
    assert not support_of("--support straight.nrrd").notes


@pytest.mark.parametrize("shift", [0, 0.3])  # on the grid of the image, and beside it
def test_slices_drawn_across_several_axes_are_known_as_such_and_it_is_said(folder, shift):
    drawn = only(TRUTH, DRAWN)
    drawn[:, 20] = TRUTH[:, 20]
    matrix = IMAGE.ijk_to_ras @ [[1, 0, 0, shift], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    write_labels(drawn, "crossed.nrrd", matrix)
    support = support_of("--support crossed.nrrd")
    assert sum("across several axes" in note for note in support.notes) == (not shift)
    few_shot = FewShot(IMAGE)
    few_shot.set_support(support.drawings)
    as_slices = [d if isinstance(d, DrawnSlice) else on_volume(d, IMAGE, 0) for d in support.drawings]
    places = {(d.axis, getattr(d, "index", None) if isinstance(d, DrawnSlice) else 20) for d in as_slices}
    assert places == {("z", 5), ("z", 9), ("y", 20)}
    with pytest.raises(InputError, match="drawn on every slice along z"):
        support_of("--support crossed.nrrd --axis z")


@pytest.mark.parametrize("whole", [TRUTH, np.indices(TRUTH.shape).sum(0) % 9 == 0])
def test_a_whole_object_is_not_taken_for_slices_across_several_axes(whole):
    assert mixed_slices(np.asarray(whole, np.uint8)) == {} == mixed_slices(np.zeros_like(TRUTH))


def test_segments_that_overlap_are_read_whole_in_layers_and_it_is_said(folder):
    inner = np.zeros_like(TRUTH)
    inner[5, 14:20, 22:28] = 3
    segments = [*SEGMENTS, Segment("core", (1, 0, 0), 3, layer=1)]
    write_segmentation(Segmentation([only(TRUTH, DRAWN), inner], segments, IMAGE.ijk_to_ras), "nested.seg.nrrd")
    support = support_of("--support nested.seg.nrrd")
    assert support.notes == [
        "'Leber' and 'core' overlap in 36 drawn voxels; each is answered on its own and stays whole"
    ]
    assert [(d.index, d.layer) for d in support.drawings] == [(5, 0), (9, 0), (5, 1), (9, 1)]
    assert np.array_equal(support.drawings[0].labels == 1, TRUTH[5] == 3)
    assert np.array_equal(support.drawings[2].labels == 3, inner[5] == 3)
    assert (support.drawings[3].labels != 3).all() and support.facts[0]["drawn"] == [5, 9]  # no core on slice 9
    assert [s.value for s in support.segments] == [3, 7, 3] and support.facts[0]["pixels"]["core"] == 36
    alone = support_of("--support nested.seg.nrrd --segments Leber")
    assert not alone.notes and [d.layer for d in alone.drawings] == [0, 0]


def test_a_slice_drawn_in_two_files_has_the_segments_of_both(folder):
    core = np.zeros_like(TRUTH)
    core[5, 14:20, 22:28] = 1
    write_segmentation(Segmentation([core], [Segment("core", (1, 0, 0), 1)], IMAGE.ijk_to_ras), "core.seg.nrrd")
    both = support_of("--support drawn.seg.nrrd --support core.seg.nrrd")
    for value, expected in ((1, TRUTH[5] == 3), (2, TRUTH[5] == 7), (3, core[5] == 1)):
        assert any(np.array_equal(d.labels == value, expected) for d in both.drawings if d.index == 5)
    assert [note for note in both.notes if "overlap" in note] and not [
        note for note in both.notes if "both hold" in note
    ]


def test_of_a_segment_that_two_files_draw_on_one_slice_the_later_file_counts_and_it_is_said(folder):
    corrected = only(TRUTH, (5,))
    corrected[5, :17] = 0
    write_segmentation(Segmentation([corrected], SEGMENTS, IMAGE.ijk_to_ras), "corrected.seg.nrrd")
    support = support_of("--support drawn.seg.nrrd --support corrected.seg.nrrd")
    (five,) = (d for d in support.drawings if d.index == 5)
    assert np.array_equal(five.labels == 1, corrected[5] == 3) and sorted(d.index for d in support.drawings) == [5, 9]
    assert (
        "both hold slice 5 along z; there segments 'Leber', 'tube ü' are taken from 'corrected.seg.nrrd'"
        in support.notes[0]
    )


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
    (note,) = support.notes
    assert "its voxels are 0.5 x 0.5 x 1 mm, those of the image 1 x 1 x 3 mm" in note and "nearest neighbour" in note
    assert contents(support) == contents(support_of("--support drawn.seg.nrrd"))
    named = support_of("--support fine.nrrd --drawn 5,9,12")
    assert contents(named)[:2] == contents(support) and not named.drawings[2].labels.any()


def test_a_drawing_oblique_to_the_image_is_used_as_planes(folder):
    centre = write_oblique_drawing("oblique.nrrd")
    support = support_of("--support oblique.nrrd")
    (plane,) = support.drawings
    assert (
        any("turned by 11 degrees" in note and "used as planes" in note for note in support.notes)
        and support.facts[0]["drawn_planes"] == 1
    )
    assert np.allclose((plane.plane_to_ras @ (25, 17, 0, 1))[:3], centre)
    assert set(np.unique(plane.labels)) == {0, 1, 2} and plane.labels.shape == TRUTH.shape[1:]
    named = support_of("--support oblique.nrrd --drawn 7")  # the user says that a slice of the image is drawn
    assert dice(named.drawings[0].labels == 1, TRUTH[7] == 3) > 0.3


@pytest.mark.parametrize(
    ("voxels", "said"),
    [
        (
            (6, -4, 1),
            "it lies 7.81 mm (R -6, A 4, S 3) beside it, though it has the same size",
        ),  # as another reader puts it
        ((0.004, 0, 0), ""),
        ((0.05, 0, 0), "it lies 0.05 mm (R -0.05, A 0, S 0) beside it"),
        ((0.3, 0, 0), "it lies 0.3 mm (R -0.3, A 0, S 0) beside it"),
    ],
)
def test_a_drawing_beside_its_image_is_told_in_millimetres(folder, voxels, said):
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, 3] = IMAGE.ras_of(voxels)
    write_labels(only(TRUTH, DRAWN), "beside.nii.gz", matrix)
    notes = [note for note in support_of("--support beside.nii.gz").notes if "outside" not in note]
    assert len(notes) == bool(said) and said in "".join(notes)
    assert not said or "name that image with --support-image" in notes[0]
    other = support_of("--support beside.nii.gz --support-image ct.nii.gz").notes
    assert any(said in note and "--support-image" not in note for note in other) or not said


def test_a_drawing_of_a_larger_image_is_told_and_a_part_of_the_image_is_not(folder):
    larger, matrix = np.pad(only(TRUTH, DRAWN), ((0, 0), (0, 9), (0, 3))), IMAGE.ijk_to_ras
    write_labels(larger, "larger.nrrd", matrix)
    (note,) = support_of("--support larger.nrrd").notes
    assert "it has 43 x 45 x 14 voxels and reaches beyond the image with 40 x 36 x 14" in note
    write_labels(only(TRUTH, DRAWN)[:, :30].copy(), "part.nrrd", matrix)
    assert not support_of("--support part.nrrd").notes


def test_segments_of_several_drawings_are_one_where_their_names_are(folder):
    first, second = (only(TRUTH, [k]) for k in DRAWN)
    write_segmentation(Segmentation([first], SEGMENTS, IMAGE.ijk_to_ras), "first.seg.nrrd")
    other = [Segment("tube ü", (1, 1, 1), 3), Segment("Leber", (0, 0, 0), 7)]  # the values the other way round
    swapped = np.where(second == 3, 7, np.where(second == 7, 3, 0)).astype(np.uint8)
    write_segmentation(Segmentation([swapped], other, IMAGE.ijk_to_ras), "second.seg.nrrd")
    support = support_of("--support first.seg.nrrd --support second.seg.nrrd")
    assert [(s.name, s.value) for s in support.segments] == [("Leber", 3), ("tube ü", 7)]
    assert contents(support) == contents(support_of("--support drawn.seg.nrrd"))
