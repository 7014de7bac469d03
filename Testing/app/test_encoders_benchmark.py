"""The benchmark of encoders: what it trains on, and what its tables are of."""

import sys

import numpy as np
import pytest
from paths import REPOSITORY

from S3NetSegmentLib.engine.images import Volume


@pytest.fixture
def encoders(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "Testing" / "benchmarks" / "training"), *sys.path])
    import encoders

    return encoders


def cell(set_name, encoder, trained_on, value):
    key = {"seed": 0, "set": set_name, "encoder": encoder, "trained_on": trained_on}
    return {**key, **{use: [value, value] for use in ("one", "three", "patient")}}


def test_a_set_that_lacks_a_row_is_in_no_table(encoders, capsys):
    whole = [cell("acdc", "random", "nothing", 0.25), cell("acdc", "ideal", "own", 0.75)]
    encoders.print_tables([*whole, cell("ct", "random", "nothing", 0.9)])
    told = capsys.readouterr().out
    assert "3 cells; in the tables 2 of these sets and seeds: acdc 0" in told
    assert "| random | nothing | 25.0 (2 of 2) | 25.0 (2 of 2) | 25.0 (2 of 2) | – |" in told
    assert "| ideal | own | 75.0 (0 of 2)" in told


def test_gains_are_those_of_the_same_set_and_each_set_counts_once(encoders, capsys):
    cells = []
    for name, before, after in (("acdc", 0.2, 0.3), ("ct", 0.6, 0.58)):
        cells += [cell(name, "random", "nothing", before), cell(name, "alpnet", "own", after)]
    cells[0]["one"] = [0.2] * 9  # more structures do not make a set count more
    encoders.print_tables(cells)
    told = capsys.readouterr().out
    assert "| random | nothing | 40.0 (9 of 11)" in told
    assert "| alpnet | own | +4.0 ± 8.5 (1 / 1)" in told


def test_of_a_set_with_several_seeds_their_deviation_is_told(encoders, capsys):
    cells = [cell("acdc", "random", "nothing", value) | {"seed": seed} for seed, value in enumerate((0.2, 0.4))]
    encoders.print_tables([*cells, cell("ct", "random", "nothing", 0.9)])
    told = capsys.readouterr().out.split("by set")[1]
    assert "| random | nothing | 30.0 ± 14.1 / 30.0 ± 14.1 / 30.0 ± 14.1 / – | 90.0 / 90.0 / 90.0 / – |" in told


@pytest.mark.parametrize("encoder", ["s3net", "ideal", "alpnet"])
def test_an_encoder_that_is_trained_on_others_does_not_see_the_set(encoders, monkeypatch, encoder):
    import encoder_cases as cases
    import encoder_networks as networks

    seen, random = [], np.random.default_rng(0)

    def scans(name):
        seen.append(name)
        images = random.integers(0, 255, (2, cases.SIDE, cases.SIDE), np.uint8)
        box = (0, 0, cases.SIDE, cases.SIDE)
        return [cases.Scan(name, images, np.zeros_like(images), box, Volume(images, np.eye(4)))]

    monkeypatch.setattr(networks, "scans", scans)
    before = networks.made("random", "nothing", "ct", 0, steps=1)[0].state_dict()
    monkeypatch.setattr(networks, "synthetic", lambda: scans("scenes")[0])
    others = set(cases.PIXEL_MM) - {"ct"}
    for trained_on, expected in (("others", others), ("own", {"ct"}), ("others and scenes", {*others, "scenes"})):
        seen.clear()
        after = networks.made(encoder, trained_on, "ct", 0, steps=1)[0].state_dict()
        assert set(seen) == expected
        assert any((after[name] != weights).any() for name, weights in before.items() if "weight" in name)


def test_synthetic_scenes_are_slices_with_contrast_and_the_same_each_time(encoders, monkeypatch):
    import encoder_cases as cases

    monkeypatch.setattr(cases, "SCENES", 3)
    cases.synthetic.cache_clear()
    first = cases.synthetic()
    cases.synthetic.cache_clear()
    assert first.images.shape == (3, cases.SIDE, cases.SIDE) and not first.labels.any()
    assert np.array_equal(first.images, cases.synthetic().images) and first.images.std((1, 2)).min() > 5
    cases.synthetic.cache_clear()
