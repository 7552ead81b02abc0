"""How a refusal is told: for every code its HTTP status, its WebSocket close code and its meaning.

The table is the document of the codes (`docs/serving-errors.md` is made from it). It does not know
who refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from services import protocol
from services.contract import RETRYABLE, ErrorCode, SessionError
from services.gateway.player_socket import PlayerSocket

ERRORS_PAGE = Path(__file__).parents[2] / "docs" / "serving-errors.md"


class Refusal(NamedTuple):
    """How one code is told.

    Attributes:
        http_status: of an HTTP answer.
        close_code: of a WebSocket that is closed for it.
        when: what has happened, for people.
    """

    http_status: int
    close_code: int
    when: str


_P = protocol
REFUSALS: Mapping[ErrorCode, Refusal] = {
    ErrorCode.BAD_MESSAGE: Refusal(
        400, _P.CLOSE_REFUSED, "a message is not JSON, or a field breaks its rule"
    ),
    ErrorCode.BAD_TENSOR: Refusal(
        400, _P.CLOSE_REFUSED, "actions or an image have another shape or type, or are not finite"
    ),
    ErrorCode.UNKNOWN_WORLD: Refusal(
        404, _P.CLOSE_NOT_FOUND, "the release has no world of this name"
    ),
    ErrorCode.UNKNOWN_SESSION: Refusal(
        404, _P.CLOSE_NOT_FOUND, "the session is over, or its wait for a resume was"
    ),
    ErrorCode.UNKNOWN_RELEASE: Refusal(
        404, _P.CLOSE_NOT_FOUND, "no backend serves this release, or the key may not use it"
    ),
    ErrorCode.SESSION_EXISTS: Refusal(409, _P.CLOSE_REFUSED, "the session's id is in use"),
    ErrorCode.WRONG_STATE: Refusal(
        409, _P.CLOSE_REFUSED, "the message does not belong into the session's state"
    ),
    ErrorCode.NO_FREE_SLOT: Refusal(
        503, _P.CLOSE_TRY_AGAIN, "the engine has no slot; the gateway queues instead where it can"
    ),
    ErrorCode.TOO_MANY_ACTIONS: Refusal(
        429, _P.CLOSE_TRY_AGAIN, "more actions in a message, or waiting, than are allowed"
    ),
    ErrorCode.SHUTTING_DOWN: Refusal(
        503, _P.CLOSE_GOING_AWAY, "the gateway or the engine drains; resume or open elsewhere"
    ),
    ErrorCode.GENERATION_FAILED: Refusal(
        500, _P.CLOSE_FAILED, "the engine could not make a segment; the session is over"
    ),
    ErrorCode.STATE_LOST: Refusal(
        410, _P.CLOSE_FAILED, "neither the engine nor the store has what the session needs"
    ),
    ErrorCode.UNSUPPORTED_VERSION: Refusal(
        400, _P.CLOSE_REFUSED, "`version` or the subprotocol is not one that the gateway speaks"
    ),
    ErrorCode.TOO_LARGE: Refusal(
        413, _P.CLOSE_TOO_LARGE, "a message or a start image has too many bytes or pixels"
    ),
    ErrorCode.BAD_IMAGE: Refusal(
        400, _P.CLOSE_REFUSED, "the start image is not base64 of a JPEG or PNG"
    ),
    ErrorCode.CONTENT_REFUSED: Refusal(
        403, _P.CLOSE_REFUSED, "the check of prompts and start images said no, or did not answer"
    ),
    ErrorCode.BAD_KEY: Refusal(401, _P.CLOSE_UNAUTHORIZED, "the API key is missing or unknown"),
    ErrorCode.BAD_TOKEN: Refusal(
        401, _P.CLOSE_UNAUTHORIZED, "the token is missing, forged or meant for something else"
    ),
    ErrorCode.EXPIRED_TOKEN: Refusal(401, _P.CLOSE_UNAUTHORIZED, "the token's time is over"),
    ErrorCode.REPLAYED_TOKEN: Refusal(
        401, _P.CLOSE_UNAUTHORIZED, "the token has been used, perhaps by another client"
    ),
    ErrorCode.QUOTA_EXCEEDED: Refusal(
        429, _P.CLOSE_TRY_AGAIN, "the key has as many sessions as it may have, now or this hour"
    ),
    ErrorCode.RATE_LIMITED: Refusal(
        429, _P.CLOSE_TRY_AGAIN, "the key sends more messages a second than it may"
    ),
    ErrorCode.QUEUE_FULL: Refusal(
        503, _P.CLOSE_TRY_AGAIN, "as many sessions wait for a slot as may wait"
    ),
    ErrorCode.QUEUE_TIMEOUT: Refusal(
        503, _P.CLOSE_TRY_AGAIN, "no slot became free while the session waited"
    ),
    ErrorCode.NO_BACKEND: Refusal(
        503, _P.CLOSE_NO_BACKEND, "no engine answers; a session of it can be resumed later"
    ),
    ErrorCode.INTERNAL: Refusal(
        500, _P.CLOSE_FAILED, "a fault of the gateway; its log has the request id of the message"
    ),
    ErrorCode.SESSION_ENDED: Refusal(
        410, _P.CLOSE_NORMAL, "said by clients only: the session is over"
    ),
    ErrorCode.DISCONNECTED: Refusal(
        503, _P.CLOSE_NO_BACKEND, "the connection to the engine broke, or, said by clients, theirs"
    ),
    ErrorCode.TIMEOUT: Refusal(
        504, _P.CLOSE_TRY_AGAIN, "an answer, or a client's first message, took too long"
    ),
}


async def refuse_socket(socket: PlayerSocket, error: SessionError) -> None:
    """Tell a player that there will be no session, and close."""
    told = protocol.Error(
        code=error.code,
        message=error.message,
        is_retryable=error.is_retryable,
        is_fatal=True,
    )
    await socket.send_text(told.model_dump_json())
    await socket.close(REFUSALS[error.code].close_code)


def errors_page() -> str:
    """Return the page that lists every code."""
    lines = [
        "# Errors of the streaming service",
        "",
        "Every refusal has a code, a sentence and whether the same request may succeed later. This",
        "page is made from `services/gateway/refusal.py` by `python -m services.gateway.refusal`.",
        "",
        "| code | when | HTTP | WebSocket close | retryable |",
        "| --- | --- | --- | --- | --- |",
    ]
    for code in ErrorCode:
        refusal = REFUSALS[code]
        retryable = "yes" if code in RETRYABLE else "no"
        cells = [f"`{code}`", refusal.when, str(refusal.http_status), str(refusal.close_code)]
        lines.append(f"| {' | '.join(cells)} | {retryable} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    ERRORS_PAGE.write_text(errors_page())


if __name__ == "__main__":
    main()
