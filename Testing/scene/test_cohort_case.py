"""Cases of a cohort from nodes of the scene: what is written, and what is refused with which remedy."""

import json

import numpy as np
import pytest
import slicer
from mrml import add_volume, random_grid, segment

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.scene.cohort_case import NeedsConfirmationError, make_cohort_case, save_case
from S3NetSegmentLib.scene.segmentation.reading import create_segmentation
from S3NetSegmentLib.scene.segmentation.segment_edit import segment_edit
from S3NetSegmentLib.scene.volumes import volume_from_node

SHAPE = (5, 12, 10)


@pytest.fixture
def drawn(app):
    """``drawn(*names, seed=0)`` gives a volume node and a segmentation with a box of voxels for each name."""

    def maker(*names, seed=0, grid=None):
        rng = np.random.default_rng(seed)
        node = add_volume(rng.integers(0, 900, SHAPE).astype(np.int16), grid, f"MR {seed}")
        segmentation = create_segmentation(node)
        volume = volume_from_node(node)
        with segment_edit(segmentation, node) as edit:
            for number, name in enumerate(names):
                mask = np.zeros(SHAPE, bool)
                mask[1:4, 2 * number : 2 * number + 2, 3:8] = True
                edit.add_segment(segment(name, (0.2, 0.1 * number, 0.9), terminology="a~b"), mask, volume)
        return node, segmentation

    return maker


def save(folder, name, nodes, patient="", suffix=".nii.gz", **confirmed):
    return run_to_end(save_case(make_cohort_case(folder, name, suffix, patient), *nodes, **confirmed))


def names_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_saved_case_is_read_back_by_training_voxel_for_voxel(drawn, tmp_path, suffix):
    nodes = drawn("Liver", "Spleen", grid=random_grid(np.random.default_rng(3)))
    saved = save(tmp_path / "cohort", "case 1", nodes, "Möller", suffix)
    assert saved.files[0].name == f"case 1{suffix}"
    cohort = run_to_end(read_cohort(tmp_path / "cohort"))
    (case,) = cohort.labelled
    assert case.patient == "Möller" and [c.name for c in cohort.classes] == ["Liver", "Spleen"]
    assert cohort.classes[1].color == pytest.approx((0.2, 0.1, 0.9), abs=0.01)
    image, labels = case.read_volume(), case.read_labels(cohort.classes)
    assert (image.array == volume_from_node(nodes[0]).array).all()
    assert np.allclose(image.ijk_to_ras, volume_from_node(nodes[0]).ijk_to_ras, atol=1e-3)
    assert (labels[1:4, 0:2, 3:8] == 1).all() and (labels[1:4, 2:4, 3:8] == 2).all() and (labels > 0).sum() == 60


def test_what_is_there_is_replaced_only_after_confirmation(drawn, tmp_path):
    save(tmp_path, "a", drawn("Liver", seed=1))
    before = {p: (tmp_path / p).read_bytes() for p in names_in(tmp_path)}
    other = drawn("Liver", seed=2)
    with pytest.raises(NeedsConfirmationError, match=r"images/a\.nii\.gz and labels/a\.seg\.nrrd already") as refusal:
        save(tmp_path, "a", other, suffix=".nrrd")
    assert refusal.value.option == "replace"
    assert {p: (tmp_path / p).read_bytes() for p in names_in(tmp_path)} == before
    save(tmp_path, "a", other, suffix=".nrrd", replace=True)
    assert names_in(tmp_path) == ["images/a.nrrd", "labels/a.seg.nrrd"]
    assert (read_image(tmp_path / "images" / "a.nrrd").array == volume_from_node(other[0]).array).all()


def test_labels_are_added_to_an_unlabelled_case_without_touching_its_image(drawn, tmp_path):
    node, segmentation = drawn("Liver")
    assert "without labels" in save(tmp_path, "a", (node, None)).notes[0]
    image = (tmp_path / "images" / "a.nii.gz").stat()
    saved = save(tmp_path, "a", (node, segmentation))
    assert [p.name for p in saved.files] == ["a.seg.nrrd"] and "left as it is" in saved.notes[-1]
    assert (tmp_path / "images" / "a.nii.gz").stat().st_mtime_ns == image.st_mtime_ns


