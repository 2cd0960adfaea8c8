"""How the threads of the networks wait for each other."""

import os


def calm_threads() -> None:
    """Let idle threads of OpenMP sleep; a policy that is set already stays.

    By default they spin. A worker shares its host with listener, Postgres and delivery: where another process
    has a core, threads that spin keep those from running for which they wait, and a batch takes three times
    as long. Call it before torch is imported, which reads the variable once; processes started later inherit
    it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
