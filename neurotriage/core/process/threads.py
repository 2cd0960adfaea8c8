"""The waiting policy of OpenMP threads."""

import os


def calm_threads() -> None:
    """Let idle OpenMP threads sleep, unless the environment sets a policy already.

    By default they spin. A worker shares its host with the listener, Postgres and delivery: if another
    process occupies a core, spinning threads keep the threads that they wait for from running, and a batch
    takes three times as long. Call this before torch is imported, which reads the variable once; child
    processes inherit it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
