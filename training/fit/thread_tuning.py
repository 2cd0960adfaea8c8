"""How many threads a training step takes."""

import time

import torch

PROBE_STEPS, PROBE_LENGTH = 40, 3  # how often, and over how many steps, fewer threads are tried


class ThreadTuning:
    """Chooses one or all threads by what is faster now: beside other work, one thread waits for none."""

    def __init__(self, threads: int) -> None:
        self.choices = sorted({1, threads})
        self.seconds = dict.fromkeys(self.choices, 0.0)
        self.steps, self.begun = 0, 0.0

    def __enter__(self) -> None:
        best = min(self.choices, key=self.seconds.__getitem__)
        place = self.steps % PROBE_STEPS
        self.threads = (
            self.choices[place // PROBE_LENGTH] if place < PROBE_LENGTH * len(self.choices) else best
        )
        torch.set_num_threads(self.threads)
        self.begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        taken, known = time.monotonic() - self.begun, self.seconds[self.threads]
        self.seconds[self.threads] = taken if known == 0 else 0.6 * known + 0.4 * taken
        self.steps += 1
