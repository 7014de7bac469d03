"""Manifests: what is read from them, and that everything wrong is said before anything runs."""

import json
import os
import sys
import types
import unicodedata

import numpy as np
import pytest
from batch_cases import write_disk, write_drawn_ball, write_manifest
from image_files import write_dicom_series

from S3NetSegmentLib.engine.batch.manifest import ManifestError, read_manifest
from S3NetSegmentLib.engine.batch.output_names import checked_output, place_in
from S3NetSegmentLib.engine.common.errors import InputError


@pytest.fixture
def folder(tmp_path):
    write_disk(tmp_path / "in" / "a.png")
    write_disk(tmp_path / "in" / "b.png")
    write_drawn_ball(tmp_path)
    return tmp_path


def cases_of(folder, text, name="m.csv", **options):
    (folder / name).write_text(text, encoding="utf-8")
    return read_manifest(folder / name, folder / "out", **options)


def problems_of(folder, text, name="m.csv", **options):
    with pytest.raises(ManifestError) as raised:
        cases_of(folder, text, name, **options)
    assert all(len(problem) > 20 for problem in raised.value.problems)
    return raised.value.problems


def test_csv_and_json_say_the_same(folder):
    csv = (
        "image,method,points,not_points,radius,support,drawn,settings,seed,output,confidence\n"
        'in/a.png,segment,"-28,-24,0; -20,-24,0","0,0,0",12,,,work_size=64; sources=classical,3,x/a,yes\n'
        'ball.nii.gz,few-shot,,,,drawn.seg.nrrd,"4,8",target=compact,,ball.nii.gz,\n'
    )
    plain = [
        {
            "image": "in/a.png", "method": "segment", "points": [[-28, -24, 0], [-20, -24, 0]], "not_points": [0, 0, 0],
            "radius": 12, "settings": {"work_size": 64, "sources": "classical"}, "seed": 3, "output": "x/a", "confidence": True,
        },
        {
            "image": "ball.nii.gz", "method": "few-shot", "support": ["drawn.seg.nrrd"], "drawn": [4, 8],
            "settings": {"target": "compact"}, "output": "ball.nii.gz",
        },
    ]  # fmt: skip
    from_csv = cases_of(folder, csv)
    from_json = cases_of(folder, json.dumps(plain), "m.json")
    assert [c.what_counts() for c in from_csv] == [c.what_counts() for c in from_json]
    first, second = from_csv
    assert first.task.points == ((-28, -24, 0), (-20, -24, 0)) and first.task.radius == 12 and first.task.seed == 3
    assert first.image == str(folder / "in" / "a.png")
    assert first.output == "x/a.seg.nrrd" and first.outputs()["confidence"] == "x/a_confidence.nii.gz"
    assert second.task.drawn == ((4, 8),) and second.task.support == (str(folder / "drawn.seg.nrrd"),)
    assert second.output == "ball.nii.gz" and second.name == "ball"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12,3, 7", (3, 7, 12)), ("4-6", (4, 5, 6)), ("9,4:6,5", (4, 5, 6, 9)), (8, (8,)), ([8, 2], (2, 8)), ("", None), (None, None),
    ],
)  # fmt: skip
def test_drawn_slices_are_numbers_and_ranges(folder, written, meant):
    row = {"image": "ball.nii.gz", "method": "few-shot", "support": "drawn.seg.nrrd", "drawn": written}
    (case,) = cases_of(folder, json.dumps([row]), "m.json")
    assert case.task.drawn == (meant,)


def test_each_drawing_has_its_own_slices_and_all_is_for_one_of_another_image(folder):
    first, second = cases_of(
        folder,
        "image,method,support,support_image,drawn,output\n"
        "ball.nii.gz,few-shot,drawn.seg.nrrd;drawn.seg.nrrd,;in/a.png,4-5;all,x\n"
        "ball.nii.gz,few-shot,drawn.seg.nrrd,in/a.png,ALL,y\n",
    )
    assert first.task.drawn == ((4, 5), "all") and second.task.drawn == ("all",)
    assert [file.drawn for file in first.task.files] == [(4, 5), "all"]


@pytest.mark.parametrize(
    "written", ["a=1,2,3,9,9,3; b=2,2,4,8,8,4", {"a": [[1, 2, 3, 9, 9, 3]], "b": "2,2,4,8,8,4"}, ["a=1,2,3,9,9,3", "b=2,2,4,8,8,4"]]
)  # fmt: skip
def test_boxes_of_few_shot_have_names_and_need_no_drawing(folder, written):
    row = {"image": "ball.nii.gz", "method": "few-shot", "support_boxes": written}
    (case,) = cases_of(folder, json.dumps([row]), "m.json")
    assert case.task.support_boxes == (("a", (1, 2, 3, 9, 9, 3)), ("b", (2, 2, 4, 8, 8, 4))) and not case.task.support


