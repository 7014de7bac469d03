"""A field that a task declares is an option, a column and an argument of scripts: in one place for all."""

import argparse
from dataclasses import dataclass

import pytest

from S3NetSegmentLib.cli.arguments import add_task_options, refuse_contradictions, task_from
from S3NetSegmentLib.cli.parser import Parser
from S3NetSegmentLib.engine.batch.columns import COLUMNS, TASKS
from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.tasks.fields import asked, asked_fields, columns_of, command_line, from_script
from S3NetSegmentLib.engine.tasks.forms import LENGTH, SWITCH
from S3NetSegmentLib.engine.tasks.segment import SegmentTask
from S3NetSegmentLib.engine.tasks.train import FinetuneTask, PretrainTask


@dataclass(frozen=True)
class LongerTask(SegmentTask):
    """A task with two more fields, as a newcomer would add them."""

    largest: float | None = asked(None, "largest size of the object in mm", LENGTH, group="further")
    in_parts: bool = asked(False, "the object may have several parts", SWITCH, group="further")


def asked_on_the_command_line(text, task_class=LongerTask):
    parser = Parser(prog="s3net test")
    add_task_options(parser, task_class, {})
    task = task_from(task_class, parser.parse_args(text.split()))
    refuse_contradictions(task, parser)
    return task


def test_a_new_field_is_an_option_a_column_and_an_argument_of_scripts():
    task = LongerTask(points=((1, 2, 3),), largest=12.5, in_parts=True)
    assert asked_on_the_command_line("--point 1,2,3 --largest 12.5 --in-parts") == task
    columns = columns_of(LongerTask)
    assert (columns["largest"].form.read("12.5"), columns["in_parts"].form.read("yes")) == (12.5, True)
    assert from_script(LongerTask, {"points": [(1, 2, 3)], "largest": 12.5, "inParts": True}) == task


def test_a_task_can_be_told_to_the_command_line():
    for task in (
        LongerTask(),
        LongerTask(
            points=((-1.5, 2.0, 3.0), (4.0, 5.0, 6.0)), strokes=(((1, 2, 3), (4, 5, 6)),), slices=(2, 5), step=-1,
            settings=("work_size=96",), in_parts=True, axis="x",
        ),
    ):  # fmt: skip
        parser = Parser(prog="s3net test")
        add_task_options(parser, LongerTask, {})
        assert task_from(LongerTask, parser.parse_args(command_line(task))) == task


def test_a_training_is_asked_the_same_way_by_scripts_and_the_command_line():
    asked_for = {"cohort": "patients", "minutes": 30, "settings": {"batch": 4, "trust": False}, "skipBad": True}
    task = from_script(FinetuneTask, asked_for)
    assert task == FinetuneTask("patients", minutes=30.0, settings=("batch=4", "trust=false"), skip_bad=True)
    assert task.arguments() == [
        "finetune",
        "patients",
        "--minutes=30.0",
        "--set=batch=4",
        "--set=trust=false",
        "--skip-bad",
    ]
    with pytest.raises(InputError, match="minutes: 0 is not a number of minutes above 0"):
        from_script(FinetuneTask, {"minutes": 0})
    wrong = PretrainTask("patients", encoder="dinov2-vits14").contradictions(lambda name: name)
    assert wrong == ["encoder is for method alpnet; ideal trains its own U-Net"]
    assert "cohort: it is missing" in FinetuneTask().contradictions(lambda name: name)[0]


def test_a_new_field_refuses_the_same_values_everywhere(capsys):
    with pytest.raises(SystemExit):
        asked_on_the_command_line("--largest -3")
    assert "'-3' is not a length in mm above 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="not a length in mm above 0"):
        columns_of(LongerTask)["largest"].form.read("-3")
    with pytest.raises(InputError, match="largest: -3 is not a length in mm above 0"):
        from_script(LongerTask, {"largest": -3})
    with pytest.raises(TypeError, match="no argument 'larges'"):
        from_script(LongerTask, {"larges": 3})


@pytest.mark.parametrize("method", TASKS)
def test_every_field_of_every_task_has_help_and_its_default_is_what_is_asked_without_options(method):
    task_class = TASKS[method]
    fields = asked_fields(task_class)
    assert fields and all(len(field.help) > 10 for field in fields.values())
    assert {field.column for field in fields.values() if field.column} <= set(COLUMNS)
    assert from_script(task_class, {}) == task_class() == asked_without_options(task_class)


def asked_without_options(task_class):
    parser = argparse.ArgumentParser()
    add_task_options(parser, task_class, {})
    return task_from(task_class, parser.parse_args([]))


@pytest.mark.parametrize(
    "text", ["--slice 3 --slices 1:4", "--radius 3 --radius 4 --point 1,2,3", "--seed 1 --seed 2", "--axis x --axis y"]
)
def test_an_option_that_may_be_given_once_is_refused_when_given_twice(text, capsys):
    with pytest.raises(SystemExit):
        asked_on_the_command_line(text)
    assert "is given twice" in capsys.readouterr().err


def test_options_that_may_be_repeated_keep_their_order():
    task = asked_on_the_command_line("--point 1,2,3 -4,5,6 --point 7,8,9 --set sources=classical --set seed=4")
    assert task.points == ((1, 2, 3), (-4, 5, 6), (7, 8, 9)) and task.settings == ("sources=classical", "seed=4")
    assert task.engine_settings().seed == 4


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"not_points": ((1, 2, 3),)}, "notPoints 1,2,3: points outside need points, pixels, boxes or strokes"),
        ({"radius": 5.0}, "radius 5 needs points or pixels"),
        ({"pixels": ((1, 2),), "regions": 3}, "regions 3 has no meaning with points"),
        ({"regions_only": True, "step": 1}, "cannot go with points, boxes, strokes, step or alternative"),
        ({"pixels": ((1, 2),), "step": 1, "alternative": 2}, "step and alternative both choose"),
    ],
)
def test_contradictions_are_said_in_the_words_of_who_asks(given, told):
    from S3NetSegmentLib.engine.tasks.fields import camel_case

    assert any(told in text for text in SegmentTask(**given).contradictions(camel_case))


def test_what_is_for_the_option_alone_is_in_its_help_and_in_no_column(capsys):
    parser = Parser(prog="s3net test")
    add_task_options(parser, SegmentTask, {})
    shown = " ".join(parser.format_help().split())
    assert "its corners as voxels, in quotes because of the semicolons" in shown
    assert COLUMNS["strokes"].help == "a line through the object: its corners as voxels"


def test_a_column_that_two_methods_have_says_what_it_is_for_each():
    assert COLUMNS["axis"].help.startswith(
        "segment: the axis across the slices; auto (the default) takes the one with the largest"
    )
    assert (
        "few-shot: the axis across the slices; auto (the default) takes the one along which the fewest"
        in COLUMNS["axis"].help
    )
    assert COLUMNS["seed"].help == asked_fields(SegmentTask)["seed"].help
