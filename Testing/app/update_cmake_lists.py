#!/usr/bin/env python3
"""Writes the lists of shipped files in S3NetSegment/CMakeLists.txt anew from the files that are there.

    python3 Testing/app/update_cmake_lists.py

Slicer packages only listed files: one that is missing in the list works here and fails in every installation.
"""

import re
import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "S3NetSegment"
CMAKE_FILE = MODULE / "CMakeLists.txt"
# The package for Python outside Slicer, and what building it leaves in the tree.
NOT_FOR_SLICER = {"CMakeLists.txt", "pyproject.toml", "build", "S3NetSegment.egg-info"}
SCRIPTS, RESOURCES = "MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"


def shipped_files() -> list[str]:
    """All files of the module that belong into the package, sorted, relative to it."""
    files = (path for path in MODULE.rglob("*") if path.is_file())
    names = (path.relative_to(MODULE) for path in files if path.suffix not in (".pyc", ".pyo"))
    names = (name for name in names if name.parts[0] not in NOT_FOR_SLICER)
    return sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))


def is_script(name: str) -> bool:
    """Whether Slicer should compile the file; a .py file among the resources is only copied."""
    return name.endswith(".py") and not name.startswith("Resources/")


def listed_files(variable: str) -> list[str]:
    """The files that the CMake variable lists."""
    return _block(CMAKE_FILE.read_text(encoding="utf8"), variable).group(2).split()


def main() -> int:
    text = CMAKE_FILE.read_text(encoding="utf8")
    files = shipped_files()
    for variable, chosen in (
        (SCRIPTS, [name for name in files if is_script(name)]),
        (RESOURCES, [name for name in files if not is_script(name)]),
    ):
        block = _block(text, variable)
        lines = "".join(f"  {name}\n" for name in chosen)
        text = text[: block.start(2)] + lines + text[block.end(2) :]
    changed = text != CMAKE_FILE.read_text(encoding="utf8")
    CMAKE_FILE.write_text(text, encoding="utf8")
    print(f"{CMAKE_FILE.name}: {len(files)} files, {'updated' if changed else 'as they were'}")
    return 0


def _block(text: str, variable: str) -> re.Match:
    match = re.search(rf"(set\({variable}\n)(.*?)(?=  \)\n)", text, re.DOTALL)
    if match is None:
        raise SystemExit(f"{CMAKE_FILE} has no list {variable}")
    return match


if __name__ == "__main__":
    sys.exit(main())
