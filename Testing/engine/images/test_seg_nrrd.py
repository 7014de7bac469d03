"""``.seg.nrrd``: what we write is what real Slicer reads, and the other way round; label maps become segments."""

from __future__ import annotations

import headless_slicer
import numpy as np
import pytest
import SimpleITK as sitk
from image_files import random_matrix, relative_error

from S3NetSegmentLib.engine import InputError, Segment, Segmentation
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.image_warnings import collected_image_warnings
from S3NetSegmentLib.engine.images.writing import write_segmentation

LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
TAGS = {"S3NetSegment.Version": "1.0", "S3NetSegment.Seed": "7", "S3NetSegment.Parameters": '{"a": 1, "b": "x:y\\n"}'}


def overlapping(seed=0, *, shear=0.0):
    """Two layers: two segments in the first, one over them in the second, and an empty one."""
    first = np.zeros((8, 9, 10), np.uint8)
    first[2:4, 3:6, 2:7], first[5:7, 0:3, 8:10] = 1, 44
    second = np.zeros_like(first)
    second[1:5, 2:5, 3:9] = 1
    segments = [
        Segment("Lebér ä 肝", (0.1, 0.5, 0.9), 1, 0, LIVER, TAGS),
        Segment("second", (1.0, 0.0, 0.0), 44),
        Segment("over: both", (0.0, 1.0, 0.123457), 1, 1),
        Segment("empty", (0.0, 1.0, 1.0), 9, 1),
    ]
    return Segmentation([first, second], segments, random_matrix(np.random.default_rng(seed), shear=shear))


def assert_same(found: Segmentation, wanted: Segmentation):
    assert [s.name for s in found.segments] == [s.name for s in wanted.segments]
    for f, w in zip(found.segments, wanted.segments, strict=True):
        np.testing.assert_allclose(f.color, w.color, atol=1e-5)
        np.testing.assert_array_equal(found.mask(f), wanted.mask(w))
        assert (f.terminology or LIVER) == (w.terminology or f.terminology or LIVER)
        assert {k: f.tags[k] for k in w.tags} == dict(w.tags)
    assert relative_error(found.ijk_to_ras, wanted.ijk_to_ras) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_everything_about_overlapping_segments_comes_back(tmp_path, seed):
    wanted = overlapping(seed, shear=0.2 * (seed == 3))
    found = read_segmentation(write_segmentation(wanted, tmp_path / "a.seg.nrrd"))
    assert_same(found, wanted)
    assert len(found.layers) == 2
    assert found.segments[0].terminology == LIVER


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_any_number_of_layers_comes_back(tmp_path, count):
    rng = np.random.default_rng(count)
    layers = [rng.integers(0, 2, (3, 4, 5)).astype(np.uint8) for _ in range(count)]
    segments = [Segment(f"s{n}", (0.5, 0.5, 0.5), 1, n) for n in range(count)]
    wanted = Segmentation(layers, segments, random_matrix(rng))
    assert_same(read_segmentation(write_segmentation(wanted, tmp_path / "a.seg.nrrd")), wanted)


def test_label_values_above_255_are_kept_and_above_65535_refused(tmp_path):
    layer = np.zeros((2, 3, 4), np.int64)
    layer[0, 0, :2] = 300, 65535
    segments = [Segment("a", (1, 0, 0), 300), Segment("b", (0, 1, 0), 65535)]
    wanted = Segmentation([layer], segments, np.eye(4))
    found = read_segmentation(write_segmentation(wanted, tmp_path / "a.seg.nrrd"))
    assert_same(found, wanted)
    assert found.layers[0].dtype == np.uint16
    layer[1, 1, 1] = 65536
    with pytest.raises(InputError, match="label value 65536"):
        write_segmentation(wanted, tmp_path / "a.seg.nrrd")
    assert_same(read_segmentation(tmp_path / "a.seg.nrrd"), found)  # the older file is still there


def test_signs_that_would_break_the_tag_list_are_replaced(tmp_path):
    segment = Segment("two\nlines", (1, 0, 0), 1, tags={"a:b|c": "x|y", "path": "C:\\new\\table"})
    wanted = Segmentation([np.ones((1, 2, 2), np.uint8)], [segment], np.eye(4))
    found = read_segmentation(write_segmentation(wanted, tmp_path / "a.seg.nrrd")).segments[0]
    assert found.tags == {"a_b_c": "x/y", "path": "C:\\new\\table"}
    assert found.name == "two lines"


def test_the_same_segmentation_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_segmentation(overlapping(), tmp_path / f"{name}.seg.nrrd")
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_files_of_older_slicers_without_layers_and_values_are_read(tmp_path):
    masks = np.random.default_rng(0).integers(0, 2, (4, 5, 6, 2)).astype(np.uint8)
    image = sitk.GetImageFromArray(masks, isVector=True)
    for n, name in enumerate(("one", "two")):
        image.SetMetaData(f"Segment{n}_ID", f"Segment_{n}")
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_Color", "1 0 0")
        image.SetMetaData(f"Segment{n}_Extent", "0 5 0 4 0 3")
    sitk.WriteImage(image, str(tmp_path / "old.seg.nrrd"))
    found = read_segmentation(tmp_path / "old.seg.nrrd")
    assert [s.name for s in found.segments] == ["one", "two"]
    for n, segment in enumerate(found.segments):
        np.testing.assert_array_equal(found.mask(segment), masks[..., n] > 0)


