"""The CMake files: everything that is in the tree is shipped, and the description of the extension is complete."""

import json
import re
import runpy

import pytest
from paths import MODULE, REPOSITORY

lists = runpy.run_path(str(REPOSITORY / "Testing" / "app" / "update_cmake_lists.py"))
REMEDY = "run: python3 Testing/app/update_cmake_lists.py"


def test_every_shipped_file_is_listed_and_every_listed_file_exists():
    files = lists["shipped_files"]()
    scripts = [name for name in files if lists["is_script"](name)]
    resources = [name for name in files if not lists["is_script"](name)]
    assert lists["listed_files"](lists["SCRIPTS"]) == scripts, REMEDY
    assert lists["listed_files"](lists["RESOURCES"]) == resources, REMEDY
    assert "S3NetSegment.py" in scripts and "Resources/UI/S3NetSegment.ui" in resources


def metadata():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf8")
    # The checks of the Extensions Index read these lines one by one in just this form.
    return text, dict(re.findall(r'^set\((EXTENSION_\w+) "([^"\n]*)"\)?.*$', text, re.MULTILINE))


def test_the_description_of_the_extension_is_complete():
    text, values = metadata()
    assert re.search(r"^project\(S3NetSegment\)$", text, re.MULTILINE)
    assert values["EXTENSION_DEPENDS"] == "PyTorch"
    assert "Apache-2.0" in values["EXTENSION_DESCRIPTION"] and len(values["EXTENSION_DESCRIPTION"]) > 80
    assert all(use in values["EXTENSION_DESCRIPTION"] for use in ("Few-shot", "Models", "CT", "MR"))
    people = values["EXTENSION_CONTRIBUTORS"].split(", ")
    assert all(re.fullmatch(r"[^()]+ \([^()]+\)", person) for person in people), "Name (Organization)"
    module = (MODULE / "S3NetSegment.py").read_text(encoding="utf8")
    assert re.search(r"parent\.contributors = (\[.*?\])", module)[1] == json.dumps(people)
    cited = (REPOSITORY / ".github" / "CITATION.cff").read_text(encoding="utf8").split("references:")[0]
    assert re.findall(r"(?m)^  - name: \"(.+)\"$", cited) == [person.split(" (")[0] for person in people]
    assert values["EXTENSION_HOMEPAGE"].startswith("https://github.com/")


def test_icon_and_screenshots_are_pictures_of_this_repository():
    _, values = metadata()
    owner = values["EXTENSION_HOMEPAGE"].removeprefix("https://github.com/")
    for url in (values["EXTENSION_ICONURL"], *values["EXTENSION_SCREENSHOTURLS"].split()):
        prefix = f"https://raw.githubusercontent.com/{owner}/main/"
        assert url.startswith(prefix) and url.endswith(".png")
        assert (REPOSITORY / url.removeprefix(prefix)).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", url
    assert len(set(values["EXTENSION_SCREENSHOTURLS"].split())) >= 3


def test_the_entry_for_the_extensions_index_says_what_the_cmake_file_says():
    text, values = metadata()
    path = REPOSITORY / ".github" / "extensions_index" / "S3NetSegment.json"
    assert re.search(rf"^project\({path.stem}\)$", text, re.MULTILINE) and not path.stem.lower().startswith("slicer")
    data = path.read_bytes()
    entry = json.loads(data)
    allowed = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "dicom_support_rule", "enabled", "tier"}  # fmt: skip
    assert set(entry) <= allowed and b"\r" not in data
    assert entry["scm_url"] == values["EXTENSION_HOMEPAGE"] + ".git" and entry["category"] == "Segmentation"
    assert entry["scm_url"].rsplit("/", 1)[1].startswith("Slicer") and entry["tier"] in range(1, 6)
    assert entry["build_dependencies"] == values["EXTENSION_DEPENDS"].split()


def test_the_workflow_tries_the_module_in_three_systems_and_two_releases_of_slicer_and_can_fail():
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load((REPOSITORY / ".github/workflows/slicer.yml").read_text(encoding="utf8"))["jobs"].values()
    matrix = job["strategy"]["matrix"]
    assert set(matrix["release"]) == {"release", "nightly"} and len(matrix["include_os"]) == 3
    assert {one["include_os"] for one in matrix["include"]} == set(matrix["include_os"])
    runs = " ".join(step.get("run", "") for step in job["steps"])
    assert "runUnitTest" in runs and "panel.png" in runs and "|| true" not in runs
    assert "continue-on-error" not in str(job) and "strategy" in job


def test_the_icon_is_a_png_of_128_by_128_pixels_with_transparency():
    data = (REPOSITORY / "Resources" / "S3NetSegment.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, color_type = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[25])
    assert (width, height, color_type) == (128, 128, 6)


def test_the_licence_is_where_the_extensions_index_looks_for_it():
    names = ("LICENSE", "LICENSE.txt", "LICENCE", "COPYING")
    text = next((REPOSITORY / n).read_text(encoding="utf8") for n in names if (REPOSITORY / n).is_file())
    assert "Apache License" in text and "Version 2.0" in text
