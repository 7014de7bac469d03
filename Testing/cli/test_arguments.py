"""Arguments of the command line: what is accepted, and what is refused with exit code 2 and the value named."""

import json
import sys

import pytest
from command_line import s3net
from paths import SAMPLE_DATA

from S3NetSegmentLib import __version__
from S3NetSegmentLib.cli import main

SKIN = str(SAMPLE_DATA / "skin_lesion_1.jpg")
CORD = str(SAMPLE_DATA / "mr_spinal_cord.nii.gz")


def parsed(text):
    arguments = main.build_parser().parse_args(text.split())
    arguments.check(arguments)
    return arguments


@pytest.mark.parametrize("options", [(), ("-S",)], ids=["with packages", "without any package"])
@pytest.mark.parametrize(
    "argument", ["--version", "--help", "segment --help", "few-shot --help", "demo --help", "settings --help"]
)
def test_help_and_version_need_no_environment(argument, options):
    done = s3net(*argument.split(), options=options)
    assert done.returncode == 0 and not done.stderr
    assert (f"s3net {__version__}" if argument == "--version" else "usage: s3net") in done.stdout


def test_the_help_shows_examples_and_exit_codes():
    text = s3net("--help").stdout
    assert "s3net segment ct.nii.gz -o liver.seg.nrrd --point" in text and "130" in text


def test_points_with_minus_signs_and_several_after_one_option_are_read():
    arguments = parsed("segment --point -12.5,30,4 -1e1,.5,-3 image.png -o out.seg.nrrd --not-point 1,2,3")
    assert arguments.task.points == ((-12.5, 30, 4), (-10, 0.5, -3))
    assert arguments.task.not_points == ((1, 2, 3),)
    assert arguments.image == "image.png"


def test_options_with_points_may_be_repeated_and_joined_by_an_equals_sign():
    arguments = parsed("segment image.png -o out.png --pixel=3,4 --pixel 5,6,7 8,9 --step -2")
    assert arguments.task.pixels == ((3, 4), (5, 6, 7), (8, 9))
    assert arguments.task.step == -2


def test_a_file_after_a_point_is_the_image_even_if_its_name_starts_with_a_digit():
    assert parsed("segment -o out.png --pixel 3,4 5.png").image == "5.png"


@pytest.mark.parametrize("text", ["-a.nii.gz -o -out.nrrd", "-o -out.nrrd -- -a.nii.gz", "-quick.nii.gz -o=-q.nrrd -q"])
def test_a_file_whose_name_begins_with_a_minus_is_a_file(text):
    arguments = parsed(f"segment --series -x {text}")
    assert arguments.image in ("-a.nii.gz", "-quick.nii.gz") and arguments.output in ("-out.nrrd", "-q.nrrd")
    assert arguments.series == "-x" and arguments.quiet == text.endswith("-q")


def test_the_folder_of_the_user_is_meant_where_no_shell_has_replaced_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    text = ["segment", "~/a.nii.gz", "--output=~/b.nii.gz", "--overlay", "~/c.png"]
    found = main.build_parser().parse_args(text)
    assert [found.image, found.output, found.overlay] == [
        str(tmp_path / "me" / name) for name in ("a.nii.gz", "b.nii.gz", "c.png")
    ]
    (tmp_path / "~").mkdir()  # a folder that is really called so
    assert main.build_parser().parse_args(text).output == "~/b.nii.gz"


def test_names_and_options_stand_in_any_order():
    assert parsed("apply a.pt -o out.nrrd b.pt image.png").model == ["a.pt", "b.pt"]
    arguments = parsed("cohort scans accept --segmentation -drawn.nrrd --same -a=-b -x")
    assert (arguments.case, arguments.segmentation, arguments.same) == ("-x", "-drawn.nrrd", [("-a", "-b")])
    assert parsed("cohort scans accept --segmentation drawn.nrrd -- -q").case == "-q"


