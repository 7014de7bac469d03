"""The examples of the help texts and the documentation: their arguments are right, and their points lie in the image."""

import argparse
import re
import shlex

import numpy as np
import pytest
from paths import REPOSITORY, SAMPLE_DATA

from S3NetSegmentLib.cli import batch, main, segment
from S3NetSegmentLib.engine.images.reading import read_image

DOCUMENTS = sorted({REPOSITORY / "README.md", *(REPOSITORY / "Resources" / "Documentation").glob("*.md")})
HELP = {"s3net": main.EXAMPLES, **{c.__name__.rpartition(".")[2]: getattr(c, "EXAMPLES", "") for c in main.COMMANDS}}
# Images of the help texts, and the shipped ones for which their points are given.
SHIPPED = {"ct.nii.gz": "ct_abdomen.nii.gz", "skin.jpg": "skin_lesion_1.jpg"}
COMMAND = re.compile(r"(?:^|[\s$/\"])s3net[\"']? +([a-z][a-z-]*\b[^\n]*)")


def commands_in(text: str) -> list[str]:
    """The arguments of each call of s3net in lines of a shell."""
    found = []
    for line in text.splitlines():
        call = COMMAND.search(line.split("  #")[0])
        if call and not line.lstrip().startswith("s3net="):
            found.append(re.split(r"\s{2,}(?!-)", call[1].strip())[0])  # what follows a wide gap is an explanation
    return found


def shown_in(document) -> tuple[list[str], list[str]]:
    """Calls in code blocks, which are whole, and those in running text, which may name an option only."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", rest)]
    return [c for b in blocks for c in commands_in(b)], [c for span in inline for c in commands_in(span)]


def parsed(command: str) -> argparse.Namespace:
    """The arguments of a call, checked as the command checks them; SystemExit if they are wrong."""
    arguments = main.build_parser().parse_args(shlex.split(command))
    arguments.check(arguments)
    return arguments


@pytest.mark.parametrize("name", HELP)
def test_the_examples_of_a_help_text_have_right_arguments(name, capsys):
    for command in commands_in(HELP[name]):
        try:
            parsed(command)
        except SystemExit:
            pytest.fail(f"{command}: {capsys.readouterr().err}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_commands_of_the_documentation_have_right_arguments(document, capsys):
    whole, named = shown_in(document)
    for command in whole:
        try:
            parsed(command)
        except SystemExit as stop:
            assert stop.code == 0, f"{command}: {capsys.readouterr().err}"  # 0: --help
    commands = next(a for a in main.build_parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    for command in named:
        name, *texts = shlex.split(command)
        known = commands[name]._option_string_actions
        assert all(t.partition("=")[0] in known for t in texts if t.startswith("--")), command


def test_the_documentation_shows_every_way_of_calling_it():
    shown = [c.split()[0] for document in DOCUMENTS for c in shown_in(document)[0]]
    assert {"demo", "segment", "few-shot", "batch", "finetune", "evaluate", "apply", "compare"} <= set(shown)


def positions(command: str):
    """The image of a segment example that is shipped, and its points and pixels."""
    arguments = parsed(command)
    if getattr(arguments, "image", None) is None or not hasattr(getattr(arguments, "task", None), "points"):
        return None
    name = arguments.image.rpartition("/")[2]
    shipped = SAMPLE_DATA / (name if "SampleData/" in arguments.image else SHIPPED.get(name, ""))
    task = arguments.task
    points, pixels = task.points + task.not_points, task.pixels + task.not_pixels
    return (shipped, points, pixels) if shipped.is_file() and points + pixels else None


def test_the_points_of_the_examples_lie_in_the_shipped_images_and_mean_the_same_voxels():
    examples = [c for text in (main.EXAMPLES, segment.EXAMPLES) for c in commands_in(text)]
    examples += [c for d in DOCUMENTS for c in shown_in(d)[0] if "SampleData/" in c and c.startswith("segment")]
    found = [place for c in examples if (place := positions(c))]
    voxels = {"points": set(), "pixels": set()}
    for path, points, pixels in found:
        volume = read_image(path)
        assert all(volume.extent.contains((*p, 0)[:3]) for p in pixels)
        if path.name == SHIPPED["ct.nii.gz"]:
            voxels["points"] |= {volume.voxel_at(p) for p in points}
            voxels["pixels"] |= set(pixels)
    assert voxels["points"] == voxels["pixels"] != set()
    labels = read_image(SAMPLE_DATA / "ct_abdomen_labels.nii.gz").array
    assert {int(labels[v[::-1]]) for v in voxels["points"]} == {1, 5}  # the liver, and the aorta beside it


def test_the_points_in_the_manifest_of_the_help_text_lie_in_the_shipped_ct():
    volume = read_image(SAMPLE_DATA / SHIPPED["ct.nii.gz"])
    points = re.findall(r',segment,"([-\d.,]+)"', batch.EXAMPLES)
    assert points and all(volume.voxel_at(np.array(p.split(","), float)) for p in points)
