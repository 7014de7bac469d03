"""``s3net finetune --folds``: cross-validation from a cohort to the mean of its models."""

import json

import numpy as np
import pytest
from cohort_files import phantom, write_cohort
from command_line import s3net_here

from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.model.model_file import load_model
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

QUICK = (
    "--preset", "tiny", "--set", "slice_side=48", "--set", "batch=2", "--set", "unlabelled_batch=2", "--steps", "4",
    "--device", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Four labelled patients, one of them for the test, and an unlabelled one."""
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), 4, 1)
    (folder / "cohort.json").write_text(json.dumps({"splits": {"test": ["case03"]}}))
    return folder


@pytest.fixture(scope="module")
def folds(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "cv"
    done = s3net_here("finetune", cohort, "-o", folder, "--folds", 3, *QUICK, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def refused(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    return done.stderr


def test_each_fold_is_validated_on_its_own_patients_and_the_summary_says_how(folds):
    folder, facts = folds
    models = [load_model(folder / f"fold_{n}" / "model.pt", "segmenter") for n in (1, 2, 3)]
    held = [set(m.validation_cases) for m in models]
    assert [len(h) for h in held] == [1, 1, 1] and len(set.union(*held)) == 3
    for model, own in zip(models, held, strict=True):
        assert set(model.training_cases) >= set.union(*held) - own and not own & set(model.training_cases)
    scores = [m.validation["score"] for m in models]
    assert [f["dice"]["all"] for f in facts["folds"]] == scores and facts["mean"]["all"] == pytest.approx(
        np.mean(scores)
    )
    assert facts["standard_deviation"]["Ring"] == pytest.approx(
        np.std([m.validation["dice Ring"] for m in models], ddof=1), abs=1e-9
    )
    assert json.loads((folder / "cross_validation.json").read_text("utf-8")) == facts
    assert f"| all |  | {np.mean(scores):.3f} ±" in (folder / "cross_validation.md").read_text("utf-8")
    assert any("flatter" in note for note in facts["notes"])


def test_the_folder_is_applied_and_evaluated_as_an_ensemble(folds, cohort, tmp_path):
    folder, _ = folds
    write_image(phantom(9)[0], tmp_path / "mr.nii.gz")
    done = s3net_here("apply", folder, tmp_path / "mr.nii.gz", "-o", tmp_path / "o.seg.nrrd", "-q", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    tags = read_segmentation(tmp_path / "o.seg.nrrd").segments[0].tags
    assert tags["S3NetSegment.Model"] == "fold_1/model.pt, fold_2/model.pt, fold_3/model.pt"
    done = s3net_here("evaluate", folder, cohort, "-o", tmp_path / "report", "--json", "--device", "cpu")
    assert done.returncode == 0 and list(json.loads(done.stdout)["cases"]) == ["case03"], done.stderr
    said = refused("evaluate", folder, cohort, "-o", tmp_path / "r", "--split", "train", "--device", "cpu")
    assert "the model was trained on the image of case" in said


def test_a_stopped_cross_validation_goes_on_with_the_folds_that_are_missing(folds, cohort, tmp_path):
    folder, facts = folds
    begun = tmp_path / "cv"
    begun.mkdir()
    for name in ("fold_1", "fold_2"):
        (begun / name).mkdir()
        for file in ("model.pt", "state.pt", "status.json", "log.jsonl"):
            (begun / name / file).write_bytes((folder / name / file).read_bytes())
    RunFolder(begun / "fold_2").write_status("stopped")
    said = refused("finetune", cohort, "-o", begun, "--folds", 3, *QUICK)
    assert "holds a cross-validation already; go on with --resume" in said
    assert "is one of 3 folds, not of 2" in refused("finetune", cohort, "-o", begun, "--folds", 2, *QUICK, "--resume")
    assert "holds a cross-validation; go on with it with --folds" in refused("finetune", cohort, "-o", begun, *QUICK)
    done = s3net_here("finetune", cohort, "-o", begun, "--folds", 3, *QUICK, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert "fold 1 of 3 is finished already" in done.stderr
    again = json.loads(done.stdout)
    assert again["folds"] == facts["folds"] and again["mean"] == facts["mean"]


def test_more_folds_than_patients_are_refused_before_anything_is_made(cohort, tmp_path):
    said = refused("finetune", cohort, "-o", tmp_path / "cv", "--folds", 4, *QUICK)
    assert "4 folds need 4 labelled patients beside the test, and there are 3; use --folds 3 or fewer" in said
    assert not (tmp_path / "cv").exists()
    assert "'1' is not a whole number from 2" in refused(
        "finetune", cohort, "-o", tmp_path / "cv", "--folds", 1, *QUICK
    )


def test_the_folder_of_a_single_run_and_several_processes_are_refused(folds, cohort, tmp_path, monkeypatch):
    single = folds[0] / "fold_1"
    said = refused("finetune", cohort, "-o", single, "--folds", 3, *QUICK, "--resume")
    assert "holds the run of a single model; choose another folder" in said and not (single / "fold_1").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused("finetune", cohort, "-o", tmp_path / "cv", "--folds", 3, *QUICK)
    assert "under torchrun start each fold as a run of its own: --set folds=3 --set fold=1" in said
    assert not (tmp_path / "cv").exists()


def test_a_dry_run_tells_the_time_of_all_folds(cohort):
    done = s3net_here("finetune", cohort, "--folds", 3, "--dry-run", *QUICK, "--minutes", 30, "--json")
    facts = json.loads(done.stdout)
    assert facts["folds"] == 3 and facts["seconds"] == pytest.approx(3 * 4 * facts["seconds_per_step"], abs=0.2)
    assert facts["steps_in_time"] == 4  # of each fold
    told = s3net_here("finetune", cohort, "--folds", 3, "--dry-run", *QUICK, "--minutes", 30).stdout
    assert "all 4 steps of all 3 folds take about" in told and "in 10 min for each fold about 4 steps fit" in told
