"""Loading torch, which takes seconds, without stopping a window."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
import threading
from pathlib import Path

from .progress import Step, Steps

_ENGINE = __name__.rsplit(".", 2)[0]
_WAIT = 0.025  # seconds between two steps
_LIBRARY = {"linux": "libtorch_python.so", "darwin": "libtorch_python.dylib"}  # it brings all others along


class _Loading(threading.Thread):
    """Imports the modules ``names``. ``problem`` is what that raised, or None."""

    def __init__(self, names: list[str]):
        super().__init__(name="loading torch")
        self._names = names
        self.problem: Exception | None = None

    def run(self) -> None:
        with contextlib.suppress(Exception):  # import then loads them, and says what is wrong
            _open_libraries()
        try:
            for name in self._names:
                importlib.import_module(name)
        except Exception as error:
            self.problem = error


_loading: _Loading | None = None


def torch_loaded(*parts: str) -> Steps[None]:
    """Imports torch, as a generator of progress steps; nothing is to be done where it is there already.

    A thread does it, and each step waits for it a moment: Slicer's Python threads do not run while its window waits.

    :param parts: modules of the engine that are needed then, e.g. "few_shot.method".
    :raises Exception: what importing torch raises, e.g. ModuleNotFoundError.
    """
    global _loading
    names = ["torch", *(f"{_ENGINE}.{part}" for part in parts)]
    while _loading is not None or any(name not in sys.modules for name in names):
        if _loading is None:
            _loading = _Loading(names)
            _loading.start()
        loading = _loading
        while loading.is_alive():
            yield Step(0.0, "Loading PyTorch")
            loading.join(_WAIT)
        _loading = None
        if loading.problem is not None:
            raise loading.problem


def _open_libraries() -> None:
    """Opens torch's libraries. The import does that with Python locked, half a second in which no other thread runs; a call
    of the system's own function does not lock it."""
    spec = importlib.util.find_spec("torch")
    name = _LIBRARY.get(sys.platform)
    if spec is None or spec.origin is None or name is None:
        return
    path = Path(spec.origin).parent / "lib" / name
    if path.is_file():
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
        dlopen(os.fsencode(path), os.RTLD_LAZY)
