"""Whose memory is used, and which errors mean that there was too little of it."""

import torch

# torch on the CPU and on a GPU, the system, ONNX Runtime, the C++ library
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
    """Whether more memory would have helped."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS)
