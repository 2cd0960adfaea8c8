"""Checks of a set-up before the first patient, each part within a time limit."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from neurotriage.core.settings import Settings
from neurotriage.doctor.alarms import look_at_alarms
from neurotriage.doctor.check import Check, Part, Probe, State, examine
from neurotriage.doctor.commitment import look_at_commitment
from neurotriage.doctor.counting import look_at_counts
from neurotriage.doctor.database import look_at_database
from neurotriage.doctor.destinations import look_at_destination
from neurotriage.doctor.hl7 import look_at_hl7
from neurotriage.doctor.host import look_at_configuration, look_at_storage, look_at_weights
from neurotriage.doctor.installation import look_at_installation
from neurotriage.doctor.intake import look_at_intake
from neurotriage.doctor.listener import echo_instructions, look_at_listener
from neurotriage.doctor.queue import look_at_queue
from neurotriage.doctor.stow import look_at_stow
from neurotriage.doctor.summary import look_at_summary

__all__ = ["Check", "Options", "Part", "State", "echo_instructions", "examine", "probes"]

_LIMIT_S: Final = 20.0
_ASSOCIATION_LIMIT_S: Final = 30.0  # above the time for a connection and for its association
_DESTINATION_LIMIT_S: Final = 45.0  # and for a query
_STORE_LIMIT_S: Final = 120.0
_ALARMS_LIMIT_S: Final = 60.0  # a mail server is asked several times
_WEIGHTS_LIMIT_S: Final = 120.0  # torch takes its time to import


@dataclass(frozen=True, slots=True)
class Options:
    """Which checks to make beyond the usual ones."""

    destination: str = ""  # check only this one; all if empty
    store: bool = False  # store a test study in each destination
    await_echo_s: float = 0.0  # wait for C-ECHOs from the destinations; 0 does not wait
    install: bool = False  # look at how the services are installed on this host


def probes(settings: Settings, options: Options) -> list[Probe]:
    """The probes of each part, in the order in which they are shown."""
    wait_s = options.await_echo_s
    limit_s = _STORE_LIMIT_S if options.store else _DESTINATION_LIMIT_S
    return [
        Probe("configuration", _LIMIT_S, partial(look_at_configuration, settings)),
        Probe("configuration", _LIMIT_S, partial(look_at_intake, settings)),
        *(
            [Probe("installation", _LIMIT_S, partial(look_at_installation, settings))]
            if options.install
            else []
        ),
        Probe("storage", _LIMIT_S, partial(look_at_storage, settings)),
        Probe("database", _LIMIT_S, partial(look_at_database, settings)),
        Probe("queue", _LIMIT_S, partial(look_at_queue, settings)),
        Probe("weights", _WEIGHTS_LIMIT_S, partial(look_at_weights, settings)),
        Probe("listener", _ASSOCIATION_LIMIT_S + wait_s, partial(look_at_listener, settings, wait_s)),
        *([Probe("stow", _LIMIT_S, partial(look_at_stow, settings, settings.stow))] if settings.stow else []),
        *(
            [Probe("hl7", _LIMIT_S, partial(look_at_hl7, settings.identity.hl7_folder))]
            if settings.identity.hl7_folder
            else []
        ),
        *(
            [Probe("counts", _ASSOCIATION_LIMIT_S, partial(look_at_counts, settings))]
            if settings.assembly.count_peer or any(peer.count for peer in settings.peer)
            else []
        ),
        *(
            [Probe("commitment", _ASSOCIATION_LIMIT_S, partial(look_at_commitment, settings))]
            if settings.listener.storage_commitment
            else []
        ),
        *(
            [Probe("summary", _LIMIT_S, partial(look_at_summary, settings.summary))]
            if settings.summary.asked or settings.summary.second_opinion.provider != "none"
            else []
        ),
        *(
            [Probe("alarms", _ALARMS_LIMIT_S, partial(look_at_alarms, settings, settings.alarms))]
            if settings.alarms
            else []
        ),
        *(
            Probe(
                f"destination {destination.name}",
                limit_s,
                partial(look_at_destination, settings, destination, store=options.store),
            )
            for destination in settings.destination
            if options.destination in ("", destination.name)
        ),
    ]
