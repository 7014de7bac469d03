"""``.seg.nrrd`` files of other programs: keys that are missing, numbered otherwise or doubled lose no segment in silence."""

from __future__ import annotations

import warnings

import nrrd
import numpy as np
import pytest

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation

FLAT = {
    "space": "left-posterior-superior",
    "space origin": [0, 0, 0],
    "space directions": np.eye(3),
    "kinds": ["domain"] * 3,
}
LAYERED = FLAT | {
    "space directions": np.array([[np.nan] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1]]), "kinds": ["list"] + ["domain"] * 3,
}  # fmt: skip
LABELS = np.zeros((6, 5, 4), np.uint8)
LABELS[1:3], LABELS[4] = 1, 2
LIVER = {"ID": "s_1", "Name": "liver", "LabelValue": 1, "Layer": 0, "Color": "1 0 0"}
SPLEEN = {"ID": "s_2", "Name": "spleen", "LabelValue": 2, "Layer": 0, "Color": "0 1 0"}


@pytest.fixture
def read(tmp_path):
    """Segments by number as read, and what was said."""

    def read(entries, labels=LABELS, name="a.seg.nrrd"):
        keys = {f"Segment{number}_{key}": value for number, entry in entries.items() for key, value in entry.items()}
        nrrd.write(str(tmp_path / name), labels, (FLAT if labels.ndim == 3 else LAYERED) | keys)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = read_segmentation(tmp_path / name)
        return found, [str(c.message) for c in caught]

    return read


def without(entry, *keys):
    return {key: value for key, value in entry.items() if key not in keys}


def table(found):
    return [(s.name, s.color, int(found.mask(s).sum())) for s in found.segments]


WANTED = [("liver", (1, 0, 0), 40), ("spleen", (0, 1, 0), 20)]


@pytest.mark.parametrize("numbers", [(0, 1), (1, 2), (3, 17), (8, 9)])
def test_segments_are_kept_wherever_their_numbers_start_and_with_gaps(read, numbers):
    found, said = read(dict(zip(numbers, (LIVER, SPLEEN), strict=True)))
    assert table(found) == WANTED and not said


def test_segments_without_an_id_are_read(read):
    found, said = read({0: without(LIVER, "ID"), 1: without(SPLEEN, "ID")})
    assert table(found) == WANTED and not said
    found, said = read({0: without(LIVER, "ID"), 1: SPLEEN})
    assert table(found) == WANTED and not said


def test_a_missing_name_is_the_id_or_made_up_and_a_missing_colour_is_given(read):
    found, _ = read({0: without(LIVER, "Name"), 1: without(SPLEEN, "Name", "ID", "Color")})
    assert [s.name for s in found.segments] == ["s_1", "Segment 2"]
    assert len({s.color for s in found.segments}) == 2


def test_a_missing_label_value_is_the_one_that_nobody_else_owns_or_is_refused_by_name(read):
    found, said = read({0: LIVER, 1: without(SPLEEN, "LabelValue")})
    assert table(found) == WANTED and not said
    found, _ = read({0: without(LIVER, "LabelValue")}, np.where(LABELS == 1, 5, 0).astype(np.uint8))
    assert table(found) == WANTED[:1] and found.segments[0].value == 5
    with pytest.raises(InputError, match="no key Segment0_LabelValue, and label values 1, 2 that may be"):
        read({0: without(LIVER, "LabelValue"), 1: without(SPLEEN, "LabelValue")})
    found, _ = read({0: without(LIVER, "LabelValue"), 1: without(SPLEEN, "LabelValue")}, np.zeros_like(LABELS))
    assert [s.value for s in found.segments] == [1, 2]


def test_a_missing_layer_is_the_only_one_or_of_old_files_the_next_or_is_refused_by_name(read):
    found, said = read({0: without(LIVER, "Layer"), 1: without(SPLEEN, "Layer")})
    assert table(found) == WANTED and not said
    layers = np.stack([LABELS == 1, LABELS == 2]).astype(np.uint8)
    found, said = read({0: without(LIVER, "Layer", "LabelValue"), 1: without(SPLEEN, "Layer", "LabelValue")}, layers)
    assert table(found) == WANTED and not said
    with pytest.raises(InputError, match="has 2 layers and no key Segment1_Layer"):
        read({0: LIVER, 1: without(SPLEEN, "Layer") | {"LabelValue": 1}}, layers)
    with pytest.raises(InputError, match="Segment1_Layer:=2, and has 2 layers, 0 to 1"):
        read({0: LIVER, 1: SPLEEN | {"Layer": 2}}, layers)


@pytest.mark.parametrize(
    ("key", "value"),
    [("LabelValue", "x"), ("LabelValue", "0"), ("LabelValue", "1.5"), ("Layer", "x"), ("Color", "red")],
)
def test_nonsense_in_a_key_is_refused_by_name(read, key, value):
    with pytest.raises(InputError, match=f"Segment1_{key}:={value}"):
        read({0: LIVER, 1: SPLEEN | {key: value}})


def test_label_values_that_no_segment_owns_are_told(read):
    _, said = read({0: LIVER})
    assert len(said) == 1 and "holds label value 2, which no segment in its header owns; it is left out" in said[0]
    layers = np.stack([LABELS, LABELS == 2]).astype(np.uint8)
    _, said = read({0: LIVER, 1: SPLEEN | {"Layer": 1, "LabelValue": 1}}, layers)
    assert len(said) == 1 and "holds label value 2 in layer 0" in said[0]


def test_segments_that_share_an_id_or_their_voxels_are_read_and_told(read):
    found, said = read({0: LIVER, 1: SPLEEN | {"ID": "s_1"}})
    assert table(found) == WANTED and len(said) == 1
    assert "segments 'liver' and 'spleen' share the ID 's_1', of which Slicer keeps only one" in said[0]
    _, said = read({0: LIVER, 1: SPLEEN | {"LabelValue": 1}}, np.where(LABELS == 1, 1, 0).astype(np.uint8))
    assert "share label value 1, and so their voxels" in said[0]


@pytest.mark.parametrize("name", ["a:=b", "x: y", "Segment1_Name", "tab\there"])
def test_names_of_any_signs_are_kept(read, name):
    assert read({0: LIVER | {"Name": name}, 1: SPLEEN})[0].segments[0].name == name


def test_a_file_that_names_no_segments_is_a_label_map_and_that_is_told(read):
    found, said = read({})
    assert [s.value for s in found.segments] == [1, 2]
    assert len(said) == 1 and "names no segments in its header" in said[0]
    assert not read({}, name="plain.nrrd")[1]


@pytest.mark.parametrize("key", ["Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation"])
def test_shares_of_voxels_are_no_labels_and_refused(tmp_path, key):
    nrrd.write(str(tmp_path / "a.seg.nrrd"), 85 * LABELS, FLAT | {key: "Fractional labelmap", "Segment0_ID": "liver"})
    with pytest.raises(InputError, match=r"a\.seg\.nrrd' holds shares of voxels .* make a binary label map"):
        read_segmentation(tmp_path / "a.seg.nrrd")