def test_defaults_fill_what_a_row_leaves_open(folder, monkeypatch):
    monkeypatch.chdir(folder / "in")
    cases = cases_of(folder, "image,seed\nin/a.png,\nin/b.png,7\n", defaults={"seed": "5", "regions": "3"})
    assert [(c.task.seed, c.task.regions) for c in cases] == [(5, 3), (7, 3)]
    few = {"method": "few-shot", "support": "../drawn.seg.nrrd"}
    (case,) = cases_of(folder, "image\nball.nii.gz\n", defaults=few)
    assert case.task.support == (str(folder / "drawn.seg.nrrd"),)
    shared = {"defaults": {"regions": 3}, "cases": [{"image": "in/a.png"}, {"image": "in/b.png", "regions": 5}]}
    assert [c.task.regions for c in cases_of(folder, json.dumps(shared), "m.json")] == [3, 5]


def test_tables_of_other_programs_are_read(folder):
    semicolons = '\ufeffImage;Method;Pixels\r\nin/a.png;segment;"28,24"\r\n;;\r\nin/b.png;segment;28,24\r\n'
    cases = cases_of(folder, semicolons)
    assert [c.task.pixels for c in cases] == [((28, 24),)] * 2 and cases[1].row == "row 4"
    assert len(cases_of(folder, "image\tregions\nin/a.png\t3\n", "m.tsv")) == 1


@pytest.mark.parametrize("row", ["a.png,o.seg.nrrd", "a.png,o.seg.nrrd,3,3"])
def test_a_row_with_other_cells_than_columns_is_refused_and_not_another_task(folder, row):
    (problem,) = problems_of(folder, f"image,output,pixels\n{row}\n")
    assert "cells, but 3 columns" in problem and "leave none out" in problem


def test_a_folder_is_a_manifest_of_its_images(folder):
    (folder / "in" / "notes.txt").write_text("x")
    write_disk(folder / "in" / "deep" / "c.png")
    assert [c.output for c in read_manifest(folder / "in", folder / "out")] == ["a.seg.nrrd", "b.seg.nrrd"]
    found = read_manifest(folder / "in", folder / "out", pattern="**/*.png", defaults={"regions": "3"})
    assert [c.output for c in found] == ["a.seg.nrrd", "b.seg.nrrd", "deep/c.seg.nrrd"] and found[0].task.regions == 3


def test_results_of_an_earlier_batch_are_not_taken_for_images(folder):
    write_disk(folder / "in" / "out" / "a_overlay.png")
    found = read_manifest(folder / "in", folder / "in" / "out", pattern="**/*.png")
    assert [c.name for c in found] == ["a", "b"]


def test_the_result_of_an_image_without_a_name_is_a_seg_nrrd_whatever_else_the_image_is_called(folder):
    write_disk(folder / "in" / "a.nii.png")
    (folder / "study.dcm").mkdir()
    (folder / "study.dcm" / "x").write_bytes(b"x")
    first, second = cases_of(folder, "image\nin/a.nii.png\nstudy.dcm\n")
    assert (first.output, second.output) == ("a.nii.seg.nrrd", "study.dcm.seg.nrrd")


def test_an_unknown_column_is_refused_with_the_nearest_name(folder):
    (problem,) = problems_of(folder, "image,suport\nin/a.png,x\n")
    assert "'suport'" in problem and "'support'" in problem
    (problem,) = problems_of(folder, json.dumps([{"image": "in/a.png", "pixel": "1,2"}]), "m.json")
    assert "case 1" in problem and "'pixels'" in problem


