"""The tables "published / here / why" of Resources/Documentation/methods.md, made from the settings of the presets.

python3 Testing/published_tables.py            prints them
python3 Testing/published_tables.py --write    puts them into the document
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_testing = Path(__file__).resolve().parent
sys.path[:0] = [str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

from paths import REPOSITORY  # noqa: E402
from published_numbers import Table, tables  # noqa: E402

DOCUMENT = REPOSITORY / "Resources" / "Documentation" / "methods.md"
BEGIN, END = (
    "<!-- made by python3 Testing/published_tables.py --write -->",
    "<!-- end of what Testing/published_tables.py makes -->",
)


def as_text(value: object) -> str:
    """A value as a reader wants it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return f"{value:,}" if value >= 10_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_markdown(table: Table) -> str:
    """``table`` with its heading."""
    lines = [f"#### {table.title}", "", f"| | published | {' | '.join(table.presets)} | why |"]
    lines.append("|---" * (3 + len(table.presets)) + "|")
    for row in table.rows:
        name = f"{row.what} (`{row.setting}`)" if row.setting.isidentifier() else row.what
        cells = [name, as_text(row.published), *map(as_text, table.here(row)), row.why]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def all_tables() -> str:
    """All tables, one after the other."""
    return "\n\n".join(as_markdown(table) for table in tables())


def with_tables(text: str) -> str:
    """``text`` of the document with the tables of now between its two marks. ValueError if it has no such marks."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document does not hold {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{all_tables()}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into the document")
    if parser.parse_args().write:
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(all_tables())


if __name__ == "__main__":
    main()
