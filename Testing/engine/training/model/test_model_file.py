"""The model file: a round trip, what is refused and how, and applying a model to volumes."""

import pickle
import threading

import numpy as np
import pytest
import torch
from cohort_files import phantom

from S3NetSegmentLib.engine import InputError, Volume, run_to_end
from S3NetSegmentLib.engine import apply as apply_model
from S3NetSegmentLib.engine.apply import ModelSegmenter, as_segmentation
from S3NetSegmentLib.engine.few_shot.voters.encoders import load_encoder
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.nets.unet import CHANNELS, TwoStreamUNet, UNetEncoder, seeded
from S3NetSegmentLib.engine.training.cohort.label_classes import LabelClass
from S3NetSegmentLib.engine.training.model.model_file import (
    Model,
    describe_network,
    is_model_file,
    load_encoder_file,
    load_model,
    network_tensors,
    save_model,
)
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout

CLASSES = (
    LabelClass("Ring", 1, (1.0, 0.5, 0.0), "Segmentation category~SCT^1^Tissue"),
    LabelClass("Core", 2, (0, 0, 1.0)),
)
LAYOUT = SliceLayout("axial", 1.0, 48)


def a_model(network=None, **options):
    network = network or seeded(lambda: TwoStreamUNet(3, 1, (8, 16)), 0)
    options = {
        "classes": CLASSES,
        "provenance": {"seed": 4, "method": "test"},
        "training_cases": ("ab", "cd"),
        **options,
    }
    return Model(
        options.pop("kind", "segmenter"), describe_network(network), network_tensors(network), LAYOUT, **options
    )


def an_encoder():
    return seeded(lambda: UNetEncoder(1, (8, 16, 32)), 0)


def test_a_model_comes_back_whole_and_holds_only_data(tmp_path):
    model = a_model(validation={"score": 0.9})
    save_model(model, tmp_path / "model.pt")
    torch.load(tmp_path / "model.pt", weights_only=True)
    back = load_model(tmp_path / "model.pt", "segmenter")
    assert back.classes == CLASSES and back.layout == LAYOUT and back.summary() == model.summary()
    assert back.training_cases == ("ab", "cd") and back.provenance["seed"] == 4
    image = torch.rand(2, 1, 20, 24)
    with torch.inference_mode():
        assert torch.equal(model.build()(image), back.build()(image))
    assert is_model_file(tmp_path / "model.pt") and not is_model_file(tmp_path / "none.pt")


