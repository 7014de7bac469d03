"""``--labels``: names for plain label maps in few-shot, batches, training and evaluation."""

import json

import numpy as np
import pytest
from batch_cases import QUICK_FEW_SHOT, write_drawn_ball
from cohort_files import phantom, write_cohort
from command_line import s3net_here
from model_files import write_model

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.batch.manifest import ManifestError, read_manifest
from S3NetSegmentLib.engine.batch.records import input_facts
from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort


@pytest.fixture
def folder(tmp_path):
    """A ball of which two slices are drawn, as a label map with the value 3, and a list that names it."""
    write_drawn_ball(tmp_path)
    drawn = read_segmentation(tmp_path / "drawn.seg.nrrd")
    write_image(Volume(3 * drawn.layers[0], drawn.ijk_to_ras), tmp_path / "drawn.nii.gz")
    (tmp_path / "names.csv").write_text("value,name,r,g,b\n3,Spleen,0,255,0\n5,Liver,255,0,0\n")
    return tmp_path


def test_few_shot_gives_the_segments_of_a_label_map_their_names_and_colours(folder):
    few_shot = ("few-shot", folder / "ball.nii.gz", "--support", folder / "drawn.nii.gz", "-o", folder / "out.seg.nrrd")
    quick = [text for setting in QUICK_FEW_SHOT.split("; ") for text in ("--set", setting)]
    done = s3net_here(*few_shot, *quick, "--labels", folder / "names.csv", "--segments", "spleen")
    assert done.returncode == 0, done.stderr
    (segment,) = read_segmentation(folder / "out.seg.nrrd").segments
    assert (segment.name, segment.value, segment.color) == ("Spleen", 3, (0, 1, 0)) and "Spleen" in done.stdout
    (folder / "names.csv").write_text("3,Spleen\n3,Liver\n")
    done = s3net_here(*few_shot, *quick, "--labels", folder / "names.csv")
    assert done.returncode == 2 and "names.csv', line 2: label 3 is there twice" in done.stderr
    done = s3net_here(*few_shot, "--labels", folder / "drawn.nii.gz")
    assert done.returncode == 2 and "is no UTF-8 text" in done.stderr
    over = s3net_here(*few_shot[:-1], folder / "names.csv.nrrd", "--labels", folder / "names.csv.nrrd")
    assert over.returncode == 2 and "never replaced" in over.stderr


def test_a_manifest_names_label_maps_in_a_column_and_a_wrong_list_is_refused_by_row(folder):
    (folder / "m.csv").write_text("image,method,support,labels\nball.nii.gz,few-shot,drawn.nii.gz,names.csv\n")
    (case,) = read_manifest(folder / "m.csv", folder / "out")
    named = str(folder / "names.csv")
    assert case.task.labels == named and case.task.files[0].names == named
    assert case.inputs()["labels"] == named and "labels" in input_facts(case)  # another list: done anew
    (folder / "names.csv").write_text("3\n")
    with pytest.raises(ManifestError, match=r"row 2: labels: .*names.csv', line 1: .* is not a value with a name"):
        read_manifest(folder / "m.csv", folder / "out2")
    (folder / "m.csv").write_text("image,method,labels\nball.nii.gz,segment,names.csv\n")
    with pytest.raises(ManifestError, match="labels: it is for method few-shot"):
        read_manifest(folder / "m.csv", folder / "out")


def test_a_cohort_of_label_maps_takes_its_classes_from_a_list(tmp_path):
    folder = write_cohort(tmp_path / "cohort", 2, label=".nii.gz")
    (tmp_path / "names.txt").write_text("1 Ring\n2 Core\n9 Never drawn\n")
    cohort = run_to_end(read_cohort(folder, names_file=tmp_path / "names.txt"))
    assert [(c.name, c.value) for c in cohort.classes] == [("Ring", 1), ("Core", 2)] and not cohort.notes
    assert np.array_equal(cohort.cases[0].read_labels(cohort.classes), phantom(0)[1])
    (tmp_path / "names.txt").write_text("1 Ring\n")
    with pytest.raises(InputError, match=r"has the label 2, which .*names.txt' does not name"):
        run_to_end(read_cohort(folder, names_file=tmp_path / "names.txt"))
    (folder / "cohort.json").write_text(json.dumps({"classes": ["a", "b"]}))
    with pytest.raises(InputError, match=r"both cohort.json and .* name the classes"):
        run_to_end(read_cohort(folder, names_file=tmp_path / "names.txt"))
    own = write_cohort(tmp_path / "own", 1)
    with pytest.raises(InputError, match=r"has names of its own \(Ring"):
        run_to_end(read_cohort(own, names_file=tmp_path / "names.txt"))


def test_a_model_is_evaluated_on_label_maps_by_the_names_in_a_list(tmp_path):
    folder = write_cohort(tmp_path / "cohort", 1, label=".nii.gz")
    model = write_model(tmp_path / "model.pt")
    (tmp_path / "names.csv").write_text("2,ring\n1,core\n")  # other values than the model's
    arguments = ("evaluate", model, folder, "--split", "unseen", "-o", tmp_path / "report", "--json")
    done = s3net_here(*arguments, "--labels", tmp_path / "names.csv")
    assert done.returncode == 0, done.stderr
    (scores,) = json.loads(done.stdout)["cases"].values()
    assert {s["name"]: s["reference_voxels"] for s in scores} == {
        "Ring": int((phantom(0)[1] == 2).sum()), "Core": int((phantom(0)[1] == 1).sum()),
    }  # fmt: skip
    assert "paired by value" not in done.stderr
