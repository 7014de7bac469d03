"""Study folders as archives send them: what lies beside the series is left out and said, and every refusal names what it found."""

import shutil

import dicom_files as dicom
import numpy as np
import pytest
from dicom_files import encoded, image_elements, placed, segmentation_elements, write_dicom
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image

VOXELS = np.random.default_rng(0).integers(0, 2000, (8, 6, 5)).astype(np.uint16)
CLASSES = "1.2.840.10008.5.1.4.1.1."


def write_series(folder, count=4, series="1.2.3.5", description="", start=0, **more):
    for k in range(count):
        elements = image_elements(VOXELS[start + k], dicom.CT, f"{series}.{k}", series) | placed((0, 0, 2 * k))
        elements |= {0x00080060: ("CS", "CT"), 0x00200013: ("IS", k), 0x0008103E: ("LO", description)}
        write_dicom(folder / f"{k:04d}", elements | {int(tag[1:], 16): value for tag, value in more.items()})
    return folder


def write_object(path, sop_class, modality, **more):
    elements = {0x00080016: ("UI", sop_class), 0x00080018: ("UI", "1.2.7"), 0x00080060: ("CS", modality)}
    return write_dicom(path, elements | {int(tag[1:], 16): value for tag, value in more.items()})


def report(folder):
    write_object(folder / "SR.dcm", CLASSES + "88.11", "SR")


def directory(folder):
    """As a disc writes it: its class stands in the meta information only."""
    elements = {0x00041130: ("CS", ""), 0x00041220: ("SQ", [{0x00041430: ("CS", "SERIES")}])}
    write_dicom(folder / "DIRFILE", elements)


def screenshot(folder):
    shot = image_elements(np.zeros((30, 40, 3), np.uint8), dicom.SECONDARY_CAPTURE, "1.2.8.1", "1.2.8")
    write_dicom(folder / "SHOT", shot | {0x00080060: ("CS", "OT"), 0x0008103E: ("LO", "Screen save")})


def cut_file(folder):
    elements = image_elements(VOXELS[7], dicom.CT, "1.2.8.2", "1.2.8") | placed((0, 0, 0))
    path = write_dicom(folder / "CUT", elements)
    path.write_bytes(path.read_bytes()[:300])


def contours(folder):
    write_object(folder / "RS.dcm", CLASSES + "481.3", "RTSTRUCT")


def dose(folder):
    elements = image_elements(np.ones((3, 6, 5), np.uint32), CLASSES + "481.2", "1.2.8.4", "1.2.8") | placed((0, 0, 0))
    elements |= {0x00080060: ("CS", "RTDOSE"), 0x3004000C: ("DS", "0\\2\\4"), 0x3004000E: ("DS", "0.5")}
    write_dicom(folder / "RD.dcm", elements)


@pytest.mark.parametrize(
    "beside, said",
    [
        (report, "1 x structured report (SR)"),
        (directory, "1 x directory (DICOMDIR)"),
        (screenshot, "screenshots or scans: without number 'Screen save'"),
        (cut_file, "1 DICOM files are cut off or damaged and were left out: CUT"),
        (contours, "1 x set of contours (RTSTRUCT)"),
        (dose, "a dose: without number 'without description' (RTDOSE, 3 slices"),
    ],
)
@pytest.mark.parametrize("depth", ["series", "patient/study/series"])
def test_what_lies_beside_the_folder_of_a_series_is_left_out_and_said(tmp_path, depth, beside, said):
    write_series(tmp_path / depth)
    beside(tmp_path)
    volume, texts = read_warned(tmp_path)
    np.testing.assert_array_equal(volume.array, VOXELS[:4])
    assert volume.modality == "CT"
    assert len(texts) == 1 and said in texts[0]


def test_all_kinds_at_once_do_not_hide_the_series(tmp_path):
    write_series(tmp_path / "series")
    for beside in (report, directory, screenshot, cut_file, contours):
        beside(tmp_path)
    volume, texts = read_warned(tmp_path)
    assert volume.size[2] == 4 and len(texts) == 2


def test_a_screenshot_in_the_folder_of_the_series_is_left_out_and_said(tmp_path):
    screenshot(write_series(tmp_path))
    volume, texts = read_warned(tmp_path)
    assert volume.size[2] == 4 and len(texts) == 1 and "screenshots" in texts[0]
    assert read_image(tmp_path, series="Screen save").is_rgb
    assert read_image(tmp_path / "SHOT").is_rgb


def test_two_series_beside_a_report_are_listed(tmp_path):
    write_series(tmp_path / "one")
    write_series(tmp_path / "two", 3, "1.2.3.6")
    report(tmp_path)
    with pytest.raises(InputError, match=r"holds 2 DICOM series.*--series"):
        read_image(tmp_path)


def test_screenshots_alone_are_an_image(tmp_path):
    screenshot(tmp_path)
    report(tmp_path)
    assert read_warned(tmp_path)[0].is_rgb


