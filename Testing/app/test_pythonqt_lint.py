"""The panel keeps to what PythonQt, Qt 5.15 and Qt 6 have in common."""

import ast
import importlib.util
import sys
import xml.etree.ElementTree as ElementTree

import headless_slicer
import pytest
import qt_stand_in
from paths import MODULE, REPOSITORY

UI_FILES = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
SOURCES = [
    MODULE / "S3NetSegment.py",
    *sorted((MODULE / "SegmentEditorFewShotLib").glob("*.py")),
    *sorted((MODULE / "S3NetSegmentLib" / "panel").rglob("*.py")),
]
spec = importlib.util.spec_from_file_location("pythonqt_lint", REPOSITORY / "Testing" / "app" / "pythonqt_lint.py")
lint = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lint)


def ui_widgets():
    """Name -> (class, SlicerParameterName or None) of all widgets of the .ui files."""
    found = {}
    for widget in (widget for file in UI_FILES for widget in ElementTree.parse(file).iter("widget")):
        parameter = widget.find("property[@name='SlicerParameterName']/string")
        assert widget.get("name") not in found, "two widgets of one name"
        found[widget.get("name")] = (widget.get("class"), parameter.text if parameter is not None else None)
    return found


@pytest.fixture(scope="module")
def signals():
    """Class -> signatures of its signals, from Qt itself; "" -> all of them."""
    if not (headless_slicer.AVAILABLE and qt_stand_in.AVAILABLE):
        pytest.skip("slicer-core or PyQt5 is not installed")
    qt_stand_in.install(headless_slicer.start())
    import ctk
    import qt
    import slicer
    from PyQt5.QtCore import QMetaMethod

    classes = [v for m in (qt, ctk, slicer) for v in vars(m).values() if isinstance(v, type) and issubclass(v, qt.QObject)]  # fmt: skip
    classes += [type(slicer.app), type(slicer.app.layoutManager()), type(slicer.app.moduleManager())]
    found = {}
    for cls in classes:
        meta = cls.staticMetaObject
        methods = [meta.method(n) for n in range(meta.methodCount())]
        found[cls.__name__] = {
            bytes(m.methodSignature()).decode() for m in methods if m.methodType() == QMetaMethod.Signal
        }
    found[""] = set().union(*found.values())
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_source_keeps_to_what_pythonqt_can(path, signals):
    classes = {name: cls for name, (cls, _) in ui_widgets().items()}
    assert lint.problems(path.read_text(encoding="utf8"), classes, signals) == []


@pytest.mark.parametrize(
    "bad",
    [
        "qt.QLabel(text='x')",
        "slicer.qMRMLNodeComboBox(parent=p)",
        "isinstance(w, qt.QWidget)",
        "isinstance(w, (int, ctk.ctkSliderWidget))",
        "self.ui.segmentButton.connect('pressedTwice()', f)",
        "self.ui.granularitySlider.connect('valueChanged(double)', f)",
        "ui.segmentButton.connect('currentIndexChanged(int)', f)",
        "box.connect('currentIndexChanged(QString)', f)",
        "slicer.app.processEvents()",
        "qt.QMessageBox.StandardButton.Ok",
        "self.ui.segmentButton.text()",
        "slider.value()",
        "label.setStyleSheet('color: red')",
        "layoutManager.sliceWidget('Red')",
        "layout.setMargin(0)",
    ],
)
def test_the_lint_finds_what_pythonqt_does_not_forgive(bad, signals):
    classes = {name: cls for name, (cls, _) in ui_widgets().items()}
    assert lint.problems(bad, classes, signals)


@pytest.mark.parametrize(
    "good",
    [
        "qt.QLabel('x', parent)",
        "self.ui.segmentButton.connect('clicked()', f)",
        "self.ui.segmentButton.connect('clicked(bool)', f)",
        "slicer.app.connect('startupCompleted()', f)",
        "label.fontMetrics().boundingRect(label.text).width()",
        "settings.value('key', 'default')",
        "box.text = box.toolTip",
    ],
)
def test_the_lint_lets_good_code_pass(good, signals):
    classes = {name: cls for name, (cls, _) in ui_widgets().items()}
    assert lint.problems(good, classes, signals) == []


def parameters():
    """Field -> annotation of the parameter node class."""
    file = MODULE / "S3NetSegmentLib" / "panel" / "parameter_node.py"
    tree = ast.parse(file.read_text(encoding="utf8"))
    cls = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "S3NetSegmentParameterNode")
    return {n.target.id: ast.unparse(n.annotation) for n in cls.body if isinstance(n, ast.AnnAssign)}


def test_every_widget_bound_in_the_ui_file_names_a_parameter_that_exists():
    bound = {name: parameter for name, (_, parameter) in ui_widgets().items() if parameter}
    assert bound and set(bound.values()) <= set(parameters())
    assert len(set(bound.values())) == len(bound), "two widgets are bound to one parameter"


@pytest.mark.parametrize("path", UI_FILES, ids=lambda path: path.stem)
def test_forms_of_the_ui_files_are_grids_whose_hidden_rows_leave_no_gap(path):
    classes = {layout.get("class") for layout in ElementTree.parse(path).iter("layout")}
    assert "QGridLayout" in classes and "QFormLayout" not in classes


def test_every_bound_widget_is_of_a_class_that_slicer_can_bind_to_its_parameter():
    enums = {"Scope", "SliceAxis", "Preset", "PropagateTo"}
    for name, (cls, parameter) in ui_widgets().items():
        if not parameter:
            continue
        annotation = parameters()[parameter]
        expected = (
            "qMRMLNodeComboBox" if "vtkMRML" in annotation
            else "QComboBox" if annotation in enums
            else "QDoubleSpinBox" if "float" in annotation
            else "QSpinBox" if "int" in annotation
            else "QCheckBox"
        )  # fmt: skip
        assert cls == expected, f"{name} ({cls}) is bound to {parameter}: {annotation}"


def test_every_widget_that_the_panel_uses_is_in_the_ui_file():
    names = set(ui_widgets())
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("ui", "self.ui", "self._ui"):
                assert node.attr in names, f"{path.name}, line {node.lineno}: {node.attr}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_only_what_slicer_always_has_is_imported_at_the_top(path):
    allowed = set(sys.stdlib_module_names) | {
        "slicer",
        "vtk",
        "qt",
        "ctk",
        "numpy",
        "SegmentEditorEffects",
        "S3NetSegmentLib",
    }
    for node in ast.parse(path.read_text(encoding="utf8")).body:
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module.split(".")[0] in allowed, f"{path.name}: {node.module}"
