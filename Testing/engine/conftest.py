"""The networks of the tests are so small that several threads would only wait for each other."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    from S3NetSegmentLib.engine.common.device import one_thread_if

    with one_thread_if(True):
        yield
