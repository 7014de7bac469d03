"""Names for the values of plain label maps: the kinds of files, and what is refused, with its line."""

import json

import numpy as np
import pytest

from S3NetSegmentLib.engine import InputError, Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.label_names import LabelName, all_named, named, read_label_names
from S3NetSegmentLib.engine.images.writing import write_image

LIVER = LabelName("liver", (221 / 255, 130 / 255, 101 / 255))
SNAP = """\
################################################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
    0     0    0    0        0  0  0    "Clear Label"
    1   221  130  101        1  1  1    "liver"
    4    46  101  131     0.50  1  1    "left kidney, cortex"
"""
COLOR_TABLE = """\
# 3D Slicer Color Table
0 background 0 0 0 0
1 liver 221 130 101 255
4 left_kidney 46 101 131 255
"""
KIDNEY = (46 / 255, 101 / 255, 131 / 255)
KINDS = {
    "names.csv": ("1,liver\n4,left kidney\n", (None, None), "left kidney"),
    "with head.csv": ("Label;Name;R;G;B\n1;liver;221;130;101\n4;left kidney;46;101;131\n", (LIVER.color, KIDNEY), "left kidney"),
    "turned.tsv": ("name\tvalue\nliver\t1\nleft kidney\t4\n", (None, None), "left kidney"),
    "slicer.csv": (
        "LabelValue,Name,Color_R,Color_G,Color_B,Color_A\n1,liver,221,130,101,255\n4,left kidney,46,101,131,255\n",
        (LIVER.color, KIDNEY), "left kidney",
    ),
    "quoted.csv": ('\ufeff1,liver\r\n4,"kidney, left"\r\n', (None, None), "kidney, left"),
    "told.csv": ("sep=;\r\n1;liver\r\n4;kidney, left\r\n", (None, None), "kidney, left"),
    "told bar.csv": ("sep=|\nvalue|name\n1|liver\n4|kidney; left, a\n", (None, None), "kidney; left, a"),
    "plain.txt": ("# my labels\n\n1 liver\n4 left kidney 2\n", (None, None), "left kidney 2"),
    "snap.label": (SNAP, (LIVER.color, KIDNEY), "left kidney, cortex"),
    "table.ctbl": (COLOR_TABLE, (LIVER.color, KIDNEY), "left kidney"),
    "values.json": (json.dumps({"1": "liver", "4": "left kidney"}), (None, None), "left kidney"),
    "dataset.json": (
        json.dumps({"labels": {"background": 0, "liver": 1, "left kidney": 4}, "name": "set"}), (None, None), "left kidney",
    ),
    "cohort.json": (
        json.dumps({"classes": [{"name": "liver", "value": 1, "color": [1, 0, 0]}, {"name": "left kidney", "value": 4}]}),
        ((1, 0, 0), None), "left kidney",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_names_are_read_from_every_kind_of_file(tmp_path, name):
    text, colors, kidney = KINDS[name]
    (tmp_path / name).write_bytes(text.encode())
    found = read_label_names(tmp_path / name)
    assert [(value, entry.name) for value, entry in found.items()] == [(1, "liver"), (4, kidney)]
    for entry, color in zip(found.values(), colors, strict=True):
        assert entry.color is None if color is None else entry.color == pytest.approx(color)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,liver\n1,spleen\n", "line 2: label 1 is there twice"),
        ("1,liver\n2,Liver\n", "line 2: 'Liver' is the name of label 1, too"),
        ("1,liver\nx,spleen\n", "line 2: 'x' is not a value of a label"),
        ("1,liver\n-2,spleen\n", "line 2: '-2' is not a value"),
        ("1,liver\n70000,spleen\n", "line 2: '70000' is not a value"),
        ("# list\n1,liver\n2,\n", "line 3: label 2 has no name"),
        ("1,liver\n2\n", "line 2: '2' has no name"),
        ("1,liver,300,0,0\n", "line 1: '300, 0, 0' is not a colour"),
        ("1,liver,red\n", "line 1: 'red' is not a colour"),
        ("1 liver\nspleen 2\n", "line 2: 'spleen 2' is not a value with a name"),
        ("liver, spleen\n", "line 1: 'liver, spleen' has no value and name"),
        ("0,background\n", "names no label above 0"),
        ("\n\n", "names no label above 0"),
        ('{"1": ["liver"]}', "entry '1'"),
        ("[1, 2]", "entry 1: it has no name"),
        ("{broken", "is not readable JSON"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path, text, told):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(InputError) as error:
        read_label_names(tmp_path / "names.txt")
    assert told in str(error.value) and "names.txt" in str(error.value)


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "names.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match="is no UTF-8 text"):
        read_label_names(tmp_path / "names.csv")
    with pytest.raises(InputError, match="there is no file"):
        read_label_names(tmp_path / "nothing.csv")


def test_a_label_map_takes_names_and_colours_and_keeps_what_is_not_named(tmp_path):
    array = np.zeros((3, 8, 8), np.uint8)
    array[1, 2], array[1, 4] = 1, 7
    write_image(Volume(array, np.eye(4)), tmp_path / "map.nii.gz")
    (tmp_path / "names.csv").write_text("1,liver,221,130,101\n2,spleen\n")
    bare = read_segmentation(tmp_path / "map.nii.gz")
    own = Segmentation([array], [Segment("Aorta", (1, 0, 0), 1)], np.eye(4))
    found, other = all_named([bare, own], ["map.nii.gz", "own.seg.nrrd"], tmp_path / "names.csv")
    assert other is own
    assert [(s.name, s.value) for s in found.segments] == [("liver", 1), ("Segment 7", 7)]
    assert found.segments[0].color == pytest.approx(LIVER.color)
    assert all_named([bare], ["map.nii.gz"], None) == [bare]


def test_names_for_what_has_names_or_other_labels_are_refused(tmp_path):
    array = np.ones((3, 8, 8), np.uint8)
    own = Segmentation([array], [Segment("Aorta", (1, 0, 0), 1)], np.eye(4))
    with pytest.raises(InputError, match=r"'x.nrrd' has names of its own \(Aorta\)"):
        named(own, {1: LIVER}, "x.nrrd", "names.csv")
    bare = Segmentation([array], [Segment("Segment 1", (1, 0, 0), 1)], np.eye(4))
    with pytest.raises(InputError, match=r"names none of the labels of 'x.nrrd', which are 1; it has 5, 6"):
        named(bare, {5: LIVER, 6: LIVER}, "x.nrrd", "names.csv")
    (tmp_path / "names.csv").write_text("1,liver\n")
    with pytest.raises(InputError, match="names of its own"):
        all_named([own], ["own.seg.nrrd"], tmp_path / "names.csv")