def test_a_series_beside_other_folders_is_still_that_of_its_folder(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path / "derived", 3, "1.2.3.6")
    volume, texts = read_warned(tmp_path)
    assert volume.size[2] == 4 and texts == []


@pytest.mark.parametrize("mark, first, second", [
    ("t00180081", ("DS", 30), ("DS", 90)), ("t00189087", ("FD", 0.0), ("FD", 800.0)),
    ("t00080008", ("CS", "ORIGINAL\\PRIMARY\\M"), ("CS", "ORIGINAL\\PRIMARY\\P")),
])  # fmt: skip
def test_series_of_one_name_are_listed_with_what_differs(tmp_path, mark, first, second):
    write_series(tmp_path / "one", series="1.2.3.5", description="ep2d", **{mark: first})
    write_series(tmp_path / "two", series="1.2.3.6", description="ep2d", start=4, **{mark: second})
    with pytest.raises(InputError) as error:
        read_image(tmp_path)
    one, two = str(error.value).split("; ")[:2]
    assert "5 x 6 pixels, axial" in one and "UID 1.2.3.5" in one and "UID 1.2.3.6" in two
    named = {"t00180081": "echo time 90 ms", "t00189087": "b value 800 s/mm2", "t00080008": "image type P"}[mark]
    assert named in two and named not in one


