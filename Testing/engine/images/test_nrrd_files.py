"""NRRD with unusual headers: what pynrrd reads, or a refusal, or a word about it."""

from __future__ import annotations

import gzip

import nrrd
import numpy as np
import pytest
from format_files import META, NRRD, PLACE, VOXELS, nrrd_file
from image_files import read_warned

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.reading import read_alone, read_image, read_label_map


@pytest.mark.parametrize(
    ("fields", "data", "encoding"),
    [
        (NRRD, None, "raw"),
        (NRRD.replace("little", "big"), VOXELS.astype(">i2").tobytes(), "raw"),
        (NRRD, gzip.compress(VOXELS.tobytes()), "gzip"),
        (NRRD, gzip.compress(VOXELS.tobytes()), "gz"),
        (NRRD, " ".join(map(str, VOXELS.ravel())).encode(), "ascii"),
        (NRRD + "byte skip: -1\n", b"0123456789" + VOXELS.tobytes(), "raw"),
        (NRRD + "line skip: 1\n", b"a line\n" + VOXELS.tobytes(), "raw"),
        (NRRD.replace("left-posterior-superior", "LPS"), None, "raw"),
        (NRRD + "measurement frame: (0,1,0) (1,0,0) (0,0,1)\n", None, "raw"),
        (NRRD + "old min: 0\nold max: 100\n", None, "raw"),
    ],
    ids=["raw", "big", "gzip", "gz", "text", "bytes", "lines", "LPS", "frame", "old"],
)
def test_nrrd_files_are_read_as_pynrrd_reads_them(tmp_path, fields, data, encoding):
    path = nrrd_file(tmp_path / "a.nrrd", fields, data, encoding)
    volume, said = read_warned(path)
    array, _ = nrrd.read(str(path), index_order="C")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.ijk_to_ras, PLACE)
    assert not said


def test_detached_voxels_are_found_in_one_file_in_a_list_and_by_a_pattern(tmp_path):
    (tmp_path / "all.raw").write_bytes(VOXELS.tobytes())
    for k in range(4):
        (tmp_path / f"part{k}.raw").write_bytes(VOXELS[k].tobytes())
    parts = "\n".join(f"part{k}.raw" for k in range(4))
    for data in ("all.raw", f"LIST\n{parts}", "part%d.raw 0 3 1"):
        header = f"NRRD0004\n{NRRD}encoding: raw\ndata file: {data}\n"
        (tmp_path / "a.nhdr").write_text(header if "LIST" in data else header + "\n")
        np.testing.assert_array_equal(read_image(tmp_path / "a.nhdr").array, VOXELS)
        (tmp_path / "a.mhd").write_text(f"{META}ElementDataFile = {data}\n")
        np.testing.assert_array_equal(read_image(tmp_path / "a.mhd").array, VOXELS)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_a_space_that_is_none_of_a_patient_is_taken_as_slicer_does_and_told(tmp_path, space):
    path = nrrd_file(tmp_path / "a.nrrd", NRRD.replace("left-posterior-superior", space))
    volume, said = read_warned(path)
    np.testing.assert_allclose(volume.ijk_to_ras, PLACE)
    assert len(said) == 1 and f"{space!r} is none of a patient" in said[0]


def test_sizes_in_other_units_than_mm_are_told(tmp_path):
    for unit, told in (("cm", True), ("um", True), ("mm", False)):
        said = read_warned(nrrd_file(tmp_path / "a.nrrd", NRRD + f'space units: "{unit}" "{unit}" "{unit}"\n'))[1]
        assert [f"in {unit} and taken as mm" in text for text in said] == [True] * told


def test_colours_that_are_not_rgb_are_refused(tmp_path):
    fields = (
        "type: short\ndimension: 4\nsizes: 3 6 5 4\nendian: little\nkinds: {} domain domain domain\n"
        "space: left-posterior-superior\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (7,8,9)\n"
    )
    data = np.stack([VOXELS] * 3, -1).tobytes()
    for kind in ("HSV-color", "XYZ-color"):
        with pytest.raises(InputError, match=rf"colours of kind {kind[:3]}; save it as RGB"):
            read_image(nrrd_file(tmp_path / "a.nrrd", fields.format(kind), data))
    assert read_image(nrrd_file(tmp_path / "a.nrrd", fields.format("RGB-color"), data)).is_rgb


COMPONENTS = (
    "type: short\ndimension: 4\nsizes: {} 6 5 4\nendian: little\nkinds: {} domain domain domain\n"
    "space: left-posterior-superior\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (7,8,9)\n"
)


@pytest.mark.parametrize(
    ("kind", "count", "told"),
    [
        ("vector", 4, "components in each voxel (vector)"), ("quaternion", 4, "components in each voxel (quaternion)"),
        ("vector", 5, "components in each voxel (vector)"), ("3D-matrix", 9, "components in each voxel (3D-matrix)"),
        ("list", 4, "frames"),
    ],
)  # fmt: skip
def test_the_numbers_of_a_voxel_are_called_frames_only_where_the_header_says_so(tmp_path, kind, count, told):
    parts = [VOXELS + n for n in range(count)]
    path = nrrd_file(tmp_path / "a.nrrd", COMPONENTS.format(count, kind), np.stack(parts, -1).tobytes())
    with pytest.raises(InputError) as raised:
        read_image(path)
    assert f"has {count} {told}; choose one with --frame T (0 to {count - 1}" in str(raised.value)
    with pytest.raises(InputError) as raised:
        read_image(path, frame=count)
    assert f"has {count} {told}, 0 to {count - 1}" in str(raised.value)
    for read in (read_alone, read_label_map):
        with pytest.raises(InputError, match=r"save the (frame|component) that you mean") as raised:
            read(path)
        assert f"{count} {told}" in str(raised.value) and ("4D" in str(raised.value)) == (kind == "list")
    np.testing.assert_array_equal(read_image(path, frame=2).array, VOXELS + 2)


def test_tensors_are_called_so(tmp_path):
    fields = COMPONENTS.format(7, "3D-masked-symmetric-matrix")
    path = nrrd_file(tmp_path / "dti.nrrd", fields, np.stack([VOXELS] * 7, -1).tobytes())
    with pytest.raises(InputError, match=r"a matrix in each voxel \(3D-masked-symmetric-matrix"):
        read_image(path)
