"""Settings: ranges, texts and presets; and how a result was made, as segment tags: one form for the panel, the command line and scripts."""

import dataclasses

import pytest

from S3NetSegmentLib import __version__
from S3NetSegmentLib.engine import InputError, SegmentSettings, preset
from S3NetSegmentLib.engine.common.provenance import (
    PREFIX,
    OutcomeFacts,
    TaskFacts,
    facts_of,
    method_of,
    provenance,
    provenance_tags,
    support_text,
)


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


def test_facts_become_tags_and_empty_ones_are_left_out():
    tags = provenance_tags("Model", model_sha256="ab", frame=3, place=None, outside_points=[], mm=1 / 3)
    assert tags == {
        f"{PREFIX}Method": "Model", f"{PREFIX}Version": __version__, f"{PREFIX}ModelSha256": "ab", f"{PREFIX}Frame": "3",
        f"{PREFIX}Mm": "0.333333",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a|b", "a\nb", "a \r\n | b"])
def test_no_text_ends_its_tag(text):
    (value,) = {v for name, v in provenance_tags("m", image=text).items() if name == f"{PREFIX}Image"}
    assert "|" not in value and "\n" not in value and value.startswith("a") and value.endswith("b")


def test_a_result_says_what_was_asked_and_what_came_of_it():
    settings = SegmentSettings(work_size=128, seed=5)
    points = [(1.25, -2.0, 3.0), (4.0, 5.0, 6.1234567)]
    tags = provenance(TaskFacts("Segment", "CT", settings, points), OutcomeFacts("cpu", "object"))
    assert tags == {
        f"{PREFIX}Method": "Segment", f"{PREFIX}Version": __version__, f"{PREFIX}Image": "CT", f"{PREFIX}Device": "cpu",
        f"{PREFIX}Settings": "work_size=128", f"{PREFIX}Seed": "5", f"{PREFIX}Role": "object",
        f"{PREFIX}Points": "1.25,-2,3 / 4,5,6.12346",
    }  # fmt: skip
    plain = provenance(TaskFacts("Segment", "CT", SegmentSettings()), OutcomeFacts())
    assert plain[f"{PREFIX}Settings"] == "default"


@pytest.mark.parametrize(
    ("drawn", "more", "text"),
    [
        ({"z": [4, 8], "y": []}, {}, "a.seg.nrrd z=4,8"),
        ({"z": [4], "x": [9]}, {"image": "CT before"}, "a.seg.nrrd on CT before z=4 x=9"),
        (None, {}, "a.seg.nrrd all slices"),
        ({"z": []}, {"planes": 2}, "a.seg.nrrd 2 oblique planes"),
    ],
)
def test_what_was_drawn_is_one_text(drawn, more, text):
    assert support_text("a.seg.nrrd", drawn, **more) == text


def test_tags_of_earlier_versions_say_the_same():
    earlier = {f"{PREFIX}Method": "Few-shot", f"{PREFIX}Volume": "CT", f"{PREFIX}Drawn": "z 3", "Other": "x"}
    assert facts_of(earlier) == {"Method": "Few-shot", "Image": "CT", "Support": "z 3"}
    texts = ("Segment", "Segment, object at points", "few-shot", "Model", "apply model", "", None, "By hand")
    assert [method_of(t) for t in texts] == ["Segment", "Segment", "Few-shot", "Model", "Model", "", "", ""]
