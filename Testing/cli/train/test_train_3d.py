"""A 3D network on the command line: the whole life, from a cohort to answers, and what is refused."""

import json

import pytest
import torch
from cohort_files import phantom, write_cohort
from command_line import refused, s3net_here, succeeded

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration
from S3NetSegmentLib.engine.training.finetune import finetune
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

SIZE = (24, 22, 6)
FLAT = ("slice_side=32", "log_every=1", "trust=false")
SETTINGS = (*FLAT, "dimensions=3", "patch_depth=4", "batch=8")


def options_of(settings):
    return ("--preset", "tiny", *(text for setting in settings for text in ("--set", setting)))


QUICK = options_of(SETTINGS)
# As the processes that these tests start: sums do not depend on the number of threads then.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), 4, 2, size=SIZE, spacing=(1.5, 1.5, 1.5))


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    done = succeeded(
        s3net_here("finetune", cohort, "-o", folder, *QUICK, "--steps", "60", "--set", "validate_every=30", "--json")
    )
    return folder, json.loads(done.stdout)


def content_of(folder):
    return torch.load(folder / "model.pt", weights_only=True)


def test_one_setting_makes_a_3d_model_that_learns_also_from_unlabelled_volumes(run):
    folder, summary = run
    assert summary["reason"] == "finished" and summary["best_score"] > 0.5
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert any(e.get("unlabelled", 0) > 0 for e in entries)
    content = content_of(folder)
    assert content["slices"] == {"plane": "axial", "spacing": 1.5, "side": 32, "depth": 4, "thickness": 1.5}
    assert content["network"]["across"] == [2, 1, 1] and content["tensors"]["encoder.levels.0.0.weight"].ndim == 5
    assert read_image(folder / "pictures" / "step_000060.png").is_rgb


def test_it_is_applied_to_volumes_of_other_sizes_and_spacings_and_evaluated(run, cohort, tmp_path):
    volume, _ = phantom(9, size=(41, 37, 21), spacing=(1.2, 1.2, 2.0))
    write_image(volume, tmp_path / "new.nii.gz")
    done = succeeded(
        s3net_here("apply", run[0] / "model.pt", tmp_path / "new.nii.gz", "-o", tmp_path / "out.nii.gz", "--json")
    )
    assert read_image(tmp_path / "out.nii.gz").size == volume.size
    assert all(s["volume_ml"] > 0 for s in json.loads(done.stdout)["segments"])
    measured = succeeded(
        s3net_here(
            "evaluate", run[0] / "model.pt", cohort, "-o", tmp_path / "report", "--split", "validation", "--json"
        )
    )
    assert json.loads(measured.stdout)["summary"]["Core"]["dice"] > 0.4
    refused(
        s3net_here("evaluate", run[0] / "model.pt", cohort, "--split", "all", "-o", tmp_path / "no"),
        "the model was trained on the image of case",
    )


def test_a_volume_unlike_those_of_the_training_and_a_picture_are_not_answered_in_silence(run, tmp_path):
    thick, _ = phantom(8, size=(24, 22, 4), spacing=(1.5, 1.5, 9.0))
    write_image(thick, tmp_path / "thick.nii.gz")
    done = succeeded(s3net_here("apply", run[0] / "model.pt", tmp_path / "thick.nii.gz", "-o", tmp_path / "out.nii.gz"))
    assert "its slices lie 9 mm apart, theirs 1.5" in done.stderr
    flat, _ = phantom(8, size=(24, 22, 1))
    for name in ("flat.nii.gz", "flat.png"):
        write_image(flat, tmp_path / name)
        done = s3net_here("apply", run[0] / "model.pt", tmp_path / name, "-o", tmp_path / "out.nii.gz")
        refused(done, "the model is a 3D one", "is a single axial slice; give the whole volume")


