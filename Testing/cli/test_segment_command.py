"""``s3net segment`` from the file to the files, as a process."""

import gzip
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import PATIENCE, SCRIPT, environment, let_compute, s3net, start
from paths import SAMPLE_DATA

from S3NetSegmentLib import __version__
from S3NetSegmentLib.engine import Volume
from S3NetSegmentLib.engine.images.reading import read_image
from S3NetSegmentLib.engine.images.writing import write_image, write_png

CT = SAMPLE_DATA / "ct_abdomen.nii.gz"


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def read(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def nrrd_header(path):
    head = path.read_bytes().split(b"\n\n", 1)[0].decode()
    return dict(line.split(":=", 1) for line in head.splitlines() if ":=" in line)


@pytest.fixture
def disk(tmp_path):
    """A grey picture with a bright disk around pixel (60, 36), and the disk's mask [H, W]."""
    y, x = np.mgrid[:72, :100]
    mask = (y - 36) ** 2 + (x - 60) ** 2 < 18**2
    grey = np.where(mask, 180, 70) + np.random.default_rng(0).normal(0, 6, mask.shape)
    write_png(grey.astype(np.uint8), tmp_path / "disk.png")
    return mask


@pytest.fixture
def ball(tmp_path):
    """A volume with thick slices, turned in space, with a bright ball; its mask [K, J, I]."""
    k, j, i = np.mgrid[:10, :40, :48]
    mask = ((k - 5) * 3.0) ** 2 + (j - 20) ** 2 + (i - 26) ** 2 < 11**2
    array = np.where(mask, 300, 80) + np.random.default_rng(1).normal(0, 15, mask.shape)
    turn = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1.0]])  # the first voxel axis runs to posterior
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag((1, 1, 3))
    matrix[:3, 3] = (40, 25, -70)
    write_image(Volume(array.astype(np.int16), matrix, "ball"), tmp_path / "ball.nii.gz")
    return mask


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done


def test_a_pixel_gives_the_object_there_as_a_label_map(tmp_path, disk):
    done = succeeded(s3net("segment", "disk.png", "-o", "out.png", "--pixel", "60,36", folder=tmp_path))
    labels = read(tmp_path / "out.png")
    assert labels.shape == disk.shape and set(np.unique(labels)) == {0, 1}
    assert dice(labels == 1, disk) > 0.95
    assert "Object" in done.stdout and f"{(labels == 1).sum():,} pixels" in done.stdout and " ml" not in done.stdout
    assert "wrote out.png (label values, nearly black in a viewer" in done.stdout


def test_where_a_picture_is_drawn_too_nothing_is_said_of_black_label_maps(tmp_path, disk):
    arguments = ["disk.png", "-o", "out.png", "--pixel", "60,36", "--overlay", "picture.png"]
    done = succeeded(s3net("segment", *arguments, folder=tmp_path))
    assert "black" not in done.stdout + done.stderr and "wrote out.png\n" in done.stdout


def test_json_tells_what_was_done_and_agrees_with_the_files(tmp_path, disk):
    arguments = ["disk.png", "-o", "out.nrrd", "--pixel", "60,36", "--not-pixel", "5,5", "--seed", "3", "--json"]
    done = succeeded(s3net("segment", *arguments, folder=tmp_path))
    summary = json.loads(done.stdout)
    assert summary["version"] == __version__ and summary["command"] == "segment"
    assert summary["image"]["size"] == [100, 72, 1]
    assert summary["points"] == {"inside": [[60, 36, 0]], "outside": [[5, 5, 0]], "radius_mm": None}
    assert summary["outputs"] == {"output": str(tmp_path / "out.nrrd")}
    (segment,) = summary["segments"]
    assert segment["name"] == "Object" and segment["voxels"] == (read(tmp_path / "out.nrrd") == 1).sum()
    assert segment["volume_ml"] is None and segment["area_mm2"] is None  # a photograph tells no size of its pixels
    assert segment["color"].startswith("#") and len(segment["color"]) == 7
    place = summary["object"]
    assert 1 <= place["step"] <= place["steps"] and place["step"] == place["automatic_step"] == place["alternatives"][0]
    assert summary["seed"] == 3 and summary["settings"] == {"seed": 3} and summary["device"] == "cpu"
    assert summary["seconds"]["total"] >= summary["seconds"]["searching"] > 0


