"""Settings: ranges, texts and presets."""

import dataclasses

import pytest

from S3NetSegmentLib.engine import InputError, SegmentSettings, preset


def test_every_setting_has_a_help_text_and_refuses_values_out_of_its_range():
    for field in dataclasses.fields(SegmentSettings):
        assert len(field.metadata["help"]) > 10, field.name
        low, high, choices = (field.metadata[k] for k in ("low", "high", "choices"))
        if choices:
            wrong = ["surely not"]
        elif isinstance(field.default, bool):
            wrong = [3, "yes", None]
        elif isinstance(field.default, tuple):
            wrong = [(low - 1,), (high + 1,), ()]
        else:
            assert low <= field.default <= high, field.name
            wrong = [low - 1, high + 1, "text", None, True]
        for value in wrong:
            with pytest.raises(InputError, match=field.name):
                SegmentSettings(**{field.name: value})


def test_texts_become_typed_values():
    settings = SegmentSettings().with_texts(["seed=7", "affine-weight=0.5", "attention=off", "region_counts=8,2,2,5"])
    assert (settings.seed, settings.affine_weight, settings.attention) == (7, 0.5, False)
    assert settings.region_counts == (2, 5, 8)


@pytest.mark.parametrize("text", ["seed", "sead=3", "seed=x", "attention=maybe", "region_counts=2;3", "=5", "seed=1.5"])
def test_a_text_that_is_not_a_setting_is_refused(text):
    with pytest.raises(InputError, match=text.split("=")[-1] or text):
        SegmentSettings().with_texts([text])


def test_changed_lists_only_what_differs_from_the_defaults():
    assert SegmentSettings().changed() == {}
    assert SegmentSettings(seed=3).changed() == {"seed": 3}


def test_presets_are_known_by_name():
    assert preset("default") == SegmentSettings()
    paper = preset("paper")
    assert paper.sources == "s3net" and paper.channels == 64 and paper.deformable and paper.fit_size == 256
    with pytest.raises(InputError, match="'fast'"):
        preset("fast")