def test_a_stopped_3d_run_goes_on_to_the_same_model(run, cohort, tmp_path):
    folder, asked = RunFolder(tmp_path / "run"), []
    folder.make()
    wanted = finetuning_configuration("tiny").with_texts([*SETTINGS, "steps=60", "validate_every=30"])
    stopping = finetune(
        run_to_end(read_cohort(cohort)), wanted, folder, stop=lambda: asked.append(1) or len(asked) > 20
    )
    assert run_to_end(stopping).reason == "stopped" and 1 <= folder.read_state()["step"] < 60
    succeeded(s3net_here("finetune", cohort, "-o", folder.path, "--resume"))
    content, whole = content_of(folder.path), content_of(run[0])
    assert all(torch.equal(tensor, whole["tensors"][name]) for name, tensor in content["tensors"].items())


def test_an_ensemble_joins_slices_and_patches(run, cohort, tmp_path):
    succeeded(s3net_here("finetune", cohort, "-o", tmp_path / "flat", *options_of(FLAT), "--steps", "4"))
    volume, _ = phantom(9, size=SIZE, spacing=(1.5, 1.5, 1.5))
    write_image(volume, tmp_path / "new.nii.gz")
    models = (run[0] / "model.pt", tmp_path / "flat" / "model.pt")
    done = succeeded(s3net_here("apply", *models, tmp_path / "new.nii.gz", "-o", tmp_path / "out.nii.gz", "--json"))
    assert [s["name"] for s in json.loads(done.stdout)["segments"]] == ["Ring", "Core"]


def test_the_folds_of_a_3d_cross_validation_are_an_ensemble(cohort, tmp_path):
    folder = tmp_path / "folds"
    options = (*QUICK, "--steps", "2", "--set", "validate_every=2", "--folds", "2", "--json")
    facts = json.loads(succeeded(s3net_here("finetune", cohort, "-o", folder, *options)).stdout)
    assert len(facts["folds"]) == 2
    members = sorted(folder.glob("*/model.pt"))
    assert [content_of(path.parent)["slices"]["depth"] for path in members] == [4, 4]
    volume, _ = phantom(9, size=SIZE, spacing=(1.5, 1.5, 1.5))
    write_image(volume, tmp_path / "new.nii.gz")
    succeeded(s3net_here("apply", folder, tmp_path / "new.nii.gz", "-o", tmp_path / "out.nii.gz"))
    assert read_image(tmp_path / "out.nii.gz").size == volume.size


def test_what_3d_cannot_do_is_refused_with_what_works(run, cohort, tmp_path):
    out = ("-o", tmp_path / "out")
    refused(
        s3net_here("pretrain", cohort, *out, "--preset", "tiny", "--set", "dimensions=3"),
        "pre-training is there for slices alone",
        "s3net finetune --set dimensions=3",
    )
    refused(
        s3net_here("finetune", cohort, *out, *QUICK, "--set", "neighbours=1"),
        "neighbours is 1, and a 3D network sees all slices",
    )
    refused(s3net_here("finetune", cohort, *out, *QUICK, "--set", "dimensions=4"), "dimensions")
    succeeded(
        s3net_here(
            "pretrain", cohort, "-o", tmp_path / "encoder", "--preset", "tiny", "--set", "slice_side=32", "--steps", "1"
        )
    )
    refused(
        s3net_here("finetune", cohort, *out, *QUICK, "--init", tmp_path / "encoder" / "model.pt"),
        "the model to start from is one of slices (2D)",
    )
    pictures = write_cohort(tmp_path / "pictures", 2, size=(24, 22, 1))
    refused(s3net_here("finetune", pictures, *out, *QUICK), "2 of 2 images are single axial slices", "set dimensions=2")
    assert not (tmp_path / "out" / "model.pt").exists()


def test_training_goes_on_in_3d_from_a_3d_model(run, cohort, tmp_path):
    succeeded(
        s3net_here(
            "finetune",
            cohort,
            "-o",
            tmp_path / "more",
            *options_of(FLAT),
            "--init",
            run[0] / "model.pt",
            "--steps",
            "2",
        )
    )
    assert content_of(tmp_path / "more")["slices"]["depth"] == 4
