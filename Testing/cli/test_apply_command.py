"""``s3net apply`` with several models, mirrored slices and all frames."""

import json

import numpy as np
from cohort_files import phantom, write_cohort
from command_line import s3net_here
from model_files import CLASSES, write_model

from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.batch.resume import make_plan
from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.volume import Volume
from S3NetSegmentLib.engine.images.writing import write_frames, write_image
from S3NetSegmentLib.engine.results import frame_notes
from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass


def refused(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    return done.stderr


def succeeded(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def three_models(folder):
    return [write_model(folder / "cv" / f"fold_{n}" / "model.pt", seed=n) for n in (1, 2, 3)]


def test_several_models_are_averaged_and_the_result_says_which(tmp_path):
    models = three_models(tmp_path)
    image = tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    done = succeeded("apply", *models, image, "-o", tmp_path / "a.seg.nrrd", "--json", "--device", "cpu")
    assert [m["file"] for m in json.loads(done.stdout)["model"]["models"]] == [f"fold_{n}/model.pt" for n in (1, 2, 3)]
    succeeded("apply", tmp_path / "cv", image, "-o", tmp_path / "b.seg.nrrd", "-q", "--device", "cpu")
    succeeded("apply", models[0], image, "-o", tmp_path / "c.seg.nrrd", "-q", "--device", "cpu")
    found = {name: read_segmentation(tmp_path / f"{name}.seg.nrrd") for name in "abc"}
    assert np.array_equal(found["a"].layers[0], found["b"].layers[0])
    assert not np.array_equal(found["a"].layers[0], found["c"].layers[0])
    tags = found["a"].segments[0].tags
    assert tags["S3NetSegment.Model"] == "fold_1/model.pt, fold_2/model.pt, fold_3/model.pt"
    assert tags["S3NetSegment.ModelSha256"].count(",") == 2 and "S3NetSegment.Flips" not in tags


def test_a_label_map_has_the_values_that_the_model_was_trained_with(tmp_path):
    classes = (LabelClass("Segment 7", 7, (1.0, 0.5, 0.0)), LabelClass("Segment 300", 300, (0.0, 0.2, 1.0)))
    model, image = write_model(tmp_path / "model.pt", classes=classes), tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    write_frames([phantom(0)[0], phantom(1)[0]], tmp_path / "cine.nii.gz")
    for name in ("a.seg.nrrd", "a.nii.gz"):
        succeeded("apply", model, image, "-o", tmp_path / name, "-q", "--device", "cpu")
    succeeded(
        "apply", model, tmp_path / "cine.nii.gz", "-o", tmp_path / "b.nii.gz", "--frame", "all", "-q", "--device", "cpu"
    )
    named = read_segmentation(tmp_path / "a.seg.nrrd")
    for segment in named.segments:
        assert named.mask(segment).any() and segment.name == f"Segment {segment.value}"
        for labels in (read_image(tmp_path / "a.nii.gz"), read_image(tmp_path / "b.nii.gz", 0)):
            assert np.array_equal(labels.array == segment.value, named.mask(segment))


def test_flips_change_the_answer_of_a_network_that_is_not_symmetric_and_are_recorded(tmp_path):
    model, image = write_model(tmp_path / "model.pt"), tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    for name, options in (("plain", ()), ("flipped", ("--flips",))):
        succeeded("apply", model, image, "-o", tmp_path / f"{name}.seg.nrrd", *options, "-q", "--device", "cpu")
    plain, flipped = (read_segmentation(tmp_path / f"{name}.seg.nrrd") for name in ("plain", "flipped"))
    assert not np.array_equal(plain.layers[0], flipped.layers[0])
    assert flipped.segments[0].tags["S3NetSegment.Flips"] == "yes"


def test_models_that_do_not_go_together_are_refused_in_one_sentence(tmp_path):
    image = tmp_path / "mr.nii.gz"
    write_image(phantom(0)[0], image)
    first = write_model(tmp_path / "first.pt")
    other = write_model(tmp_path / "other.pt", classes=(*CLASSES, LabelClass("Rim", 3, (0, 1.0, 0))))
    said = refused("apply", first, other, image, "-o", tmp_path / "x.nii.gz")
    assert "first.pt and other.pt find other classes (Ring, Core; Ring, Core, Rim)" in said
    assert "is named twice" in refused("apply", first, first, image, "-o", tmp_path / "x.nii.gz")
    assert "holds no model.pt" in refused("apply", tmp_path, image, "-o", tmp_path / "x.nii.gz")
    assert "IMAGE" in refused("apply", first, "-o", tmp_path / "x.nii.gz")
    assert not (tmp_path / "x.nii.gz").exists()


def test_a_batch_takes_several_models_and_flips_and_sees_when_one_of_them_changes(tmp_path):
    models = three_models(tmp_path)
    write_image(phantom(0)[0], tmp_path / "mr.nii.gz")
    rows = "mr.nii.gz,apply,cv,,folder", f"mr.nii.gz,apply,{';'.join(str(m) for m in models)},true,files"
    (tmp_path / "m.csv").write_text("\n".join(("image,method,model,flips,output", *rows)) + "\n")
    cases = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    assert [case.task.flips for case in cases] == [False, True]
    records = [run_case(case, tmp_path / "out", "cpu") for case in cases]
    assert [r["status"] for r in records] == ["done", "done"], [r["error"] for r in records]
    assert records[1]["settings"] == ["flips=True"] and set(records[0]["inputs"]) == {
        "image",
        "model 1",
        "model 2",
        "model 3",
    }
    made = [read_segmentation(tmp_path / "out" / f"{name}.seg.nrrd").layers[0] for name in ("folder", "files")]
    assert not np.array_equal(*made)
    assert not make_plan(cases, tmp_path / "out", resume=True).todo
    write_model(models[2], seed=9)
    assert len(make_plan(cases, tmp_path / "out", resume=True).todo) == 2


def test_several_models_are_evaluated_together(tmp_path):
    models = three_models(tmp_path)
    cohort = write_cohort(tmp_path / "cohort", 1)
    options = ("--split", "all", "--json", "--device", "cpu")
    done = succeeded("evaluate", *models, cohort, "-o", tmp_path / "report", *options)
    assert json.loads(done.stdout)["model"] == [str(m) for m in models]
    assert "Mean of 3 models" in (tmp_path / "report" / "report.md").read_text()


def cine(folder, count=3):
    """A 4D image, and its frames."""
    frames = [phantom(seed)[0] for seed in range(count)]
    write_frames(frames, folder / "cine.nii.gz")
    return folder / "cine.nii.gz", frames


def test_all_frames_give_a_4d_label_map_like_that_of_each_frame(tmp_path):
    model, (image, frames) = write_model(tmp_path / "model.pt"), cine(tmp_path)
    options = ("--confidence", tmp_path / "sure.nrrd", "--overlay", tmp_path / "o.png", "--device", "cpu")
    done = succeeded("apply", model, image, "-o", tmp_path / "all.nii.gz", "--frame", "all", *options, "--json")
    facts = json.loads(done.stdout)
    assert facts["image"]["frames"] == 3 and [f["frame"] for f in facts["frames"]] == [0, 1, 2]
    for number, frame in enumerate(frames):
        succeeded("apply", model, image, "-o", tmp_path / "one.nii.gz", "--frame", number, "-q", "--device", "cpu")
        one = read_image(tmp_path / "one.nii.gz")
        of_all = read_image(tmp_path / "all.nii.gz", number)
        assert np.array_equal(of_all.array, one.array) and np.allclose(of_all.ijk_to_ras, frame.ijk_to_ras)
        sizes = [s["voxels"] for s in facts["frames"][number]["segments"]]
        assert sizes == [int((one.array == value).sum()) for value in (1, 2)]
        assert 0.3 < read_image(tmp_path / "sure.nrrd", number).array.max() <= 1
    assert [name.rsplit("/")[-1] for name in facts["outputs"]["overlay"]] == [
        "o_frame0.png",
        "o_frame1.png",
        "o_frame2.png",
    ]
    assert read_image(tmp_path / "o_frame2.png").is_rgb and not (tmp_path / "o.png").exists()


def test_what_is_said_of_some_frames_only_comes_with_their_number():
    assert frame_notes([["all", "two"], ["all"], ["two", "all"]]) == ["all", "2 of 3 frames: two"]


def test_a_format_without_frames_gets_one_file_for_each(tmp_path):
    model, (image, _) = write_model(tmp_path / "model.pt"), cine(tmp_path, 11)
    done = succeeded("apply", model, image, "-o", tmp_path / "heart.seg.nrrd", "--frame", "all", "--device", "cpu")
    assert "heart_frame00.seg.nrrd to heart_frame10.seg.nrrd" in done.stdout and "frame 10: Ring" in done.stdout
    assert len(list(tmp_path.glob("heart_frame*.seg.nrrd"))) == 11 and not (tmp_path / "heart.seg.nrrd").exists()
    assert [s.name for s in read_segmentation(tmp_path / "heart_frame07.seg.nrrd").segments] == ["Ring", "Core"]


def test_the_file_of_a_frame_never_replaces_the_image(tmp_path):
    model = write_model(tmp_path / "model.pt")
    write_frames([phantom(seed)[0] for seed in range(2)], tmp_path / "cine.nrrd")
    image = (tmp_path / "cine.nrrd").rename(tmp_path / "heart_frame1.seg.nrrd")
    before = image.read_bytes()
    said = refused("apply", model, image, "-o", tmp_path / "heart.seg.nrrd", "--frame", "all", "--device", "cpu")
    assert "of frame 1 is" in said and image.read_bytes() == before and not list(tmp_path.glob("heart_frame0*"))


def test_all_frames_of_an_image_with_one_are_that_image(tmp_path):
    model = write_model(tmp_path / "model.pt")
    write_image(phantom(0)[0], tmp_path / "mr.nii.gz")
    succeeded(
        "apply", model, tmp_path / "mr.nii.gz", "-o", tmp_path / "a.seg.nrrd", "--frame", "all", "-q", "--device", "cpu"
    )
    assert [s.name for s in read_segmentation(tmp_path / "a.seg.nrrd").segments] == ["Ring", "Core"]
    assert "write a frame, counted from 0, or all" in refused(
        "apply", model, tmp_path / "mr.nii.gz", "-o", tmp_path / "b.nrrd", "--frame", "each"
    )


def test_segment_takes_all_frames_with_the_same_point(tmp_path):
    array = np.zeros((3, 4, 40, 44), np.int16)
    k, j, i = np.mgrid[:4, :40, :44]
    for number, radius in enumerate((6, 9, 12)):
        array[number] = (
            100 + 200 * (np.hypot(i - 22, j - 20) < radius) + np.random.default_rng(number).normal(0, 5, k.shape)
        )
    write_frames([Volume(a, np.eye(4)) for a in array], tmp_path / "cine.nrrd")
    options = ("--pixel", "22,20,2", "--frame", "all", "--device", "cpu", "--json")
    done = succeeded("segment", tmp_path / "cine.nrrd", "-o", tmp_path / "heart.nii", *options)
    sizes = [frame["segments"][0]["voxels"] for frame in json.loads(done.stdout)["frames"]]
    wanted = [int((array[n] > 200).sum()) for n in range(3)]
    assert np.allclose(sizes, wanted, rtol=0.2)
    assert [int((read_image(tmp_path / "heart.nii", n).array == 1).sum()) for n in range(3)] == sizes
    said = refused(
        "segment", tmp_path / "cine.nrrd", "-o", tmp_path / "x.nii", "--frame", "all", "--explain", tmp_path / "e.png"
    )
    assert "--explain is for one frame" in said
