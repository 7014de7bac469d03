"""Torch is loaded beside the work: whoever advances the steps is never kept waiting for long."""

import subprocess
import sys
import threading

import pytest
from paths import MODULE

from S3NetSegmentLib.engine.common import device
from S3NetSegmentLib.engine.common.progress import run_to_end

_STEPS = """
import sys, threading, time
sys.path.insert(0, {module!r})
from S3NetSegmentLib.engine.common.device import torch_loaded
assert "torch" not in sys.modules
steps, said = torch_loaded(), set()
said.add(next(steps).message)
steps.close()  # the user cancels, and asks again
again = list(torch_loaded())
assert len(again) > 3 and {{step.message for step in again}} | said == {{"Loading PyTorch"}}
import torch
assert torch.zeros(2).sum() == 0 and list(torch_loaded()) == []
assert threading.active_count() == 1
"""


def test_a_thread_loads_it_in_many_steps_also_after_a_cancel():
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", _STEPS.format(module=str(MODULE))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("content", "kind"), [("raise OSError('libtorch.so is damaged')", OSError), (None, ModuleNotFoundError)]
)
def test_what_is_wrong_with_it_is_raised_where_the_steps_are_taken(tmp_path, monkeypatch, content, kind):
    for name in [n for n in sys.modules if n.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    if content:
        (tmp_path / "torch.py").write_text(content)
    else:
        monkeypatch.setattr(sys, "meta_path", [])
    threads = threading.active_count()
    with pytest.raises(kind):
        run_to_end(device.torch_loaded())
    assert device._loading is None and threading.active_count() == threads
    monkeypatch.setitem(sys.modules, "torch", None)
    assert list(device.torch_loaded()) == []  # the import itself will say it
