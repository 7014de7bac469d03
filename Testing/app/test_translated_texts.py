"""Every text of the panel can be translated."""

import ast

import pytest
from translated_texts import files, hidden, untranslated, write


def test_every_text_that_the_panel_shows_goes_through_the_translation():
    found = [f"{one.path.name}:{one.line}: {one.text}" for path in files() for one in untranslated(path)]
    assert len(files()) > 40 and found == []


def test_nothing_hides_the_function_that_translates():
    assert [name for path in files() for name in hidden(path)] == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('button.text = "Run"', '_("Run")'),
        ('say(f"{name!r} holds {count / 2:.1f} more voxels")', "{name!r} holds {value:.1f} more voxels"),
        ('x = "two words" if y else ""', '_("two words")'),
        ('x = "Cancel" if y else "Apply"', '_("Cancel") if y else _("Apply")'),
        ('table = {"first": "Stopping..."}', '_("Stopping...")'),
        ('path = folder / "Resources"', None),
        ('name = facts["Image"]', None),
        ('say("two words")  # no translation', None),
        ('button.connect("clicked()", f)', None),
        ('raise RuntimeError("two words")', None),
    ],
)
def test_the_check_sees_texts_and_can_put_them_into_the_translation(tmp_path, line, expected):
    path = tmp_path / "panel.py"
    path.write_text(f'"""A docstring is no text."""\n\nimport qt\n\n{line}\n', encoding="utf-8")
    assert bool(untranslated(path)) == bool(expected)
    if expected:
        assert write(path) == max(1, expected.count("_(")) and not untranslated(path)
        source = path.read_text(encoding="utf-8")
        assert expected in source.replace("'", '"') and "from slicer.i18n import tr as _" in source
        ast.parse(source)


def test_the_check_sees_what_hides_the_function(tmp_path):
    path = tmp_path / "panel.py"
    path.write_text(
        'def f(*_):\n    return _("two words")\n\n\ndef g(_x):\n    return _("two words")\n', encoding="utf-8"
    )
    assert hidden(path) == ["panel.py:1"]