def test_everything_wrong_is_said_at_once_with_its_row(folder):
    problems = problems_of(
        folder,
        "image,method,points,regions,settings,frame\n"
        "gone.nii,segment,,,,\n"
        "in/a.png,segmnt,,,,\n"
        'in/a.png,segment,"1,2",,,\n'
        "in/a.png,segment,,40,,\n"
        "in/a.png,segment,,,wrk_size=3,\n"
        "in/a.png,segment,,,work_size=3,-1\n"
        ",segment,,,,\n",
    )
    for row, word in ((2, "gone.nii"), (3, "segmnt"), (4, "1,2"), (5, "40"), (6, "wrk_size"), (7, "-1"), (8, "image")):
        assert any(p.startswith(f"row {row}: ") and word in p for p in problems), (row, problems)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"method": "few-shot"}, "support: it is missing"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "points": "1,2,3"}, "points: it is for method segment"),
        ({"support": "drawn.seg.nrrd"}, "support: it is for method few-shot"),
        ({"not_points": "1,2,3"}, "points outside need points"),
        ({"radius": 3}, "needs points"),
        ({"pixels": "1,2", "regions": 3}, "no meaning with points"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "settings": "method=alpnet", "encoder": "default"}, "alpnet"),
        ({"method": "few-shot", "support": ["drawn.seg.nrrd"] * 3, "drawn": "1;2"}, "2 entries for 3 drawings"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "drawn": "all"}, "nothing is left to find"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "drawn": "20-Oct"}, "write numbers"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "drawn": "every"}, "'every'"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "drawn": "9-3"}, "ends before it begins"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "drawn": "0-2000000000"}, "not a slice of an image"),
        ({"method": "few-shot", "support": "drawn.seg.nrrd", "drawn": -2}, "-2"),
        ({"seed": 1.5}, "1.5"),
        ({"seed": True}, "True"),
        ({"points": [[1, 2, float("inf")]]}, "inf"),
        ({"slices": "9:3"}, "ends before it begins"),
        ({"confidence": "perhaps"}, "neither true nor false"),
        ({"settings": "work_size"}, "NAME=VALUE"),
        ({"image": ["a", "b"]}, "is not a text"),
    ],
)  # fmt: skip
def test_contradictions_and_wrong_values_are_refused(folder, row, told):
    text = json.dumps([{"image": "in/a.png", **row}])
    assert any(told in problem for problem in problems_of(folder, text, "m.json"))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0\0\0", b"\xff\xfe\x00bad", b'image\n"in/a.png\n', b"image,image\nin/a.png,x\n", b"image\n", b"{", b"[1, 2]",
        b'{"cases": 3}', b'{"case": []}', b'[{"image": "a", "image": "b"}]', b"[" * 100_000, b"[]",
        b"image\nin/a.png,in/b.png\n", b'[{"image": {"a": 1}}]', b'[{"image": "in/a.png", "points": {"a": 1}}]',
        b'[{"image": "in/a.png", "drawn": [[[1]]], "support": 3, "method": "few-shot"}]',
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["m.csv", "m.json"])
def test_damaged_manifests_are_refused_with_a_reason(folder, content, name):
    (folder / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_manifest(folder / name, folder / "out")
    assert name in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "../a", "a/../../b", "/tmp/a", "C:a", "c:\\a", "a\\..\\b", "..", ".", "", "a//b", "a/", "CON", "sub/nul.seg.nrrd", "com1.png",
        "a.", "a ", " a", "~root/a", ".hidden", "a:b", "a|b", "a?b", 'a"b', "a\nb", "a\0b", "a\u202eb", "records/a", "Records/x",
        "report", "report.html", "report.nii.gz", "x" * 160,
    ],
)  # fmt: skip
def test_names_that_leave_the_folder_or_that_some_system_forbids_are_refused(name):
    with pytest.raises(ValueError):
        checked_output(name)


def test_usual_names_are_taken():
    assert checked_output("患者/ct 1") == "患者/ct 1.seg.nrrd"
    assert checked_output("patient.001") == "patient.001.seg.nrrd"
    assert checked_output("a.nii.gz") == "a.nii.gz" and checked_output("records2/a.mha") == "records2/a.mha"


def test_a_path_trick_in_a_manifest_is_refused_with_its_row(folder):
    (problem,) = problems_of(folder, "image,output\nin/a.png,../../a\n")
    assert problem.startswith("row 2: output:") and "'../../a'" in problem


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_that_leads_out_of_the_folder_is_refused(folder):
    (folder / "out").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "out" / "sub").symlink_to(folder / "elsewhere")
    (problem,) = problems_of(folder, "image,output\nin/a.png,sub/a\n")
    assert "link" in problem
    with pytest.raises(InputError):
        place_in(folder / "out", "sub/deep/a.nrrd")


def test_two_cases_never_write_the_same_file(folder):
    (problem,) = problems_of(folder, "image\nin/a.png\nin/a.png\n")
    assert "row 3" in problem and "row 2" in problem
    (problem,) = problems_of(folder, "image,output\nin/a.png,x\nin/b.png,X.nii.gz\n")
    assert "row 3" in problem
    (problem,) = problems_of(folder, "image,output\nin/a.png,x\nin/b.png,x_overlay.png\n")
    assert "row 3" in problem
    (problem,) = problems_of(folder, "image,output\nin/a.png,x.nrrd\nin/b.png,x.nrrd/y\n")
    assert "row 3" in problem


def test_an_input_is_never_replaced(folder):
    write_manifest(folder / "m.csv", ["in/a.png"])
    text = "image,output\nin/a.png,a.png\n"
    (folder / "m.csv").write_text(text)
    with pytest.raises(ManifestError, match="place of an input"):
        read_manifest(folder / "m.csv", folder / "in")


