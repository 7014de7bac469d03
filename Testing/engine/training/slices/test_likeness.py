"""What a model's training images looked like: kept in its file, and told where another image is unlike them."""

import dataclasses

import numpy as np
import pytest
import torch
from cohort_files import phantom, write_cohort
from intensity_phantoms import ct, padded
from model_files import write_model

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.images.writing import write_image
from S3NetSegmentLib.engine.training.cohort.folder import read_cohort
from S3NetSegmentLib.engine.training.model.model_file import load_model, save_model
from S3NetSegmentLib.engine.training.slices.bank import build_bank
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.slices.likeness import TrainingLook, look_of

LAYOUT = SliceLayout("axial", 1.0, 48)


def look(volume):
    return look_of(LAYOUT.of(volume))


def looks_of(*volumes):
    return TrainingLook.of([look(v) for v in volumes])


def changed(volume, array=None, spacing=None, modality=""):
    matrix = volume.ijk_to_ras if spacing is None else np.diag((*spacing, 1.0))
    return Volume(volume.array if array is None else array, matrix, volume.name, modality)


@pytest.fixture(scope="module")
def known():
    return looks_of(*(phantom(seed)[0] for seed in range(4)))


def test_the_look_of_an_image_is_measured_in_millimetres_in_its_slices():
    found = look(phantom(0, size=(40, 36, 6), spacing=(0.5, 0.5, 3.0))[0])
    assert (found.kind, found.pixel, found.thickness, found.height) == ("grey", 0.5, 3.0, 18.0)
    assert found.width == pytest.approx(0.5 * np.sqrt(40 * 36)) and list(found.quantiles) == sorted(found.quantiles)
    flat = look(phantom(0, size=(40, 36, 1))[0])
    assert (flat.thickness, flat.height) == (0.0, 0.0)


def test_an_image_of_the_same_kind_is_like_them(known):
    for seed in range(5, 9):
        assert known.warning(look(phantom(seed)[0])) is None
    assert known.images == 4


@pytest.mark.parametrize(
    "other, said",
    [
        (lambda v: changed(v, spacing=(3, 3, 3)), "pixels are 3 mm wide, theirs 1; its slices are 114 mm wide, theirs 37.9"),
        (lambda v: changed(v, spacing=(1, 1, 9)), "slices lie 9 mm apart, theirs 3; its slices cover 54 mm, theirs 18"),
        (lambda v: changed(v, array=np.tile(v.array, (1, 2, 2))), "slices are 75.9 mm wide, theirs 37.9"),
        (lambda v: changed(v, array=np.tile(v.array, (3, 1, 1))), "slices cover 54 mm, theirs 18"),
        (lambda v: changed(v, array=ct()[:6]), "it is a CT, they were MR or other grey images"),
        (lambda v: changed(v, array=np.repeat(v.array[..., None], 3, 3)), "it is an image in colour, they were MR"),
        (lambda v: changed(v, array=v.array.astype(float) ** 4), "intensities are spread differently"),
    ],
)  # fmt: skip
def test_what_is_unlike_them_is_named_with_both_values(known, other, said):
    warning = known.warning(look(other(phantom(5)[0])))
    assert warning.startswith("this image is unlike the 4 images that the model was trained on: ")
    assert said in warning and warning.endswith("Check the answer")


def cropped_head(seed, sign=1.0):
    """From dark to light, with thin dark lines: its quantiles are hardly others when it is inverted."""
    rng = np.random.default_rng(seed)
    array = rng.normal(0, 10, (12, 40, 40)) + np.linspace(-100, 100, 40)[:, None]
    array[:, [10, 20, 30]] -= 60
    return Volume(sign * array, np.eye(4), "head")


def test_an_inverted_image_is_told_also_where_its_quantiles_hardly_change():
    known = dataclasses.replace(
        looks_of(*(cropped_head(seed) for seed in range(3))), pose=None
    )  # its ramp may be turned, too
    assert known.warning(look(cropped_head(5))) is None
    assert known.differences(look(cropped_head(5, -1.0))) == [
        "light things stand out in it, dark ones in them, as if it were inverted or of another contrast"
    ]
    without = TrainingLook.from_dict({k: v for k, v in known.as_dict().items() if k != "relief"})
    assert without.warning(look(cropped_head(5, -1.0))) is None  # of models of before it is not known


