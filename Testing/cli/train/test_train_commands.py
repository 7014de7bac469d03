"""Training on the command line: from a folder to a model, its use and its evaluation; stops; bad input."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from cohort_files import drawn, phantom, write_cohort
from command_line import PATIENCE, SCRIPT, environment, refused, s3net_here, succeeded
from forked import Started, forked, run_module, run_script

from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image, write_segmentation
from S3NetSegmentLib.engine.training.model.model_file import load_encoder_file
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

SMALL = ("--preset", "tiny", "--set", "slice_side=48", "--set", "log_every=1")
QUICK = (*SMALL, "--set", "batch=2", "--set", "unlabelled_batch=2")
# As the processes that these tests start: sums do not depend on the number of threads then.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Five labelled and three unlabelled cases; case04 is for the test."""
    folder = write_cohort(tmp_path_factory.mktemp("cohort"), 5, 3)
    (folder / "cohort.json").write_text(json.dumps({"splits": {"test": ["case04"], "validation": ["case03"]}}))
    return folder


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    """A model that was trained for a moment."""
    folder = tmp_path_factory.mktemp("run")
    options = (*QUICK, "--steps", "50", "--set", "validate_every=25")
    done = succeeded(s3net_here("finetune", cohort, "-o", folder, *options, "--json"))
    return folder, json.loads(done.stdout)


def test_finetune_makes_a_model_with_log_curves_and_pictures(run):
    folder, summary = run
    assert summary["reason"] == "finished" and summary["steps"] == 50
    assert summary["best_score"] > 0.6 and not summary["notes"]
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries if "loss" in e] == list(range(1, 51))
    validations = [e for e in entries if e.get("event") == "validation"]
    assert [v["step"] for v in validations] == [25, 50] and {"score", "dice Ring", "dice Core"} <= validations[0].keys()
    assert read_image(folder / "curves.png").is_rgb
    assert {p.name for p in (folder / "pictures").iterdir()} == {"step_000025.png", "step_000050.png"}
    assert RunFolder(folder).read_status()["status"] == "finished"
    content = torch.load(folder / "model.pt", weights_only=True)
    assert [c["name"] for c in content["classes"]] == ["Ring", "Core"]
    assert (len(content["training_cases"]), content["provenance"]["labelled_cases"]) == (6, 3)
    looks = content["looks"]
    assert looks["images"] == 6 and looks["kinds"] == {"grey": 6} and looks["pixel"] == [1, 1]
    assert b"case0" not in (folder / "model.pt").read_bytes()  # a model that is given away names no patient


