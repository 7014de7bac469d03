"""Several models at once, mirrored slices, and slices that are larger than the models' field of view."""

import dataclasses

import numpy as np
import pytest
import torch
from cohort_files import phantom
from model_files import CLASSES, write_model

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine.apply import ModelSegmenter, model_tags
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass
from S3NetSegmentLib.engine.training.model.ensemble import Ensemble, load_ensemble
from S3NetSegmentLib.engine.training.model.model_file import Model
from S3NetSegmentLib.engine.training.model.places import model_files
from S3NetSegmentLib.engine.training.model.sliding_window import Windows
from S3NetSegmentLib.engine.training.slices import layout as slice_layout
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.slices.likeness import TrainingLook, look_of


class Certain(torch.nn.Module):
    """The same probabilities everywhere."""

    def __init__(self, *probabilities):
        super().__init__()
        self.logits = torch.log(torch.tensor(probabilities))

    def forward(self, images):
        return self.logits[None, :, None, None].expand(len(images), -1, *images.shape[2:])


class Bright(torch.nn.Module):
    """Class 1 from a grey of 0.5 on; remembers the sizes of what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, images):
        self.seen.add(tuple(images.shape[2:]))
        x = 100 * images
        return torch.cat((torch.full_like(x, 50.0), x, torch.zeros_like(x)), 1)


class LeftSide(torch.nn.Module):
    """Class 1 in the left half of whatever it is shown, with a probability of 0.9."""

    def forward(self, images):
        x = torch.zeros_like(images)
        x[..., : images.shape[-1] // 2] = 9.0
        return torch.cat((torch.ones_like(x), x + 1e-3, torch.full_like(x, 1e-6)), 1).log()


def ensemble_of(*networks, layouts=None):
    """A segmenter of these networks."""
    layouts = layouts or [SliceLayout("axial", 1.0, 48)] * len(networks)
    models = tuple(Model("segmenter", {}, {}, layout, CLASSES) for layout in layouts)
    segmenter = ModelSegmenter(models[0], "cpu", networks[0])
    segmenter.models, segmenter._networks = Ensemble(models), list(networks)
    return segmenter


@pytest.mark.parametrize("side, threads", [(48, 1), (96, 2)])
def test_small_networks_answer_in_one_thread_and_others_in_the_users_number(side, threads):
    class Watched(Certain):
        def forward(self, images):
            seen.add(torch.get_num_threads())
            return super().forward(images)

    seen, before = set(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        tool = ensemble_of(Watched(0.2, 0.5, 0.3), layouts=[SliceLayout("axial", 1.0, side)])
        for _ in tool.segment(phantom(0)[0]):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}


def test_the_probabilities_of_several_models_are_averaged():
    volume, _ = phantom(0)
    members = Certain(0.5, 0.1, 0.4), Certain(0.1, 0.5, 0.4), Certain(0.3, 0.3, 0.4)  # each alone finds another class
    answer = run_to_end(ensemble_of(*members).segment(volume, confidence=True))
    assert (answer.labels == 2).all() and np.allclose(answer.confidence, 0.4, atol=1e-3)
    answer = run_to_end(ensemble_of(*members[:2]).segment(volume, confidence=True, short_steps=True))
    assert (answer.labels == 2).all() and np.allclose(answer.confidence, 0.4, atol=1e-3)


def test_models_with_slices_of_other_sizes_answer_together():
    volume, _ = phantom(0)
    layouts = [SliceLayout("axial", 1.0, 48), SliceLayout("axial", 1.7, 32), SliceLayout("axial", 0.8, 32)]
    members = Certain(0.5, 0.1, 0.4), Certain(0.1, 0.5, 0.4), Certain(0.2, 0.7, 0.1)
    answer = run_to_end(ensemble_of(*members, layouts=layouts).segment(volume, confidence=True))
    assert (answer.labels == 1).all() and np.allclose(answer.confidence, 1.3 / 3, atol=1e-3)


def test_the_intensities_of_each_channel_are_looked_at_once_whatever_the_number_of_models(monkeypatch):
    seen = []
    monkeypatch.setattr(slice_layout, "intensity_scale", lambda v: seen.append(v.name) or intensity_scale(v))
    one, other = (dataclasses.replace(phantom(0)[0], name=name) for name in ("T1", "T2"))
    layouts = [SliceLayout("axial", 1.0, 48, channels=2), SliceLayout("axial", 1.7, 32, channels=2)]
    members = Certain(0.5, 0.1, 0.4), Certain(0.1, 0.5, 0.4)
    run_to_end(ensemble_of(*members, layouts=layouts).segment((one, other)))
    assert seen == ["T1", "T2"]


def test_a_model_alone_answers_as_before_and_with_itself_the_same(tmp_path):
    volume, _ = phantom(1)
    first, second = (load_ensemble(write_model(tmp_path / f"{n}.pt", seed=n)) for n in (0, 1))
    alone = [run_to_end(ModelSegmenter(m, "cpu").segment(volume)).labels for m in (first, second)]
    both = run_to_end(
        ModelSegmenter(load_ensemble([tmp_path / "0.pt", tmp_path / "1.pt"]), "cpu").segment(volume)
    ).labels
    assert not np.array_equal(*alone) and not any(np.array_equal(both, labels) for labels in alone)
    twin = Ensemble((first.members[0], first.members[0]))
    assert np.array_equal(run_to_end(ModelSegmenter(twin, "cpu").segment(volume)).labels, alone[0])


@pytest.mark.parametrize("short_steps", [False, True])
def test_an_object_beyond_the_field_of_view_of_the_model_is_found(short_steps):
    mask = np.zeros((2, 90, 117), bool)
    mask[:, 3:9, 5:12] = mask[:, 80:88, 100:116] = mask[:, 40:60, 50:70] = True
    array = np.random.default_rng(0).integers(0, 60, mask.shape) + 900 * mask
    volume = Volume(array.astype(np.int16), np.eye(4))
    segmenter = ensemble_of(Bright(), layouts=[SliceLayout("axial", 1.0, 32)])
    answer = run_to_end(segmenter.segment(volume, short_steps=short_steps))
    assert np.array_equal(answer.labels == 1, mask)
    assert segmenter._networks[0].seen == {(32, 32)}  # whatever the size of the image
    assert any("each was looked at in 35 parts that overlap" in note for note in answer.notes)


def test_where_a_slice_is_not_larger_there_is_one_window_with_the_slice_in_its_middle():
    images = torch.rand(2, 1, 20, 33)

    def look(part):
        assert part.shape[-2:] == (48, 48)
        assert torch.equal(part[..., 14:34, 7:40], images) and part.sum() == pytest.approx(
            float(images.sum()), rel=1e-5
        )
        yield
        return part

    windows = Windows((20, 33), 48)
    assert windows.count == 1 and torch.equal(run_to_end(windows.mean(images, look)), images)


@pytest.mark.parametrize(("size", "side"), [((100, 64), 32), ((33, 80), 32), ((31, 100), 64)])
def test_windows_overlap_by_half_and_their_weights_change_smoothly(size, side):
    windows, seen, number = Windows(size, side), torch.zeros(size), 0
    for rows, columns, weight in windows._places():
        seen[rows, columns] += weight
        number += 1
    assert number == windows.count and torch.allclose(seen, torch.ones(size), atol=1e-5)

    def numbered(part):
        yield
        numbered.count += 1
        return torch.full_like(part, float(numbered.count))

    numbered.count = 0
    found = run_to_end(windows.mean(torch.zeros(1, 1, *size), numbered))[0, 0]
    along = found.diff(dim=1).abs().max() / max(1.0, float(found.max() - found.min()))
    assert along < 0.2  # no step where a window begins


def test_mirrored_slices_are_turned_back_before_they_are_averaged():
    volume, _ = phantom(0)
    bright = ensemble_of(Bright())
    plain = run_to_end(bright.segment(volume)).labels
    flipped = ModelSegmenter(bright.models, "cpu", bright._networks[0], flips=True)
    assert plain.any() and np.array_equal(run_to_end(flipped.segment(volume)).labels, plain)
    sided = ensemble_of(LeftSide())
    one = run_to_end(sided.segment(volume, confidence=True))
    both = run_to_end(
        ModelSegmenter(sided.models, "cpu", sided._networks[0], flips=True).segment(volume, confidence=True)
    )
    assert (one.labels == 1).mean() == 0.5 and np.allclose(one.confidence[one.labels == 1], 0.9, atol=1e-2)
    assert np.ptp(both.confidence.astype(float)) < 1e-3 and both.confidence.mean() == pytest.approx(0.55, abs=0.01)


def test_models_that_cannot_answer_together_are_refused_with_the_reason(tmp_path):
    first = write_model(tmp_path / "first.pt")
    others = {
        "classes.pt": ({"classes": (LabelClass("Disc", 1, (1.0, 0, 0)),)}, "Ring, Core; Disc"),
        "plane.pt": ({"layout": SliceLayout("coronal", 1.0, 48)}, "axial and coronal slices"),
        "channels.pt": ({"layout": SliceLayout("axial", 1.0, 48, channels=3)}, "1 channel and 3 channels"),
        "colour.pt": ({"layout": SliceLayout("axial", 1.0, 48, colour=True)}, "1 channel and colour"),
    }
    for name, (options, said) in others.items():
        other = write_model(tmp_path / name, **options)
        with pytest.raises(
            InputError, match=f"first.pt and {name} .*{said}.*cannot be averaged. Apply them one by one"
        ):
            load_ensemble([first, other])


def test_folders_stand_for_the_models_in_them(tmp_path):
    files = [write_model(tmp_path / "cv" / f"fold_{n}" / "model.pt", seed=n) for n in (1, 2, 10)]
    assert model_files(tmp_path / "cv") == tuple(files) and model_files([tmp_path / "cv" / "fold_2"]) == (files[1],)
    models = load_ensemble(tmp_path / "cv")
    assert models.names == ("fold_1/model.pt", "fold_2/model.pt", "fold_10/model.pt")
    tags = model_tags(models, "cpu", "image", flips=True)
    assert tags["S3NetSegment.Model"] == "fold_1/model.pt, fold_2/model.pt, fold_10/model.pt"
    assert len(set(tags["S3NetSegment.ModelSha256"].split(", "))) == 3 and tags["S3NetSegment.Flips"] == "yes"
    assert [m["file"] for m in models.summary()["models"]] == list(models.names)
    with pytest.raises(InputError, match="named twice"):
        model_files([tmp_path / "cv", files[0]])
    files[1].unlink()
    with pytest.raises(InputError, match=r"fold 2 of the cross-validation .* has no model.pt yet; let it go on"):
        model_files(tmp_path / "cv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no model.pt; give a model file"):
        model_files(tmp_path / "empty")
    with pytest.raises(InputError, match="no model file is named"):
        model_files([])


def test_a_doubtful_member_is_named(tmp_path):
    good = write_model(tmp_path / "good.pt")
    bad = write_model(tmp_path / "bad.pt", seed=1, validation={"score": 0.1, "cases": 2})
    notes = run_to_end(ModelSegmenter(load_ensemble([good, bad]), "cpu").segment(phantom(0)[0])).notes
    assert any(note.startswith("bad.pt: on its validation cases the model agreed") for note in notes)


def test_an_image_that_one_member_was_trained_on_is_known_to_all(tmp_path):
    first = write_model(tmp_path / "1.pt", training_cases=("a", "b"), validation_cases=("c", "e"))
    second = write_model(tmp_path / "2.pt", training_cases=("b", "c"), validation_cases=("a", "d"))
    models = load_ensemble([first, second])
    assert models.training_cases == ("a", "b", "c") and models.validation_cases == ("d", "e")


def test_an_image_that_is_unlike_the_training_of_some_members_is_said_with_their_number(tmp_path):
    volume = phantom(0)[0]
    like = look_of(SliceLayout("axial", 1.0, 48).of(volume))
    unlike = dataclasses.replace(like, pixel=9 * like.pixel)
    files = [write_model(tmp_path / f"{n}.pt", looks=TrainingLook.of([one])) for n, one in enumerate((like, unlike))]
    notes = {}
    for name, chosen in (("both", files), ("like", files[0]), ("unlike", files[1])):
        answer = run_to_end(ModelSegmenter(load_ensemble(chosen), "cpu").segment(volume))
        notes[name] = [note for note in answer.notes if "unlike" in note]
    assert notes["like"] == [] and notes["both"] == [f"for 1 of 2 models: {notes['unlike'][0]}"]


def test_flips_for_a_model_that_never_saw_mirrored_slices_are_doubted(tmp_path):
    def said(name, flips, **settings):
        models = load_ensemble(write_model(tmp_path / name, provenance={"settings": settings}))
        notes = run_to_end(ModelSegmenter(models, "cpu", flips=flips).segment(phantom(0)[0])).notes
        return any("not trained on mirrored slices" in note for note in notes)

    assert said("a.pt", True, flip=False) and said("b.pt", True)
    assert not said("c.pt", True, flip=True) and not said("d.pt", False, flip=False)
    mixed = load_ensemble(
        [tmp_path / "a.pt", write_model(tmp_path / "e.pt", seed=1, provenance={"settings": {"flip": True}})]
    )
    assert not mixed.know_mirrored and Ensemble(mixed.members[1:]).know_mirrored


def test_a_model_that_was_trained_on_the_middle_of_its_slices_answers_there_and_says_so():
    mask = np.zeros((2, 60, 70), bool)
    mask[:, 20:40, 25:45] = mask[:, 2:8, 2:8] = True
    volume = Volume((np.random.default_rng(0).integers(0, 60, mask.shape) + 900 * mask).astype(np.int16), np.eye(4))
    layout = SliceLayout("axial", 1.0, 32)
    seen = TrainingLook.of([look_of(layout.of(volume))])
    for looks, everywhere in ((seen, False), (dataclasses.replace(seen, width=(20.0, 32.0)), True)):
        model = Model("segmenter", {}, {}, layout, CLASSES, looks=looks)
        answer = run_to_end(ModelSegmenter(model, "cpu", Bright()).segment(volume, confidence=True))
        assert np.array_equal(answer.labels[0, 14:46, 19:51] == 1, mask[0, 14:46, 19:51])
        assert (answer.labels[:, 2:8, 2:8] == 1).all() == everywhere and answer.confidence.min() > 0.5
        said = " ".join(answer.notes)
        assert ("in 12 parts that overlap" in said) == everywhere
        assert ("trained on the middle 32 mm of a slice and sees no more; 76% of this image" in said) != everywhere