# What is written after "s3net", what the message must hold.
BAD = {
    "segment -oimage.png -o out.png": "-oimage.png was read as an option: write ./-oimage.png for a file, other names behind --",
    "cohort scans undo -q": "-q was read as an option: write ./-q for a file, other names behind --",
    "segment -o --quiet {skin}": "expected one argument",
    "segment {skin} -o out.png --quite": "unrecognized arguments: --quite",
    "": "COMMAND",
    "frobnicate": "frobnicate",
    "--nonsense": "COMMAND",
    "segment": "IMAGE",
    "segment {skin}": "--output",
    "segment {skin} -o out.png --point 1,2": "'1,2' is not a position",
    "segment {skin} -o out.png --point a,b,c": "'a,b,c' is not a position",
    "segment {skin} -o out.png --point nan,0,0": "'nan,0,0'",
    "segment {skin} -o out.png --point": "--point",
    "segment {skin} -o out.png --pixel 1.5,2": "'1.5,2' is not a pixel",
    "segment {skin} -o out.png --pixel -1,2": "'-1,2' is outside",
    "segment {skin} -o out.png --pixel 999,2": "pixel 999,2 is outside image",
    "segment {skin} -o out.png --point 5000,0,0": "point 5000,0,0 (RAS, mm) is outside image",
    "segment {skin} -o out.png --not-pixel 1,2": "--not-pixel 1,2: points outside need --point, --pixel, --box or --stroke",
    "segment {skin} -o out.png --radius 5": "--radius 5 needs --point or --pixel",
    "segment {skin} -o out.png --box 1,2,3": "'1,2,3' is not a box; write two corners",
    "segment {skin} -o out.png --box 1,2,9.5,8": "'1,2,9.5,8' is not a box",
    "segment {skin} -o out.png --box 900,2,950,8": "box 900,2,0,950,8,0",
    "segment {skin} -o out.png --box 5,5,5,5": "has no area",
    "segment {skin} -o out.png --box-mm 1,2,3": "'1,2,3' is not a box",
    "segment {skin} -o out.png --stroke 1,2;3": "'3' is not a pixel",
    "segment {skin} -o out.png --stroke 1,2;999,2": "pixel 999,2 is outside image",
    "segment {skin} -o out.png --not-stroke 1,2;3,4": "--not-stroke 1,2: strokes outside need --point",
    "segment {skin} -o out.png --pixel 1,2 --not-stroke 0,2;5,2": "is marked inside and outside at once",
    "segment {skin} -o out.png --box 1,2,9,8 --regions 3": "--regions 3 has no meaning with points, boxes or strokes",
    "segment {cord} -o out.nrrd --box 1,2,9,8": "box 1,2,9,8 names no slice",
    "segment {cord} -o out.nrrd --slice 3 --box 10,10,9,30,30,9": "lies in slice 10 along y, which is not among the chosen",
    "segment {skin} -o out.png --pixel 1,2 --radius -5": "'-5' is not a length",
    "segment {skin} -o out.png --pixel 1,2 --radius inf": "'inf' is not a length",
    "segment {skin} -o out.png --pixel 1,2 --regions 3": "--regions 3 has no meaning with points",
    "segment {skin} -o out.png --pixel 1,2 --regions-only": "--regions-only",
    "segment {skin} -o out.png --regions 1": "'1' is not a whole number from 2 to 16",
    "segment {skin} -o out.png --regions 17": "'17'",
    "segment {skin} -o out.png --regions four": "'four'",
    "segment {skin} -o out.png --pixel 9,9 --step 1 --alternative 2": "--alternative",
    "segment {skin} -o out.png --alternative 4": "'4' is not a whole number from 1 to 3",
    "segment {skin} -o out.png --slice 3 --slices 1:4": "--slices",
    "segment {cord} -o out.nrrd --slice 900": "slice 900 along",
    "segment {cord} -o out.nrrd --slice -1": "'-1'",
    "segment {cord} -o out.nrrd --slices 900": "slice 900 along",
    "segment {cord} -o out.nrrd --slices 9:5": "'9:5' ends before it begins",
    "segment {cord} -o out.nrrd --slices -3:5": "'-3:5' are not slices",
    "segment {cord} -o out.nrrd --slices 50:70": "slices 50 to 70",
    "segment {cord} -o out.nrrd --axis w": "'w'",
    "segment {cord} -o out.nrrd --frame 2": "frame is 2",
    "segment {cord} -o out.nrrd --pixel 30,20": "pixel 30,20 names no slice",
    "segment {cord} -o out.nrrd --slice 3 --pixel 30,20,9": "pixel 30,20,9 lies in slice 20 along y",
    "segment {cord} -o out.png": "out.png' is a flat picture",
    "segment {cord} -o out.nrrd --confidence c.png": "c.png' is a flat picture",
    "segment {skin} -o out.docx": "out.docx",
    "segment {skin} -o out": "'out'",
    "segment {skin} -o out.png --overlay over.jpg": "'over.jpg' must end in .png",
    "segment {skin} -o out.png --overlay out.png": "same file: out.png",
    "segment {skin} -o out.png --confidence c.jpg": "c.jpg",
    "segment {skin} -o {skin}": "is the input image",
    "segment missing.png -o out.png": "'missing.png'",
    "segment {skin} -o out.png --preset best": "'best'",
    "segment {skin} -o out.png --set channels": "'channels' is not a setting; write NAME=VALUE",
    "segment {skin} -o out.png --set colour=3": "'colour=3' is not understood",
    "segment {skin} -o out.png --set channels=1000": "channels is 1000",
    "segment {skin} -o out.png --set channels=many": "'many'",
    "segment {skin} -o out.png --seed -4": "'-4'",
    "segment {skin} -o out.png --seed 99999999999": "'99999999999'",
    "segment {skin} -o out.png --device gpu": "'gpu' is not a device",
    "segment {skin} -o out.png --devic cpu": "--devic",
    "segment {skin} other.png -o out.png": "other.png",
    "settings --preset best": "'best'",
}