def test_apply_writes_segments_with_the_names_and_colours_of_the_model(run, tmp_path):
    volume, labels = phantom(9, size=(36, 40, 5))
    matrix = np.array([[0, -1.0, 0, 3], [1, 0, 0, 4], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    turned = type(volume)(volume.array, matrix)
    write_image(turned, tmp_path / "new.nii.gz")
    named = {"-o": "new.seg.nrrd", "--confidence": "sure.nrrd", "--overlay": "new.png"}
    outputs = [text for option, name in named.items() for text in (option, tmp_path / name)]
    done = succeeded(s3net_here("apply", run[0] / "model.pt", tmp_path / "new.nii.gz", *outputs, "--json"))
    segmentation = read_segmentation(tmp_path / "new.seg.nrrd")
    assert [s.name for s in segmentation.segments] == ["Ring", "Core"]
    assert segmentation.segments[0].color == pytest.approx((0.9, 0.2, 0.1), abs=1e-3)
    tags = segmentation.segments[0].tags
    assert tags["S3NetSegment.Model"] == "model.pt" and len(tags["S3NetSegment.ModelSha256"]) == 64
    core = segmentation.mask(segmentation.segments[1])
    assert 2 * (core & (labels == 2)).sum() / (core.sum() + (labels == 2).sum()) > 0.6
    sure = read_image(tmp_path / "sure.nrrd").array
    assert sure.shape == labels.shape and 0.3 < sure.min() and sure.max() <= 1
    summary = json.loads(done.stdout)
    assert summary["model"]["provenance"]["preset"] == "tiny" and summary["segments"][1]["voxels"] == core.sum()
    assert read_image(tmp_path / "new.png").is_rgb


def test_apply_warns_of_an_image_unlike_those_of_the_training_also_when_it_is_quiet(run, tmp_path):
    volume, _ = phantom(9)
    write_image(type(volume)(volume.array, np.diag((4.0, 4, 4, 1))), tmp_path / "coarse.nii.gz")
    for quiet in ((), ("-q",), ("--json",)):
        done = succeeded(
            s3net_here("apply", run[0] / "model.pt", tmp_path / "coarse.nii.gz", "-o", tmp_path / "x.nrrd", *quiet)
        )
        assert "s3net: note: this image is unlike the 6 images that the model was trained on" in done.stderr
        assert "its pixels are 4 mm wide, theirs 1" in done.stderr
    assert "unlike" in " ".join(json.loads(done.stdout)["notes"])


def test_evaluate_reports_on_the_test_cases_and_refuses_those_that_were_trained_on(run, cohort, tmp_path):
    model = run[0] / "model.pt"
    done = succeeded(s3net_here("evaluate", model, cohort, "-o", tmp_path / "report", "--json"))
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report == json.loads(done.stdout) and list(report["cases"]) == ["case04"]
    assert report["summary"]["Core"]["dice"] == pytest.approx(report["cases"]["case04"][1]["dice"])
    rows = (tmp_path / "report" / "report.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("case,name,state,dice,hd95_mm")
    text = (tmp_path / "report" / "report.md").read_text()
    assert (
        "3 labelled patients" in text
        and "worst_1.png" in text
        and read_image(tmp_path / "report" / "worst_1.png").is_rgb
    )
    refused(
        s3net_here("evaluate", model, cohort, "--split", "train", "-o", tmp_path / "no"),
        "trained on the image of case 'case00'",
    )
    assert not (tmp_path / "no").exists()
    seen = succeeded(s3net_here("evaluate", model, cohort, "--split", "all", "--seen-cases", "-o", tmp_path / "all"))
    assert "trained on 3 of these 5 cases" in seen.stderr and "1 of these 5 cases chose the state" in seen.stderr
    unseen = s3net_here("evaluate", model, cohort, "--split", "unseen", "-o", tmp_path / "unseen", "--json")
    assert list(json.loads(unseen.stdout)["cases"]) == ["case04"]


def test_pretraining_is_a_start_for_finetuning_and_its_encoder_serves_few_shot(cohort, tmp_path):
    succeeded(s3net_here("pretrain", cohort, "-o", tmp_path / "pre", *SMALL, "--set", "batch=6", "--steps", "4", "-q"))
    entries = list(RunFolder(tmp_path / "pre").entries())
    assert {"contrast", "_correspondence_accuracy"} <= entries[-2].keys()
    summary = json.loads(
        succeeded(
            s3net_here("finetune", cohort, "-o", tmp_path / "fine", "--init", tmp_path / "pre" / "model.pt", *QUICK, "--steps", "3", "--json")
        ).stdout
    )  # fmt: skip
    assert summary["steps"] == 3
    content = torch.load(tmp_path / "fine" / "model.pt")
    assert content["provenance"]["initialised"] and content["slices"]["side"] == 48
    alpnet = ("--method", "alpnet", *SMALL, "--set", "side=48", "--set", "grid=12", "--set", "smallest_superpixel=2000")
    succeeded(s3net_here("pretrain", cohort, "-o", tmp_path / "alp", *alpnet, "--steps", "3", "-q"))
    assert torch.load(tmp_path / "alp" / "model.pt")["temperature"] == 20.0
    refused(
        s3net_here(
            "apply", tmp_path / "alp" / "model.pt", cohort / "images" / "case00.nii.gz", "-o", tmp_path / "x.nii.gz"
        ),
        "kind encoder, but one of kind segmenter",
    )


def test_a_pretrained_network_with_decoders_is_a_start_for_two_models(cohort, tmp_path):
    """With next to no learning rate the fine-tuned model is what it began with."""
    options = (
        "decoder_weight=1",
        "global_weight=0.5",
        "negatives_from=slice",
        "init_from=key",
        "queries=64",
        "batch=4",
    )
    options = [text for option in options for text in ("--set", option)]
    succeeded(s3net_here("pretrain", cohort, "-o", tmp_path / "pre", *SMALL, *options, "--steps", "2", "-q"))
    entries = list(RunFolder(tmp_path / "pre").entries())
    assert {"contrast", "decoder_contrast", "global_contrast"} <= entries[-2].keys()
    begun = load_encoder_file(tmp_path / "pre" / "model.pt").network
    assert begun(torch.rand(1, 1, 48, 48))[0].shape == (1, 32, 24, 24), "both decoders at the contrasted level"
    still = ("--set", "streams=models", "--set", "learning_rate=1e-8", "--steps", "1", "-q")
    init = ("--init", tmp_path / "pre" / "model.pt")
    succeeded(s3net_here("finetune", cohort, "-o", tmp_path / "fine", *init, *QUICK, *still))
    content = torch.load(tmp_path / "fine" / "model.pt")
    assert content["network"]["streams"] == "models"
    for name, tensor in begun.encoder.named_parameters():
        own = [name, name.replace("encoder.", "second_encoder.", 1)] if name.startswith("encoder.") else [name]
        assert all(torch.allclose(content["tensors"][n], tensor, atol=1e-6) for n in own), name
    image = cohort / "images" / "case00.nii.gz"
    succeeded(s3net_here("apply", tmp_path / "fine" / "model.pt", image, "-o", tmp_path / "labels.nii.gz", "-q"))


# Runs a script of training, which stands still once it has computed a step and kept its state.
HOLD = """
import os, runpy, signal, sys
del sys.argv[0]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder
def beat(self, held=[], real=RunFolder.beat):
    real(self)
    if not held and self.has_state and any("loss" in entry for entry in self.entries()):
        held.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)
RunFolder.beat = beat
runpy.run_path(sys.argv[0], run_name="__main__")
"""


STOPPED = (*QUICK, "--steps", "14", "--set", "validate_every=7", "--set", "checkpoint_minutes=0")


@pytest.fixture(scope="module")
def whole(cohort, tmp_path_factory):
    """The weights of a run with the options ``STOPPED`` that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    succeeded(s3net_here("finetune", cohort, "-o", folder, *STOPPED))
    return torch.load(folder / "model.pt")["tensors"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL", "request"])
def test_a_stopped_run_goes_on_to_the_same_model(cohort, whole, tmp_path, way):
    (tmp_path / "hold.py").write_text(HOLD)
    train = [str(tmp_path / "hold.py"), SCRIPT, "finetune", str(cohort), "-o", str(tmp_path / "run"), *STOPPED]
    folder = RunFolder(tmp_path / "run")
    with Started(run_script, *train, variables=environment()) as process:
        process.wait_until_it_stands_still()
        assert folder.is_running()
        refused(s3net_here("finetune", cohort, "-o", folder.path, *STOPPED, "--resume"), "is running now")
        assert folder.is_running()
        if way == "request":
            folder.ask_to_stop()
        else:
            process.send_signal(getattr(signal, way))
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=PATIENCE)
    assert not folder.is_running()
    if way != "SIGKILL":
        assert process.returncode == {"SIGTERM": 143, "request": 130}[way] and "go on with --resume" in err
        assert folder.read_status()["status"] == "stopped"
    assert 1 <= folder.read_state()["step"] < 14
    done = succeeded(s3net_here("finetune", cohort, "-o", tmp_path / "run", "--resume", "--json"))
    assert json.loads(done.stdout)["steps"] == 14
    ours = torch.load(tmp_path / "run" / "model.pt")["tensors"]
    assert all(torch.equal(ours[n], whole[n]) for n in whole)


def test_a_loss_that_is_no_number_names_the_cause_and_what_to_do_which_works(cohort, tmp_path, monkeypatch):
    from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning

    forward, broken = IdealFinetuning.forward, [True]

    def breaking(self, batch, progress):
        losses = forward(self, batch, progress)
        return (
            {**losses, "supervised": losses["supervised"] * float("nan")} if broken and batch["step"] == 4 else losses
        )

    monkeypatch.setattr(IdealFinetuning, "forward", breaking)
    options = (*QUICK, "--steps", "8", "--set", "checkpoint_minutes=0")
    done = s3net_here("finetune", cohort, "-o", tmp_path, *options)
    assert done.returncode == 1 and done.stderr.count("\n") < 12 and "Traceback" not in done.stderr
    assert "not a finite number at step 5 (supervised; learning rate" in done.stderr
    assert "the state of step 4 is kept" in done.stderr and "learning_rate=0.0005" in done.stderr
    status = RunFolder(tmp_path).read_status()
    assert status["status"] == "failed" and "the state of step 4 is kept" in status["message"]
    broken.clear()
    succeeded(s3net_here("finetune", cohort, "-o", tmp_path, "--resume", "--set", "learning_rate=0.0005"))
    assert RunFolder(tmp_path).read_state()["step"] == 8


def test_too_little_memory_is_said_while_the_run_goes_on_in_smaller_parts(cohort, tmp_path, monkeypatch):
    from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning

    forward = IdealFinetuning.forward

    def greedy(self, batch, progress):
        if len(batch["labelled"]) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return forward(self, batch, progress)

    monkeypatch.setattr(IdealFinetuning, "forward", greedy)
    done = s3net_here(
        "finetune", cohort, "-o", tmp_path, *SMALL, "--set", "batch=4", "--set", "unlabelled_batch=4", "--steps", "3"
    )
    note = "The memory was not enough for a batch of 4: it is computed in 2 parts"
    assert note in succeeded(done).stderr  # at once
    assert f"note: {note}" in done.stdout  # and in the end
    assert any(note in e.get("text", "") for e in RunFolder(tmp_path).entries())


@pytest.mark.parametrize("command", ["finetune", "pretrain"])
def test_a_dry_run_says_how_long_it_takes_and_keeps_nothing(cohort, tmp_path, command):
    before = sorted(cohort.rglob("*"))
    small = ("--set", "batch=2", "--steps", "500", "--minutes", "0.1", "--dry-run")
    done = succeeded(s3net_here(command, cohort, *SMALL, *small, "--json"))
    facts = json.loads(done.stdout)
    assert facts["steps"] == 500 and 0 < facts["seconds_per_step"] < 30
    assert facts["seconds"] == pytest.approx(500 * facts["seconds_per_step"], rel=0.01)
    assert facts["steps_in_time"] == pytest.approx(min(500, 6 / facts["seconds_per_step"]), abs=1.5)
    assert sorted(cohort.rglob("*")) == before and not list(tmp_path.iterdir())
    assert s3net_here(command, cohort, "--dry-run", "--resume").returncode == 2
    assert "-o RUN is missing" in s3net_here(command, cohort).stderr


def test_a_folder_with_a_run_is_not_overwritten(run, cohort, tmp_path):
    refused(s3net_here("finetune", cohort, "-o", run[0], *QUICK), "holds a training run already", "--resume")
    refused(s3net_here("pretrain", cohort, "-o", run[0], *SMALL, "--resume"), "holds a run of 'finetune'")
    refused(
        s3net_here("finetune", cohort, "-o", run[0], "--resume", "--set", "weight_decay=0.5"),
        "weight_decay was 0.0001, is 0.5",
    )


def test_bad_cohorts_and_settings_are_refused_in_one_line_and_leave_nothing_behind(cohort, tmp_path):
    for arguments, text in (
        ((tmp_path / "nothing",), "is not a cohort"),
        ((cohort, "--set", "hue=blue"), "setting 'hue=blue' is not understood"),
        ((cohort, "--set", "colour=blue"), "setting colour is 'blue'; it must be one of auto, lightness"),
        ((cohort, "--set", "learning_rate=fast"), "learning_rate is 'fast'"),
        ((cohort, "--init", tmp_path / "none.pt"), "there is no file"),
        ((cohort, "--minutes=-3"), "not a number of minutes"),
    ):
        refused(s3net_here("finetune", *arguments, "-o", tmp_path / "run"), text)
        assert not (tmp_path / "run").exists()
    for command in (("finetune",), ("pretrain",), ("evaluate", "model.pt")):
        refused(s3net_here(*command, cohort, "-o", cohort / "labels" / "run"), "among the labels of the cohort")
    assert not (cohort / "labels" / "run").exists()
    bare = write_cohort(tmp_path / "bare", 0, 2)
    refused(s3net_here("finetune", bare, "-o", tmp_path / "run", *QUICK), "no case of cohort", "is labelled")


def test_one_labelled_case_is_enough_to_train_but_no_accuracy_is_claimed(tmp_path):
    folder = write_cohort(tmp_path / "cohort", 1, 2)
    (folder / "images" / "case02.nii.gz").write_bytes(b"broken")
    refused(s3net_here("finetune", folder, "-o", tmp_path / "run", *QUICK), "case02", "--skip-bad")
    options = (*QUICK, "--steps", "3", "--skip-bad")
    done = succeeded(s3net_here("finetune", folder, "-o", tmp_path / "run", *options))
    assert "no accuracy can be claimed" in done.stdout and "case02" in done.stdout
    assert (tmp_path / "run" / "model.pt").exists() and list((tmp_path / "run" / "pictures").iterdir())
    refused(
        s3net_here("evaluate", tmp_path / "run" / "model.pt", folder, "--skip-bad", "-o", tmp_path / "r"),
        "has no test cases",
        "train with --set test=0.2",
    )


def test_a_model_that_learnt_nothing_is_written_with_a_warning(cohort, tmp_path):
    options = (*QUICK, "--steps", "1", "--set", "learning_rate=1e-6")
    done = succeeded(s3net_here("finetune", cohort, "-o", tmp_path / "run", *options))
    assert "by a Dice of only 0." in done.stdout and "cannot be relied on" in done.stderr
    assert any("cannot be relied on" in e.get("text", "") for e in RunFolder(tmp_path / "run").entries())
    write_image(phantom(9)[0], tmp_path / "new.nii.gz")
    done = succeeded(s3net_here("apply", tmp_path / "run/model.pt", tmp_path / "new.nii.gz", "-o", tmp_path / "o.nrrd"))
    assert "s3net: note: on its validation cases the model agreed" in done.stderr


def test_label_maps_without_names_are_evaluated_by_value_and_it_is_said(run, tmp_path):
    for number in (11, 12):
        volume, labels = phantom(number)
        write_image(volume, tmp_path / "cohort" / "images" / f"new{number}.nii.gz")
        write_image(type(volume)(labels, volume.ijk_to_ras), tmp_path / "cohort" / "labels" / f"new{number}.nii.gz")
    arguments = ("evaluate", run[0] / "model.pt", tmp_path / "cohort", "--split", "unseen", "-o", tmp_path / "report")
    done = succeeded(s3net_here(*arguments, "--json"))
    report = json.loads(done.stdout)
    assert [s["name"] for s in report["cases"]["new11"]] == ["Ring", "Core"]
    assert report["summary"]["Core"]["dice"] > 0.6
    assert (
        "s3net: note: the labels of one side have no names, so they were paired by value: 1 = Ring, 2 = Core"
        in done.stderr
    )


def test_two_processes_of_torchrun_train_one_model(cohort, tmp_path):
    command = [
        "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
        "--rdzv-endpoint=localhost:0", SCRIPT, "finetune", str(cohort), "-o", str(tmp_path / "run"), *QUICK, "--steps", "4",
        "--device", "cpu",
    ]  # fmt: skip
    done = forked(run_module, *command, variables=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("4 steps in") == 1
    assert [e["step"] for e in RunFolder(tmp_path / "run").entries() if "loss" in e] == [1, 2, 3, 4]


def test_a_model_with_more_classes_than_the_cohort_says_so(run, tmp_path):
    volume, labels = phantom(11)
    write_image(volume, tmp_path / "cohort" / "images" / "new.nii.gz")
    write_segmentation(drawn(volume, np.minimum(labels, 1), ["Ring"]), tmp_path / "cohort" / "labels" / "new.seg.nrrd")
    done = s3net_here(
        "evaluate", run[0] / "model.pt", tmp_path / "cohort", "--split", "unseen", "-o", tmp_path / "report"
    )
    assert "only one side knows them: Core" in succeeded(done).stderr
    write_segmentation(drawn(volume, labels, ["Aorta", "Vein"]), tmp_path / "cohort" / "labels" / "new.seg.nrrd")
    done = s3net_here(
        "evaluate", run[0] / "model.pt", tmp_path / "cohort", "--split", "unseen", "-o", tmp_path / "none"
    )
    refused(done, "the model finds Ring, Core, but the cohort has Aorta, Vein")
