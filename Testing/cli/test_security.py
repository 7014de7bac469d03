"""Security of the command line: no file runs code when it is loaded, nothing listens or connects, names act in no report."""

import dataclasses
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from batch_cases import QUICK, QUICK_FEW_SHOT, write_disk, write_drawn_ball
from cohort_files import write_cohort
from command_line import SCRIPT, environment, s3net_here
from model_files import write_model
from paths import MODULE

from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.writing import write_segmentation

TRAINING = ("--preset", "tiny", "--steps", "2", "--set", "slice_side=32", "--set", "batch=2")


# -- files that would run code


class Runs:
    """Unpickling it makes a file at ``path``."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def as_pickle(content):
    return pickle.dumps(content)


def as_old_torch(content):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def as_torch(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def as_numpy(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "data.npy",
            b"\x93NUMPY\x01\0\x3e\0{'descr': '|O', 'fortran_order': False, 'shape': (), }   \n" + pickle.dumps(content),
        )
    return file.getvalue()


WRITERS = (as_pickle, as_old_torch, as_torch, as_numpy)


@pytest.mark.parametrize("writer", WRITERS)
def test_the_payload_of_these_tests_is_a_real_one(tmp_path, writer):
    content, owned = {"format": "S3NetSegment model", "x": Runs(tmp_path / "owned")}, tmp_path / "owned"
    data = writer(content)
    if writer is as_pickle:
        pickle.loads(data)
    elif writer is as_numpy:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pickle.loads(archive.read("data.npy").partition(b"\n")[2])
    else:
        torch.load(io.BytesIO(data), weights_only=False)
    assert owned.exists()


@pytest.mark.parametrize("writer", WRITERS)
def test_no_command_runs_code_that_a_file_of_weights_holds(tmp_path, monkeypatch, writer):
    monkeypatch.setenv("S3NET_WEIGHTS", str(tmp_path / "weights"))
    owned = tmp_path / "owned"
    write_disk(tmp_path / "a.png")
    write_drawn_ball(tmp_path)
    cohort = write_cohort(tmp_path / "cohort", 1)
    for kind in ("S3NetSegment model", "S3NetSegment training state"):
        content = {"format": kind, "version": 1, "kind": "segmenter", "tensors": {"a": torch.ones(1)}, "x": Runs(owned)}
        evil = tmp_path / "evil.pt"
        evil.write_bytes(writer(content))
        for folder, name in (("run", "state.pt"), ("weights", "dinov2_vits14_reg4_pretrain.pth")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(evil.read_bytes())
        (tmp_path / "m.csv").write_text("image,method,model\na.png,apply,evil.pt\n")
        ball = (
            "few-shot",
            tmp_path / "ball.nii.gz",
            "--support",
            tmp_path / "drawn.seg.nrrd",
            "-o",
            tmp_path / "out.nrrd",
        )
        for arguments in (
            ("apply", evil, tmp_path / "a.png", "-o", tmp_path / "out.nrrd"),
            ("evaluate", evil, cohort, "-o", tmp_path / "report"),
            ("finetune", cohort, "-o", tmp_path / "new", "--init", evil, *TRAINING),
            ("finetune", cohort, "-o", tmp_path / "run", "--resume", *TRAINING),
            ("pretrain", cohort, "-o", tmp_path / "run", "--resume", *TRAINING),
            ("pretrain", cohort, "-o", tmp_path / "new", "--method", "alpnet", "--encoder", evil, *TRAINING),
            (*ball, "--encoder", evil),
            (*ball, "--encoder", "dinov2-vits14-reg4"),
            ("weights", "add", evil),
            ("compare", evil, evil),
            ("segment", evil, "-o", tmp_path / "out.nrrd"),
        ):
            done = s3net_here(*arguments)
            assert done.returncode == 2 and "defect" not in done.stderr, (arguments, done.stderr)
            assert not owned.exists(), arguments
        s3net_here("weights", "list")
        s3net_here("batch", tmp_path / "m.csv", "-o", tmp_path / "out", "--dry-run")
        assert not owned.exists()


# -- the network


AUDIT = """
import os, sys
def hear(event, values):
    if event in ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.listen"):
        with open(os.environ["HEARD"], "a") as file:
            file.write(f"{event} {values[1:]} {sys.argv[:2]}\\n")
sys.addaudithook(hear)
import socket
listen = socket.socket.listen
def heard_listen(self, *values):  # Python itself tells nobody of listening
    sys.audit("socket.listen", self, *values)
    return listen(self, *values)