def test_b_values_are_listed_also_where_the_acquisition_tells_the_volumes_apart(tmp_path):
    for n in range(6):
        elements = image_elements(VOXELS[n], dicom.MR, f"1.2.9.{n}") | placed((0, 0, 2 * (n % 2)))
        elements |= {0x00200100: ("IS", n // 2 + 1), 0x00189087: ("FD", (0.0, 700.0, 700.0)[n // 2])}
        write_dicom(tmp_path / str(n), elements)
    with pytest.raises(
        InputError, match=r"0: b value 0 s/mm2, temporal position 1; 1: b value 700 s/mm2, temporal position 2"
    ):
        read_image(tmp_path)


@pytest.mark.parametrize("private", [
    {0x00190015: ("LO", "SIEMENS MR HEADER"), 0x0019150C: ("IS", "{}")},
    {0x00430010: ("LO", "GEMS_PARM_01"), 0x00431039: ("IS", "100000{:04d}\\8\\0\\0")},
    {0x00650010: ("LO", "Image Private Header"), 0x00651009: ("FD", "{}")},
], ids=["Siemens", "GE", "UIH"])  # fmt: skip
@pytest.mark.parametrize("syntax", [dicom.EXPLICIT, dicom.IMPLICIT])
def test_b_values_in_private_elements_are_found_in_any_block(tmp_path, syntax, private):
    for n, b in enumerate((0, 0, 1000, 1000)):
        elements = image_elements(VOXELS[n], dicom.MR, f"1.2.9.{n}") | placed((0, 0, 2 * (n % 2)))
        own = {
            tag: (kind, float(b) if kind == "FD" else value.format(b) if kind == "IS" else value)
            for tag, (kind, value) in private.items()
        }
        write_dicom(tmp_path / str(n), elements | own, syntax)
    with pytest.raises(InputError, match="0: b value 0 s/mm2; 1: b value 1000 s/mm2"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    "sop_class, modality, named, way",
    [
        ("481.3", "RTSTRUCT", r"set of contours \(RTSTRUCT\)", r"SlicerRT.*\.seg\.nrrd"),
        ("88.33", "SR", r"structured report \(SR\)", "choose a file of an image series"),
        ("88.67", "", r"structured report \(SR\)", "choose a file of an image series"),
        ("11.1", "PR", r"presentation state \(PR\)", "choose a file of an image series"),
        ("88.59", "KO", r"selection of images \(KO\)", "choose a file of an image series"),
        ("66.1", "REG", r"registration \(REG\)", "choose a file of an image series"),
        ("104.1", "OT", r"document \(PDF\)", "choose a file of an image series"),
        ("66", "MR", "raw data", "choose a file of an image series"),
    ],
)
def test_an_object_that_is_no_image_is_named_with_the_way_out(tmp_path, sop_class, modality, named, way):
    path = write_object(tmp_path / "a", CLASSES + sop_class, modality)
    for read in (read_image, read_segmentation):
        with pytest.raises(InputError, match=f"holds no image but a {named}; .*{way}"):
            read(path)
    with pytest.raises(InputError, match=rf"only other DICOM objects \(1 x {named}\).*{way}"):
        read_image(tmp_path)


def test_a_dicom_seg_given_as_the_image_says_where_it_belongs(tmp_path):
    planes = np.ones((1, 6, 5), np.uint8)
    elements = segmentation_elements(planes, [dicom.plane_groups((0, 0, 0), 1)], [dicom.described_segment(1, "Liver")])
    path = write_dicom(tmp_path / "a", elements)
    with pytest.raises(
        InputError, match=r"segmentation \(SEG\); give it where a drawing, labels or a reference belong"
    ):
        read_image(path)


@pytest.mark.parametrize("grouped", [True, False])
def test_the_dicom_seg_of_a_2d_picture_is_named_with_the_way_out(tmp_path, grouped):
    identification = {0x0062000A: ("SQ", [{0x0062000B: ("US", 1)}])}
    planes = np.ones((1, 6, 5), np.uint8)
    elements = segmentation_elements(planes, [identification], [dicom.described_segment(1, "Naevus")])
    if not grouped:
        del elements[0x52009229], elements[0x52009230]
    path = write_dicom(tmp_path / "a", elements)
    with pytest.raises(
        InputError, match=r"segmentation of a 2D picture.*do not state where they lie.*\.seg\.nrrd.*PNG"
    ):
        read_segmentation(path)


def test_no_text_shows_a_class_or_an_address_of_a_library(tmp_path):
    """Damage of every kind that decoding can meet."""
    elements = image_elements(VOXELS[0], dicom.CT) | placed((0, 0, 0))
    files = [write_dicom(tmp_path / "vr" / "a", elements | {0x00280100: ("US", 13)})]
    for syntax in (dicom.JPEG, dicom.JPEG_LS, dicom.JPEG_2000, dicom.RUN_LENGTH, dicom.JPEG_LOSSLESS):
        for n, frame in enumerate((b"\xff\xd8" + b"junk" * 20, b"", b"\0" * 64)):
            folder = tmp_path / f"{syntax}.{n}"
            files.append(dicom.write_compressed(folder / "a", elements, [frame], syntax))
    content = b"\0" * 128 + b"DICM" + encoded(elements)
    for n, end in enumerate((140, 200, 300, len(content) - 5)):
        (tmp_path / f"cut{n}").mkdir()
        (tmp_path / f"cut{n}" / "a.dcm").write_bytes(content[:end])
        files.append(tmp_path / f"cut{n}" / "a.dcm")
    for name, start in {
        "a.nrrd": b"NRRD0004\ntype: foo\n\n",
        "a.nii": b"\x5c\1\0\0" + b"\1" * 400,
        "a.mha": b"NDims = 3\n",
    }.items():
        (tmp_path / name).write_bytes(start)
        files.append(tmp_path / name)
    refused = 0
    for path in files:
        try:
            read_image(path)
        except InputError as error:
            refused += 1
            shown = str(error).replace(str(tmp_path), "")
            assert not any(word in shown.lower() for word in ("itk", "gdcm", "0x", "imageio", "::", "exception"))
    assert refused > 15


def test_the_modality_stays_with_a_part_of_the_volume(tmp_path):
    volume = read_image(write_series(tmp_path))
    assert volume.cropped(volume.extent).modality == "CT"
    shutil.rmtree(tmp_path)


def test_a_series_of_several_patients_under_one_uid_is_listed_apart_and_not_mixed(tmp_path):
    write_series(tmp_path / "ct", x00100020=("LO", "A"))
    for k in range(4):
        elements = image_elements(VOXELS[4 + k], dicom.CT, f"1.2.3.5.{k + 9}", "1.2.3.5") | placed((0, 0, 2 * k + 1))
        elements |= {0x00080060: ("CS", "CT"), 0x00100020: ("LO", "B")}
        write_dicom(tmp_path / "ct" / f"other{k}", elements)
    with pytest.raises(InputError, match=r"holds 2 DICOM series.*of another patient than a series of the same UID"):
        read_image(tmp_path / "ct")
    np.testing.assert_array_equal(read_image(tmp_path / "ct" / "0002").array, VOXELS[:4])
    np.testing.assert_array_equal(read_image(tmp_path / "ct" / "other2").array, VOXELS[4:])


def test_a_patient_whose_id_some_files_do_not_state_is_one_patient(tmp_path):
    write_series(tmp_path, 4, x00100020=("LO", "A"))
    (tmp_path / "0002").unlink()
    elements = image_elements(VOXELS[2], dicom.CT, "1.2.3.5.2", "1.2.3.5") | placed((0, 0, 4))
    write_dicom(tmp_path / "0002", elements | {0x00080060: ("CS", "CT"), 0x00200013: ("IS", 2)})
    np.testing.assert_array_equal(read_image(tmp_path).array, VOXELS[:4])


def test_places_in_several_frames_of_reference_are_told(tmp_path):
    write_series(tmp_path, x00200052=("UI", "1.2.5"))
    assert read_warned(tmp_path)[1] == []
    elements = image_elements(VOXELS[4], dicom.CT, "1.2.3.5.4", "1.2.3.5") | placed((0, 0, 8))
    elements |= {0x00080060: ("CS", "CT"), 0x00200013: ("IS", 4), 0x00200052: ("UI", "1.2.6")}
    write_dicom(tmp_path / "0004", elements)
    (text,) = read_warned(tmp_path)[1]
    assert "stated in several frames of reference, and need not fit each other" in text
