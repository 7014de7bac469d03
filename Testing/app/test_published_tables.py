"""The tables "published / here / why": they are those of the document, and no number of a preset can change unseen."""

import dataclasses

import pytest
from published_numbers import Row, Table, tables
from published_tables import DOCUMENT, as_markdown, with_tables

TABLES = tables()
IDS = [table.key for table in TABLES]
ROWS = [pytest.param(table, row, id=f"{table.key}: {row.what}") for table in TABLES for row in table.rows]


def test_the_document_holds_the_tables_that_the_settings_make():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, "run python3 Testing/published_tables.py --write"


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_number_is_as_published_or_the_table_says_why_not(table, row):
    assert table.differs(row) == bool(row.why), f"published {row.published!r}, here {table.here(row)}: {row.why!r}"


def test_the_preset_published_of_s3net_differs_only_where_the_released_program_has_nothing_to_take():
    table = next(table for table in TABLES if table.key == "s3net")
    own = table.presets["`published`"]
    other = {row.setting for row in table.rows if row.setting and own[row.setting] != row.published}
    assert other == {"deformable_reach", "seed", "rotation", "edge_contrast"}


@pytest.mark.parametrize("table", TABLES, ids=IDS)
def test_every_setting_that_a_preset_changes_is_in_its_table(table):
    told = {row.setting for row in table.rows}
    for name, values in table.presets.items():
        changed = {setting for setting, value in values.items() if value != table.defaults[setting]}
        assert changed - told - table.of_no_method == set(), name


@pytest.mark.parametrize(("table", "row"), [p for p in ROWS if p.values[1].setting])
def test_a_changed_number_changes_the_table(table, row):
    for name, values in table.presets.items():
        now = values[row.setting]
        other = not now if isinstance(now, bool) else f"not {now}" if isinstance(now, str) else now + 1
        changed = dataclasses.replace(table, presets={**table.presets, name: {**values, row.setting: other}})
        assert as_markdown(changed) != as_markdown(table)


def test_a_difference_without_a_reason_and_a_reason_without_a_difference_are_seen():
    table = Table("t", "T", {"`p`": {"rate": 0.2}}, (), {"rate": 0.1})
    assert table.differs(Row("rate", "rate", 0.1)) and not table.differs(Row("rate", "rate", 0.2))
