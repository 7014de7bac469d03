"""Cohorts: what is found in a folder, classes over cases, splits by patient, and every kind of bad folder."""

import dataclasses
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import tifffile
from cohort_files import drawn, phantom, write_cohort

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.volume import Extent
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation
from S3NetSegmentLib.engine.training.cohort.folder import image_hash, read_cohort
from S3NetSegmentLib.engine.training.preparation import prepare_cohort, split_cohort
from S3NetSegmentLib.engine.training.settings import CohortSettings
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout


def read(folder, **options):
    return run_to_end(read_cohort(folder, **options))


def describe(folder, **content):
    (folder / "cohort.json").write_text(json.dumps(content))


def test_cases_labels_classes_and_colours_come_from_the_files(tmp_path):
    cohort = read(write_cohort(tmp_path, 2, 3))
    assert [c.name for c in cohort.cases] == [f"case{n:02d}" for n in range(5)]
    assert [c.name for c in cohort.labelled] == ["case00", "case01"] and not cohort.notes
    assert [(c.name, c.value) for c in cohort.classes] == [("Ring", 1), ("Core", 2)]
    assert cohort.classes[0].color == pytest.approx((0.9, 0.2, 0.1))
    case = cohort.cases[0]
    assert np.array_equal(case.read_labels(cohort.classes), phantom(0)[1])
    assert case.grid.size == (40, 36, 6) and np.allclose(case.grid.ijk_to_ras, phantom(0)[0].ijk_to_ras)


def test_label_maps_pair_by_value_and_take_their_names_from_the_description(tmp_path):
    write_cohort(tmp_path, 2, label=".nii.gz", suffix=".nrrd")
    assert [c.name for c in read(tmp_path).classes] == ["Segment 1", "Segment 2"]
    describe(tmp_path, classes=[{"name": "Core", "value": 2, "color": "#ff0000"}, {"name": "Ring", "value": 1}])
    cohort = read(tmp_path)
    assert [c.name for c in cohort.classes] == ["Core", "Ring"] and cohort.classes[0].color == (1, 0, 0)
    labels = cohort.cases[0].read_labels(cohort.classes)
    assert np.array_equal(labels == 1, phantom(0)[1] == 2)


def test_a_structure_that_some_cases_lack_counts_as_absent_and_is_said(tmp_path):
    write_cohort(tmp_path, 3)
    volume, labels = phantom(2)
    write_segmentation(drawn(volume, np.minimum(labels, 1), ["ring "]), tmp_path / "labels" / "case02.seg.nrrd")
    cohort = read(tmp_path)
    assert [c.name for c in cohort.classes] == ["Ring", "Core"]
    assert cohort.notes == ("'Core' is not drawn in 1 of 3 labelled cases (case02) and counts as absent there",)
    assert set(np.unique(cohort.cases[2].read_labels(cohort.classes))) == {0, 1}


def test_labels_of_a_part_of_the_image_count_as_background_beside_it_and_that_is_said(tmp_path):
    write_cohort(tmp_path, 3, label=".nii.gz")
    volume, labels = phantom(1)
    part = volume.cropped(Extent((4, 3, 1), (36, 33, 5)))
    cut = dataclasses.replace(part, array=labels[1:5, 3:33, 4:36])
    write_image(cut, tmp_path / "labels" / "case01.nii.gz")
    cohort = read(tmp_path)
    assert len(cohort.notes) == 1
    assert cohort.notes[0].startswith(
        "case01.nii.gz: it covers only 44.4% of its image, and what lies beside counts as background"
    )
    expected = np.zeros_like(labels)
    expected[1:5, 3:33, 4:36] = cut.array
    assert np.array_equal(cohort.cases[1].read_labels(cohort.classes), expected)


def test_class_names_that_differ_between_cases_are_refused(tmp_path):
    write_cohort(tmp_path, 2)
    volume, labels = phantom(1)
    write_segmentation(drawn(volume, labels, ["Ring", "Centre"]), tmp_path / "labels" / "case01.seg.nrrd")
    with pytest.raises(InputError, match=r"differ between cases: 'case00' has Core, Ring, 'case01' has Centre, Ring"):
        read(tmp_path)
    describe(tmp_path, classes=["Ring", "Core"])
    with pytest.raises(
        InputError, match=r"case 'case01' has a segment 'Centre' \(value 2\), which is none of the classes"
    ):
        read(tmp_path)
    describe(tmp_path, classes=["Ring", "Core", "Centre"])
    assert len(read(tmp_path).classes) == 3
    (tmp_path / "cohort.json").unlink()
    (tmp_path / "labels" / "case01.seg.nrrd").unlink()
    write_segmentation(drawn(volume, labels), tmp_path / "labels" / "case01.nii.gz")
    with pytest.raises(InputError, match="label map without names"):
        read(tmp_path)


