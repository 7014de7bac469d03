"""The documents: every link, anchor, picture and script that they name exists, and the README stays short."""

import re
import subprocess
import unicodedata
from pathlib import Path

import pytest
from paths import REPOSITORY

README = REPOSITORY / "README.md"
DOCUMENTATION = REPOSITORY / "Resources" / "Documentation"
FOLDERS = (
    REPOSITORY,
    REPOSITORY / ".github",
    DOCUMENTATION,
    REPOSITORY / "Testing",
    REPOSITORY / "Resources" / "SampleData",
)
DOCUMENTS = sorted(file for folder in FOLDERS for file in folder.glob("*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]*src=\"([^\"]+)\"")
PACKAGE = REPOSITORY / "S3NetSegment" / "S3NetSegmentLib"
MODULE_FILE = re.compile(r"(?<![\w/])((?:engine|scene|panel|cli)/[\w/]+\.(?:py|npz))")  # as developers' pages name them
SCRIPT = re.compile(r"\b((?:Testing|S3NetSegment|Resources)/[\w./-]*\w)")


def prose(text: str) -> str:
    """``text`` without its code blocks, where brackets are code and # is a comment."""
    return re.sub(r"(?ms)^[ ]*```.*?^[ ]*```[ ]*$", "", text)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes from the headings of ``text``."""
    found: dict[str, int] = {}
    for heading in re.findall(r"(?m)^#{1,6}\s+(.*?)\s*$", prose(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower()
        kept = (c for c in plain if c in " -_" or unicodedata.category(c)[0] in "LN")
        name = "".join(kept).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    return {name if not n else f"{name}-{n}" for name, most in found.items() for n in range(most + 1)}


def broken_links(file: Path) -> list[str]:
    """Relative links of ``file`` that lead nowhere."""
    broken = []
    for pair in LINK.findall(prose(file.read_text(encoding="utf-8"))):
        target = next(filter(None, pair))
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (file.parent / path).resolve() if path else file
        if not place.exists() or (anchor and anchor not in anchors(place.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_link_and_picture_leads_somewhere(file):
    assert broken_links(file) == []


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_file_of_the_repository_that_is_named_exists(file):
    text = file.read_text(encoding="utf-8")
    named = {REPOSITORY / name for name in SCRIPT.findall(text)} - {REPOSITORY / "Testing" / "artifacts"}
    named |= {PACKAGE / name for name in MODULE_FILE.findall(text)}
    assert [str(path.relative_to(REPOSITORY)) for path in sorted(named) if not path.exists()] == []


def test_the_check_itself_sees_a_broken_link_a_broken_anchor_and_a_missing_picture(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(
        "# A `page`, of sorts\n[here](#a-page-of-sorts) [gone](gone.md) [x](#nowhere) ![p](p.png)\n```\n[no](link)\n```\n"
        "[out](https://example.org/x)\n"
    )
    assert broken_links(file) == ["gone.md", "#nowhere", "p.png"]


def test_every_benchmark_is_named_where_they_are_listed():
    listed = set(SCRIPT.findall((REPOSITORY / "Testing" / "README.md").read_text(encoding="utf-8")))
    scripts = (REPOSITORY / "Testing" / "benchmarks").rglob("*.py")
    commands = [
        file.relative_to(REPOSITORY).as_posix() for file in scripts if "__main__" in file.read_text(encoding="utf-8")
    ]
    assert len(commands) > 20 and [name for name in commands if name not in listed] == []


def test_the_readme_is_read_in_five_minutes():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 180
    assert len(re.findall(r"!\[", "\n".join(lines))) >= 2, "pictures"
    for command in ("python3 S3NetSegment/s3net demo", "python3 Testing/run"):
        assert command in lines or any(line.startswith(command) for line in lines)


def test_the_readme_leads_to_every_page_of_the_documentation():
    text = README.read_text(encoding="utf-8")
    pages = [path.relative_to(REPOSITORY).as_posix() for path in (*DOCUMENTATION.glob("*.md"),)]
    assert [page for page in (*pages, ".github/CONTRIBUTING.md") if f"({page}" not in text] == []


def test_the_top_level_stays_as_it_is():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} == {
        "S3NetSegment", "CMakeLists.txt", "Resources", "Testing", "README.md", "LICENSE",
    }  # fmt: skip
