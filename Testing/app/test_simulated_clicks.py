"""The user whom the benchmarks simulate."""

import numpy as np
from scipy import ndimage
from simulated_clicks import corrective_point


def test_a_free_hand_meets_the_inner_part_of_the_largest_error_and_not_always_its_middle():
    truth = np.zeros((40, 60), bool)
    truth[5:15, 5:55] = True
    answer = truth.copy()
    answer[5:15, 5:35] = False  # the largest error: the left part is missing
    answer[30:34, 40:44] = True
    missing = truth & ~answer
    depth = ndimage.distance_transform_edt(missing)
    points = {corrective_point(answer, truth, np.random.default_rng(seed)) for seed in range(40)}
    assert len(points) > 20
    assert all(inside and depth[point] >= 0.4 * depth.max() for point, inside in points)
    middle, inside = corrective_point(answer, truth)
    assert inside and depth[middle] == depth.max()


def test_nothing_is_corrected_where_nothing_is_wrong():
    assert corrective_point(np.ones((3, 3), bool), np.ones((3, 3), bool), np.random.default_rng(0)) is None
