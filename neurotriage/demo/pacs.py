"""A small stand-in PACS: it accepts every storage class and keeps one file per SOP instance."""

import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, VerificationPresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE

from neurotriage.core.storage import atomic_write

_SYNTAXES: Final = [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1,
    JPEGLSLossless, JPEG2000Lossless, JPEG2000,
]  # fmt: skip
_SUCCESS: Final = 0x0000


class StandInPacs:
    """An SCP for C-ECHO and C-STORE of every storage class, on a loopback port, in a thread.

    ``answer`` is the status with which the next C-STOREs are answered; only with 0x0000 is anything kept.
    ``stores`` counts all C-STORE requests, including refused and repeated ones. It offers neither queries nor
    storage commitment.
    """

    def __init__(self, folder: Path, *, ae_title: str = "PACS", host: str = "127.0.0.1") -> None:
        self.ae_title = ae_title
        self.host = host
        self.port = 0
        self.answer = _SUCCESS
        self.stores = 0
        self._folder = folder
        self._received: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._ae = AE(ae_title=ae_title)
        for context in (*VerificationPresentationContexts, *AllStoragePresentationContexts):
            self._ae.add_supported_context(str(context.abstract_syntax), _SYNTAXES)

    def start(self, port: int = 0) -> Self:
        """Listen on ``port``; with 0, on the port of the last start, or else on a free one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        server = self._ae.start_server(
            (self.host, port or self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        assert server is not None  # noqa: S101 (block=False always gives one)
        self.port = int(server.server_address[1])
        return self

    def stop(self) -> None:
        """Stop listening and end all associations; received files stay."""
        self._ae.shutdown()

    def received(self) -> Mapping[str, Path]:
        """The file of each stored instance by its SOP Instance UID, in order of arrival."""
        with self._lock:
            return dict(self._received)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            self.stores += 1
            answer = self.answer
            if answer != _SUCCESS:
                return answer
            # Numbered, not named by the UID: no name from the network is part of a path.
            request = event.request
            assert isinstance(request, C_STORE)  # noqa: S101 (the handler of EVT_C_STORE)
            uid = str(request.AffectedSOPInstanceUID)
            path = self._received.get(uid, self._folder / f"{len(self._received) + 1:05d}.dcm")
            # Whoever looks meanwhile reads the whole file, also when an instance comes again.
            with atomic_write(path, durable=False, private=False) as part:
                part.write_bytes(event.encoded_dataset())
            self._received[uid] = path
        return _SUCCESS