socket.socket.listen = heard_listen
with open(os.environ["HEARD"] + ".started", "a") as file:
    file.write("x")
"""
DRIVER = """
import sys, runpy, json
script, lists = sys.argv[1], json.loads(sys.argv[2])
for arguments in lists:
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            sys.exit(f"{arguments} ended with {end.code}")
"""


def heard_while(folder, lists, code=DRIVER):
    """What was heard of sockets while the commands in ``lists`` ran, in their processes too; how many Pythons there were."""
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(AUDIT)
    heard = folder / "heard"
    variables = environment(HEARD=str(heard), PYTHONPATH=os.pathsep.join([str(hooks), str(MODULE)]))
    command = [sys.executable, "-c", code, SCRIPT, json.dumps([[str(a) for a in each] for each in lists])]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return heard.read_text() if heard.exists() else "", len((folder / "heard.started").read_text())


def test_no_command_listens_or_connects_while_it_works(tmp_path):
    write_disk(tmp_path / "a.png")
    write_drawn_ball(tmp_path)
    write_cohort(tmp_path / "cohort", 1)
    write_model(tmp_path / "model.pt")
    (tmp_path / "m.csv").write_text(
        f'image,method,pixels,settings,model\na.png,segment,"28,24",{QUICK},\nball.nii.gz,apply,,,model.pt\n'
    )
    heard, pythons = heard_while(
        tmp_path,
        [
            ("segment", "a.png", "-o", "a.seg.nrrd", "--overlay", "o.png", "--set", QUICK),
            ("segment", "a.png", "-o", "s.seg.nrrd", "--set", "sources=s3net", "--set", QUICK),
            (
                "few-shot",
                "ball.nii.gz",
                "--support",
                "drawn.seg.nrrd",
                "-o",
                "b.seg.nrrd",
                *(text for setting in QUICK_FEW_SHOT.split("; ") for text in ("--set", setting)),
            ),
            ("apply", "model.pt", "ball.nii.gz", "-o", "c.seg.nrrd"),
            ("batch", "m.csv", "-o", "out", "--jobs", "2"),
            ("finetune", "cohort", "-o", "run", *TRAINING),
            ("compare", "b.seg.nrrd", "drawn.seg.nrrd"),
            ("weights", "list"),
        ],
    )
    assert heard == "" and pythons >= 3  # itself and two workers


def test_the_ear_of_that_test_hears_listening_and_connecting(tmp_path):
    code = (
        "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "c = socket.socket(); c.connect(s.getsockname())\n"
    )
    heard, _ = heard_while(tmp_path, [], code)
    assert all(f"socket.{what}" in heard for what in ("bind", "listen", "connect")), heard


# -- names in reports


HOSTILE = "<script>alert(1)</script>|=cmd"


def test_names_of_segments_act_in_no_report_of_a_batch(tmp_path):
    write_drawn_ball(tmp_path)
    drawn = read_segmentation(tmp_path / "drawn.seg.nrrd")
    named = [dataclasses.replace(drawn.segments[0], name=f"=1+1{HOSTILE}")]
    write_segmentation(dataclasses.replace(drawn, segments=named), tmp_path / "drawn.seg.nrrd")
    (tmp_path / "m.csv").write_text(
        f"image,method,support,settings,output\nball.nii.gz,few-shot,drawn.seg.nrrd,{QUICK_FEW_SHOT},a\n"
    )
    assert s3net_here("batch", tmp_path / "m.csv", "-o", tmp_path / "out", "--device", "cpu").returncode == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert ",'=1+1" in (tmp_path / "out" / "report.csv").read_text()


def test_names_of_cases_and_classes_act_in_no_report_of_an_evaluation(tmp_path):
    cohort = write_cohort(tmp_path / "cohort", 1)
    case = "=cmd()<b>![x](http://x)"
    for kind, ending in (("images", ".nii.gz"), ("labels", ".seg.nrrd")):
        try:
            os.rename(cohort / kind / f"case00{ending}", cohort / kind / f"{case.replace('/', '')}{ending}")
        except OSError:
            pytest.skip("this file system does not allow such names")
    model = write_model(tmp_path / "model.pt", provenance={"method": HOSTILE})
    done = s3net_here("evaluate", model, cohort, "-o", tmp_path / "report", "--split", "unseen")
    assert done.returncode == 0, done.stderr
    assert "\n'=cmd()" in (tmp_path / "report" / "report.csv").read_text()
    told = (tmp_path / "report" / "report.md").read_text()
    assert "<b>" not in told and "<script>" not in told and "![x](http" not in told
