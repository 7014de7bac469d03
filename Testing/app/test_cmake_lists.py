"""The CMake files: everything that is in the tree is shipped, and the description of the extension is complete."""

import re
import runpy

from paths import REPOSITORY

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
    assert values["EXTENSION_CONTRIBUTORS"]
    assert values["EXTENSION_HOMEPAGE"].startswith("https://github.com/")


def test_icon_and_screenshots_are_pictures_of_this_repository():
    _, values = metadata()
    owner = values["EXTENSION_HOMEPAGE"].removeprefix("https://github.com/")
    for url in (values["EXTENSION_ICONURL"], *values["EXTENSION_SCREENSHOTURLS"].split()):
        prefix = f"https://raw.githubusercontent.com/{owner}/main/"
        assert url.startswith(prefix) and url.endswith(".png")


def test_the_icon_is_a_png_of_128_by_128_pixels_with_transparency():
    data = (REPOSITORY / "Resources" / "S3NetSegment.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, color_type = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[25])
    assert (width, height, color_type) == (128, 128, 6)


def test_the_licence_is_where_the_extensions_index_looks_for_it():
    names = ("LICENSE", "LICENSE.txt", "LICENCE", "COPYING")
    text = next((REPOSITORY / n).read_text(encoding="utf8") for n in names if (REPOSITORY / n).is_file())
    assert "Apache License" in text and "Version 2.0" in text
