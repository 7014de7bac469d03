"""``s3net segment --explain``: the candidates, what speaks for them, and the reason of the choice."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from S3NetSegmentLib.cli import main
from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.segment.explanation import explain
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.settings import SegmentSettings

QUICK = ["--set", "work_size=96", "--quiet", "--json"]


def ring_in_a_disk(depth=1):
    j, i = np.mgrid[:72, :80]
    radius = np.hypot(j - 34, i - 40)
    picture = 60.0 + 60 * (radius < 24) + 70 * (radius < 11)
    noise = np.random.default_rng(0).normal(0, 4, (depth, 72, 80))
    return Volume((picture + noise).astype(np.float32), np.eye(4), "rings")


@pytest.fixture
def rings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(ring_in_a_disk(), "rings.nii.gz")
    return tmp_path


def run(text, capsys):
    arguments = main.build_parser().parse_args(["segment", *text.split(), *QUICK])
    arguments.check(arguments)
    assert main.run(arguments) == 0
    return json.loads(capsys.readouterr().out)


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_step_of_the_ladder_and_names_the_answer(rings, capsys):
    summary = run("rings.nii.gz -o out.seg.nrrd --pixel 40,34 --explain why.png", capsys)
    rows = rows_of("why.csv")
    assert len(rows) == summary["object"]["steps"] and rows[0]["offered"] == "1"
    assert int(rows[0]["step"]) == summary["object"]["automatic_step"]
    offered = {int(row["offered"]): int(row["step"]) for row in rows if row["offered"]}
    assert [offered[n] for n in sorted(offered)] == summary["object"]["alternatives"]
    for row in rows:
        assert float(row["score"]) == pytest.approx(float(row["learned"]) + float(row["hand"]), abs=2e-4)
        assert row["sources"] and row["compactness"]
    worth = [float(row["worth"]) for row in rows]
    assert worth[0] == max(worth) and worth == sorted(worth, reverse=True)
    assert f"Step {rows[0]['step']} of {len(rows)}" in summary["explanation"][-1]
    assert set(summary["outputs"]) == {"output", "explain", "explain (table)"}


def test_the_pictures_show_the_candidates_side_by_side(rings, capsys):
    run("rings.nii.gz -o out.seg.nrrd --pixel 40,34 --explain why.png", capsys)
    sheet = np.asarray(Image.open("why.png").convert("RGB"))
    shown = min(len(rows_of("why.csv")), 24)
    assert sheet.shape[1] >= min(shown, 6) * 176 and np.ptp(sheet.reshape(-1, 3), axis=0).max() > 100


def test_a_step_that_was_asked_for_is_told_beside_the_one_that_would_have_been_chosen(rings, capsys):
    summary = run("rings.nii.gz -o out.seg.nrrd --pixel 40,34 --step 1 --explain why.png", capsys)
    asked = summary["object"]["step"]
    assert summary["explanation"][-1].endswith(f"Step {asked} was asked for.")


def test_without_an_object_there_is_nothing_to_explain(rings, capsys):
    with pytest.raises(InputError, match="no object to explain"):
        run("rings.nii.gz -o out.seg.nrrd --regions-only --explain why.png", capsys)


def test_the_pictures_never_replace_another_result(rings):
    for text in ("--explain out.png -o out.png", "--overlay why.png --explain why.png -o out.seg.nrrd"):
        with pytest.raises(SystemExit):
            run(f"rings.nii.gz --pixel 40,34 {text}", None)


def test_an_object_of_a_volume_is_explained_too():
    volume = ring_in_a_disk(depth=8)
    regions = run_to_end(find_regions(volume, settings=SegmentSettings(work_size=64)))
    choice = regions.object_at([(40, 34, 4)])
    explanation = explain(choice)
    assert len(explanation.candidates) == choice.steps
    first = explanation.candidates[0]
    assert first.step == choice.index + 1 and first.offered == 1
    shown = [c.score - c.learned - c.hand for c in explanation.candidates]  # by the slices through the point
    assert min(shown) >= 0 and shown[0] > 6 and max(shown) < 18
    assert "highest expected Dice" in explanation.reason and "click_offset" in first.features