def test_a_label_map_gives_a_segment_for_each_value_in_it(tmp_path):
    labels = np.array([[[0, 5, 5], [1, 0, 300]]])
    for name, array in (("a.nii.gz", labels.astype(np.int16)), ("b.nrrd", labels.astype(np.float32))):
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / name))
        found = read_segmentation(tmp_path / name)
        assert [(s.name, s.value) for s in found.segments] == [("Segment 1", 1), ("Segment 5", 5), ("Segment 300", 300)]
        np.testing.assert_array_equal(found.layers[0], labels)
        assert len({s.color for s in found.segments}) == 3
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 2, 2), np.uint8)), str(tmp_path / "empty.mha"))
    assert read_segmentation(tmp_path / "empty.mha").segments == []


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0, 0.5], "values such as 0.5 and is not a label map; .* probabilities"),
        ([0.0, -1.0], "labels must be 0 to 65535"),
        ([0.0, 70000.0], "labels must be 0 to 65535"),
        ([0.0, np.nan], "NaN"),
        ([0.0, np.inf], "NaN or infinite"),
    ],
)
def test_values_that_are_no_labels_are_refused(tmp_path, values, text):
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[values]])), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match=text):
        read_segmentation(tmp_path / "a.nrrd")


def label_map(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    with collected_image_warnings() as said:
        found = read_segmentation(path)
    return {s.value: int(found.mask(s).sum()) for s in found.segments}, said


def blobs(count=20):
    """A label map of ``count`` compact structures."""
    array = np.zeros((3, 60, 60), np.uint8)
    for value in range(1, count + 1):
        row, column = divmod(value - 1, 6)
        array[:, 10 * row : 10 * row + 8, 10 * column : 10 * column + 7] = value
    return array


@pytest.mark.parametrize("factor", [0.9999, 1 + 1e-7])
def test_noise_of_arithmetic_in_labels_is_rounded_and_told(tmp_path, factor):
    whole = np.array([[[0, 1, 1, 2, 3]]], float)
    found, said = label_map(tmp_path / "a.nrrd", whole * factor)
    assert found == {1: 2, 2: 1, 3: 1}
    assert len(said) == 1 and "beside whole numbers; they are rounded" in said[0]
    assert label_map(tmp_path / "a.nrrd", whole) == (found, [])
    with pytest.raises(InputError, match=r"values such as 3\.006 and"):
        label_map(tmp_path / "a.nrrd", whole * 1.002)


def test_a_mask_with_soft_edges_is_told_and_an_atlas_is_not(tmp_path):
    away = np.hypot(*(np.mgrid[:60, :60] - 30.3)) + 0.1 * np.arange(60)
    soft = np.clip(255 * (20 - away) / 12, 0, 255).astype(np.uint8)
    found, said = label_map(tmp_path / "a.nrrd", np.repeat(soft[None], 3, 0))
    assert (
        len(found) > 100
        and len(said) == 1
        and "on thin lines or scattered: as in an image or a mask with soft edges" in said[0]
    )
    assert len(label_map(tmp_path / "a.nrrd", blobs())[0]) == 20 and not label_map(tmp_path / "a.nrrd", blobs())[1]


def test_a_label_map_as_jpeg_and_one_without_a_background_are_told(tmp_path):
    said = label_map(tmp_path / "a.jpg", blobs(6)[0])[1]
    assert len(said) == 1 and "is a JPEG, whose compression makes labels of its own" in said[0]
    found, said = label_map(tmp_path / "a.nrrd", blobs(6) + 1)
    assert len(found) == 7 and said == [
        f"{str(tmp_path / 'a.nrrd')!r}: it has no voxel with the value 0, which stands for the background; if label 1 is the background, write 0 for it"
    ]


def test_a_colour_picture_is_no_label_map(tmp_path):
    colours = np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4, 1), 3, -1)
    for name in ("grey.png", "colour.png"):
        sitk.WriteImage(sitk.GetImageFromArray(colours, isVector=True), str(tmp_path / name))
        colours[0, 0, 0] = 1
    np.testing.assert_array_equal(read_segmentation(tmp_path / "grey.png").layers[0][0].ravel(), np.arange(16))
    with pytest.raises(InputError, match="in colour, not a label map"):
        read_segmentation(tmp_path / "colour.png")


