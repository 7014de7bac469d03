"""The pictures of the documentation show the present panel; if not, run ``Testing/make_pictures.py``."""

import copy

import pytest
from fake_engine import FakeEngine
from fake_propagation import FakePropagation
from picture_record import problems, read_record


@pytest.fixture
def panel(open_panel, tmp_path):
    """The panel after all tabs were opened, which makes their widgets."""
    panel = open_panel(FakeEngine(), FakePropagation())
    panel.open_few_shot()
    panel.open_models()
    panel.open_cohort(tmp_path)
    return panel


def test_the_pictures_show_the_present_panel(panel):
    assert not list(problems(read_record(), panel)), "run Testing/make_pictures.py"


def test_a_changed_text_widget_or_picture_makes_pictures_old(panel):
    record = read_record()
    assert len(record["pictures"]) > 20 and len(record["containers"]) > 20

    def with_change(change):
        changed = copy.deepcopy(record)
        change(changed)
        return list(problems(changed, panel))

    one = "tutorial/segment_1.png"
    assert with_change(lambda r: r["pictures"][one]["texts"].append("Aim at it")) == [
        f"{one}: the panel says no longer 'Aim at it'"
    ]
    found = with_change(lambda r: r["containers"]["promptsRow"].remove("QPushButton pointButton"))
    assert any(problem.startswith(f"{one}: in promptsRow nothing went") for problem in found)
    found = with_change(lambda r: r["containers"]["inputsCollapsibleButton"].append("QLabel goneLabel"))
    assert any("'QLabel goneLabel'" in problem and one in problem for problem in found)
    found = with_change(lambda r: r["containers"]["inputsCollapsibleButton"].reverse())
    assert any("the order changed" in problem for problem in found)
    assert with_change(lambda r: r["pictures"][one].update(sha256="")) == [
        f"{one} is not the picture that was made with the record"
    ]
    assert with_change(lambda r: r["pictures"].pop(one)) == [f"{one} is in the folder and not in the record"]
