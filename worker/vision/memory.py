"""Whether networks run in the memory of a GPU, and which errors mean that memory was too short."""

import ctypes

import torch

# Texts of torch (CPU and GPU), the system, ONNX Runtime and the C++ library, in lower case.
_SIGNS = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "failed to allocate",
    "bad allocation",
    "bad_alloc",
)


def on_gpu() -> bool:
    """Whether torch finds a GPU, which networks then use."""
    return torch.cuda.is_available()


def out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory was too short, on the CPU or on a GPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS)


def trim_heap() -> None:
    """Give freed memory back to the system, which glibc keeps for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have it not
    if trim is not None:
        trim(0)