def test_without_points_the_regions_and_the_main_object_are_overlapping_segments(tmp_path, disk):
    succeeded(s3net("segment", "disk.png", "-o", "out.seg.nrrd", "--regions", "3", folder=tmp_path))
    header = nrrd_header(tmp_path / "out.seg.nrrd")
    names = [header[f"Segment{n}_Name"] for n in range(4)]
    assert names == ["Region 1", "Region 2", "Region 3", "Object"]
    assert [header[f"Segment{n}_Layer"] for n in range(4)] == ["0", "0", "0", "1"]
    assert len({header[f"Segment{n}_Color"] for n in range(4)}) == 4
    found = read(tmp_path / "out.seg.nrrd").reshape(*disk.shape, 2)  # two components a voxel: the layers
    assert set(np.unique(found[..., 0])) == {1, 2, 3}
    assert dice(found[..., 1] > 0, disk) > 0.95


def test_the_segments_carry_how_they_were_made(tmp_path, disk):
    arguments = ["disk.png", "-o", "out.seg.nrrd", "--pixel", "60,36", "--set", "work_size=128", "--seed", "5"]
    succeeded(s3net("segment", *arguments, folder=tmp_path))
    tags = nrrd_header(tmp_path / "out.seg.nrrd")["Segment0_Tags"]
    facts = dict(text.split(":", 1) for text in tags.split("|") if ":" in text)
    assert facts["S3NetSegment.Version"] == __version__
    assert facts["S3NetSegment.Settings"] == "work_size=128" and facts["S3NetSegment.Seed"] == "5"
    assert facts["S3NetSegment.Points"] == "-60,-36,0"  # a picture lies with its axes to the left and to posterior
    assert facts["S3NetSegment.Image"] == "disk" and facts["S3NetSegment.Device"] == "cpu"
    assert facts["S3NetSegment.Method"]


def test_a_label_map_holds_the_object_painted_over_the_regions_and_says_so(tmp_path, disk):
    done = succeeded(s3net("segment", "disk.png", "-o", "out.nrrd", "--regions", "2", folder=tmp_path))
    assert "s3net: note: a label map cannot hold overlapping segments" in done.stderr
    assert "painted over the regions as value 3" in done.stderr and "painted" not in done.stdout
    assert (
        dice(
            read(tmp_path / "out.nrrd")[0] == 3
            if read(tmp_path / "out.nrrd").ndim == 3
            else read(tmp_path / "out.nrrd") == 3,
            disk,
        )
        > 0.95
    )
    done = succeeded(
        s3net("segment", "disk.png", "-o", "only.nrrd", "--regions", "2", "--regions-only", folder=tmp_path)
    )
    assert "painted" not in done.stderr and set(np.unique(read(tmp_path / "only.nrrd"))) == {1, 2}


def test_a_number_of_regions_that_is_not_among_the_prepared_ones_works_too(tmp_path, disk):
    arguments = ["disk.png", "-o", "out.nrrd", "--regions", "7", "--regions-only", "--json"]
    summary = json.loads(succeeded(s3net("segment", *arguments, folder=tmp_path)).stdout)
    assert [segment["name"] for segment in summary["segments"]] == [f"Region {n}" for n in range(1, 8)]


def test_a_point_in_a_turned_volume_gives_the_object_on_the_images_own_grid(tmp_path, ball):
    volume = read_image(tmp_path / "ball.nii.gz")
    point = ",".join(f"{v:g}" for v in volume.ras_of((26, 20, 5)))
    assert point.startswith("20,-1,")  # (40 - 20, 25 - 26)
    succeeded(s3net("segment", "ball.nii.gz", "-o", "out.nii.gz", "--point", point, folder=tmp_path))
    found = read_image(tmp_path / "out.nii.gz")
    assert dice(found.array == 1, ball) > 0.9
    assert np.allclose(found.ijk_to_ras, volume.ijk_to_ras, atol=1e-4)


def test_chosen_slices_are_filled_and_the_others_stay_empty(tmp_path, ball):
    arguments = ["ball.nii.gz", "-o", "out.nii.gz", "--slices", "4:6", "--regions-only", "--confidence", "sure.nii.gz"]
    succeeded(s3net("segment", *arguments, folder=tmp_path))
    labels, sure = read(tmp_path / "out.nii.gz"), read(tmp_path / "sure.nii.gz")
    assert (labels[4:7] > 0).all() and not labels[:4].any() and not labels[7:].any()
    assert labels.shape == sure.shape == ball.shape
    assert 0 <= sure.min() and sure.max() <= 1 and sure[4:7].max() > 0.5 and not sure[7:].any()