def test_an_input_is_never_replaced_on_a_file_system_that_ignores_case(folder):
    (folder / "m.csv").write_text("image,output\nin/a.png,A.PNG\n")
    with pytest.raises(ManifestError, match="place of an input"):
        read_manifest(folder / "m.csv", folder / "in")


def test_no_result_is_put_among_the_slices_of_a_series(folder):
    write_dicom_series(folder / "series", np.zeros((3, 8, 8), np.int16), np.eye(4))
    slice_file = sorted((folder / "series").iterdir())[0]
    (folder / "m.csv").write_text(f"image,output\n{slice_file},x\n")
    with pytest.raises(ManifestError, match="place of an input"):
        read_manifest(folder / "m.csv", folder / "series")
    (folder / "m.csv").write_text(f"image,output\n{slice_file},results/x\n")
    assert read_manifest(folder / "m.csv", folder / "series")


def test_paths_of_windows_and_of_the_home_folder_are_understood(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    first, second = cases_of(folder, "image,output\nin\\a.png,x\n~/in/b.png,y\n")
    assert (first.image, second.image) == (str(folder / "in" / "a.png"), str(folder / "in" / "b.png"))


@pytest.mark.parametrize("there, written", [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_is_found_however_its_accents_are_stored(folder, there, written):
    there, written = (unicodedata.normalize(form, "in/\u00c4rztin.png") for form in (there, written))
    (folder / "in" / "a.png").rename(folder / there)
    (case,) = cases_of(folder, f"image,output\n{written},x\n")
    assert os.path.samefile(case.image, folder / there)


def test_a_path_that_the_system_cannot_take_is_refused_before_anything_runs(folder, monkeypatch):
    from S3NetSegmentLib.engine.batch import manifest

    monkeypatch.setattr(manifest, "_LONGEST_PATH", len(str(folder)) + 100)
    (problem,) = problems_of(folder, f"image,output\nin/a.png,{'x' * 60}\nin/b.png,b\n")
    assert "row 2" in problem and "too long a path" in problem


def test_apply_needs_a_model_and_takes_no_settings(folder):
    assert "model: it is missing" in problems_of(folder, "image,method\nin/a.png,apply\n")[0]
    (problem,) = problems_of(folder, "image,method,model,settings\nin/a.png,apply,in/b.png,steps=3\n")
    assert "settings: it is for method segment and few-shot" in problem


def test_dicom_seg_is_for_dicom_images_and_needs_its_package(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    (problem,) = problems_of(folder, "image,output\nin/a.png,a.dcm\n")
    assert "pip install highdicom" in problem
    monkeypatch.setitem(sys.modules, "highdicom", types.ModuleType("highdicom"))
    (problem,) = problems_of(folder, "image,output\nin/a.png,a.dcm\n")
    assert "no DICOM" in problem


def test_ten_thousand_rows_are_checked_in_seconds(folder):
    import time

    rows = "\n".join(f'in/a.png,"28,24",c{n % 100}/n{n}' for n in range(10_000))
    began = time.process_time()
    assert len(cases_of(folder, f"image,pixels,output\n{rows}\n")) == 10_000
    assert time.process_time() - began < 60  # usually 3; by the square of the rows it would be minutes


def test_a_series_is_for_dicom_images_and_may_be_a_number(folder):
    (problem,) = problems_of(folder, "image,series\nin/a.png,4\n")
    assert "series" in problem and "DICOM" in problem
    (folder / "study").mkdir()
    (folder / "m.json").write_text('[{"image": "study", "series": 4}]')
    (case,) = read_manifest(folder / "m.json", folder / "out")
    assert case.series == "4"


@pytest.mark.parametrize("told", ["sep=;", "SEP=;\r", '"sep=;"', "sep=;,,"])
def test_the_line_that_tells_spreadsheets_the_delimiter_is_no_header(folder, told):
    found = cases_of(folder, f"{told}\nimage;points\nin/a.png;-28,-24,0\n")
    assert [(c.image, c.task.points) for c in found] == [(str(folder / "in" / "a.png"), ((-28, -24, 0),))]
    wrong = problems_of(folder, f"{told}\nimage;points\nin/a.png\n")
    assert wrong[0].startswith("row 3: 1 cells, but 2 columns")


@pytest.mark.parametrize("delimiter", [",", "\t", "|"])
def test_the_line_that_tells_the_delimiter_decides(folder, delimiter):
    row = delimiter.join(["in/a.png", "work_size=64; sources=classical; steps=9"])
    (case,) = cases_of(folder, f"sep={delimiter}\nimage{delimiter}settings\n{row}\n")
    assert len(case.task.settings) == 3
