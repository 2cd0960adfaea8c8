"""The process that decodes compressed frames: ``python -m worker.decoding.child``.

A line of JSON and a stream come in on standard input, a line of JSON and stored values go out. It may die of
a stream; ``worker.decoding.process`` starts another one.
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
from worker.decoding.protocol import READY, Answer, Question


def decode(question: Question, stream: bytes) -> NDArray[np.generic]:
    """The stored values of one frame. Raises whatever the decoder raises."""
    options: dict[str, Any] = {
        "rows": question.rows,
        "columns": question.columns,
        "samples_per_pixel": question.samples,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": question.bits_allocated,
        "bits_stored": question.bits_stored,
        "pixel_representation": int(question.signed),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": not question.keep_unused_bits,
        "allow_excess_frames": False,
    }
    decoder = get_decoder(UID(question.transfer_syntax))
    stored, _ = decoder.as_array(encapsulate([stream], has_bot=False), index=0, **options)
    return stored


def main(limit_s: float, memory_bytes: int) -> None:
    """Answer until the parent closes its end. A frame that takes longer than ``limit_s`` ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    warnings.simplefilter("ignore")
    plugin.register()
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a decoder prints is no answer
    answers.write(READY)
    answers.flush()
    while line := questions.readline():
        question = Question(**json.loads(line))
        # The parent looks at the clock, too; this one also ends a process that nobody waits for any more.
        signal.setitimer(signal.ITIMER_REAL, 2 * limit_s)
        _answer(question, questions, answers)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(question: Question, questions: BinaryIO, answers: BinaryIO) -> None:
    values: NDArray[np.generic] | None = None
    try:
        stream = questions.read(question.stream_bytes)
        values = np.ascontiguousarray(decode(question, stream))
        answer = Answer(dtype=values.dtype.str, shape=values.shape)
    except MemoryError:
        answer = Answer(error="it needs more memory than a frame may take")
    except Exception as error:  # noqa: BLE001 - whatever a decoder says of bad bytes
        answer = Answer(error=f"{type(error).__name__}: {error}"[:500])
    answers.write(json.dumps(asdict(answer)).encode() + b"\n")
    if values is not None:
        answers.write(values.data)
    answers.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