def test_one_slice_and_a_pixel_in_it(tmp_path, ball):
    arguments = ["ball.nii.gz", "-o", "out.nii.gz", "--slice", "5", "--pixel", "26,20"]
    succeeded(s3net("segment", *arguments, folder=tmp_path))
    labels = read(tmp_path / "out.nii.gz")
    assert dice(labels[5] == 1, ball[5]) > 0.9 and not np.delete(labels, 5, axis=0).any()


def test_the_same_command_twice_writes_the_same_bytes(tmp_path, ball):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files = ["-o", f"{name}/out.seg.nrrd", "--overlay", f"{name}/o.png", "--confidence", f"{name}/c.nrrd"]
        succeeded(s3net("segment", "ball.nii.gz", *files, "--pixel", "26,20,5", folder=tmp_path))
    for file in ("out.seg.nrrd", "o.png", "c.nrrd"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_an_overlay_has_the_proportions_of_the_patient_and_shows_the_object(tmp_path, ball):
    arguments = [
        "ball.nii.gz",
        "-o",
        "out.nrrd",
        "--overlay",
        "o.png",
        "--pixel",
        "26,20,5",
        "--slice",
        "26",
        "--axis",
        "x",
    ]
    succeeded(s3net("segment", *arguments, folder=tmp_path))
    picture = read(tmp_path / "o.png")
    height, width = picture.shape[:2]
    assert max(height, width) == 768
    assert width / height == pytest.approx(40 / 30, rel=0.02)  # 40 voxels of 1 mm by 10 of 3 mm
    assert np.ptp(picture.astype(int), axis=2).max() > 50  # coloured


def test_steps_and_alternatives_choose_other_candidates(tmp_path):
    sizes = {}
    for name, choice in {"0": [], "+": ["--step", "1"], "-": ["--step", "-1"], "2": ["--alternative", "2"]}.items():
        quick = ["--set", "work_size=96"]
        arguments = [SAMPLE_DATA / "brain_slice.png", "-o", "out.png", "--pixel", "205,100", *choice, *quick, "--json"]
        summary = json.loads(succeeded(s3net("segment", *arguments, folder=tmp_path)).stdout)
        sizes[name] = summary["segments"][0]["voxels"]
        place = summary["object"]
        expected = {"0": 0, "+": 1, "-": -1}.get(name)
        if expected is None:
            assert place["step"] == place["alternatives"][1]
        else:
            step = min(max(place["automatic_step"] + expected, 1), place["steps"])
            assert place["step"] == step
    assert sizes["-"] <= sizes["0"] <= sizes["+"] and sizes["2"] != sizes["0"]


def test_quiet_says_nothing_but_what_the_user_must_know_and_quiet_json_only_json(tmp_path, disk):
    done = succeeded(s3net("segment", "disk.png", "-o", "a.nrrd", "--quiet", folder=tmp_path))
    assert done.stdout == "" and done.stderr.startswith("s3net: note: a label map cannot hold overlapping")
    assert done.stderr.count("\n") == 1
    done = succeeded(s3net("segment", "disk.png", "-o", "a.png", "--pixel", "60,36", "--quiet", folder=tmp_path))
    assert done.stdout == done.stderr == ""
    done = succeeded(s3net("segment", "disk.png", "-o", "a.png", "--pixel", "60,36", "-q", "--json", folder=tmp_path))
    assert done.stderr == "" and json.loads(done.stdout)


def test_a_log_gets_few_plain_lines(tmp_path, disk):
    done = succeeded(s3net("segment", "disk.png", "-o", "a.png", "--pixel", "60,36", folder=tmp_path))
    lines = done.stderr.splitlines()
    assert 1 <= len(lines) < 12 and all(line.startswith("s3net: ") and "%" in line for line in lines)


def test_a_colour_picture_is_segmented_by_itself(tmp_path):
    image, drawn = SAMPLE_DATA / "skin_lesion_1.jpg", read(SAMPLE_DATA / "skin_lesion_1_mask.png") > 0
    arguments = [image, "-o", "out.seg.nrrd", "--overlay", "o.png", "--json"]
    summary = json.loads(succeeded(s3net("segment", *arguments, folder=tmp_path)).stdout)
    assert [segment["name"] for segment in summary["segments"]][-1] == "Object"
    layers = read(tmp_path / "out.seg.nrrd").reshape(*drawn.shape, 2)
    assert dice(layers[..., 1] > 0, drawn) > 0.7  # an easy picture; how good it is on many: the benchmarks
    assert read(tmp_path / "o.png").shape[:2] == (576, 768)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((1, 30, 40), 7, np.int16), "constant"),
        (np.full((1, 30, 40), np.nan, np.float32), "finite"),
        (np.zeros((1, 1, 1), np.int16), ""),
    ],
    ids=["constant", "nothing finite", "one pixel"],
)
def test_an_image_with_nothing_in_it_is_refused_with_code_2(tmp_path, array, told):
    write_image(Volume(array, np.eye(4), "flat"), tmp_path / "flat.nrrd")
    done = s3net("segment", "flat.nrrd", "-o", "out.nrrd", folder=tmp_path)
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 1 and told in errors[0] and "Traceback" not in done.stderr
    assert not (tmp_path / "out.nrrd").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, disk):
    (tmp_path / "file").write_text("x")
    done = s3net("segment", "disk.png", "-o", "file/out.png", folder=tmp_path)
    assert done.returncode == 2 and "'file/out.png'" in done.stderr and "%" not in done.stderr


