"""Who may import whom (the rooms of the product), checked in the source text: imports go only downwards."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest
from paths import MODULE, REPOSITORY

PACKAGE = MODULE / "S3NetSegmentLib"
TESTING = REPOSITORY / "Testing"
SLICER = {"slicer", "vtk", "vtkmodules", "qt", "ctk", "PythonQt", "vtkSegmentationCorePython", "mrml"}
QT = {"qt", "ctk", "PythonQt", "PyQt5", "PySide6"}
# Room -> other rooms of the package it may import, and outside packages it may not.
ROOMS = {
    "engine": (set(), SLICER),
    "scene": ({"engine"}, QT | {"torch"}),
    "cli": ({"engine"}, SLICER | {"torch"}),
    "panel": ({"scene", "engine"}, {"torch"}),
}
EVERYBODYS = {"__version__", "file_lock", "user_cache"}  # beside the rooms, standard library only
DEPENDENCIES = MODULE / "dependencies.txt"
# Packages that only some files need, and that take a third of a second to import.
LATE_ANYWHERE = {"pydicom", "highdicom"}


def dependencies() -> dict[str, list[str]]:
    """Import name -> where it comes from and why, of what the product may import."""
    lines = DEPENDENCIES.read_text(encoding="utf-8").splitlines()
    parts = [[part.strip() for part in line.split("|")] for line in lines if line and not line.startswith("#")]
    return {name: facts for name, *facts in parts}


class Import:
    """One imported module: dotted name (absolute inside the package) and whether it happens when the file is imported."""

    def __init__(self, name, line, at_import):
        self.name, self.line, self.at_import = name, line, at_import

    @property
    def room(self):
        parts = self.name.split(".")
        return parts[1] if parts[0] == "S3NetSegmentLib" and len(parts) > 1 else None


@functools.cache
def imports_of(file: Path) -> list[Import]:
    """All imports of ``file``; those inside functions and ``if TYPE_CHECKING`` do not happen at import."""
    package = ("S3NetSegmentLib", *file.relative_to(PACKAGE).parent.parts) if file.is_relative_to(PACKAGE) else ()
    found = []

    def visit(node, at_import):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.orelse:
                visit(child, at_import)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, at_import) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join((*base, *((node.module,) if node.module else ())))
            found.extend(Import(f"{name}.{alias.name}", node.lineno, at_import) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, at_import)

    visit(ast.parse(file.read_text(encoding="utf-8")), True)
    return found


def files_of(room):
    return sorted((PACKAGE / room).rglob("*.py"))


def problems(room, is_wrong):
    return [
        f"{file.relative_to(MODULE)}:{found.line} imports {found.name}"
        for file in files_of(room)
        for found in imports_of(file)
        if is_wrong(found)
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room):
    allowed = ROOMS[room][0] | EVERYBODYS | {room}
    assert files_of(room)
    assert not problems(room, lambda found: found.room is not None and found.room not in allowed)


def file_of(module: str) -> Path:
    """Where a module of the package would lie."""
    place = MODULE.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def names_in(module: str) -> set[str] | None:
    """What can be imported from a module of the package: its names and the modules in its folder; None if there is no such module."""
    file = file_of(module)
    if not file.is_file():
        return None
    names = {inside.stem for inside in file.parent.glob("*")} if file.name == "__init__.py" else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def test_what_is_imported_from_the_package_is_there():
    """Also within functions, where neither loading a file nor mypy (a module that is gone counts as one without types) finds it."""
    known, missing = {}, []
    for file in [*MODULE.rglob("*.py"), *TESTING.rglob("*.py")]:
        for found in imports_of(file):
            module, _, name = found.name.rpartition(".")
            if not module.startswith("S3NetSegmentLib"):
                continue
            if module not in known:
                known[module] = names_in(module)
            names = known[module]
            if names is None or not ({name, "__getattr__"} & names):
                missing.append(f"{file.name}:{found.line} imports {found.name}")
    assert known and not missing


def test_what_every_room_may_import_needs_only_the_standard_library():
    for name in EVERYBODYS - {"__version__"}:
        assert {found.name.split(".")[0] for found in imports_of(PACKAGE / f"{name}.py")} <= sys.stdlib_module_names


@pytest.mark.parametrize("words", ["LOCALAPPDATA", '"|", "/"'])
def test_rules_for_folders_and_tags_stand_in_one_place(words):
    assert len([file for file in PACKAGE.rglob("*.py") if words in file.read_text(encoding="utf-8")]) == 1


def test_texts_are_written_whole_or_not_at_all_by_one_function():
    """The launcher's note of an environment and the system's own switches are no results."""
    writers = {file.name for file in PACKAGE.rglob("*.py") if ".write_text(" in file.read_text(encoding="utf-8")}
    assert writers == {"files.py", "environment.py", "machine.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_no_package_that_belongs_elsewhere(room):
    assert not problems(room, lambda found: found.name.split(".")[0] in ROOMS[room][1])


def test_only_listed_packages_are_imported_and_each_has_a_source_and_a_reason():
    listed = dependencies()
    assert all(len(facts) == 2 and all(facts) for facts in listed.values())
    imported = {}
    for file in MODULE.rglob("*.py"):
        for found in imports_of(file):
            imported.setdefault(found.name.split(".")[0], f"{file.relative_to(MODULE)}:{found.line}")
    own = {"S3NetSegmentLib", "S3NetSegment", "SegmentEditorFewShotLib"}
    outside = {name: where for name, where in imported.items() if name not in sys.stdlib_module_names | own | {""}}
    assert not {name: where for name, where in outside.items() if name not in listed}
    assert not set(listed) - set(outside)  # nothing is listed that nobody needs


@pytest.mark.parametrize("room", ROOMS)
def test_what_only_dicom_needs_is_imported_when_a_dicom_file_is_read(room):
    assert not problems(room, lambda found: found.at_import and found.name.split(".")[0] in LATE_ANYWHERE)


def test_an_image_that_is_no_dicom_is_read_without_pydicom(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 2 2\nencoding: raw\nspacings: 1 1\n\n\0\1\2\3"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from S3NetSegmentLib.engine.images.reading import read_image; "
        "from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation; image = read_image(sys.argv[2]); "
        "from S3NetSegmentLib.engine.images.writing import write_image; "
        "[read_image(write_image(image, sys.argv[2][:-5] + suffix)) for suffix in ('.nii.gz', '.mha', '.png')]; "
        "read_segmentation(sys.argv[2]); sys.exit('pydicom was imported' if 'pydicom' in sys.modules else 0)"
    )
    command = [sys.executable, "-c", code, str(MODULE), str(tmp_path / "a.nrrd")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_panel_imports_what_computes_late():
    computing = {"methods", "nets", "regions", "objects", "losses", "affine2d"}  # plain types are free, as in scene

    def is_wrong(found):
        return found.room == "engine" and found.at_import and not computing.isdisjoint(found.name.split(".")[2:3])

    assert not problems("panel", is_wrong)


def loaded_with(module: str) -> set[str]:
    """The modules of the command line that importing ``module`` loads, itself among them."""
    waiting, loaded = [module], set()
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if name in loaded or not file.is_file():
            continue
        loaded.add(name)
        early = [found.name for found in imports_of(file) if found.at_import and found.room == "cli"]
        waiting += early + [name.rpartition(".")[0] for name in early]
    return loaded


def test_the_command_line_needs_only_the_standard_library_until_a_command_runs():
    early = loaded_with("S3NetSegmentLib.cli.main")
    assert {
        f"S3NetSegmentLib.cli.{name}" for name in ("segment", "demo.command", "train.finetune", "terminal")
    } <= early
    allowed = set(sys.stdlib_module_names) | {"S3NetSegmentLib"}
    plain = tuple(
        f"S3NetSegmentLib.engine.{name}." for name in ("tasks", "common.errors", "common.device")
    )  # see the test of them below

    def is_wrong(found):
        heavy = found.room == "engine" and not found.name.startswith(plain)
        return found.at_import and (found.name.split(".")[0] not in allowed or heavy)

    files = {str(file_of(name).relative_to(MODULE)) for name in early}
    assert not [found for found in problems("cli", is_wrong) if found.split(":")[0] in files]


def lines_without_rooms(folder: Path) -> int:
    """Lines of the Python files that lie in ``folder`` itself; 0 if it has sub-folders with code."""
    if any(folder.glob("*/*.py")):
        return 0
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in folder.glob("*.py"))


def test_a_large_folder_has_sub_folders():
    """A stranger finds a behaviour from the names of folders: none above 3,500 lines is without sub-folders."""
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert len(folders) > 20
    large = {str(folder.relative_to(MODULE)): lines_without_rooms(folder) for folder in folders}
    assert not {name: lines for name, lines in large.items() if lines > 3500}


def test_the_records_of_tasks_load_without_any_package():
    code = "import sys; sys.path.insert(0, sys.argv[1]); import S3NetSegmentLib.engine.batch.columns"
    subprocess.run([sys.executable, "-S", "-c", code, str(MODULE)], check=True)


def test_the_slicer_module_imports_neither_the_engine_nor_torch_when_it_is_loaded():
    file = MODULE / "S3NetSegment.py"
    if not file.exists():
        pytest.skip("the Slicer module is not there")
    early = [found for found in imports_of(file) if found.at_import]
    assert not [found.name for found in early if found.name.split(".")[0] == "torch" or found.room in ("engine", "cli")]


def test_torch_is_not_imported_with_the_engine_the_segment_method_the_first_sight_of_prompts_or_a_case_of_a_batch():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import S3NetSegmentLib.engine, S3NetSegmentLib.engine.segment.find_regions; "
        "import S3NetSegmentLib.engine.segment.carry, S3NetSegmentLib.engine.batch.one_case; "
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(MODULE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_grey_slice_is_segmented_without_the_packages_that_only_others_need(tmp_path):
    """They would take a quarter of its time."""
    pixels = bytes(
        200 if 10 < i < 25 and 12 < j < 30 else 40 + (7 * i + 3 * j) % 9 for j in range(40) for i in range(40)
    )
    head = b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 40 40\nencoding: raw\nspacings: 1 1\n\n"
    (tmp_path / "a.nrrd").write_bytes(head + pixels)
    late = ("scipy.linalg", "scipy.sparse.csgraph", "pydicom", "PIL", "tifffile", "torch", "jinja2", "requests")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from S3NetSegmentLib.cli.main import launch\n"
        "code = launch(None, ['segment', sys.argv[2], '-o', sys.argv[2][:-5] + '.seg.nrrd', '--quiet'])\n"
        f"print(*(name for name in {late} if name in sys.modules)); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(MODULE), str(tmp_path / "a.nrrd")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_check_itself_sees_relative_late_and_type_checking_imports(tmp_path, monkeypatch):
    file = tmp_path / "S3NetSegmentLib" / "engine" / "sample.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from ..scene import volumes\nimport torch.nn\nif TYPE_CHECKING:\n    import vtk\ndef f():\n    from .common import errors\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "S3NetSegmentLib")
    found = {entry.name: entry.at_import for entry in imports_of(file)}
    assert found == {
        "S3NetSegmentLib.scene.volumes": True,
        "torch.nn": True,
        "S3NetSegmentLib.engine.common.errors": False,
    }
