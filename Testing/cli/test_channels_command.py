"""Several channels, colour and neighbouring slices on the command line: trained, applied, in a batch, refused."""

import json
import os

import numpy as np
from cohort_files import drawn, phantom
from command_line import s3net_here
from model_files import write_model

from S3NetSegmentLib.engine.batch.manifest import read_manifest
from S3NetSegmentLib.engine.batch.one_case import run_case
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.volume import Volume
from S3NetSegmentLib.engine.images.writing import write_frames, write_image, write_png, write_segmentation
from S3NetSegmentLib.engine.training.model.model_file import load_model
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout

QUICK = (
    "--preset", "tiny", "--set", "slice_side=48", "--set", "batch=2", "--steps", "3", "--device", "cpu", "-q",
)  # fmt: skip


def succeeded(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def refused(*arguments):
    done = s3net_here(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    return done.stderr


def two_channels(folder, name, seed=0):
    volume, labels = phantom(seed)
    other = Volume(np.int16(500) - volume.array, volume.ijk_to_ras)
    for channel, image in enumerate((volume, other)):
        write_image(image, folder / f"{name}_{channel:04d}.nii.gz")
    return volume, labels


def test_a_cohort_of_two_channels_is_pretrained_fine_tuned_and_applied(tmp_path):
    cohort = tmp_path / "cohort"
    for number in range(3):
        volume, labels = two_channels(cohort / "images", f"case{number}", number)
        if number < 2:
            write_segmentation(drawn(volume, labels), cohort / "labels" / f"case{number}.seg.nrrd")
    seen = ("--set", "neighbours=1")
    succeeded("pretrain", cohort, "-o", tmp_path / "pre", *QUICK, *seen)
    two = ("--set", "unlabelled_batch=2")
    succeeded("finetune", cohort, "-o", tmp_path / "run", "--init", tmp_path / "pre" / "model.pt", *QUICK, *seen, *two)
    model = load_model(tmp_path / "run" / "model.pt")
    assert (model.layout.channels, model.layout.neighbours, model.network["in_channels"]) == (2, 1, 6)
    first = cohort / "images" / "case2_0000.nii.gz"
    succeeded("apply", tmp_path / "run", first, "-o", tmp_path / "o.nii.gz", "-q", "--device", "cpu")
    assert read_image(tmp_path / "o.nii.gz").size == read_image(first).size
    said = refused(
        "finetune",
        cohort,
        "-o",
        tmp_path / "r",
        "--init",
        tmp_path / "pre" / "model.pt",
        *QUICK,
        "--set",
        "neighbours=2",
    )
    assert "setting neighbours is 2, but the model to start from sees 1 at either side" in said
    said = refused("pretrain", cohort, "-o", tmp_path / "alp", "--method", "alpnet", "--preset", "tiny", "--steps", "3")
    assert "learns from one grey slice at a time" in said and "this one has 2" in said


def test_apply_finds_the_other_channels_beside_the_first_and_never_replaces_them(tmp_path):
    model = write_model(tmp_path / "model.pt", layout=SliceLayout("axial", 1.0, 48, channels=2))
    two_channels(tmp_path, "mr")
    first = tmp_path / "mr_0000.nii.gz"
    succeeded("apply", model, first, "-o", tmp_path / "two.nii.gz", "-q", "--device", "cpu")
    assert "mr_0001.nii.gz' is a channel of the image" in refused(
        "apply", model, first, "-o", tmp_path / "mr_0001.nii.gz"
    )
    write_image(phantom(5)[0], tmp_path / "mr_0001.nii.gz")  # another image: another answer
    succeeded("apply", model, first, "-o", tmp_path / "other.nii.gz", "-q", "--device", "cpu")
    assert not np.array_equal(read_image(tmp_path / "two.nii.gz").array, read_image(tmp_path / "other.nii.gz").array)
    os.remove(tmp_path / "mr_0001.nii.gz")
    assert "channel 0001 of case 'mr' is missing" in refused("apply", model, first, "-o", tmp_path / "x.nii.gz")
    write_image(phantom(0)[0], tmp_path / "plain.nii.gz")
    assert "give the first file, named CASE_0000" in refused(
        "apply", model, tmp_path / "plain.nii.gz", "-o", tmp_path / "x.nii.gz"
    )


def test_all_frames_of_all_channels(tmp_path):
    model = write_model(tmp_path / "model.pt", layout=SliceLayout("axial", 1.0, 48, channels=2))
    for channel in range(2):
        write_frames([phantom(seed + 5 * channel)[0] for seed in range(2)], tmp_path / f"mr_{channel:04d}.nii.gz")
    options = ("-o", tmp_path / "all.nii.gz", "--frame", "all", "--json", "--device", "cpu")
    done = succeeded("apply", model, tmp_path / "mr_0000.nii.gz", *options)
    assert len(json.loads(done.stdout)["frames"]) == 2 and read_image(tmp_path / "all.nii.gz", 1).array.any()


def test_a_batch_reads_the_channels_and_records_them(tmp_path):
    write_model(tmp_path / "model.pt", layout=SliceLayout("axial", 1.0, 48, channels=2))
    two_channels(tmp_path, "mr")
    (tmp_path / "m.csv").write_text("image,method,model\nmr_0000.nii.gz,apply,model.pt\n")
    (case,) = read_manifest(tmp_path / "m.csv", tmp_path / "out")
    record = run_case(case, tmp_path / "out", "cpu")
    assert record["status"] == "done", record["error"]
    assert set(record["inputs"]) == {"image", "model", "channel 1"}


def test_a_cohort_in_colour_gives_a_model_that_refuses_grey(tmp_path):
    cohort = tmp_path / "cohort"
    for number in range(2):
        volume, labels = phantom(number, size=(40, 36, 1))
        picture = np.clip(volume.array[0, ..., None] * np.array([0.8, 0.5, 0.3]), 0, 255).astype(np.uint8)
        write_png(picture, cohort / "images" / f"case{number}.png")
        write_segmentation(drawn(volume, labels), cohort / "labels" / f"case{number}.png")
    write_png(picture[..., 0], tmp_path / "grey.png")
    succeeded("finetune", cohort, "-o", tmp_path / "run", *QUICK)
    assert load_model(tmp_path / "run" / "model.pt").layout.colour
    image = cohort / "images" / "case0.png"
    done = succeeded("apply", tmp_path / "run" / "model.pt", image, "-o", tmp_path / "o.png", "-q", "--device", "cpu")
    assert "lightness" not in done.stderr
    said = refused("apply", tmp_path / "run" / "model.pt", tmp_path / "grey.png", "-o", tmp_path / "x.png")
    assert "was trained on images in colour, and image 'grey' is grey" in said