def test_class_names_that_differ_from_the_cohort_are_refused(drawn, tmp_path):
    save(tmp_path, "a", drawn("Liver", "Spleen"))
    with pytest.raises(InputError, match=r"class names differ.*Liver, Spleen.*Leber") as refusal:
        save(tmp_path, "b", drawn("Leber", seed=1))
    assert not isinstance(refusal.value, NeedsConfirmationError)
    with pytest.raises(NeedsConfirmationError, match="Kidney would be a new class"):
        save(tmp_path, "b", drawn("Liver", "Spleen", "Kidney", seed=1))
    assert names_in(tmp_path / "labels") == ["a.seg.nrrd"]
    save(tmp_path, "b", drawn("Liver", "Spleen", "Kidney", seed=1), new_classes=True)
    assert "absent: Spleen, Kidney" in save(tmp_path, "c", drawn("liver", seed=2)).notes[0]
    assert [c.name for c in run_to_end(read_cohort(tmp_path)).classes] == ["Liver", "Spleen", "Kidney"]
    (tmp_path / "cohort.json").write_text(json.dumps({"classes": ["Liver", "Spleen", "Kidney"]}))
    with pytest.raises(InputError, match=r"none of the classes that cohort\.json lists"):
        save(tmp_path, "d", drawn("Liver", "Aorta", seed=3), new_classes=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../outside", "character"), ("a/b", "character"), ("a\\b", "character"), ("..", "file name"), ("", "no name"),
        (".hidden", "file name"), ("CON", "file name"), ("x" * 200, "too long"), ("scan.", "file name"),
    ],
)  # fmt: skip
def test_names_that_leave_the_folder_or_are_no_file_names_are_refused(tmp_path, name, said):
    with pytest.raises(InputError, match=said):
        make_cohort_case(tmp_path, name)


def test_a_folder_inside_a_cohort_and_a_file_are_refused(drawn, tmp_path):
    save(tmp_path, "a", drawn("Liver"))
    with pytest.raises(InputError, match="folder above it"):
        make_cohort_case(tmp_path / "images", "b")
    with pytest.raises(InputError, match="is a file"):
        make_cohort_case(tmp_path / "images" / "a.nii.gz", "b")
    with pytest.raises(InputError, match="no training folder"):
        make_cohort_case("", "b")
    with pytest.raises(InputError, match="capitals"):
        save(tmp_path, "A", drawn("Liver", seed=1))


def test_nothing_drawn_colour_and_twin_names_are_refused(drawn, tmp_path):
    node, segmentation = drawn()
    segmentation.GetSegmentation().AddEmptySegment("", "Liver")
    with pytest.raises(InputError, match="nothing is drawn"):
        save(tmp_path, "a", (node, segmentation))
    picture = add_volume(np.zeros((1, 8, 8, 3), np.uint8), class_name="vtkMRMLVectorVolumeNode")
    with pytest.raises(InputError, match="in colour"):
        save(tmp_path, "a", (picture, None))
    node, segmentation = drawn("Liver", "Spleen")
    segmentation.GetSegmentation().GetNthSegment(1).SetName("liver ")
    with pytest.raises(InputError, match="two segments are called"):
        save(tmp_path, "a", (node, segmentation))
    assert names_in(tmp_path) == []


def test_a_failing_label_file_leaves_no_image_behind(drawn, tmp_path, monkeypatch):
    import errno

    from S3NetSegmentLib.engine import ResourceError
    from S3NetSegmentLib.scene import cohort_case

    def disk_full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(cohort_case, "write_label_file", disk_full)
    with pytest.raises(ResourceError, match="full"):
        save(tmp_path, "a", drawn("Liver"))
    assert names_in(tmp_path) == []


def test_a_damaged_description_is_refused_before_anything_is_written(drawn, tmp_path):
    (tmp_path / "cohort.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        save(tmp_path, "a", drawn("Liver"), "P1")
    assert names_in(tmp_path) == ["cohort.json"]


def test_the_scene_is_not_changed_by_saving(drawn, tmp_path):
    nodes = drawn("Liver")
    count = slicer.mrmlScene.GetNumberOfNodes()
    save(tmp_path, "a", nodes)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
