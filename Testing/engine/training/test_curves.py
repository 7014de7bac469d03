"""The picture of the losses of a training."""

import numpy as np

from S3NetSegmentLib.engine.training.curves import draw_curves, first_with


def test_the_curves_show_from_which_step_on_unlabelled_slices_join():
    entries = [{"step": n, "loss": 1.0 / n, "supervised": 1.0 / n} for n in range(1, 20)]
    entries += [{"event": "validation", "step": 19, "score": 0.4}, {"event": "note", "step": 19, "unlabelled": 1}]
    assert first_with(entries, "unlabelled") is None
    entries += [{"step": n, "loss": 0.5, "supervised": 1.0 / n, "unlabelled": 0.3} for n in range(20, 40)]
    assert first_with(entries, "unlabelled") == 20
    points = {"loss": [(e["step"], e["loss"]) for e in entries if "loss" in e]}
    plain, marked = draw_curves(points), draw_curves(points, {"unlabelled slices join": 20})
    changed = np.flatnonzero((plain != marked).any((0, 2)))
    # A line in the middle, and its name at the right.
    assert changed.min() > plain.shape[1] // 2 - 20 and changed.size > 20