def filled(text):
    return [part.format(skin=SKIN, cord=CORD) for part in text.split()]


def assert_refused(text, code, out, err, folder):
    assert code == 2, err
    assert err.startswith("s3net: error: ") and err.count("\n") == 1
    assert BAD[text] in err
    assert not out and not list(folder.iterdir())


@pytest.mark.parametrize("text", BAD)
def test_bad_arguments_are_refused_with_code_2_in_one_line_that_names_them(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main, "_note_interrupts", lambda: lambda: False)  # leaves the tests' own Ctrl-C alone
    code = main.launch("s3net", filled(text))
    assert_refused(text, code, *capsys.readouterr(), tmp_path)


@pytest.mark.parametrize("text", list(BAD)[::9])
def test_bad_arguments_are_refused_by_the_process_too(text, tmp_path):
    done = s3net(*filled(text), folder=tmp_path)
    assert_refused(text, done.returncode, done.stdout, done.stderr, tmp_path)


def test_bad_arguments_are_refused_before_an_environment_is_made(tmp_path):
    done = s3net(
        "segment", SKIN, "-o", "out.png", "--device", "gpu", options=("-S",), S3NET_VENV=str(tmp_path / "venv")
    )
    assert done.returncode == 2 and not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n truncated"], ids=["empty", "text", "cut"]
)
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "image.png").write_bytes(content)
    done = s3net("segment", "image.png", "-o", "out.png", folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "image.png" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


def test_all_settings_are_listed_with_their_ranges():
    done = s3net("settings", "--preset", "paper")
    assert (
        done.returncode == 0
        and "channels=64   (4 to 128)" in done.stdout
        and "deformable=true   (true | false)" in done.stdout
    )
    assert "target=auto   (auto | compact | scattered)" in done.stdout
    few_shot = json.loads(s3net("settings", "few-shot", "--json").stdout)
    assert list(few_shot) == ["few-shot"] and few_shot["few-shot"]["margin"]["low"] == 0.1


def test_the_published_presets_are_listed_with_their_values():
    facts = json.loads(s3net("settings", "--preset", "published", "--json").stdout)
    assert (facts["segment"]["stop_labels"]["value"], facts["segment"]["fit_input"]["value"]) == (3, "plain")
    assert (facts["few-shot"]["method"]["value"], facts["few-shot"]["encoder_input"]["value"]) == ("alpnet", "zscore")
    assert facts["finetune"]["unlabelled_weight"]["value"] == 1.0  # which has no preset of that name: its own default


def test_an_old_python_is_told_which_one_is_needed(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 10))
    monkeypatch.setattr(sys, "argv", ["s3net"])
    code = compile((SAMPLE_DATA.parents[1] / "S3NetSegment" / "s3net").read_text(), "s3net", "exec")
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer is needed; this is Python 3\.8"):  # exit code 1
        exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        SystemError("error return without exception set"),
        SystemError("<built-in method x> returned NULL without setting an exception"),
    ],
    ids=repr,
)
def test_a_shortage_of_memory_that_is_no_memory_error_is_called_that_and_no_defect(monkeypatch, capsys, error):
    from S3NetSegmentLib.cli import list_settings, main

    def short(arguments):
        raise error

    monkeypatch.setattr(list_settings, "run", short)
    assert main.launch("s3net", ["settings"]) == 1
    told = capsys.readouterr().err
    assert "the memory of this machine is full" in told and "defect" not in told
