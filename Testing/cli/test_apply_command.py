"""``s3net apply`` with several models, mirrored slices and all frames."""

import json

import numpy as np
from cohort_files import phantom, write_cohort
from command_line import s3net_here
from model_files import CLASSES, write_model

from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.label_classes import LabelClass


def refused(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    return done.stderr


def succeeded(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def three_models(folder):
    return [write_model(folder / "cv" / f"fold_{n}" / "model.pt", seed=n) for n in (1, 2, 3)]


def test_several_models_are_averaged_and_the_result_says_which(tmp_path):
    models = three_models(tmp_path)
    image = tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    done = succeeded("apply", *models, image, "-o", tmp_path / "a.seg.nrrd", "--json", "--device", "cpu")
    assert [m["file"] for m in json.loads(done.stdout)["model"]["models"]] == [f"fold_{n}/model.pt" for n in (1, 2, 3)]
    succeeded("apply", tmp_path / "cv", image, "-o", tmp_path / "b.seg.nrrd", "-q", "--device", "cpu")
    succeeded("apply", models[0], image, "-o", tmp_path / "c.seg.nrrd", "-q", "--device", "cpu")
    found = {name: read_segmentation(tmp_path / f"{name}.seg.nrrd") for name in "abc"}
    assert np.array_equal(found["a"].layers[0], found["b"].layers[0])
    assert not np.array_equal(found["a"].layers[0], found["c"].layers[0])
    tags = found["a"].segments[0].tags
    assert tags["S3NetSegment.Model"] == "fold_1/model.pt, fold_2/model.pt, fold_3/model.pt"
    assert tags["S3NetSegment.ModelSha256"].count(",") == 2 and "S3NetSegment.Flips" not in tags


def test_flips_change_the_answer_of_a_network_that_is_not_symmetric_and_are_recorded(tmp_path):
    model, image = write_model(tmp_path / "model.pt"), tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    for name, options in (("plain", ()), ("flipped", ("--flips",))):
        succeeded("apply", model, image, "-o", tmp_path / f"{name}.seg.nrrd", *options, "-q", "--device", "cpu")
    plain, flipped = (read_segmentation(tmp_path / f"{name}.seg.nrrd") for name in ("plain", "flipped"))
    assert not np.array_equal(plain.layers[0], flipped.layers[0])
    assert flipped.segments[0].tags["S3NetSegment.Flips"] == "yes"


def test_models_that_do_not_go_together_are_refused_in_one_sentence(tmp_path):
    image = tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    first = write_model(tmp_path / "first.pt")
    other = write_model(tmp_path / "other.pt", classes=(*CLASSES, LabelClass("Rim", 3, (0, 1.0, 0))))
    said = refused("apply", first, other, image, "-o", tmp_path / "x.nii.gz")
    assert "first.pt and other.pt find other classes (Ring, Core; Ring, Core, Rim)" in said
    assert "is named twice" in refused("apply", first, first, image, "-o", tmp_path / "x.nii.gz")
    assert "holds no model.pt" in refused("apply", tmp_path, image, "-o", tmp_path / "x.nii.gz")
    assert "IMAGE" in refused("apply", first, "-o", tmp_path / "x.nii.gz")
    assert not (tmp_path / "x.nii.gz").exists()


def test_a_batch_takes_several_models_and_flips_and_sees_when_one_of_them_changes(tmp_path):
    models = three_models(tmp_path)
    write_image(phantom(0)[0], tmp_path / "mr.nii.gz")
    rows = "mr.nii.gz,apply,cv,,folder", f"mr.nii.gz,apply,{';'.join(str(m) for m in models)},true,files"
    (tmp_path / "m.csv").write_text("\n".join(("image,method,model,flips,output", *rows)) + "\n")
    cases = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    assert [case.task.flips for case in cases] == [False, True]
    records = [run_case(case, tmp_path / "out", "cpu") for case in cases]
    assert [r["status"] for r in records] == ["done", "done"], [r["error"] for r in records]
    assert records[1]["settings"] == ["flips=True"] and set(records[0]["inputs"]) == {
        "image",
        "model 1",
        "model 2",
        "model 3",
    }
    made = [read_segmentation(tmp_path / "out" / f"{name}.seg.nrrd").layers[0] for name in ("folder", "files")]
    assert not np.array_equal(*made)
    assert not make_plan(cases, tmp_path / "out", resume=True).todo
    write_model(models[2], seed=9)
    assert len(make_plan(cases, tmp_path / "out", resume=True).todo) == 2


def test_several_models_are_evaluated_together(tmp_path):
    models = three_models(tmp_path)
    cohort = write_cohort(tmp_path / "cohort", 1)
    options = ("--split", "all", "--json", "--device", "cpu")
    done = succeeded("evaluate", *models, cohort, "-o", tmp_path / "report", *options)
    assert json.loads(done.stdout)["model"] == [str(m) for m in models]
    assert "Mean of 3 models" in (tmp_path / "report" / "report.md").read_text()
