"""What one session has: its state, its clocks, its way to the player and its way to the engine.

It knows how these are put together and nothing of what happens between them.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.action_log import ActionLog
from services.gateway.attachment import Attachment
from services.gateway.entrance import Entrance, Visitor
from services.gateway.listener import Listener
from services.gateway.metrics import FrameMeter
from services.gateway.outbox import Outbox
from services.gateway.parts import Parts
from services.gateway.player_socket import PlayerSocket
from services.gateway.relay import Relay
from services.gateway.session_clock import SessionClock
from services.session_state import SessionLife


@dataclass(frozen=True)
class Seat:
    """The parts of one session."""

    life: SessionLife
    clock: SessionClock
    outbox: Outbox
    meter: FrameMeter
    log: ActionLog
    relay: Relay
    attachment: Attachment
    entrance: Entrance
    listener: Listener


def take_seat(parts: Parts, socket: PlayerSocket, visitor: Visitor) -> Seat:
    """Put a new session's parts together."""
    limits = parts.config.limits
    life = SessionLife()
    clock = SessionClock(limits)
    outbox = Outbox()
    log = ActionLog(limits.max_kept_actions)
    attachment = Attachment(parts.admission, parts.pool, limits.ready_seconds)
    return Seat(
        life=life,
        clock=clock,
        outbox=outbox,
        meter=FrameMeter(parts.metrics, outbox),
        log=log,
        relay=Relay(life, outbox, log),
        attachment=attachment,
        entrance=Entrance(parts, visitor, attachment, life, outbox),
        listener=Listener(socket, life, outbox, log, attachment, clock, limits),
    )
