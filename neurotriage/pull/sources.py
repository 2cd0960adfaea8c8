"""The archive that ``--from`` names: a ``[[destination]]``, or a ``[[peer]]`` with a port."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from dicom_listener.spool import Spool
from neurotriage.core.client_tls import client_context
from neurotriage.core.settings import Settings
from neurotriage.dicom.addresses import is_name
from neurotriage.pull.dimse import Archive, DimseSource
from neurotriage.pull.source import Source, SourceUnusable
from neurotriage.pull.web import WebSource

SPOOL = "pull"


@contextmanager
def opened(settings: Settings, name: str, spool: Spool, *, get: bool) -> Iterator[Source]:
    """The archive of that name. Raises ``SourceUnusable`` where none has it."""
    ours, limit_s = settings.listener.ae_title.strip(), settings.pull.study_timeout_s
    destination = next((d for d in settings.destination if d.name == name and not d.to_sender), None)
    if destination is not None and destination.type == "dicomweb":
        if get:
            raise SourceUnusable("--get is for DICOM archives; a dicomweb destination is read by WADO-RS")
        web = WebSource(destination, spool, our_ae_title=ours, study_timeout_s=limit_s)
        with closing(web):
            yield web
        return
    yield DimseSource(_archive(settings, name, ours), spool, get=get, study_timeout_s=limit_s)


def _archive(settings: Settings, name: str, ours: str) -> Archive:
    for d in settings.destination:
        if d.name == name and not d.to_sender:
            tls = None if d.tls is None else client_context(d.tls)
            return Archive(d.ae_title.strip(), d.host, d.port, ours, tls)
    for peer in settings.peer:
        if peer.ae_title.strip() == name and peer.port:
            if "/" in peer.host and not is_name(peer.host):
                raise SourceUnusable(f"[[peer]] {name} is a network: give the archive a [[peer]] of its own")
            return Archive(name, peer.host, peer.port, ours)
    raise SourceUnusable(f"no [[destination]] has the name {name}, and no [[peer]] with a port that AE title")
