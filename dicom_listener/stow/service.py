"""The web application: routes, limits and the pump from the connection into the spool."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from dicom_listener.admission.quotas import Quotas, until_tomorrow_s
from dicom_listener.admission.refusals import Refusals
from dicom_listener.refused_associations import Refusal, RefusedAssociations
from dicom_listener.spool import AssociationInfo, Spool, note_end
from dicom_listener.stow.access import by_certificate, by_token
from dicom_listener.stow.answer import encoded, media_type_for
from dicom_listener.stow.request import StoreRequest
from neurotriage.core.settings import Peer, Settings, StowSettings
from neurotriage.dicom.multipart import Malformed, boundary_of, content_type

log = structlog.get_logger()

# Handed to a thread at once; of it and of uvicorn's own buffer a request takes below 1 MB.
_BATCH_BYTES: Final = 1 << 18
# A sender that is silent for so long has gone, and its rate counts from then on.
_SILENCE_S: Final = 30.0
_RETRY_AFTER_S: Final = "5"
_DICOM: Final = "application/dicom"
_ALL_STORED: Final = 200


class TooSlow(Exception):
    """The body came slower than the limits allow."""


class StowService:
    """The service as an ASGI application (``app``). ``quotas``: what each peer has sent today."""

    def __init__(self, settings: Settings, limits: StowSettings, spool: Spool, quotas: Quotas) -> None:
        self._settings, self._limits, self._spool = settings, limits, spool
        self._quotas, self._refusals = quotas, Refusals(self._note)
        self._serving: Counter[str] = Counter()
        routes = [
            Route("/studies", self._store, methods=["POST"]),
            Route("/studies/{study:str}", self._store, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    async def save(self) -> None:
        """Write down what was refused, and what the peers have sent; to be called every few seconds."""
        self._refusals.flush()
        document = self._quotas.unsaved()
        if document is not None:
            await asyncio.to_thread(self._quotas.save, document)

    def _note(self, refused: RefusedAssociations) -> None:
        try:
            self._spool.note_rejected(refused)
        except OSError as error:
            log.warning("refusals_not_noted", error=error.strerror)

    def _refuse(self, request: Request, why: str, peer: Peer | None = None) -> None:
        host = request.client.host if request.client else ""
        calling = peer.ae_title.strip() if peer is not None else ""
        self._refusals.add("store_request_refused", Refusal.of(f"STOW-RS: {why}", host, calling))

    async def _store(self, request: Request) -> Response:
        """POST /studies[/{study}] (PS3.18 10.5.1)."""
        peer = self._peer(request)
        if peer is None:
            self._refuse(request, "no token or certificate of a [[peer]]")
            return _empty(401, {"WWW-Authenticate": "Bearer"})
        if self._quotas.is_exceeded(peer):
            self._refuse(request, "the max_bytes_per_day of this [[peer]] is reached", peer)
            return _empty(429, {"Retry-After": str(until_tomorrow_s())})
        accepted = media_type_for(request.headers.get("accept", ""))
        if accepted is None:
            return _empty(406)
        if not _length_is_within(request, self._limits.max_request_bytes):
            return _empty(413)
        media = content_type(request.headers.get("content-type", ""))
        try:
            boundary = boundary_of(media)
        except Malformed:
            return _empty(415 if media.media_type != "multipart/related" else 400)
        if media.parameters.get("type", _DICOM).lower() != _DICOM:
            return _empty(415)
        async with self._place(peer) as has_place:
            if not has_place:
                self._refuse(request, "as many requests as are allowed are served", peer)
                return _empty(503, {"Retry-After": _RETRY_AFTER_S})
            return await self._answer(request, peer, boundary, accepted)

    def _peer(self, request: Request) -> Peer | None:
        by_name = by_certificate(self._settings.peer, getattr(request.state, "certificate", None))
        return by_name or by_token(self._settings.peer, request.headers.get("authorization", ""))

    @asynccontextmanager
    async def _place(self, peer: Peer) -> AsyncIterator[bool]:
        """A place among the requests that are served at once, if one is left."""
        free = self._serving.total() < self._limits.max_requests
        free = free and self._serving[peer.ae_title] < self._limits.max_requests_per_peer
        if not free:
            yield False
            return
        self._serving[peer.ae_title] += 1
        try:
            yield True
        finally:
            self._serving[peer.ae_title] -= 1

    async def _answer(self, request: Request, peer: Peer, boundary: bytes, accepted: str) -> Response:
        host, title = request.client.host if request.client else "", peer.ae_title.strip()
        ours = self._settings.listener.ae_title
        association = AssociationInfo(title, ours, host, association_id=uuid4().hex)
        study = request.path_params.get("study", "")
        store = StoreRequest(self._spool, association, self._limits, boundary, study)
        try:
            too_large = await self._pump(request, peer, store)
        except (TooSlow, ClientDisconnect) as error:
            await asyncio.to_thread(store.discard)
            self._refuse(request, f"the body ended early: {str(error) or type(error).__name__}", peer)
            return _empty(408)
        outcome = await asyncio.to_thread(store.finish)
        status = 413 if too_large else outcome.status
        if status == _ALL_STORED:
            await asyncio.to_thread(note_end, self._spool, association, released=True)
        log.info(
            "stored_by_web",
            peer=title,
            peer_host=host,
            status=status,
            stored=len(outcome.stored),
            failed=len(outcome.failed),
        )
        headers = {} if status in (200, 202, 409) else {"Connection": "close"}
        return Response(encoded(outcome, accepted), status, headers, media_type=accepted)

    async def _pump(self, request: Request, peer: Peer, store: StoreRequest) -> bool:
        """Feed the body to the request; True: it is too large. Raises ``TooSlow``, ``ClientDisconnect``."""
        batch, total_bytes = bytearray(), 0
        async for chunk in _within(request, self._limits):
            batch += chunk
            total_bytes += len(chunk)
            self._quotas.add(peer, len(chunk))
            if total_bytes > self._limits.max_request_bytes:
                return True
            if len(batch) >= _BATCH_BYTES:
                await asyncio.to_thread(store.feed, bytes(batch))
                batch.clear()
                if store.ended:
                    return False
        await asyncio.to_thread(store.feed, bytes(batch))
        return False


async def _within(request: Request, limits: StowSettings) -> AsyncIterator[bytes]:
    """The body as it comes. Raises ``TooSlow``; the time of our own disk is not the sender's."""
    chunks = request.stream()
    begun, waited_s, received_bytes = time.monotonic(), 0.0, 0
    while True:
        asked = time.monotonic()
        try:
            chunk = await asyncio.wait_for(anext(chunks), _SILENCE_S)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise TooSlow(f"nothing came for {_SILENCE_S:g} s") from None
        waited_s += time.monotonic() - asked
        received_bytes += len(chunk)
        if waited_s > _SILENCE_S and received_bytes < waited_s * limits.min_bytes_per_s:
            raise TooSlow(f"slower than {limits.min_bytes_per_s} bytes a second")
        if time.monotonic() - begun > limits.request_timeout_s:
            raise TooSlow(f"longer than {limits.request_timeout_s:g} s")
        yield chunk


def _length_is_within(request: Request, limit_bytes: int) -> bool:
    """False where the announced length is too large; one that is absent is counted as it comes."""
    announced = request.headers.get("content-length", "")
    return not announced.isdigit() or (len(announced) < 20 and int(announced) <= limit_bytes)


def _empty(status: int, headers: dict[str, str] | None = None) -> Response:
    """Without a body, and without reading the rest of the request's."""
    return Response(status_code=status, headers={"Connection": "close", **(headers or {})})
