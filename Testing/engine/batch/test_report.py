"""The report: what is on top, what is told once instead of in each line, and that large cohorts stay readable."""

import dataclasses
import re
import sys

import pytest

from S3NetSegmentLib.engine.batch import report
from S3NetSegmentLib.engine.batch.case import Case
from S3NetSegmentLib.engine.batch.one_case import new_record
from S3NetSegmentLib.engine.batch.report import ReportRow, one_line, write_report
from S3NetSegmentLib.engine.batch.resume import Plan
from S3NetSegmentLib.engine.batch.run import run_plan
from S3NetSegmentLib.engine.common.errors import MissingPackageError

PICTURE = "data:image/png;base64,AAAA"


def case(name, folder="/data/cohort"):
    return Case(row="row 1", image=f"{folder}/{name}.nii.gz", output=f"{name}.seg.nrrd")


def record(name, segments=1, **changes):
    found = segments
    if isinstance(segments, int):
        found = [{"name": f"part {n}", "voxels": 10, "volume_ml": 1.5} for n in range(segments)]
    outputs = {"overlay": {"name": f"{name}_overlay.png"}}
    facts = {"status": "done", "segments": found, "thumbnail": PICTURE, "outputs": outputs, "seconds": {"total": 2.0}}
    return {**new_record(case(name)), **facts, "memory_mb": 300, "confidence": 0.95, **changes}


def page_of(folder, records, cases=None):
    cases = cases or [case(name) for name in records]
    write_report(folder, cases, records)
    return (folder / "report.html").read_text(encoding="utf-8")


def lines(page):
    return re.findall("<tr class=.*?</tr>", page, re.DOTALL)


def test_what_failed_is_on_top_then_what_is_unsure_and_what_waits_is_last(tmp_path):
    records = {
        "good": record("good"), "unsure": record("unsure", confidence=0.4), "bad": record("bad", status="failed", error="cut off"),
    }  # fmt: skip
    page = page_of(tmp_path, records, [case(name) for name in ("good", "waiting", "unsure", "bad")])
    order = [line.split('data-sort="')[2].split('"')[0] for line in lines(page)]
    assert order == ["bad", "unsure", "good", "waiting"]
    assert "<h1>Batch: 2 done, 1 failed, 1 waiting</h1>" in page
    assert "2 to look at. All cases together took 6 s, at most 300 MB of memory. Images in /data/cohort" in page


def test_the_folder_of_the_images_is_told_once(tmp_path):
    page = page_of(tmp_path, {}, [case("a", "/data/cohort/x"), case("b", "/data/cohort/y")])
    assert page.count("/data/cohort") == 1
    assert all(any(f"<small>{place}</small>" in line for line in lines(page)) for place in ("x/a.nii.gz", "y/b.nii.gz"))
    alone = page_of(tmp_path, {}, [case("a")])
    assert "/data/cohort/a.nii.gz" in alone


def test_many_segments_are_folded(tmp_path):
    few, many = lines(page_of(tmp_path, {"few": record("few", 6), "many": record("many", 7)}))
    if 'data-sort="many"' in few:
        few, many = many, few
    assert "<details>" not in few and "<summary>7 segments</summary>" in many


def test_a_page_of_very_many_cases_holds_the_pictures_of_those_to_look_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_MOST_PICTURES", 2)
    records = {f"c{n}": record(f"c{n}", confidence=0.9 - n / 10) for n in range(4)}
    found = lines(page_of(tmp_path, records))
    assert [PICTURE in line for line in found] == [True, True, False, False]
    assert all(f'href="./c{n}_overlay.png"' in line for n, line in zip((3, 2, 1, 0), found, strict=True))


@pytest.mark.parametrize("needed", ["prefers-color-scheme: dark", "@media print"])
def test_the_page_is_made_for_the_night_and_for_paper(tmp_path, needed):
    assert needed in page_of(tmp_path, {"a": record("a")})


def test_sizes_are_told_in_the_unit_of_the_image(tmp_path):
    sizes = {
        "ct": {"voxels": 12_000, "volume_ml": 12.0, "area_mm2": None},
        "slice": {"voxels": 1200, "volume_ml": None, "area_mm2": 300.0},
        "photograph": {"voxels": 3224, "volume_ml": None, "area_mm2": None},
    }
    records = {name: record(name, segments=[{"name": "Object", **size}]) for name, size in sizes.items()}
    rows = {row.name: row for row in write_report(tmp_path, [case(name) for name in records], records)}
    assert [one_line(r).split(", conf")[0] for r in records.values()] == [
        "12.00 ml",
        "1,200 pixels (300 mm²)",
        "3,224 pixels",
    ]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name, text in (("ct", "12.00 ml"), ("slice", "1,200 pixels (300 mm²)"), ("photograph", "3,224 pixels")):
        assert f">{text}</td>" in page and rows[name].segments == f"Object {text}"
    assert "Volume, ml" not in page and rows["photograph"].volume_ml is None and rows["ct"].volume_ml == 12


def test_an_unusual_size_of_a_picture_is_found_among_pictures_only(tmp_path):
    found = {f"p{n}": 1000 + 10 * n for n in range(6)} | {"large": 9000}
    records = {
        name: record(name, segments=[{"name": "Object", "voxels": count, "volume_ml": None, "area_mm2": None}])
        for name, count in found.items()
    }
    volume = {"name": "Object", "voxels": 10, "volume_ml": 500.0, "area_mm2": None}
    records["volume"] = record("volume", segments=[volume])
    rows = {row.name: row.why for row in write_report(tmp_path, [case(name) for name in records], records)}
    assert rows["large"] == "Object: 8.74 times the usual number of pixels"
    assert not any(why for name, why in rows.items() if name != "large")


@pytest.fixture
def without_jinja2(monkeypatch):
    report.template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    yield
    report.template.cache_clear()


def test_without_jinja2_nothing_is_begun_and_the_way_out_is_told(tmp_path, without_jinja2):
    with pytest.raises(MissingPackageError, match="needs jinja2; install it with 'pip install jinja2'") as error:
        run_plan(Plan([case("a")], [case("a")]), tmp_path, workers=None)
    assert error.value.package == "jinja2" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", ["name", "error", "notes", "segments", "image", "why"])
def test_nothing_that_a_row_says_becomes_part_of_the_page(field):
    row = dataclasses.replace(ReportRow(0.0, "", "a", "failed", "segment", "/a.png"), **{field: "<b>\"'&"})
    (line,) = lines(report.page([row], {"failed": 1}))
    assert "<b>" not in line and "&lt;b&gt;" in line