def test_files_that_are_no_model_or_damaged_or_newer_are_refused_with_what_to_do(tmp_path):
    file = tmp_path / "model.pt"
    save_model(a_model(), file)
    whole = file.read_bytes()
    for content, message in (
        (b"", "empty"), (whole[: len(whole) // 2], "damaged or was cut off.*Copy it again"), (b"nonsense", "damaged"),
        (pickle.dumps({"a": print}, protocol=2), "could run code|damaged"),
    ):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_model(file)
    with pytest.raises(InputError, match="there is no file"):
        load_model(tmp_path / "nothing.pt")
    torch.save({"weight": torch.zeros(2)}, file)
    with pytest.raises(InputError, match=r"not a model file of S3NetSegment \(it holds weight\)"):
        load_model(file)
    torch.save({"format": "S3NetSegment training state"}, file)
    with pytest.raises(InputError, match=r"the model is model.pt beside it"):
        load_model(file)
    save_model(a_model(), file)
    content = torch.load(file)
    for change, message in (
        ({"version": 7}, "format 7, .* update S3NetSegment"), ({"kind": "poem"}, "damaged .its kind is 'poem'"),
        ({"tensors": {}}, "weights are missing"), ({"classes": []}, "no classes"), ({"slices": {}}, "is damaged"),
        ({"tensors": {"a": torch.full((2,), float("nan"))}}, "not finite numbers"),
    ):  # fmt: skip
        torch.save(content | change, file)
        with pytest.raises(InputError, match=message):
            load_model(file)
    del content["provenance"]
    torch.save(content, file)
    with pytest.raises(InputError, match=r"damaged .*provenance"):
        load_model(file)


@pytest.mark.parametrize(
    ("validation", "told"),
    [
        (
            {"score": 0.0, "dice Ring": 0.0, "dice Core": 0.0, "cases": 2},
            "by a Dice of only 0.000: its answers cannot be",
        ),
        ({"score": 0.45, "dice Ring": 0.9, "dice Core": 0.0}, "did not find Core (Dice 0.000): do not rely on that"),
        ({"score": 0.8, "dice Ring": 0.7, "dice Core": 0.9}, None),
        ({}, None),
        ({"score": "high", "dice Ring": None}, None),
    ],
)
def test_a_model_that_failed_its_validation_says_so_wherever_it_is_used(validation, told):
    model = a_model(validation=validation)
    notes = run_to_end(ModelSegmenter(model, "cpu").segment(phantom(3)[0])).notes
    assert model.summary()["doubts"] == model.doubts()
    assert [note for note in notes if "validation" in note] == model.doubts()
    assert len(model.doubts()) == (told is not None) and (told is None or told in notes[0])


def test_a_model_that_finds_nothing_at_all_says_so():
    network = seeded(lambda: TwoStreamUNet(3, 1, (8, 16)), 0)
    with torch.no_grad():
        for decoder in network.decoders:
            decoder.head.bias[0] += 1000  # background everywhere
    answer = run_to_end(ModelSegmenter(a_model(network), "cpu").segment(phantom(3)[0]))
    assert not answer.labels.any() and answer.notes == (
        "the model found nothing in image 'phantom3': all segments are empty",
    )


def test_a_model_of_the_wrong_kind_or_with_foreign_weights_is_refused(tmp_path):
    save_model(a_model(an_encoder(), kind="encoder", classes=()), tmp_path / "encoder.pt")
    with pytest.raises(InputError, match=r"of kind encoder, but one of kind segmenter .*s3net finetune --init"):
        load_model(tmp_path / "encoder.pt", "segmenter")
    with pytest.raises(InputError, match="cannot segment"):
        ModelSegmenter(load_model(tmp_path / "encoder.pt"))
    model = a_model()
    wrong = Model("segmenter", {**model.network, "channels": [8, 32]}, model.tensors, LAYOUT, CLASSES)
    with pytest.raises(InputError, match="do not fit its network"):
        wrong.build()
    with pytest.raises(InputError, match="network 'net of tomorrow'"):
        Model("segmenter", {"name": "net of tomorrow"}, model.tensors, LAYOUT, CLASSES).build()


def test_the_encoder_of_a_file_gives_the_features_of_the_level_that_was_trained(tmp_path):
    encoder = an_encoder().eval()
    file = save_model(a_model(encoder, kind="encoder", classes=(), level=1, temperature=20.0), tmp_path / "e.pt")
    loaded = load_encoder_file(file)
    image = torch.rand(1, 1, 30, 30)
    with torch.inference_mode():
        assert torch.equal(loaded.network(image)[0], encoder(image)[1])
    assert (loaded.network.channels, loaded.network.strides) == ((16,), (2,)) and loaded.network.temperature == 20.0
    assert len(loaded.sha256) == 64 and loaded.name.endswith("e.pt")
    assert not any(p.requires_grad for p in loaded.network.parameters())
    few_shot = load_encoder(file, "cpu")
    assert (few_shot.temperature, few_shot.digest, few_shot.network.strides) == (20.0, loaded.sha256, (2,))
    segmenter = save_model(a_model(), tmp_path / "s.pt")
    assert load_encoder_file(segmenter).network.channels == (16,)


class BrightAbove(torch.nn.Module):
    """Class 1 from a grey of 0.3 on, class 2 from 0.7 on; remembers the largest batch."""

    largest, room = 0, 1000

    def forward(self, image):
        if len(image) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        self.largest = max(self.largest, len(image))
        x = 100 * image
        return torch.cat((torch.full_like(x, 30.0), x, 2 * x - 70), 1)


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_a_model_labels_the_voxels_of_a_turned_volume_in_place(plane):
    k, j, i = np.mgrid[:9, :24, :30]
    array = np.where((i - 20) ** 2 + (j - 8) ** 2 < 30, 500, np.where((i - 9) ** 2 + (j - 14) ** 2 < 40, 1000, 0)) * (
        k > 2
    )
    array += np.random.default_rng(0).integers(0, 200, array.shape)
    matrix = np.array([[0, -1.0, 0, 5], [1.0, 0, 0, -3], [0, 0, -1.0, 2], [0, 0, 0, 1]])
    volume = Volume(array.astype(np.int16), matrix)
    model = Model("segmenter", {}, {}, SliceLayout(plane, 1.0, 32), CLASSES)
    answer = run_to_end(ModelSegmenter(model, "cpu", BrightAbove()).segment(volume, confidence=True))
    assert np.array_equal(answer.labels, (array > 400).astype(np.uint8) + (array > 900))
    assert answer.confidence.shape == array.shape and answer.confidence.min() > 0.5
    segmentation = as_segmentation(model, answer.labels, volume, {"S3NetSegment.Method": "test"})
    assert [s.name for s in segmentation.segments] == ["Ring", "Core"]
    assert segmentation.segments[0].terminology == CLASSES[0].terminology and segmentation.segments[0].tags
    assert np.array_equal(segmentation.ijk_to_ras, matrix)


def _back(slices, found):
    """Slices as they were in the volume."""
    array = np.zeros((1, *slices.volume.array.shape[1:3]), np.float32)
    slices.oriented(array)[:] = found.numpy()
    return array[0]


def test_slice_by_slice_beside_the_window_the_labels_are_the_same(monkeypatch):
    volume, _ = phantom(0)
    monkeypatch.setattr(apply_model, "_RESTORED", 5 * 36 * 40)
    classes = tuple(LabelClass(f"{n}", n, (1.0, 0, 0)) for n in range(1, 12))  # more than are restored at once
    network = seeded(lambda: TwoStreamUNet(12, 1, CHANNELS["tiny"]), 0)
    model = Model(
        "segmenter", describe_network(network), network_tensors(network), SliceLayout("axial", 0.5, 80), classes
    )
    told: list = []
    answer = run_to_end(ModelSegmenter(model, "cpu").segment(volume, confidence=True, short_steps=True), told.append)
    assert told[-1].fraction < 1 and len({step.fraction for step in told}) == volume.size[2]
    alone = Volume(volume.array[3:4], volume.ijk_to_ras)
    with torch.inference_mode():
        slices = model.layout.of(alone, [intensity_scale(volume)])
        expected = network.eval()(torch.from_numpy(slices.prepared(0, 1))).softmax(1)
        sure, labels = slices.restored(expected[:, :, 4:76]).max(1)  # 72 rows of 80
    assert np.array_equal(answer.labels[3], _back(slices, labels))
    assert np.allclose(answer.confidence[3], _back(slices, sure), atol=1e-3)


def test_too_little_memory_makes_the_batches_smaller_and_what_does_not_fit_the_model_is_said():
    volume, _ = phantom(0)
    network = BrightAbove()
    network.room = 2
    model = Model("segmenter", {}, {}, SliceLayout("coronal", 1.0, 16), CLASSES)
    answer = run_to_end(ModelSegmenter(model, "cpu", network).segment(volume))
    assert network.largest == 2 and answer.confidence is None
    said = " ".join(answer.notes)
    assert "memory of this machine was full" in said and "coronal slices, but this image was made in axial" in said
    assert "sees 16 mm of a slice at once" in said and "looked at in 8 parts that overlap" in said


class _Waiting(torch.nn.Module):
    """Stands for a network that takes long: it answers once it is allowed to."""

    def __init__(self):
        super().__init__()
        self.go_on, self.asked, self.threads = threading.Event(), threading.Event(), set()

    def forward(self, images):
        self.asked.set()
        self.threads.add(threading.get_ident())
        assert self.go_on.wait(600) and torch.is_inference_mode_enabled()
        return torch.zeros(len(images), 3, *images.shape[2:])


def test_the_window_answers_while_a_network_computes_and_cancel_waits_for_nothing(monkeypatch):
    network, (volume, _) = _Waiting(), phantom(0)
    look_of = apply_model.look_of
    monkeypatch.setattr(apply_model, "look_of", lambda *of: network.threads.add(threading.get_ident()) or look_of(*of))
    segmenter = ModelSegmenter(a_model(), "cpu", network)
    steps = segmenter.segment(volume, short_steps=True)
    while not network.asked.is_set():
        next(steps)
    told = {next(steps).message for _ in range(3)}  # the network has not answered
    assert told == {f"Applying the model: slice 1 of {volume.size[2]}"} and threading.get_ident() not in network.threads
    steps.close()  # does not wait for it either
    network.go_on.set()
    answer = run_to_end(segmenter.segment(volume, short_steps=True))
    assert not answer.labels.any() and answer.labels.shape == volume.array.shape
    before = len(network.threads)
    run_to_end(segmenter.segment(volume))  # a script has no window
    assert network.threads - {threading.get_ident()} and len(network.threads) == before + 1


def test_too_little_memory_in_short_steps_is_met_as_without_them(monkeypatch):
    network, (volume, _) = _Waiting(), phantom(0)
    network.go_on.set()
    forward, sizes = network.forward, []

    def full(images):
        sizes.append(len(images))
        if len(sizes) == 1:
            raise MemoryError
        return forward(images)

    monkeypatch.setattr(network, "forward", full)
    monkeypatch.setitem(apply_model._SHORT_BATCH, "cpu", 4)
    answer = run_to_end(ModelSegmenter(a_model(), "cpu", network).segment(volume, short_steps=True))
    assert sizes[:3] == [4, 2, 2] and any("continued in smaller parts" in note for note in answer.notes)
