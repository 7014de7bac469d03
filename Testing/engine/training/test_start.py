"""What fine-tuning starts from: the weights, slices and cases of a pre-trained model, also when it goes on."""

import json
from types import SimpleNamespace

import pytest
import torch
from cohort_files import write_cohort

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.nets.unet import CHANNELS, UNetEncoder, seeded
from S3NetSegmentLib.engine.training.cohort.folder import image_hash, read_cohort
from S3NetSegmentLib.engine.training.configuration import finetuning_configuration
from S3NetSegmentLib.engine.training.finetune import Start, finetune, start_from, start_kept, with_network_of
from S3NetSegmentLib.engine.training.model.model_file import Model, describe_network, load_model, network_tensors
from S3NetSegmentLib.engine.training.preparation import prepare_cohort
from S3NetSegmentLib.engine.training.slices.layout import SliceLayout
from S3NetSegmentLib.engine.training.trainer.run_folder import RunFolder

LAYOUT = SliceLayout("axial", 1.25, 32)


def encoder_model(channels=CHANNELS["tiny"], cases=("a", "b")):
    network = seeded(lambda: UNetEncoder(1, channels, normalization="group"), 3)
    return Model("encoder", describe_network(network), network_tensors(network), LAYOUT, training_cases=cases)


def test_the_weights_slices_and_cases_of_the_model_are_the_start():
    model = encoder_model()
    start = start_from(model)
    assert start.layout == LAYOUT and start.cases == ("a", "b") and list(start.weights) == ["encoder"]
    own = model.build().state_dict()
    assert start.weights["encoder"].keys() == own.keys()
    assert all(torch.equal(start.weights["encoder"][name], own[name]) for name in own)


def test_the_state_of_a_run_keeps_the_start_without_its_weights():
    kept = start_kept(start_from(encoder_model()).as_dict())
    assert (kept.layout, kept.cases, kept.weights) == (LAYOUT, ("a", "b"), {})
    assert Start().as_dict() is None and start_kept(None).layout is None


def test_the_network_has_the_size_of_the_one_to_start_from():
    configuration = finetuning_configuration("plus")
    assert configuration.task.network != "tiny"
    model = encoder_model()
    other = with_network_of(model, configuration)
    assert other.task.network == "tiny" and other.task.normalization == "group" != configuration.task.normalization
    with pytest.raises(InputError, match="which is not a known size"):
        with_network_of(encoder_model((8, 16)), configuration)


def test_validation_images_that_the_model_has_seen_are_told_with_their_number():
    def told(*hashes):
        held = SimpleNamespace(hashes=dict(enumerate(hashes)), names=hashes)
        return Start(cases=("a", "b")).leaks(SimpleNamespace(held=held))

    assert told("c", "d") == [] and Start(cases=("a",)).leaks(SimpleNamespace(held=None)) == []
    (sentence,) = told("a", "c", "d")
    assert "has seen 1 of 3 validation images" in sentence and "flatter the model" in sentence


def test_a_validation_image_that_is_trained_on_under_another_name_is_told(tmp_path):
    folder = write_cohort(tmp_path / "cohort", 3)
    for path in (folder / "images" / "case00.nii.gz", folder / "labels" / "case00.seg.nrrd"):
        path.with_name(path.name.replace("case00", "again")).write_bytes(path.read_bytes())
    settings = finetuning_configuration("tiny").cohort

    def said(validation):
        (folder / "cohort.json").write_text(json.dumps({"splits": {"validation": validation}}))
        notes = run_to_end(prepare_cohort(run_to_end(read_cohort(folder)), settings, seed=0, with_labels=True)).notes
        return [note for note in notes if "flatter the model" in note]

    (sentence,) = said(["again"])
    assert sentence.startswith("1 of 1 validation images") and "'again' is 'case00'" in sentence
    assert said(["again", "case00"]) == []


def test_a_run_from_a_model_takes_its_slices_tells_what_it_has_seen_and_goes_on_without_it(tmp_path):
    cohort = run_to_end(read_cohort(write_cohort(tmp_path / "cohort", 4)))
    seen = tuple(image_hash(case.read_volume()) for case in cohort.cases)
    quick = {"batch": 2, "unlabelled_batch": 2, "validate_every": 1}
    configuration = finetuning_configuration("tiny").replaced(steps=2, **quick)
    init, folder = encoder_model(cases=(*seen, "other")), RunFolder(tmp_path / "run")
    folder.make()
    result = run_to_end(finetune(cohort, configuration, folder, init=init))
    assert any("has seen 1 of 1 validation images" in note for note in result.notes)
    steps = []
    longer = with_network_of(init, configuration).replaced(steps=4)  # as the settings that the run has kept
    again = run_to_end(finetune(cohort, longer, folder, resume=True), lambda step: steps.append(step.message))
    assert again.steps == 4 and not any("Training step 1 " in message for message in steps)
    model = load_model(folder.path / "model.pt")
    assert model.layout == LAYOUT and model.provenance["initialised"] and "other" in model.training_cases