def test_folders_that_are_no_cohort_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="has no folder 'images'"):
        read(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / ".hidden").write_text("")
    (tmp_path / "images" / "notes.txt").write_text("")
    with pytest.raises(InputError, match="is empty: there is no image"):
        read(tmp_path)


def test_extra_labels_doubled_files_and_labels_on_another_grid_are_refused(tmp_path):
    write_cohort(tmp_path, 2)
    labels = tmp_path / "labels"
    shutil.copy(labels / "case01.seg.nrrd", labels / "other.seg.nrrd")
    with pytest.raises(InputError, match=r"'other.seg.nrrd' .* has no image of the same name"):
        read(tmp_path)
    assert "other.seg.nrrd" in read(tmp_path, skip_bad=True).skipped
    (labels / "other.seg.nrrd").rename(labels / "case01.nrrd")
    with pytest.raises(InputError, match="case 'case01' has two files"):
        read(tmp_path)
    (labels / "case01.nrrd").unlink()
    volume, mask = phantom(1, size=(40, 36, 5))
    write_segmentation(drawn(volume, mask), labels / "case01.seg.nrrd")
    shifted = volume.ijk_to_ras.copy()
    shifted[0, 3] = 7.3
    write_segmentation(drawn(Volume(volume.array, shifted), mask), labels / "case00.seg.nrrd")
    with pytest.raises(InputError, match=r"case 'case00'.* does not lie on the grid of its image"):
        read(tmp_path)