@pytest.mark.parametrize(
    "planes, value, said",
    [
        (np.s_[:, 15:17], 40.0, "5.6% of its rows hold a single value amid others, as where something was blanked out, of theirs 0.0%"),
        (np.s_[:, :, 20], 0.0, "2.5% of its columns hold a single value amid others, as where something was blanked out"),
        (np.s_[3], 7.0, "16.7% of its slices hold a single value amid others, as where something was blanked out"),
        (np.s_[:, 33:], 0.0, "8% of its rows hold a single value at the border, as where the field of view ends, of theirs at most 0%"),
    ],
)  # fmt: skip
def test_rows_that_were_blanked_out_or_cut_off_are_told(known, planes, value, said):
    volume = phantom(5)[0]
    array = volume.array.copy()
    array[planes] = value
    assert any(said in found for found in known.differences(look(changed(volume, array=array))))


def test_a_border_as_that_of_the_training_images_is_none_of_the_image_alone():
    def bordered(seed, width):
        volume = phantom(seed)[0]
        array = volume.array.copy()
        array[:, :width] = 0
        return look(changed(volume, array=array))

    known = TrainingLook.of([bordered(seed, 4) for seed in range(4)])
    assert not any("single value" in found for width in (3, 5) for found in known.differences(bordered(5, width)))
    assert any("single value" in found for found in known.differences(bordered(5, 9)))
    of_before = TrainingLook.from_dict({k: v for k, v in known.as_dict().items() if k not in ("cut", "gaps")})
    assert not any("single value" in found for found in of_before.differences(bordered(5, 9)))


def body(seed, size=(14, 40, 36)):
    """Lies alike in no other way: brighter towards the feet, the front and one side, with organs."""
    rng = np.random.default_rng(seed)
    k, j, i = (np.linspace(0, 1, n).reshape([-1 if a == b else 1 for b in range(3)]) for a, n in enumerate(size))
    inside = (j - 0.5) ** 2 + (i - 0.5) ** 2 + 0.3 * (k - 0.5) ** 2 < 0.2
    array = inside * (300 - 260 * k + 400 * (j > 0.6) * (i < 0.6)) + rng.normal(0, 15, size)
    return Volume(array.astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0]), f"body{seed}")


def turned(degrees, axis=2):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    matrix[np.ix_(*[[n for n in range(3) if n != axis]] * 2)] = [[c, -s], [s, c]]
    return matrix


def test_how_an_image_lies_is_told_where_the_training_images_lay_otherwise():
    known = looks_of(*(body(seed) for seed in range(3)))
    image = body(5)
    for angle in (0, 12):
        assert known.warning(look(dataclasses.replace(image, ijk_to_ras=turned(angle) @ image.ijk_to_ras))) is None
    for axis in range(3):
        oblique = dataclasses.replace(image, ijk_to_ras=turned(32, axis) @ image.ijk_to_ras)
        assert "it lies turned by 32° against them" in known.differences(look(oblique))
        varied = looks_of(*(body(seed) for seed in range(3)), oblique)
        assert not any("turned by" in found for found in varied.differences(look(oblique)))


@pytest.mark.parametrize(
    "ways, said",
    [
        (lambda a: a[::-1], "with the order of its slices reversed"), (lambda a: a[:, ::-1], "with the order of its rows reversed"),
        (lambda a: a[:, ::-1, ::-1], "with the order of its rows and columns reversed"),
        (lambda a: a.swapaxes(1, 2), "with its axes exchanged"),
    ],
)  # fmt: skip
def test_an_image_whose_header_tells_a_wrong_orientation_is_told(known, ways, said):
    known = looks_of(*(body(seed) for seed in range(3)))
    wrong = dataclasses.replace(body(5), array=ways(body(5).array))
    assert any(
        said in found and "as if its header told a wrong orientation" in found
        for found in known.differences(look(wrong))
    )
    stored_so = body(5).ordered  # the same image with a header that tells the truth
    for axes in ((0, 2, 1), (2, 0, 1)):
        matrix = stored_so.ijk_to_ras[:, [2 - a for a in axes[::-1]] + [3]]
        truthful = Volume(
            stored_so.array.transpose(axes)[::-1], matrix @ np.array(_mirror(axes, stored_so.array.shape)), "stored"
        )
        assert known.warning(look(truthful)) is None


def _mirror(axes, shape):
    """Voxels of an array of ``shape`` in the order ``axes`` whose first axis runs the other way."""
    matrix = np.eye(4)
    matrix[2, 2], matrix[2, 3] = -1, shape[axes[0]] - 1
    return matrix


