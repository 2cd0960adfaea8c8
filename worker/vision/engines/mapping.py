"""Keeps a network's weights in a mapped file, out of memory until they are read.

An engine that reorders the weights for its processor has its own copy, but goes on holding the original.
"""

from mmap import ACCESS_COPY, MADV_DONTNEED, mmap
from pathlib import Path
from tempfile import TemporaryFile

import torch
from torch import nn

from worker.vision.memory import trim_heap

ALIGNMENT_BYTES = 64


def map_weights(network: nn.Module, folder: Path | None) -> mmap:
    """Move the weights, in place, to a nameless file and return its mapping.

    The file is in ``folder``, or, where that is not, among the temporary files. Raises ``OSError``.
    """
    offsets = []
    with TemporaryFile(dir=folder if folder and folder.is_dir() else None) as file:
        for weight in network.parameters():
            offsets.append(file.seek(-(-file.tell() // ALIGNMENT_BYTES) * ALIGNMENT_BYTES))
            file.write(weight.detach().contiguous().numpy().data)
        file.flush()
        mapped = mmap(file.fileno(), 0, access=ACCESS_COPY)
    for weight, offset in zip(network.parameters(), offsets, strict=True):
        flat = torch.frombuffer(mapped, dtype=weight.dtype, count=weight.numel(), offset=offset)
        weight.data = flat.view(weight.shape)
    return mapped


def release(mapped: mmap) -> None:
    """Give back to the system the memory of a mapping that was read, and what weights left on the heap."""
    mapped.madvise(MADV_DONTNEED)
    trim_heap()
