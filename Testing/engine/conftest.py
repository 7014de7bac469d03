"""The networks of the tests are so small that several threads would only wait for each other."""

import pytest
import torch

from S3NetSegmentLib.engine.few_shot.registration import coarse_alignment


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def few_places(monkeypatch):
    """Of the places that the search for a drawing of another volume tries only those that are neither turned nor resized, for
    volumes that lie alike but for what the refinement finds. The first tests of ``few_shot/test_transfer.py`` have the whole
    search."""
    monkeypatch.setattr(coarse_alignment, "_TURNS", (0.0,))
    monkeypatch.setattr(coarse_alignment, "_SIZES", (1.0,))