def test_a_damaged_description_of_segments_is_refused(tmp_path):
    path = write_segmentation(overlapping(), tmp_path / "a.seg.nrrd")
    content = path.read_bytes()
    for old, new in (
        (b"Segment1_LabelValue:=44", b"Segment1_LabelValue:=xx"),
        (b"Segment1_Layer:=0", b"Segment1_Layer:=7"),
        (b"Segment1_Color:=1 0 0", b"Segment1_Color:=r g b"),
    ):
        assert old in content
        path.write_bytes(content.replace(old, new))
        with pytest.raises(InputError, match=r"segment|Segment"):
            read_segmentation(path)


# ---- real Slicer


@pytest.fixture
def slicer():
    if not headless_slicer.AVAILABLE:
        pytest.skip(headless_slicer.WHY_NOT)
    headless_slicer.start().new_scene()
    import slicer

    return slicer


def storage(slicer, path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    node.SetFileName(str(path))
    return node


def numpy_matrix(get):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    get(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def slicer_mask(slicer, node, segment_id, shape):
    """Mask of a segment in Slicer on the whole grid [K, J, I], and Slicer's voxel-to-RAS matrix."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    e = image.GetExtent()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(e[5] - e[4] + 1, e[3] - e[2] + 1, e[1] - e[0] + 1)
    out = np.zeros(shape, bool)
    out[e[4] : e[5] + 1, e[2] : e[3] + 1, e[0] : e[1] + 1] = voxels > 0
    return out, numpy_matrix(image.GetImageToWorldMatrix)


@pytest.mark.parametrize("seed", range(4))
def test_slicer_reads_names_colours_tags_overlaps_and_oblique_places(slicer, tmp_path, seed):
    import vtk

    wanted = overlapping(seed, shear=0.2 * (seed == 3))
    write_segmentation(wanted, tmp_path / "ours.seg.nrrd")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage(slicer, tmp_path / "ours.seg.nrrd").ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4
    assert segmentation.GetNumberOfLayers() == 2
    for n, segment in enumerate(wanted.segments):
        segment_id = segmentation.GetNthSegmentID(n)
        found = segmentation.GetSegment(segment_id)
        assert found.GetName() == segment.name
        np.testing.assert_allclose(found.GetColor(), segment.color, atol=1e-5)
        mask, matrix = slicer_mask(slicer, node, segment_id, wanted.layers[0].shape)
        np.testing.assert_array_equal(mask, wanted.mask(segment))
        np.testing.assert_allclose(matrix, wanted.ijk_to_ras, atol=1e-9)
        for key, value in segment.tags.items():
            tag = vtk.reference("")
            assert found.GetTag(key, tag) and str(tag) == value
    terminology = vtk.reference("")
    segmentation.GetSegment(segmentation.GetNthSegmentID(0)).GetTag("TerminologyEntry", terminology)
    assert str(terminology) == LIVER
    assert "0;9;0;8;0;7;" in segmentation.GetConversionParameter("Reference image geometry")


@pytest.mark.parametrize("crop", [False, True])
def test_what_slicer_writes_is_read_back_on_the_grid_of_its_image(slicer, tmp_path, crop):
    wanted = overlapping(2)
    write_segmentation(wanted, tmp_path / "ours.seg.nrrd")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage(slicer, tmp_path / "ours.seg.nrrd").ReadData(node)
    writer = storage(slicer, tmp_path / "slicer.seg.nrrd")
    writer.SetCropToMinimumExtent(crop)
    assert writer.WriteData(node)
    size = sitk.ReadImage(str(tmp_path / "slicer.seg.nrrd")).GetSize()
    assert (size != (10, 9, 8)) == crop
    assert_same(read_segmentation(tmp_path / "slicer.seg.nrrd"), wanted)


def test_a_segmentation_of_tiny_voxels_that_slicer_cropped_is_put_back_onto_its_image(slicer, tmp_path):
    wanted = overlapping(2)
    wanted = Segmentation(wanted.layers, wanted.segments, np.diag((1e-5, 1e-5, 1e-5, 1.0)) @ wanted.ijk_to_ras)
    write_segmentation(wanted, tmp_path / "ours.seg.nrrd")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage(slicer, tmp_path / "ours.seg.nrrd").ReadData(node)
    writer = storage(slicer, tmp_path / "slicer.seg.nrrd")
    writer.SetCropToMinimumExtent(True)
    assert writer.WriteData(node)
    assert read_segmentation(tmp_path / "slicer.seg.nrrd").layers[0].shape == wanted.layers[0].shape


def test_names_and_keys_that_are_not_utf8_are_read_with_a_mark_and_can_be_written_again(tmp_path):
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[0, 1, 1] = 1
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(Segmentation([labels], [Segment("Leber", (1, 0, 0), 1)], np.eye(4)), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"Name:=Leber", b"Name:=Le\xffer").replace(b"Segment0_Layer", b"Segment0\xff_Lay"))
    found = read_segmentation(path)
    assert found.segments[0].name == "Le\ufffder" and (found.layers[0] == labels).all()
    write_segmentation(found, tmp_path / "b.seg.nrrd")
