"""The process that decodes compressed frames: ``python -m worker.decoding.child``.

Reads a line of JSON and a stream from standard input, writes a line of JSON and stored values to standard
output (``worker.decoding.protocol``). A stream may crash it; ``worker.decoding.process`` then starts another.
"""

import json
import os
import resource
import signal
import sys
import warnings
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from worker.decoding import plugin
from worker.decoding.protocol import READY, DecodeRequest, DecodeResponse


def decode(request: DecodeRequest, stream: bytes) -> NDArray[np.generic]:
    """The stored values of one frame, shaped (rows, columns). Raises whatever the decoder raises."""
    options: dict[str, Any] = {
        "rows": request.rows,
        "columns": request.columns,
        "samples_per_pixel": request.samples,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": request.bits_allocated,
        "bits_stored": request.bits_stored,
        "pixel_representation": int(request.signed),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": not request.keep_unused_bits,
        "allow_excess_frames": False,
    }
    decoder = get_decoder(UID(request.transfer_syntax))
    stored, _ = decoder.as_array(encapsulate([stream], has_bot=False), index=0, **options)
    return stored


def main(limit_s: float, memory_bytes: int) -> None:
    """Respond until the parent closes its end of the pipe.

    A frame that takes twice ``limit_s`` kills the process; ``memory_bytes`` limits its address space.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    warnings.simplefilter("ignore")
    plugin.register()
    requests = sys.stdin.buffer
    responses = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a decoder may print; that must not enter the response
    responses.write(READY)
    responses.flush()
    while line := requests.readline():
        request = DecodeRequest(**json.loads(line))
        # The parent has a deadline, too; the timer also ends a child whose parent is gone.
        signal.setitimer(signal.ITIMER_REAL, 2 * limit_s)
        _respond(request, requests, responses)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _respond(request: DecodeRequest, requests: BinaryIO, responses: BinaryIO) -> None:
    values: NDArray[np.generic] | None = None
    try:
        stream = requests.read(request.stream_bytes)
        values = np.ascontiguousarray(decode(request, stream))
        response = DecodeResponse(dtype=values.dtype.str, shape=values.shape)
    except MemoryError:
        response = DecodeResponse(error="it needs more memory than a frame may take")
    except Exception as error:  # noqa: BLE001 - decoders raise all kinds of errors
        response = DecodeResponse(error=f"{type(error).__name__}: {error}"[:500])
    responses.write(json.dumps(asdict(response)).encode() + b"\n")
    if values is not None:
        responses.write(values.data)
    responses.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
