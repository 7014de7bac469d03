#!/usr/bin/env python3
"""Makes the small pictures of the tutorial, one for each step: ``python3 Testing/tutorial_pictures.py [OUTPUT FOLDER]``.

Each shows the part of the panel that the step is about, and beside it the slice view (or the view alone, or the part alone).
The panel is used as a person uses it, on the shipped samples; see ``panel_picture.py`` for what is real in it.
"""

import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING / "support"), str(TESTING.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment(for_tests=True)

import numpy as np  # noqa: E402
from panel_picture import (  # noqa: E402
    COHORT_PANEL_SIZE,
    DRAWN,
    MODELS_PANEL_SIZE,
    ORGANS,
    SHOWN,
    apply_it,
    draw_organs,
    named_folder,
    open_drawing,
    open_panel,
    patients,
    propose_next,
    read_sample,
    spine_cohort,
    train_model,
    why_no_panel,
)
from picture_record import PICTURES, note_picture  # noqa: E402

VIEW = (420, 320)
COLORS = 96  # of a picture's palette: the files stay small
GAP = 6


def main(folder: Path = PICTURES / "tutorial") -> int:
    problem = why_no_panel()
    if problem:
        print(f"no pictures can be made: {problem}", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    for use in (segment, few_shot, models, cohort):
        use(Steps(folder, use.__name__))
    return 0


class Steps:
    """Saves the pictures of one use, ``segment_1.png`` and so on."""

    def __init__(self, folder: Path, use: str):
        self._folder, self._use, self._number = folder, use, 0

    def show(self, panel, *parts, view=None, expected: str = "") -> None:
        """What ``parts`` (widgets of the panel) and ``view`` show now."""
        from PIL import Image

        if panel.message != expected:
            raise SystemExit(f"the panel says: {panel.message}")
        panel.settle(0.3)
        frame = panel.widget.parent
        frame.resize(frame.width, max(frame.minimumSizeHint().height(), frame.layout().heightForWidth(frame.width)))
        panel.settle(0.1)
        shown = [_array(part.grab()) for part in parts]
        if view is not None:
            shown.append(view.array())
        tall, wide = max(len(p) for p in shown), sum(p.shape[1] + GAP for p in shown) - GAP
        canvas, left = np.full((tall, wide, 3), 255, np.uint8), 0
        for picture in shown:
            canvas[: len(picture), left : left + picture.shape[1]] = picture
            left += picture.shape[1] + GAP
        self._number += 1
        path = self._folder / f"{self._use}_{self._number}.png"
        Image.fromarray(canvas).quantize(COLORS).save(path, optimize=True)
        note_picture(path, panel, parts)
        print(path)


def _array(pixmap) -> np.ndarray:
    """A grabbed widget as ``[height, width, 3]`` uint8."""
    import qt

    image = pixmap.toImage().convertToFormat(qt.QImage.Format_RGB888)
    lines = np.frombuffer(image.constBits().asstring(image.byteCount()), np.uint8).reshape(image.height(), -1)
    return lines[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)


def segment(steps: Steps) -> None:
    image, labels = read_sample("ct_abdomen")
    liver = labels == ORGANS["Liver"][0]
    number = int(liver.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(liver[number])
    low, high = (image.ras_of((f(columns), f(rows), number)) for f in (np.min, np.max))
    center = image.ras_of((image.size[0] / 2, image.size[1] / 2, number))
    with open_panel(image, "Abdomen, CT", center, (400, 760), VIEW) as (panel, view):
        ui = panel.ui

        def wait():
            panel.wait(lambda: not panel.panel.controller.running)

        steps.show(panel, ui.inputsCollapsibleButton, view=view)
        panel.drag(view.node, low, (low + high) / 2, high)
        wait()
        steps.show(panel, ui.inputsCollapsibleButton, view=view)
        steps.show(panel, ui.adjustCollapsibleButton)
        wall = image.ras_of(
            (columns.min() + 36, rows.max() + 2, number)
        )  # of the belly, where the answer reaches beyond the box
        panel.view(view.node).click(wall, control=True)
        wait()
        steps.show(panel, ui.inputsCollapsibleButton, view=view)
    with open_panel(image, "Abdomen, CT", center, (400, 760), VIEW) as (panel, view):
        ui = panel.ui
        panel.segment()
        steps.show(panel, ui.adjustCollapsibleButton, view=view)
        ui.editCollapsibleButton.collapsed = False
        steps.show(panel, ui.editCollapsibleButton)
    with open_panel(image, "Abdomen, CT", center, (400, 760), VIEW) as (panel, view):
        ui = panel.ui
        panel.drag(view.node, low, (low + high) / 2, high)
        wait()
        panel.click(ui.confidenceCheckBox)
        panel.settle(0.5)
        steps.show(panel, ui.outputsCollapsibleButton, view=view)


def few_shot(steps: Steps) -> None:
    image, labels = read_sample("ct_abdomen")
    center = image.ras_of((image.size[0] / 2, image.size[1] / 2, SHOWN))
    with open_panel(image, "Abdomen, CT", center, (400, 900), VIEW) as (panel, view):
        ui = panel.ui
        open_drawing(panel)
        draw_organs(panel, labels, DRAWN[1])
        panel.look_at_slice(view.node, DRAWN[1])
        steps.show(panel, ui.editCollapsibleButton, view=view)
        for number in (DRAWN[0], DRAWN[2]):
            draw_organs(panel, labels, number)
        panel.look_at_slice(view.node, DRAWN[2])
        steps.show(panel, ui.supportCollapsibleButton, view=view)
        panel.look_at_slice(view.node, SHOWN)
        panel.propagate(seconds=300)
        steps.show(panel, ui.answerCollapsibleButton, view=view)
        panel.click(ui.acceptButton)
        panel.click(ui.nextSliceButton)
        panel.settle(0.3)
        steps.show(panel, ui.answerCollapsibleButton, view=view)


def models(steps: Steps) -> None:
    with named_folder("spine") as place:
        image, center = spine_cohort(place)
        with open_panel(image, "Spinal cord, T2 MR", center, MODELS_PANEL_SIZE, VIEW) as (panel, view):
            ui = panel.panel.models.ui
            train_model(panel, place)
            steps.show(panel, ui.trainingCollapsibleButton)
            apply_it(panel)
            steps.show(panel, ui.applyModelFrame, view=view)
            ui.cohortCollapsibleButton.collapsed = False
            steps.show(panel, ui.cohortCollapsibleButton)


def cohort(steps: Steps) -> None:
    with named_folder("patients") as place:
        image, center = patients(place)
        with open_panel(image, "accepted before", center, COHORT_PANEL_SIZE, VIEW) as (panel, view):
            ui = panel.panel.cohort.ui
            panel.open_cohort(place / "scans")
            panel.settle(0.5)
            steps.show(panel, ui.loopFrame, view=view)
            propose_next(panel, view)
            steps.show(panel, ui.loopFrame, view=view)
            panel.click(ui.acceptCaseButton)
            panel.settle(1.0)
            steps.show(panel, panel.ui.messageFrame, ui.loopFrame, expected=panel.message)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
