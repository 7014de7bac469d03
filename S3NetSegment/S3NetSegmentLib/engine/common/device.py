"""Which device computes: ``auto`` = CUDA, else MPS, else CPU; and how work falls back when its memory is full."""

from __future__ import annotations

from .errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto"):
    """The ``torch.device`` for ``name`` (one of :data:`DEVICES`, or "cuda:1" and the like).

    Raises InputError if the name is unknown or that device is not usable here, with the reason.
    """
    import torch

    kind = str(name).split(":")[0]
    if kind not in DEVICES:
        raise InputError(f"device is {name!r}; it must be one of {', '.join(DEVICES)}")
    if kind == "auto":
        if _cuda_problem() is None:
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if kind == "cuda":
        problem = _cuda_problem()
        if problem:
            raise InputError(f"device cuda cannot be used: {problem}; use --device cpu or auto")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps cannot be used: this is not a Mac with Metal support; use --device cpu or auto")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device is {name!r}: {error}") from None
    if kind == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise InputError(f"device {name} does not exist: there are {torch.cuda.device_count()} CUDA devices")
    return device


def _cuda_problem() -> str | None:
    """Why CUDA cannot be used here, or None. A card too new for this torch is only found out by running a kernel."""
    import torch

    if not torch.version.cuda and not getattr(torch.version, "hip", None):
        return "this torch was built for CPU only"
    if not torch.cuda.is_available():
        return "no usable NVIDIA card and driver was found"
    try:
        (torch.ones(8, device="cuda") * 2).sum().item()
    except RuntimeError as error:
        return f"the card does not run this torch ({str(error).splitlines()[0]})"
    return None


def describe_device() -> str:
    """One true line about torch and the device that ``auto`` would use, for the panel and the reports."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    device = choose_device("auto")
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        return f"torch {torch.__version__}, CUDA {torch.version.cuda}, {name} ({free / 2**30:.1f} of {total / 2**30:.1f} GB free)"
    if device.type == "mps":
        return f"torch {torch.__version__}, Apple GPU (Metal)"
    return f"torch {torch.__version__}, CPU with {torch.get_num_threads()} threads ({_cuda_problem()})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the memory of the device (or of the machine) is full."""
    import torch

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "alloc_failed")  # the last: of cuBLAS and cuDNN
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)