def test_missing_folders_of_the_output_are_made(tmp_path, disk):
    succeeded(s3net("segment", "disk.png", "-o", "new/deep/out.png", "--pixel", "60,36", folder=tmp_path))
    assert (tmp_path / "new" / "deep" / "out.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="file size limits are a Unix thing")
def test_a_full_disk_fails_with_code_1_and_keeps_the_older_file(tmp_path, disk):
    (tmp_path / "out.seg.nrrd").write_text("older result")
    # A limit on file size acts like a full disk.
    limited = f"ulimit -f 0; exec {sys.executable} {SCRIPT} segment disk.png -o out.seg.nrrd --pixel 60,36"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=tmp_path, env=environment(PYTHONDONTWRITEBYTECODE="1"), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "s3net: error:" in done.stderr and "'out.seg.nrrd'" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "out.seg.nrrd").read_text() == "older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.png", "out.seg.nrrd"]


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind on Windows")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_leaves_no_file(tmp_path, number):
    slow = ["--preset", "paper", "--set", "sources=all"]
    arguments = ["segment", SAMPLE_DATA / "skin_lesion_1.jpg", "-o", "out.seg.nrrd", "--overlay", "o.png", *slow]
    with start(*arguments, folder=tmp_path) as process:
        first = process.stderr.readline()
        assert "%" in first, first
        let_compute(process, 1.0)  # into the work
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert "stopped" in err and "Traceback" not in err and not out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind on Windows")
def test_ctrl_c_at_the_very_start_stops_cleanly_too(tmp_path):
    for delay in (0.1, 0.4, 0.8):  # while interpreter, packages and image are being loaded
        with start("segment", CT, "-o", "out.seg.nrrd", folder=tmp_path, new_interpreter=True) as process:
            let_compute(process, delay)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode in (130, -signal.SIGINT), err  # before our first line Python itself answers
        assert list(tmp_path.iterdir()) == [] and not out


def test_an_image_in_a_folder_with_spaces_and_letters_of_other_alphabets(tmp_path, disk):
    folder = tmp_path / "Bilder für 患者"
    folder.mkdir()
    (tmp_path / "disk.png").rename(folder / "Haut läsion.png")
    done = succeeded(
        s3net("segment", folder / "Haut läsion.png", "-o", folder / "ergebnis ü.seg.nrrd", "--pixel", "60,36")
    )
    assert (folder / "ergebnis ü.seg.nrrd").exists() and "Object" in done.stdout


def test_a_terminal_that_cannot_show_the_name_of_the_image_is_no_reason_to_fail(tmp_path, disk):
    (tmp_path / "disk.png").rename(tmp_path / "患者.png")
    arguments = ["患者.png", "-o", "out.png", "--pixel", "60,36"]
    done = succeeded(s3net("segment", *arguments, folder=tmp_path, PYTHONIOENCODING="ascii"))
    assert "??.png" in done.stdout and (tmp_path / "out.png").exists()


def test_debug_shows_where_an_error_arose_and_otherwise_it_is_one_line(tmp_path, disk):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(gzip.compress(b"\0" * 400))
    done = s3net("segment", broken, "-o", "out.nrrd", "--debug", folder=tmp_path)
    assert done.returncode == 2 and "Traceback" in done.stderr
    done = s3net("segment", broken, "-o", "out.nrrd", folder=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
