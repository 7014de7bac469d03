"""What is alike in all formats: files that are cut off, what a header does not tell, and the texts of refusals."""

from __future__ import annotations

import gzip
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from format_files import GREY, META, NRRD, VOXELS, meta_file, nrrd_file
from image_files import read_warned, write_raw_nifti
from PIL import Image

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.itk_file import plain_reason
from S3NetSegmentLib.engine.images.reading import read_image


@pytest.mark.parametrize("suffix", [".vtk", ".gipl", ".gipl.gz", ".mrc", ".img", ".img.gz"])
def test_other_formats_that_itk_fills_up_where_they_are_cut_off_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if ".img" in suffix:  # ANALYZE: 348 bytes, of which these count
        header = bytearray(348)
        struct.pack_into("<i", header, 0, 348)
        struct.pack_into("<8h", header, 40, 3, 6, 5, 4, 1, 1, 1, 1)
        struct.pack_into("<2h2x8f", header, 70, 4, 16, 0, 1, 2, 3, 1, 1, 1, 1)
        pack = gzip.compress if suffix.endswith("gz") else bytes
        path.with_name("a.hdr" + suffix[4:]).write_bytes(pack(bytes(header)))
        path.write_bytes(pack(VOXELS.tobytes()))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    volume, said = read_warned(path)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert ["nobody knows which side is left" in text for text in said] == [True] * (".img" in suffix)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="voxels are missing or wrong"):
        read_image(path)


def test_what_a_header_does_not_tell_of_size_and_place_is_said(tmp_path):
    nrrd = "type: short\ndimension: 3\nsizes: 6 5 4\nendian: little\n"
    meta, size, turn = META.replace("ElementSpacing = 1 2 3\n", ""), "how large its voxels are", "which side is left"
    meta = meta.replace("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "")
    axes = "space directions: (1,0,0) (0,2,0) (0,0,3)\n"
    for path, told in (
        (nrrd_file(tmp_path / "a.nrrd", nrrd, VOXELS.tobytes()), (size, turn)),
        (nrrd_file(tmp_path / "b.nrrd", f"{nrrd}spacings: 1 2 3\n", VOXELS.tobytes()), (turn,)),
        (nrrd_file(tmp_path / "d.nrrd", f"{nrrd}spacings: NaN NaN NaN\n", VOXELS.tobytes()), (size, turn)),
        (nrrd_file(tmp_path / "c.nrrd", f"{nrrd}space: RAS\n{axes}", VOXELS.tobytes()), ()),
        (meta_file(tmp_path / "a.mha", fields=meta), (size, turn)),
        (meta_file(tmp_path / "b.mha", fields=META), ()),
        (write_raw_nifti(tmp_path / "a.nii", VOXELS), (turn,)),
        (write_raw_nifti(tmp_path / "b.nii", VOXELS, sform=np.eye(4), sform_code=1), ()),
    ):
        _, said = read_warned(path)
        assert len(said) == len(told) and all(word in text for word, text in zip(told, said, strict=True)), path


def test_voxels_of_a_type_that_is_not_read_are_not_called_complex(tmp_path):
    for code, told in ((1536, "NIfTI type 1536, which is not read; save it as float32"), (32, "complex numbers")):
        with pytest.raises(InputError, match=told):
            read_image(write_raw_nifti(tmp_path / "a.nii", VOXELS, datatype=code))


def test_no_class_or_address_of_itk_stands_in_a_text(tmp_path):
    image = sitk.GetImageFromArray(VOXELS)
    bad = [
        nrrd_file(tmp_path / "a.nrrd", "type: short\ndimension: 2\nsizes: 6 5\nspace dimension: 3\nspace directions: (1,0,0) (0,2,0)\n"),
        nrrd_file(tmp_path / "b.nrrd", NRRD, b"", "bzip2"),
        nrrd_file(tmp_path / "c.nrrd", NRRD.replace("short", "shirt")),
        nrrd_file(tmp_path / "d.nrrd", NRRD, VOXELS.tobytes()[:9]),
        meta_file(tmp_path / "e.mha", "BinaryData = False\n"),
        meta_file(tmp_path / "f.mha", "", b""),
    ]  # fmt: skip
    Image.fromarray(GREY > 99).save(tmp_path / "g.bmp")
    Image.fromarray(GREY).save(tmp_path / "h.png")
    for name in ("i.nii", "j.nii.gz", "k.nrrd", "l.mha"):
        sitk.WriteImage(image, str(tmp_path / name))
    for path in [tmp_path / name for name in ("h.png", "i.nii", "j.nii.gz", "k.nrrd", "l.mha")]:
        path.write_bytes(path.read_bytes()[:-30])
        bad.append(path)
    for path in (*bad, tmp_path / "g.bmp"):
        with pytest.raises(InputError) as error:
            read_image(path)
        assert not re.search(r"itk|0x[0-9a-f]|ImageIO|\.cxx|ERROR|::|_nrrd", str(error.value), re.I), str(error.value)
    text = "Exception thrown in SimpleITK X: /a/b.cxx:470:\nITK ERROR: NrrdImageIO(0x55f): ReadImageInformation: no axes (2)."
    assert plain_reason(text) == "no axes (2)"
    assert plain_reason("[nrrd] nrrdEncodingBzip2_read: sorry, bzip2 encoding is not available in NrrdIO") == ""
    assert plain_reason("itk::ERROR: PNGImageIO(0x1): Error while reading file: a.png\nReason: Success") == ""