def test_an_unreadable_file_among_good_ones_is_named_and_skipped_only_on_request(tmp_path):
    write_cohort(tmp_path, 2, 1)
    (tmp_path / "images" / "case01.nii.gz").write_bytes(b"no image at all")
    with pytest.raises(InputError, match=r"case 'case01': .*case01.nii.gz.* --skip-bad"):
        read(tmp_path)
    cohort = read(tmp_path, skip_bad=True)
    assert [c.name for c in cohort.cases] == ["case00", "case02"] and list(cohort.skipped) == ["case01"]
    assert "left out" in cohort.notes[0] and "case01" in cohort.notes[0]
    for name in ("case00", "case02"):
        (tmp_path / "images" / f"{name}.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"no case of cohort .* can be read"):
        read(tmp_path, skip_bad=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"patients": {"case00": "a", "case00": "b"}}', "a name is given twice among 'case00', 'case00'"),
        ("{nonsense", "not readable JSON"), ("[]", "must hold an object"), ('{"patient": {}}', "has an entry 'patient'"),
        ('{"splits": []}', "must be an object"), ('{"patients": {"nobody": "p"}}', "no such image"),
        ('{"splits": {"exam": []}}', "has a split 'exam'"), ('{"splits": {"test": ["nobody"]}}', "neither case nor patient"),
        ('{"classes": [{"value": 1}]}', "class 1 of cohort.json has no name"),
        ('{"classes": [{"name": "a", "value": 0}]}', "has value 0"),
        ('{"classes": ["a", {"name": "b", "value": 1}]}', "have the value 1"), ('{"classes": ["a", "A"]}', "have the name 'a'"),
        ('{"classes": [{"name": "a", "color": "blue"}]}', "has colour 'blue'"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused_with_the_entry(tmp_path, content, message):
    write_cohort(tmp_path, 1)
    (tmp_path / "cohort.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_a_description_that_an_editor_of_windows_has_saved_is_read(tmp_path):
    write_cohort(tmp_path, 1)
    (tmp_path / "cohort.json").write_text('{"classes": ["Core", "Ring"]}', encoding="utf-8-sig")
    assert [c.name for c in read(tmp_path).classes] == ["Core", "Ring"]


def test_images_of_a_patient_are_never_on_two_sides(tmp_path):
    write_cohort(tmp_path, 8, 4)
    describe(tmp_path, patients={f"case{n:02d}": f"patient{n // 2}" for n in range(12)} | {"case08": "patient0"})
    cohort = read(tmp_path)
    seen = set()
    for seed in range(12):
        split = split_cohort(cohort, seed=seed, validation=0.3, test=0.3)
        sides = [{c.patient for c in side} for side in (split.train, split.validation, split.test)]
        assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
        assert (len(split.validation), len(split.test)) == (2, 2) and all(c.label for c in split.validation)
        assert ("case08" in split.names()["train"]) == ("case00" in split.names()["train"])
        assert split.names() == split_cohort(cohort, seed=seed, validation=0.3, test=0.3).names()
        seen.add(tuple(split.names()["test"]))
    assert len(seen) > 3


def test_a_listed_split_is_used_and_checked(tmp_path):
    write_cohort(tmp_path, 4, 2)
    describe(tmp_path, patients={"case00": "p", "case01": "p"}, splits={"test": ["p"], "validation": ["case02"]})
    names = split_cohort(read(tmp_path), seed=3).names()
    assert names == {"train": ["case03", "case04", "case05"], "validation": ["case02"], "test": ["case00", "case01"]}
    describe(tmp_path, splits={"train": ["case03"], "test": ["case00"]})
    assert split_cohort(read(tmp_path)).names()["train"] == ["case03"]
    describe(tmp_path, patients={"case00": "p", "case01": "p"}, splits={"test": ["case00"], "train": ["case01"]})
    with pytest.raises(InputError, match=r"patient 'p' is in the splits 'train' and 'test'|'test' and 'train'"):
        read(tmp_path)


def test_splits_that_the_description_does_not_list_are_made_by_the_settings(tmp_path):
    write_cohort(tmp_path, 8, 2)
    describe(tmp_path, splits={"test": ["case00", "case01"]})
    cohort = read(tmp_path)
    split = split_cohort(cohort, seed=1, validation=0.3)
    assert split.names()["test"] == ["case00", "case01"] and len(split.validation) == 2 and not split.notes
    assert not {c.name for c in split.validation} & {"case00", "case01"}
    assert len(split.train) == 6 and len(split.labelled) == 4
    off = split_cohort(cohort, seed=1, validation=0.0)
    assert not off.validation and "the setting validation is 0" in off.notes[0]
    assert "the setting test has no effect" in split_cohort(cohort, test=0.2).notes[-1]
    describe(tmp_path, splits={"validation": ["case02"]})
    split = split_cohort(read(tmp_path), seed=1, validation=0.5, test=0.3)
    assert split.names()["validation"] == ["case02"] and len(split.test) == 2 and not split.notes


def test_folds_divide_the_labelled_patients_and_keep_the_test(tmp_path):
    write_cohort(tmp_path, 8, 2)
    patients = {f"case{n:02d}": f"patient{n // 2}" for n in range(8)} | {"case08": "patient0", "case09": "patient9"}
    describe(tmp_path, patients=patients, splits={"test": ["patient1"]})
    cohort = read(tmp_path)
    splits = [split_cohort(cohort, seed=4, folds=3, fold=fold) for fold in (1, 2, 3)]
    held = [{c.patient for c in split.validation} for split in splits]
    assert sorted(p for fold in held for p in fold) == ["patient0", "patient2", "patient3"]
    for split, fold in zip(splits, held, strict=True):
        assert [c.name for c in split.test] == ["case02", "case03"]
        assert not {c.patient for c in split.train} & (fold | {"patient1"}) and len(split.validation) == 2
        assert "case09" in split.names()["train"] and ("case08" in split.names()["train"]) == ("patient0" not in fold)
    halves = [{c.patient for c in split_cohort(cohort, seed=4, folds=2, fold=fold).validation} for fold in (1, 2)]
    assert sorted(map(len, halves)) == [1, 2] and set.union(*halves) == {"patient0", "patient2", "patient3"}
    assert held != [{c.patient for c in split_cohort(cohort, seed=6, folds=3, fold=f).validation} for f in (1, 2, 3)]


def test_all_folds_look_at_the_same_slices_whichever_image_they_hold_out(tmp_path):
    write_cohort(tmp_path, 3)
    volume, labels = phantom(2, size=(60, 50, 6), spacing=(2.0, 2.0, 3.0))  # larger than the others
    write_image(volume, tmp_path / "images" / "case02.nii.gz")
    write_segmentation(drawn(volume, labels), tmp_path / "labels" / "case02.seg.nrrd")
    cohort = read(tmp_path)
    data = [
        run_to_end(prepare_cohort(cohort, CohortSettings(folds=3, fold=fold, slice_side=64), seed=0, with_labels=True))
        for fold in (1, 2, 3)
    ]
    assert [len(one.held.names) for one in data] == [1, 1, 1]
    assert {one.layout for one in data} == {SliceLayout("axial", 120 / 64, 64)}


def test_folds_that_cannot_be_are_refused_with_the_number_that_can(tmp_path):
    write_cohort(tmp_path, 4, 2)
    cohort = read(tmp_path)
    with pytest.raises(InputError, match=r"5 folds need 5 labelled patients .* there are 4; use --folds 4 or fewer"):
        split_cohort(cohort, folds=5, fold=1)
    with pytest.raises(InputError, match=r"there are 3; use --folds 3"):
        split_cohort(cohort, folds=4, fold=1, test=0.25)
    for folds, fold in ((1, 1), (3, 4), (3, 0)):
        with pytest.raises(InputError, match=f"fold is {fold} of {folds} folds"):
            split_cohort(cohort, folds=folds, fold=fold)
    describe(tmp_path, splits={"validation": ["case00"]})
    with pytest.raises(InputError, match="lists the split 'validation', and a cross-validation divides"):
        split_cohort(read(tmp_path), folds=2, fold=1)


def test_a_validation_that_cannot_be_is_told_with_the_reason(tmp_path):
    write_cohort(tmp_path, 5)
    describe(tmp_path, splits={"test": ["case00", "case01"]})
    split = split_cohort(read(tmp_path), validation=0.3)
    assert not split.validation and "takes at least four labelled patients beside the test" in split.notes[0]
    describe(tmp_path, splits={"test": ["case00"], "train": ["case01", "case02"]})
    (note,) = split_cohort(read(tmp_path), validation=0.3).notes
    assert "lists the training cases and none for it, so the setting validation has no effect" in note
    describe(tmp_path, splits={"test": ["case00"], "validation": []})
    (note,) = split_cohort(read(tmp_path), validation=0.3).notes
    assert "cohort.json lists none" in note


def test_with_one_labelled_case_no_accuracy_can_be_claimed(tmp_path):
    split = split_cohort(read(write_cohort(tmp_path, 1, 3)), validation=0.5, test=0.5)
    assert len(split.labelled) == 1 and not split.validation and not split.test
    assert "no accuracy can be claimed" in split.notes[0]
    assert not split_cohort(read(write_cohort(tmp_path / "more", 5))).notes


def test_the_hash_of_an_image_is_that_of_its_content(tmp_path):
    volume, _ = phantom(0)
    digest = image_hash(volume)
    for name in ("a.nii.gz", "b.nrrd", "c.mha"):
        write_image(volume, tmp_path / name)
        assert image_hash(read_image(tmp_path / name)) == digest
    assert image_hash(phantom(1)[0]) != digest


def test_tiff_stacks_and_drawings_by_the_other_of_two_matrices_are_cases_and_what_was_odd_is_noted(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    voxels = np.random.default_rng(0).integers(0, 4000, (6, 36, 40), dtype=np.uint16)
    labels = (voxels > 2000).astype(np.uint8)
    for folder, array in (("images", voxels), ("labels", labels)):
        tifffile.imwrite(tmp_path / folder / "stack.tif", array, tile=(16, 16), photometric="minisblack")
    image = nib.Nifti1Image(voxels.T, np.diag([-1.0, -1, 3, 1]))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine + np.eye(4, 4, 3) * 5, 2)
    nib.save(image, tmp_path / "images" / "two.nii.gz")
    nib.save(nib.Nifti1Image(labels.T, image.affine), tmp_path / "labels" / "two.nii.gz")
    cohort = read(tmp_path)
    assert [c.grid.size for c in cohort.cases] == [(40, 36, 6)] * 2
    for case in cohort.cases:
        assert np.array_equal(case.read_labels(cohort.classes), labels)
    assert any("taken voxel for voxel" in note for note in cohort.notes)
