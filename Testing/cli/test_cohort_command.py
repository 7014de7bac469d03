"""``s3net cohort``."""

import json
import shlex

import nrrd
import numpy as np
import pytest
from command_line import s3net_here as s3net
from loop_folders import drawn, patient, write_patients

from S3NetSegmentLib.engine import ResourceError, Volume
from S3NetSegmentLib.engine.cohort_loop import proposing
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_segmentation

pytestmark = pytest.mark.usefixtures("few_places")


@pytest.fixture
def scans(tmp_path):
    folder = write_patients(tmp_path / "scans", "anna", "bert", "carl")
    write_segmentation(drawn(*patient(0)), tmp_path / "anna_drawn.seg.nrrd")
    return folder


def told(*arguments) -> dict:
    done = s3net("cohort", *arguments, "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_cohort_is_worked_through_from_the_first_case_to_the_last(scans, tmp_path):
    first = s3net("cohort", scans, "next", "--order", "name")
    assert first.returncode == 0 and "segment 'anna' first" in first.stdout
    assert told(scans, "accept", "anna", "--segmentation", tmp_path / "anna_drawn.seg.nrrd")["case"] == "anna"
    second = told(scans, "next", "--order", "name")
    assert second["case"] == "bert" and second["proposal"]["from"] == ["anna"] and second["proposal"]["next_slices"]
    assert read_segmentation(second["proposal"]["output"]).flattened().any()
    assert told(scans, "accept", "bert")["changed"] == 0
    text = s3net("cohort", scans, "propose", "carl").stdout
    assert "carl: proposed from anna, bert (few-shot), expected Dice" in text
    volume, labels = patient(2)
    corrected = tmp_path / "carl.seg.nrrd"
    write_segmentation(drawn(volume, labels), corrected)
    better = told(scans, "propose", "carl", "--drawn-file", corrected, "--drawn", "4", "--axis", "z")["proposals"][0]
    assert np.array_equal(read_segmentation(better["output"]).flattened()[4], labels[4])
    assert told(scans, "status")["cases"][2]["state"] == "corrected"
    labels[2] = 0  # corrected once more
    write_segmentation(drawn(volume, labels), corrected)
    assert 0 < told(scans, "accept", "carl", "--segmentation", corrected)["changed"] < 0.5
    assert "3 of 3 accepted, 0 patients left" in s3net("cohort", scans, "status").stdout
    assert told(scans, "next")["case"] == ""
    assert told(scans, "undo", "carl")["state"] == "proposed"
    assert told(scans, "status")["left"] == 1


def test_all_open_cases_are_proposed_and_a_damaged_one_is_named(scans, tmp_path):
    told(scans, "accept", "anna", "--segmentation", tmp_path / "anna_drawn.seg.nrrd")
    (scans / "bert.nii.gz").write_bytes(b"no image")
    found = told(scans, "propose")
    assert [p["case"] for p in found["proposals"]] == ["carl"] and any(
        "'bert' is left out" in n for n in found["notes"]
    )
    states = {c["case"]: c["state"] for c in told(scans, "status")["cases"]}
    assert states == {"anna": "accepted", "bert": "unreadable", "carl": "proposed"}


def test_an_image_for_which_there_is_no_memory_is_named_and_the_others_are_proposed(scans, tmp_path, monkeypatch):
    told(scans, "accept", "anna", "--segmentation", tmp_path / "anna_drawn.seg.nrrd")
    real = proposing.read_image

    def limited(path):
        if path.name == "bert.nii.gz":
            raise ResourceError("too large")
        return real(path)

    monkeypatch.setattr(proposing, "read_image", limited)
    found = told(scans, "propose")
    assert [p["case"] for p in found["proposals"]] == ["carl"]
    assert "case 'bert' is left out: too large" in found["notes"]


def test_names_of_a_label_map_are_asked_for_and_can_be_told_in_two_ways(scans, tmp_path):
    told(scans, "accept", "anna", "--segmentation", tmp_path / "anna_drawn.seg.nrrd")
    plain = tmp_path / "bert.nii.gz"
    write_segmentation(drawn(*patient(1)), plain)
    refused = s3net("cohort", scans, "accept", "bert", "--segmentation", plain)
    assert refused.returncode == 2 and "--same 'Segment 1=Liver'" in refused.stderr
    (tmp_path / "names.csv").write_text("1,liver\n2,spleen\n")
    told(scans, "accept", "bert", "--segmentation", plain, "--labels", tmp_path / "names.csv")
    told(scans, "undo", "bert")
    told(scans, "accept", "bert", "--segmentation", plain, "--same", "Segment 1=Liver", "--same", "Segment 2=Spleen")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["accept"], "needs the name of a case"),
        (["status", "anna"], "is about all cases"),
        (["next", "--segmentation", "x.nrrd"], "--segmentation is for accept"),
        (["propose", "--drawn-file", "x.nrrd"], "needs the case"),
        (["propose", "anna", "--drawn", "3"], "need --drawn-file"),
        (["accept", "anna", "--same", "liver"], "write OTHER=NAME"),
        (["accept", "anna", "--empty", "--segmentation", "x.nrrd"], "leave --segmentation out"),
        (["accept", "nobody"], "no case 'nobody'"),
        (["accept", "anna"], "no proposal"),
        (["undo", "anna"], "not accepted"),
        (["train"], "a model needs 6"),
        (["status", "--minutes", "3"], "--minutes is for train"),
        (["propose", "anna"], "nothing is accepted yet"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(scans, arguments, said):
    done = s3net("cohort", scans, *arguments)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_a_folder_that_is_none_is_refused(tmp_path):
    done = s3net("cohort", tmp_path / "nowhere", "status")
    assert done.returncode == 2 and "no file or folder" in done.stderr


def test_the_command_that_next_names_can_be_copied_whatever_the_names_hold(tmp_path):
    scans = write_patients(tmp_path / "my scans", "Anna O'Neil")
    line = s3net("cohort", scans, "next").stdout.splitlines()[1]
    assert shlex.split(line.removeprefix("then: "))[:5] == ["s3net", "cohort", str(scans), "accept", "Anna O'Neil"]
    (scans / "Anna O'Neil.nii.gz").rename(scans / "-q.nii.gz")
    line = s3net("cohort", scans, "next").stdout.splitlines()[1]
    write_segmentation(drawn(*patient(0)), file := tmp_path / "drawn.seg.nrrd")
    done = s3net(*[str(file) if word == "FILE" else word for word in shlex.split(line.removeprefix("then: s3net "))])
    assert done.returncode == 0 and "-q is accepted" in done.stdout


def test_a_case_is_found_however_its_accents_are_stored(scans, tmp_path):
    (scans / "anna.nii.gz").rename(scans / "A\u0308nna.nii.gz")
    assert (
        told(scans, "accept", "\u00c4nna", "--segmentation", tmp_path / "anna_drawn.seg.nrrd")["case"] == "A\u0308nna"
    )
    assert told(scans, "undo", "\u00c4nna")["state"] == "to do"


def test_an_odd_drawing_is_told_in_a_note_and_not_as_a_warning_of_python(scans, tmp_path):
    header, labels = {"Segment0_ID": "a", "Segment0_LabelValue": "1", "Segment0_Name": "Liver"}, patient(0)[1]
    matrix = patient(0)[0].ijk_to_ras
    header |= {"space": "right-anterior-superior", "space directions": matrix[:3, :3].T, "space origin": matrix[:3, 3]}
    nrrd.write(str(tmp_path / "odd.seg.nrrd"), labels.transpose(2, 1, 0), header)
    done = s3net("cohort", scans, "accept", "anna", "--segmentation", tmp_path / "odd.seg.nrrd", "--quiet")
    assert done.returncode == 0 and "s3net: note: " in done.stderr and "holds label value 2" in done.stderr
    assert "ImageWarning" not in done.stderr


def test_a_label_map_of_a_part_of_the_image_is_told(scans, tmp_path):
    volume, labels = patient(0)
    for name, part in (("part", labels[:, :-6]), ("whole", labels)):
        write_segmentation(
            drawn(Volume(volume.array[:, : part.shape[1]], volume.ijk_to_ras), part), tmp_path / f"{name}.nii.gz"
        )
        done = s3net(
            "cohort", scans, "accept", "anna", "--segmentation", tmp_path / f"{name}.nii.gz", "--replace", "--quiet"
        )
        assert done.returncode == 0, done.stderr
        assert ("% of its image, and what lies beside counts as background" in done.stderr) == (name == "part")
