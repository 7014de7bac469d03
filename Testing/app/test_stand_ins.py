"""The small engine of the panel's tests takes what the real one takes: else they fail, or wait, for a reason of their own."""

import inspect

import pytest
from fake_engine import FakeChoice, FakeEngine, FakeRegions

from S3NetSegmentLib.engine.segment.find_regions import Regions, find_regions
from S3NetSegmentLib.engine.segment.object_choice import ObjectChoice

SHARED = [
    (getattr(real, name), getattr(stand_in, name))
    for real, stand_in in ((Regions, FakeRegions), (ObjectChoice, FakeChoice))
    for name, member in vars(stand_in).items()
    if not name.startswith("_") and inspect.isfunction(member) and inspect.isfunction(getattr(real, name, None))
]


def parameters(function) -> list[str]:
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind != one.VAR_KEYWORD]


@pytest.mark.parametrize(
    "real, stand_in", [*SHARED, (find_regions, FakeEngine().__call__)], ids=lambda f: f.__qualname__
)
def test_the_stand_in_takes_the_same_arguments(real, stand_in):
    assert [name for name in parameters(real) if name not in parameters(stand_in)] == []


def test_the_shared_methods_were_found():
    assert {"object_at", "object_steps", "at"} <= {real.__name__ for real, _ in SHARED}
