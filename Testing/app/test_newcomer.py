"""What CONTRIBUTING says of the files that an encoder, an option and a format touch: each is added to a copy, which is run."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from batch_cases import QUICK, write_disk, write_drawn_ball
from command_line import PATIENCE, environment, succeeded
from paths import MODULE, REPOSITORY

from S3NetSegmentLib.engine.images.reading import read_image

GUIDE = (REPOSITORY / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
# For each: file below the package -> its whole text, or what is put in place of what.
ENCODER = {
    "engine/nets/grey_values.py": '''"""Features that say which of twelve grey values is there."""

import torch

from .encoder import Encoder


class GreyValues(Encoder):
    in_channels, channels, strides = 1, (12,), (2,)

    def __init__(self):
        super().__init__()
        self.levels = torch.nn.Parameter(torch.linspace(0, 1, 12), requires_grad=False)

    def forward(self, image):
        small = torch.nn.functional.avg_pool2d(image, 2, ceil_mode=True)
        return [torch.exp(-((small - self.levels.view(-1, 1, 1)) ** 2) / 0.005)]
''',
    "engine/few_shot/voters/encoders.py": {
        "from ...nets.encoder import Encoder\n": "from ...nets.encoder import Encoder\nfrom ...nets.grey_values import GreyValues\n",
        '    if text == "auto":\n': '    if text == "grey":\n        return FewShotEncoder("grey", "0" * 64, GreyValues().to(where))\n'
        '    if text == "auto":\n',
    },
}
OPTION = {
    "engine/tasks/segment.py": {
        "    radius: float | None = asked(": '    smaller: bool = asked(False, "take a much smaller candidate", forms.SWITCH, group=_OBJECT)\n'
        "    radius: float | None = asked(",
    },
    "engine/segment/run.py": {
        "    return choice.at(choice.index + task.step) if task.step else choice\n": "    return choice.at(choice.index + task.step - 3 * task.smaller)\n",
    },
}
FORMAT = {
    "engine/images/formats/grey_text.py": '''"""A picture as text: the word GREY, then a line of numbers for each row."""

import numpy as np


def read_grey_text(path, choose_frame, numbers):
    choose_frame(1)
    return np.loadtxt(path, np.int16, skiprows=1, ndmin=2)[None], np.diag([-1.0, -1.0, 1.0, 1.0])
''',
    "engine/images/reading.py": {
        "from .formats.itk_file import read_itk\n": "from .formats.grey_text import read_grey_text\nfrom .formats.itk_file import read_itk\n",
        "FORMATS = (\n": 'FORMATS = (\n    ImageFormat((".grey",), lambda _, head: head.startswith(b"GREY"), read_grey_text),\n',
    },
}
# Runs a script with each list of arguments: torch is loaded once for all.
IN_TURN = """
import json, runpy, sys
script, lists = sys.argv[1:]
for arguments in json.loads(lists):
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture
def changed(tmp_path):
    """A function: makes the files that a dictionary above names in a copy of the module; returns how to run that copy's
    s3net with one list of arguments after the other."""

    def change(files):
        copy = tmp_path / "S3NetSegment"
        shutil.copytree(MODULE, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        for name, content in files.items():
            file = copy / "S3NetSegmentLib" / name
            if isinstance(content, dict):
                text = file.read_text(encoding="utf-8")
                for old, new in content.items():
                    assert text.count(old) == 1, (name, old)
                    text = text.replace(old, new)
                content = text
            else:
                assert not file.exists()
            file.write_text(content, encoding="utf-8")
        return lambda *lists: succeeded(_run(copy / "s3net", lists, tmp_path))

    return change


def _run(script, lists, folder):
    return subprocess.run(
        [sys.executable, "-c", IN_TURN, str(script), json.dumps(lists)], cwd=folder, env=environment(), capture_output=True,
        encoding="utf-8", timeout=PATIENCE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "files"), [("an encoder", ENCODER), ("an option", OPTION), ("a file format to read", FORMAT)]
)
def test_the_guide_says_how_many_files_are_touched_and_which(kind, files):
    told = re.search(rf"\*\*{kind}[^*]*\*\* \((\d) files\): (.*?)\n\n", GUIDE, re.DOTALL)
    assert int(told[1]) == len(files) == 2
    for name, content in files.items():
        folder, _, file = name.rpartition("/")
        assert folder in told[2] and (not isinstance(content, dict) or file in told[2])


def test_an_encoder_is_a_network_and_a_line_that_knows_its_name(changed, tmp_path):
    s3net = changed(ENCODER)
    write_drawn_ball(tmp_path)
    asked = ("few-shot", "ball.nii.gz", "--support", "drawn.seg.nrrd", "--encoder", "grey", "--method", "alpnet")
    s3net([*asked, "-o", "answer.nii.gz"])
    ball, answer = read_image(tmp_path / "ball.nii.gz").array > 200, read_image(tmp_path / "answer.nii.gz").array > 0
    assert 2 * (ball & answer).sum() / (ball.sum() + answer.sum()) > 0.8


def test_an_option_is_a_field_and_what_it_does_and_a_column_of_manifests_too(changed, tmp_path):
    s3net = changed(OPTION)
    write_disk(tmp_path / "a.png")
    asked = ("segment", "a.png", "--pixel", "28,24", "--set", QUICK)
    (tmp_path / "m.csv").write_text(f'image,pixels,settings,smaller,output\na.png,"28,24",{QUICK},yes,row.nrrd\n')
    # three steps: neighbouring ones can have the same border on the image's own pixels
    s3net(
        [*asked, "--step=-3", "-o", "step.nrrd"], [*asked, "--smaller", "-o", "smaller.nrrd"],
        [*asked, "-o", "plain.nrrd"], ["batch", "m.csv", "-o", "results"],
    )  # fmt: skip
    step, smaller, plain, row = (
        read_image(tmp_path / name).array for name in ("step.nrrd", "smaller.nrrd", "plain.nrrd", "results/row.nrrd")
    )
    assert (smaller == step).all() and (row == step).all() and (plain != step).any()


def test_a_format_is_a_reader_and_a_line_of_the_table_and_files_of_it_are_found_in_folders(changed, tmp_path):
    s3net = changed(FORMAT)
    disk = write_disk(tmp_path / "a.png")
    (tmp_path / "in").mkdir()
    rows = read_image(tmp_path / "a.png").array[0]
    lines = "\n".join(" ".join(map(str, row)) for row in rows)
    (tmp_path / "in" / "a.grey").write_text(f"GREY\n{lines}\n")
    s3net(["batch", "in", "-o", "results", "--default", f"settings={QUICK}", "--default", "pixels=28,24"])
    (result,) = (tmp_path / "results").glob("a*.nrrd")
    found = read_image(result).array[0] > 0
    assert 2 * (found & disk).sum() / (found.sum() + disk.sum()) > 0.9
