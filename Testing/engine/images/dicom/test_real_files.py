"""Real files of many scanners and programs, which come with pydicom: read as SimpleITK reads them, or refused with a reason."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.dicom.series import find_series
from S3NetSegmentLib.engine.images.formats.itk_file import quiet
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (pip install pydicom)")
pydicom_data = pytest.importorskip("pydicom.data")
FOLDER = Path(pydicom_data.__file__).parent / "test_files"
SLOW = "SC_rgb_jpeg.dcm"  # GDCM takes many seconds for it
FILES = sorted(path for path in FOLDER.glob("*.dcm") if path.name != SLOW)
if len(FILES) < 50:
    pytest.skip("this pydicom comes without its test files", allow_module_level=True)
# What SimpleITK (GDCM) gets wrong: run-length encoded colours of 16 and 32 bits, doses in big endian, and doses without scale.
ONLY_PYDICOM = ("SC_rgb_rle_16bit", "SC_rgb_rle_32bit", "rtdose")
FILM = "examples_ybr_color.dcm"  # ultrasound: its frames follow in time, and its pixel size is that of its region


def by_simpleitk(path):
    """The image, None if SimpleITK cannot read it."""
    try:
        with quiet():
            return sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_has_the_values_and_pixel_size_of_simpleitk_where_that_is_right_or_is_refused_as_by_it(path, tmp_path):
    alone = tmp_path / path.name  # beside others it would stand for a series
    alone.write_bytes(path.read_bytes())
    wanted = by_simpleitk(alone)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume = read_image(alone, frame=7 if path.name == FILM else None)
    except InputError as error:
        assert wanted is None or "segmentation (SEG)" in str(error) or "its number of frames is '1A'" in str(error)
        assert str(alone) in str(error)
        return
    if path.name.startswith(ONLY_PYDICOM):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            values = dataset.pixel_array.reshape(volume.array.shape) * float(dataset.get("DoseGridScaling", 1))
        np.testing.assert_allclose(volume.array, values, rtol=1e-6)
        assert volume.spacing[:2] == pytest.approx([float(s) for s in dataset.get("PixelSpacing", (1, 1))][::-1])
        return
    assert wanted is not None
    values = sitk.GetArrayFromImage(wanted)
    if path.name == FILM:
        np.testing.assert_array_equal(volume.array[0], values[7])
        assert volume.spacing[0] == pytest.approx(0.5105, abs=1e-4)
        return
    np.testing.assert_allclose(volume.array, values, rtol=1e-6, atol=1e-6 * np.abs(values).max())
    assert volume.spacing[:2] == pytest.approx(wanted.GetSpacing()[:2], rel=1e-6)


def test_a_dicom_seg_of_another_program_is_read(tmp_path):
    (liver,) = read_segmentation(FOLDER / "liver_1frame.dcm").segments
    assert liver.name == "Liver" and liver.terminology.split("~")[2].endswith("^Liver")


def test_the_series_of_a_real_disc_are_listed_and_read_as_simpleitk_reads_them():
    disc = FOLDER / "dicomdirtests"
    found = find_series(disc).series
    assert len(found) == 13 and {s.modality for s in found} == {"CR", "CT", "MR"}
    with pytest.raises(InputError, match=r"13 DICOM series.*--series"):
        read_image(disc)
    read, refused = 0, []
    for series in found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                volume = read_image(disc, series=series.uid)
        except InputError as error:
            refused.append(str(error))
            continue
        for file in series.files:
            wanted = by_simpleitk(file.path)
            place = np.array([-1, -1, 1]) * wanted.TransformIndexToPhysicalPoint((3, 5, 0))
            voxel = volume.voxel_at(place)
            assert voxel[:2] == (3, 5) and volume.ras_of(voxel) == pytest.approx(place, abs=1e-3)
            np.testing.assert_allclose(volume.array[voxel[2]], sitk.GetArrayFromImage(wanted)[0], rtol=1e-6)
            read += 1
    assert read == 12
    # Scouts and projections in several directions, and four slices of a head of which all between were taken away.
    assert len(refused) == 5 and all("different sizes or orientations" in r or "separate blocks" in r for r in refused)
