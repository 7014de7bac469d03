"""Several channels of a case, colour, and neighbouring slices: from the files to what a network sees."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from cohort_files import drawn, phantom, write_cohort
from model_files import write_model

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter
from S3NetSegmentLib.engine.evaluate import evaluate
from S3NetSegmentLib.engine.images.writing import write_image, write_png, write_segmentation
from S3NetSegmentLib.engine.training.cohort.channels import channel_files, channels_by_case, further_channels
from S3NetSegmentLib.engine.training.cohort.folder import count_cases, read_cohort
from S3NetSegmentLib.engine.training.finetune import sample_picture
from S3NetSegmentLib.engine.training.model.model_file import load_encoder_file, load_model
from S3NetSegmentLib.engine.training.preparation import choose_layout
from S3NetSegmentLib.engine.training.slices.bank import build_bank
from S3NetSegmentLib.engine.training.slices.batches import TwoStreamBatches
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout


def changed(volume, **parts):
    return dataclasses.replace(volume, **parts)


def other_channel(volume):
    """The same anatomy in another contrast."""
    return changed(volume, array=np.int16(500) - volume.array)


def write_two_channels(folder, labelled=2, unlabelled=1):
    for number in range(labelled + unlabelled):
        volume, labels = phantom(number)
        for channel, image in enumerate((volume, other_channel(volume))):
            write_image(image, folder / "images" / f"case{number}_{channel:04d}.nii.gz")
        if number < labelled:
            write_segmentation(drawn(volume, labels), folder / "labels" / f"case{number}.seg.nrrd")
    return folder


def read(folder, **options):
    return run_to_end(read_cohort(folder, **options))


def names(*stems):
    return {stem: stem + ".nii.gz" for stem in stems}


# ---- which files belong together ----


def test_files_named_as_for_nnunet_are_the_channels_of_their_cases(tmp_path):
    cohort = read(write_two_channels(tmp_path))
    assert [c.name for c in cohort.cases] == ["case0", "case1", "case2"] and cohort.channels == 2
    assert [c.name for c in cohort.labelled] == ["case0", "case1"] and count_cases(tmp_path) == (3, 2)
    first, second = cohort.cases[1].read_channels()
    assert np.array_equal(second.array, 500 - first.array)


def test_numbers_that_are_no_channels_stay_names_of_cases():
    plain = names("p_0001", "p_0002", "p_0003")
    assert list(channels_by_case(plain, ())) == list(plain)  # one case would have no channel 0000
    assert list(channels_by_case(names("p_0000", "p_0001"), ())) == ["p_0000", "p_0001"]  # a single case is not known
    labelled = names("p_0000", "p_0001", "q_0000", "q_0001")
    assert list(channels_by_case(labelled, ("p_0000",))) == list(labelled)
    assert list(channels_by_case(labelled, ())) == ["p", "q"]
    assert list(channels_by_case(names("p_0000", "q_0000"), ("p",))) == ["p", "q"]
    assert list(channels_by_case(names("p_0000", "q_0000"), (), 1)) == ["p", "q"]
    assert list(channels_by_case(names("a", "b"), ("a",), 1)) == ["a", "b"]


@pytest.mark.parametrize(
    ("stems", "count", "said"),
    [
        (("p_0000", "p_0001", "q_0000"), None, r"case 'q' lacks channel 0001, which other cases have .*add q_0001"),
        (("p_0001", "q_0000", "q_0001"), None, "case 'p' lacks channel 0000"),
        (("p_0000", "q_0000", "q_0001"), 1, "case 'q' has 2 channels, but cohort.json lists 1"),
        (("p_0000", "p_0001", "q"), None, "'q.nii.gz' has no number of a channel, but others have; name it q_0000"),
        (("p", "q"), 2, "lists 2 channels, but no image is named CASE_0000"),
    ],
)
def test_a_case_that_lacks_a_channel_is_refused(stems, count, said):
    from pathlib import Path

    images = {stem: Path(file) for stem, file in names(*stems).items()}
    with pytest.raises(InputError, match=said):
        channels_by_case(images, ("p", "q"), count)


def test_channels_on_different_grids_are_refused_with_both_grids(tmp_path):
    write_two_channels(tmp_path)
    write_image(phantom(1, size=(40, 36, 5))[0], tmp_path / "images" / "case1_0001.nii.gz")
    with pytest.raises(InputError, match=r"case 'case1': channel 0001 \(40 x 36 x 5 voxels .*40 x 36 x 6 voxels"):
        read(tmp_path)
    cohort = read(tmp_path, skip_bad=True)
    assert [c.name for c in cohort.cases] == ["case0", "case2"] and "case1" in cohort.skipped
    moved = phantom(1)[0].ijk_to_ras.copy()
    moved[0, 3] += 5
    write_image(changed(phantom(1)[0], ijk_to_ras=moved), tmp_path / "images" / "case1_0001.nii.gz")
    with pytest.raises(InputError, match=r"from 5,0,0\) does not lie on the grid of channel 0000 .* from 0,0,0"):
        read(tmp_path)


def test_the_description_may_list_the_channels(tmp_path):
    write_two_channels(tmp_path, 1, 0)
    (tmp_path / "cohort.json").write_text(json.dumps({"channels": ["T1", "T2", "FLAIR"]}))
    with pytest.raises(InputError, match=r"case 'case0' lacks channel 0002, .*there must be 3"):
        read(tmp_path)


def test_an_image_finds_the_files_of_its_further_channels(tmp_path):
    write_two_channels(tmp_path)
    first = tmp_path / "images" / "case1_0000.nii.gz"
    assert [p.name for p in channel_files(first, 2)] == ["case1_0000.nii.gz", "case1_0001.nii.gz"]
    assert channel_files(tmp_path, 1) == (tmp_path,)
    with pytest.raises(InputError, match=r"channel 0002 of case 'case1' is missing: there is no 'case1_0002.nii.gz'"):
        channel_files(first, 3)
    with pytest.raises(InputError, match="give the first file, named CASE_0000"):
        channel_files(tmp_path / "images" / "case1_0001.nii.gz", 2)


def test_only_the_first_channel_has_further_ones_in_any_format_and_without_gaps(tmp_path):
    for name in ("a_0000.nii.gz", "a_0001.mha", "a_0002.nii.gz", "a_0004.nii.gz", "ab_0003.nii.gz", "plain.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "a_0003").mkdir()  # a folder of DICOM files has no number of a channel
    found = [path.name for path in further_channels(tmp_path / "a_0000.nii.gz")]
    assert found == ["a_0001.mha", "a_0002.nii.gz"]
    for name in ("a_0001.mha", "plain.nii.gz", "gone_0000.nii.gz"):
        assert further_channels(tmp_path / name) == ()


# ---- what a network sees ----


def test_the_bank_and_the_application_show_each_channel_on_its_own_scale(tmp_path):
    cohort = read(write_two_channels(tmp_path))
    layout, _ = choose_layout([c.grid for c in cohort.cases], channels=cohort.channels)
    bank = run_to_end(build_bank(cohort.cases, cohort.classes, layout))
    shown = bank.images_at(np.array([8]))
    assert shown.shape == (1, 2, 48, 48) and layout.inputs == 2 and len(bank.hashes) == 3
    inside = bank.valid_at(np.array([8]))[0, 0]
    assert torch.allclose(shown[0, 0][inside] + shown[0, 1][inside], torch.ones(int(inside.sum())), atol=0.02)
    applied = layout.of(cohort.cases[1].read_channels()).resampled(2, 3)
    assert np.allclose(applied[0], shown[0, :, 6:42, 4:44].numpy(), atol=0.5 / 255 + 1e-6)


def test_neighbouring_slices_are_channels_and_never_those_of_another_case(tmp_path):
    cohort = read(write_cohort(tmp_path, 2, 1))
    flat, _ = choose_layout([c.grid for c in cohort.cases])
    layout = dataclasses.replace(flat, neighbours=2)
    plain, bank = (run_to_end(build_bank(cohort.cases, cohort.classes, one)) for one in (flat, layout))
    slices = np.array([0, 5, 6, 9, 17])
    wanted = np.array([[0, 0, 0, 1, 2], [3, 4, 5, 5, 5], [6, 6, 6, 7, 8], [7, 8, 9, 10, 11], [15, 16, 17, 17, 17]])
    shown = bank.images_at(slices)
    assert shown.shape == (5, 5, 48, 48) and bank.images.shape == plain.images.shape  # neighbours need no room
    for place in range(5):
        assert torch.equal(shown[:, place], plain.images_at(wanted[:, place])[:, 0])
    applied = layout.of(cohort.cases[1].read_volume())
    for number in range(6):
        assert np.allclose(
            applied.resampled(number, number + 1)[0],
            bank.images_at(np.array([6 + number]))[0, :, 6:42, 4:44],
            atol=0.003,
        )
    assert np.array_equal(applied.resampled(0, 6)[2:4], applied.resampled(2, 4))
    batch = TwoStreamBatches(bank, 2, 1, 0)(0, 0, 1)
    assert batch["labelled"].shape == (2, 5, 48, 48) and batch["valid"].shape == (1, 1, 48, 48)


def colour(seed, shade=(1.0, 0.4, 0.2)):
    """A picture in which the core has a colour of its own and the lightness of the ring."""
    volume, labels = phantom(seed, size=(40, 36, 1))
    array = np.repeat(volume.array[..., None], 3, 3).astype(float) / 2
    array[labels == 2] = 255 * np.array(shade)
    return changed(volume, array=np.clip(array, 0, 255).astype(np.uint8)), labels


def write_colour_cohort(folder, grey_too=False):
    for number in range(3):
        volume, labels = colour(number)
        picture = volume.array[0]
        write_png(picture[..., 0] if grey_too and number == 2 else picture, folder / "images" / f"case{number}.png")
        if number < 2:
            write_segmentation(drawn(volume, labels), folder / "labels" / f"case{number}.png")
    return folder


def test_colour_is_seen_as_three_channels_where_all_images_have_it(tmp_path):
    from S3NetSegmentLib.engine.training.preparation import prepare_cohort
    from S3NetSegmentLib.engine.training.settings import CohortSettings

    cohort = read(write_colour_cohort(tmp_path / "colour"))
    data = run_to_end(prepare_cohort(cohort, CohortSettings(), seed=0, with_labels=True))
    assert data.layout.colour and data.layout.inputs == 3 and not any("lightness" in n for n in data.train.notes)
    pixel = data.train.images_at(np.array([0]))[0].flatten(1)
    red = pixel[:, (pixel[0] > 0.98) & (pixel[1] < 0.5)]
    assert red.shape[1] > 20 and torch.allclose(red.mean(1), torch.tensor([1.0, 0.4, 0.2]), atol=0.05)
    assert sample_picture(Whatever(), data.train, cohort.classes, count=1).shape[2] == 3
    light = run_to_end(prepare_cohort(cohort, CohortSettings(colour="lightness"), seed=0, with_labels=True))
    assert light.layout.inputs == 1 and any("only their lightness" in n for n in light.train.notes)
    mixed = read(write_colour_cohort(tmp_path / "mixed", grey_too=True))
    assert run_to_end(prepare_cohort(mixed, CohortSettings(), seed=0, with_labels=True)).layout.inputs == 1


class Whatever(torch.nn.Module):
    def forward(self, images):
        return torch.cat((images[:, :1], images[:, :1], images[:, :1]), 1)


def test_a_model_of_other_channels_than_the_image_is_refused_with_what_to_give(tmp_path):
    grey, shown = phantom(0)[0], colour(0)[0]

    def said_of(layout, images):
        model = load_model(write_model(tmp_path / "m.pt", layout=layout))
        with pytest.raises(InputError) as raised:
            run_to_end(ModelSegmenter(model, "cpu").segment(images))
        return str(raised.value)

    layout = SliceLayout("axial", 1.0, 48)
    of_colour, of_two = dataclasses.replace(layout, colour=True), dataclasses.replace(layout, channels=2)
    assert "was trained on images in colour, and image 'phantom0' is grey" in said_of(of_colour, grey)
    assert "2 channels of each case, and image 'phantom0' has 1; name the files CASE_0000, and _0001" in said_of(
        of_two, grey
    )
    assert "1 channel of each case, and image 'phantom0' has 2; give one image" in said_of(layout, (grey, grey))
    assert "is in colour; where a case has several channels each must be grey" in said_of(of_two, (shown, shown))
    assert "does not lie on the grid" in said_of(of_two, (grey, phantom(0, size=(40, 36, 5))[0]))


def test_models_of_channels_colour_and_neighbours_answer_and_are_kept(tmp_path):
    grey = phantom(0)[0]
    layout = SliceLayout("axial", 1.0, 48)
    for parts, images in (
        ({"channels": 2}, (grey, other_channel(grey))), ({"colour": True}, colour(0)[0]), ({"neighbours": 1}, grey),
        ({"channels": 2, "neighbours": 1}, (grey, other_channel(grey))),
    ):  # fmt: skip
        file = write_model(tmp_path / "m.pt", layout=dataclasses.replace(layout, **parts))
        model = load_model(file)
        assert (
            model.layout == dataclasses.replace(layout, **parts) and model.summary()["slices"].items() >= parts.items()
        )
        answer = run_to_end(ModelSegmenter(model, "cpu").segment(images, short_steps=True))
        assert answer.labels.any() and not any("lightness" in note for note in answer.notes)
        with pytest.raises(InputError, match="few-shot shows one grey slice"):
            load_encoder_file(file)
    assert layout.as_dict() == {"plane": "axial", "spacing": 1.0, "side": 48}  # as earlier versions read it


def test_a_model_of_several_channels_is_evaluated_on_its_cohort(tmp_path):
    cohort = read(write_two_channels(tmp_path))
    layout = SliceLayout("axial", 1.0, 48, channels=2)
    model = load_model(write_model(tmp_path / "m.pt", layout=layout))
    assert set(run_to_end(evaluate(model, cohort, "all", device="cpu")).scores) == {"case0", "case1"}
    grey = load_model(write_model(tmp_path / "g.pt"))
    with pytest.raises(InputError, match="1 channel of each case"):
        run_to_end(evaluate(grey, cohort, "all", device="cpu"))


def test_a_volume_in_colour_keeps_its_slices_apart():
    array = np.zeros((3, 10, 12, 3), np.uint8)
    array[1, 2:5, 3:6] = (255, 0, 0)
    array[2] = (0, 255, 0)
    slices = SliceLayout("axial", 1.0, 16, colour=True, neighbours=1).of(Volume(array, np.diag((-1.0, -1, 1, 1))))
    seen = slices.resampled(0, 3)
    assert seen.shape == (3, 9, 10, 12)
    assert seen[1, 3, 3, 4] == 1 and seen[1, 4, 3, 4] == 0  # red of the slice itself
    assert (seen[1, 7] == 1).all() and (seen[0, 1] == 0).all()  # green of the one above; below the lowest it is itself
