"""NIfTI headers that tell two places, one or none: Slicer's choice, a word about the millimetres, and drawings that find home."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from image_files import read_warned, write_raw_nifti

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.nifti_places import on_voxels_of
from S3NetSegmentLib.engine.images.formats.seg_nrrd import on_grid_of, read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.volume import Volume
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.metrics import compare_segmentations

RNG = np.random.default_rng(0)
GREY = RNG.normal(100, 20, (12, 10, 8)).astype(np.float32)  # [I, J, K], as nibabel has it
DRAWN = np.zeros(GREY.shape, np.uint8)
DRAWN[3:6, 4:7, 2:5] = 1
PLACE = np.diag([-1.0, -1.0, 2.0, 1.0])


def shifted(millimetres):
    matrix = PLACE.copy()
    matrix[:3, 3] += millimetres
    return matrix


def image_of(path, *, qform=None, sform=None, codes=(1, 2), unit=None):
    image = nib.Nifti1Image(GREY, None)
    image.header.set_zooms((1, 1, 2))
    image.set_qform(qform, codes[0] if qform is not None else 0)
    image.set_sform(sform, codes[1] if sform is not None else 0)
    if unit:
        image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def drawn_on(image, path):
    """What a program that reads with nibabel saves, whose user drew on ``image``."""
    nib.save(nib.Nifti1Image(DRAWN, nib.load(image).affine), path)
    return path


def itk_origin(path):
    return np.array(sitk.ReadImage(str(path)).GetOrigin()) * (-1, -1, 1)


def test_two_places_that_disagree_are_told_with_the_millimetres_and_slicers_is_taken(tmp_path):
    path = image_of(tmp_path / "a.nii.gz", qform=PLACE, sform=shifted((6, -4, 3)))
    volume, said = read_warned(path)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], itk_origin(path), atol=1e-5)
    assert len(said) == 1 and "differ by up to 7.81 mm; that of the qform is used, as Slicer does" in said[0]
    path = image_of(tmp_path / "b.nii.gz", qform=PLACE, sform=shifted((6, -4, 3)), codes=(1, 1))
    volume, said = read_warned(path)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], itk_origin(path), atol=1e-5)
    assert "that of the sform is used" in said[0] and "may go by the qform" in said[0]


def test_axes_that_are_nearly_at_right_angles_are_written_without_a_disagreement(tmp_path):
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    matrix[0, 1] = 4e-5  # as after a registration; a quaternion cannot tell it
    write_image(Volume(np.zeros((100, 400, 300), np.uint8), matrix), tmp_path / "a.nii.gz")
    volume, said = read_warned(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-7)
    assert not said


def test_rounding_between_the_two_is_no_disagreement(tmp_path):
    for shift, told in ((0.005, False), (0.02, True)):
        said = read_warned(image_of(tmp_path / "a.nii.gz", qform=PLACE, sform=shifted((shift, 0, 0))))[1]
        assert bool(said) == told


@pytest.mark.parametrize("kind", ["two", "none", "micrometres", "label has two"])
def test_a_drawing_of_a_program_that_goes_by_the_other_place_is_taken_voxel_for_voxel_and_told(tmp_path, kind):
    image, drawing = tmp_path / "image.nii.gz", tmp_path / "drawn.nii.gz"
    if kind == "two":
        image_of(image, qform=PLACE, sform=shifted((6, -4, 3)))
    elif kind == "none":
        image_of(image)
    elif kind == "micrometres":
        image_of(image, qform=PLACE, unit="micron")
    else:
        image_of(image, qform=PLACE, sform=PLACE)
    drawn_on(image, drawing)
    if kind == "label has two":
        labels = nib.load(drawing)
        labels.set_qform(shifted((6, -4, 3)), 1)
        labels.set_sform(PLACE, 2)
        nib.save(nib.Nifti1Image(DRAWN, None, labels.header), drawing)
    volume = read_warned(image)[0]
    with pytest.warns(UserWarning) as caught:
        placed = on_grid_of(read_segmentation(drawing), volume)
    assert any("they are taken voxel for voxel" in str(c.message) for c in caught)
    np.testing.assert_array_equal(placed.layers[0].T, DRAWN)
    np.testing.assert_array_equal(placed.ijk_to_ras, volume.ijk_to_ras)


def test_a_drawing_that_lies_anywhere_else_is_not_moved(tmp_path):
    image = image_of(tmp_path / "image.nii.gz", qform=PLACE, sform=shifted((6, -4, 3)))
    volume = read_warned(image)[0]
    nib.save(nib.Nifti1Image(DRAWN, shifted((3, -2, 1))), tmp_path / "drawn.nii.gz")
    segmentation = read_segmentation(tmp_path / "drawn.nii.gz")
    assert on_voxels_of(segmentation, volume) is segmentation
    with pytest.raises(InputError, match="does not lie on the grid"):
        on_grid_of(segmentation, volume)


def test_an_answer_and_a_reference_by_the_two_places_are_compared_voxel_for_voxel(tmp_path):
    image = image_of(tmp_path / "image.nii.gz", qform=PLACE, sform=shifted((6, -4, 3)))
    labels = nib.load(drawn_on(image, tmp_path / "reference.nii.gz"))
    header = nib.load(image).header.copy()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(np.asarray(labels.dataobj), None, header), tmp_path / "answer.nii.gz")
    with pytest.warns(UserWarning):
        found = read_segmentation(tmp_path / "answer.nii.gz")
        (score,) = compare_segmentations(found, on_voxels_of(read_segmentation(tmp_path / "reference.nii.gz"), found))
    assert score.dice == 1


# -- other headers, as nibabel reads them


def nibabel_values(path):
    return np.asarray(nib.load(path).dataobj).T


@pytest.mark.parametrize(
    ("slope", "intercept"), [(2.0, 5.0), (0.0, 7.0), (np.nan, np.nan), (1.0, 0.0), (-1.0, 3.0), (np.inf, 0.0)]
)
def test_scaled_values_are_those_that_nibabel_reads(tmp_path, slope, intercept):
    path = write_raw_nifti(
        tmp_path / "a.nii", np.arange(24, dtype=np.int16).reshape(2, 3, 4), slope=slope, intercept=intercept, qform_code=1,
        qform=[0] * 6,
    )  # fmt: skip
    wanted = (
        np.arange(24).reshape(2, 3, 4) if not np.isfinite(slope) else nibabel_values(path)
    )  # nibabel refuses infinity
    np.testing.assert_allclose(read_image(path).array, wanted)


@pytest.mark.parametrize("code", [(0, 0), (0, 1), (1, 0), (2, 0), (0, 2), (4, 0)])
def test_where_one_place_is_valid_it_is_taken_as_by_itk(tmp_path, code):
    path = image_of(
        tmp_path / "a.nii.gz", qform=shifted((1, 2, 3)) if code[0] else None, sform=shifted((4, 5, 6)) if code[1] else None,
        codes=code,
    )  # fmt: skip
    volume, said = read_warned(path)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], itk_origin(path), atol=1e-5)
    assert len(said) == (code == (0, 0)) and all("nobody knows which side is left" in text for text in said)


def test_negative_voxel_sizes_count_by_their_length(tmp_path):
    path = write_raw_nifti(
        tmp_path / "a.nii", np.zeros((2, 3, 4), "i2"), qform_code=1, qform=[0] * 6, pixdim=(-2, 3, -4)
    )
    np.testing.assert_allclose(read_image(path).spacing, (2, 3, 4))


def test_vectors_of_three_in_the_fifth_dimension_are_vectors_and_others_frames(tmp_path):
    for count in (3, 5):
        array = RNG.normal(size=(4, 5, 6, 1, count)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, PLACE), tmp_path / "a.nii.gz")
        if count == 3:
            np.testing.assert_array_equal(
                read_image(tmp_path / "a.nii.gz").array, array[..., 0, :].transpose(2, 1, 0, 3)
            )
        else:
            np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz", 4).array, array[..., 0, 4].T)
