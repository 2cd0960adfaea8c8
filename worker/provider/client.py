"""One request to the provider's chat completions, within a time limit that holds whatever it does."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from threading import Thread
from typing import Any, Final, TypeVar, cast

import groq
import httpx
from groq.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import ValidationError

from neurotriage.core.settings import ProviderModel
from worker.provider.faults import ProviderError, ProviderFault

_Found = TypeVar("_Found")
_MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_COMPLETION_TOKENS: Final = 4096
_CAPACITY_EXCEEDED: Final = 498  # Groq's own
_GONE: Final = (ProviderFault.MODEL_GONE, "the provider knows no such model")
_GONE_CODES: Final = ("model_decommissioned", "model_not_found")  # with 400; every 404 says so
_BY_STATUS: Final[Mapping[int, tuple[ProviderFault, str]]] = {
    HTTPStatus.UNAUTHORIZED: (ProviderFault.NOT_ALLOWED, "the provider does not take the key"),
    HTTPStatus.FORBIDDEN: (ProviderFault.NOT_ALLOWED, "the provider does not take the key"),
    HTTPStatus.NOT_FOUND: _GONE,
    HTTPStatus.REQUEST_TIMEOUT: (ProviderFault.SERVER_ERROR, "the provider waited too long for the request"),
    _CAPACITY_EXCEEDED: (ProviderFault.SERVER_ERROR, "the provider has no capacity"),
    HTTPStatus.TOO_MANY_REQUESTS: (ProviderFault.RATE_LIMITED, "the provider asks for fewer requests"),
}


def ask(
    access: ProviderModel,
    key: str,
    messages: Sequence[Mapping[str, Any]],
    schema: dict[str, Any],
    limit_s: float,
) -> str:
    """The text of the model's answer, not yet read.

    The whole request, from the connection to the last byte, ends within ``limit_s`` seconds. It is made once,
    as the client's own repetitions would wait for as long as a provider asks. Raises ``ProviderError``.
    """
    return _content(
        _within(access, key, lambda client: _completion(client, access, messages, schema), limit_s)
    )


def find_model(access: ProviderModel, key: str, limit_s: float) -> None:
    """Whether the provider has the model. Raises ``ProviderError`` where it has not, or cannot be asked."""
    # By the list: the name of a model may hold a slash, which in a path of its own is escaped or not.
    found = _within(access, key, lambda client: client.models.list(), limit_s)
    listed = getattr(found, "data", None)
    if not isinstance(listed, list):  # the client takes any answer for a list
        raise ProviderError(ProviderFault.NOT_AN_ANSWER, "what came is no list of models")
    if access.model not in {getattr(model, "id", None) for model in listed}:
        raise ProviderError(ProviderFault.MODEL_GONE, "the provider knows no such model")


def _within(
    access: ProviderModel, key: str, use: Callable[[groq.AsyncGroq], Awaitable[_Found]], limit_s: float
) -> _Found:
    """What ``use`` finds, in a thread that is left behind at the limit: nothing ends a wait for a name."""
    found: Future[_Found] = Future()

    def request() -> None:
        try:
            found.set_result(asyncio.run(_requested(access, key, use, limit_s)))
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            found.set_exception(error)

    Thread(target=request, name="provider", daemon=True).start()
    try:
        return found.result(limit_s)
    except TimeoutError as error:
        raise _too_slow(limit_s) from error


def _too_slow(limit_s: float) -> ProviderError:
    return ProviderError(ProviderFault.TOO_SLOW, f"no answer within {limit_s:g} s")


async def _requested(
    access: ProviderModel, key: str, use: Callable[[groq.AsyncGroq], Awaitable[_Found]], limit_s: float
) -> _Found:
    # A redirect would carry the facts elsewhere.
    async with httpx.AsyncClient(follow_redirects=False, timeout=limit_s) as http:
        client = groq.AsyncGroq(api_key=key, base_url=access.base_url, max_retries=0, http_client=http)
        try:
            return await asyncio.wait_for(use(client), limit_s)
        except groq.APIStatusError as error:
            raise _of_status(error) from error
        except (TimeoutError, groq.APITimeoutError, httpx.TimeoutException) as error:
            raise _too_slow(limit_s) from error
        except (groq.GroqError, httpx.HTTPError) as error:
            raise ProviderError(ProviderFault.NO_CONNECTION, "the connection failed or was cut") from error


async def _completion(
    client: groq.AsyncGroq,
    access: ProviderModel,
    messages: Sequence[Mapping[str, Any]],
    schema: dict[str, Any],
) -> bytes:
    """The body of the answer, of a bounded size."""
    async with client.chat.completions.with_streaming_response.create(
        model=access.model,
        messages=cast("list[ChatCompletionMessageParam]", list(messages)),
        temperature=0,
        seed=access.seed,
        max_completion_tokens=_MAX_COMPLETION_TOKENS,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": access.strict},
        },
    ) as response:
        if response.status_code != HTTPStatus.OK:
            raise ProviderError(ProviderFault.NOT_AN_ANSWER, "the provider points at another address")
        body = bytearray()
        async for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MAX_ANSWER_BYTES:
                raise ProviderError(ProviderFault.NOT_AN_ANSWER, "the answer is too large")
        return bytes(body)


def _of_status(error: groq.APIStatusError) -> ProviderError:
    status = error.status_code
    if status == HTTPStatus.BAD_REQUEST and _code(error.body) in _GONE_CODES:
        fault, text = _GONE
    elif status in _BY_STATUS:
        fault, text = _BY_STATUS[status]
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        fault, text = ProviderFault.SERVER_ERROR, "the provider has an error"
    elif status < HTTPStatus.BAD_REQUEST:
        fault, text = ProviderFault.NOT_AN_ANSWER, "the provider points at another address"
    else:
        fault, text = ProviderFault.REJECTED, "the provider rejects the request"
    return ProviderError(fault, f"{text} (HTTP {status})", _retry_after_s(error.response.headers))


def _code(body: object) -> object:
    """``error.code`` of an answer; None where it has none."""
    error = body.get("error") if isinstance(body, dict) else None
    return error.get("code") if isinstance(error, dict) else None


def _retry_after_s(headers: httpx.Headers) -> float | None:
    """Retry-After in seconds (RFC 9110 10.2.3); a date, which the provider does not send, is passed over."""
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.replace(".", "", 1).isdigit() else None


def _content(body: bytes) -> str:
    """The words of the model in the body of an answer."""
    try:
        completion = ChatCompletion.model_validate(json.loads(body))
        (choice,) = completion.choices
    except (ValueError, ValidationError, RecursionError) as error:
        raise ProviderError(ProviderFault.NOT_AN_ANSWER, "what came is no chat completion") from error
    if getattr(choice.message, "refusal", None):
        raise ProviderError(ProviderFault.REFUSED, "the model declines to answer")
    if choice.finish_reason != "stop":
        raise ProviderError(ProviderFault.NOT_AN_ANSWER, "the answer was cut off")
    if not choice.message.content or not choice.message.content.strip():
        raise ProviderError(ProviderFault.NOT_AN_ANSWER, "the answer is empty")
    # What neither Postgres nor UTF-8 takes; no phrase holds it.
    return choice.message.content.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