def test_models_of_before_say_nothing_of_how_their_images_lay_and_the_summary_leaves_the_blocks_out(tmp_path):
    known = looks_of(*(body(seed) for seed in range(3)))
    before = TrainingLook.from_dict({k: v for k, v in known.as_dict().items() if k != "pose"})
    assert before.warning(look(dataclasses.replace(body(5), array=body(5).array[::-1]))) is None
    model = load_model(write_model(tmp_path / "model.pt", looks=known))
    assert model.looks == known and "pose" not in model.summary()["looks"]


def test_a_single_slice_is_not_judged_by_its_thickness(known):
    volume = phantom(5)[0]
    assert known.warning(look(changed(volume, array=volume.array[3:4], spacing=(1, 1, 40)))) is None


def test_the_record_is_kept_in_the_file_and_files_without_it_load(tmp_path, known):
    file = write_model(tmp_path / "model.pt", looks=known)
    assert load_model(file).looks == known and load_model(file).summary()["looks"]["images"] == 4
    content = torch.load(file, weights_only=True)
    del content["looks"]
    torch.save(content, file)
    model = load_model(file)
    assert model.looks is None and model.summary()["looks"] is None
    notes = run_to_end(ModelSegmenter(model, "cpu").segment(changed(phantom(0)[0], spacing=(3, 3, 3)))).notes
    assert not any("unlike" in note for note in notes)


@pytest.mark.parametrize(
    "damage",
    [{"kinds": {}}, {"pixel": [2.0, 1.0]}, {"width": [float("nan"), 1.0]}, {"quantiles": [[0, 1]]}, {"height": "x"}, {"gaps": [0.1]},
     {"pose": {"directions": [1.0] * 9, "blocks": "00", "tilt": 0.0, "gain": 0.0}}],
    ids=lambda d: next(iter(d)),
)  # fmt: skip
def test_a_damaged_record_is_refused(tmp_path, known, damage):
    file = write_model(tmp_path / "model.pt", looks=known)
    content = torch.load(file, weights_only=True)
    content["looks"] |= damage
    torch.save(content, file)
    with pytest.raises(InputError, match="is damaged"):
        load_model(file)


def test_reading_a_cohort_records_the_look_of_each_image_and_tells_of_padding(tmp_path):
    write_cohort(tmp_path, 1, 2)
    cohort = run_to_end(read_cohort(tmp_path))
    bank = run_to_end(build_bank(cohort.cases, cohort.classes, LAYOUT))
    assert bank.looks == [look(case.read_volume()) for case in cohort.cases] and not bank.notes
    for case in cohort.cases:
        volume = case.read_volume()
        array = volume.array.copy()
        array[:, :5] = -3024
        write_image(Volume(array, volume.ijk_to_ras), case.image)
    (note,) = run_to_end(build_bank(cohort.cases, cohort.classes, LAYOUT)).notes
    assert note.startswith("case00: 14% of the voxels have the value -3024") and note.endswith(
        "(and 2 more of this kind)"
    )


class Nothing(torch.nn.Module):
    def forward(self, images):
        return torch.cat((images + 9, images, images), 1)


def test_an_empty_answer_says_so(tmp_path):
    model = load_model(write_model(tmp_path / "model.pt"))
    answer = run_to_end(ModelSegmenter(model, "cpu", Nothing()).segment(phantom(0)[0]))
    assert not answer.labels.any()
    assert "the model found nothing in image 'phantom0': all segments are empty" in answer.notes
    assert not any("found nothing" in n for n in run_to_end(ModelSegmenter(model, "cpu").segment(phantom(0)[0])).notes)


def test_applying_tells_of_an_unlike_image_and_of_padding(tmp_path, known):
    model = dataclasses.replace(load_model(write_model(tmp_path / "model.pt")), looks=known)
    segmenter = ModelSegmenter(model, "cpu")
    assert run_to_end(segmenter.segment(phantom(5)[0])).notes == ()
    notes = run_to_end(segmenter.segment(changed(phantom(5)[0], array=padded(ct(), -3024, 0.11)[0][:6]))).notes
    assert "this image is unlike the 4 images" in notes[0] and any("value -3024" in note for note in notes)
    save_model(model, tmp_path / "kept.pt")
    assert load_model(tmp_path / "kept.pt").looks == known
