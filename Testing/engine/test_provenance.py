"""How a result was made, as segment tags: one form for the panel, the command line and scripts."""

import pytest

from S3NetSegmentLib import __version__
from S3NetSegmentLib.engine import SegmentSettings
from S3NetSegmentLib.engine.methods.results import provenance
from S3NetSegmentLib.engine.provenance import PREFIX, provenance_tags
from S3NetSegmentLib.scene.provenance import provenance_tags as tags_of_the_scene


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


def test_the_command_line_and_the_panel_write_points_and_settings_alike():
    settings = SegmentSettings(work_size=128, seed=5)
    points = [(1.25, -2.0, 3.0), (4.0, 5.0, 6.1234567)]
    line = provenance("Segment", settings, "cpu", points, image="CT")
    panel = tags_of_the_scene("Segment", settings={"work_size": 128}, seed=5, points=points, device="cpu", image="CT")
    assert line == panel
    assert line[f"{PREFIX}Points"] == "1.25,-2,3 / 4,5,6.12346"
    assert provenance("Segment", SegmentSettings(), "cpu")[f"{PREFIX}Settings"] == "default"
