"""Who is typing: throttled in both directions, and ended when a client or a pod forgets to."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from ashchat_chat.pushes import TypingShown
from ashchat_chat.rooms.live import LiveRooms

EXPIRES_SECONDS = 6.0
"""How long a user is typing after the client last reported it."""

QUIET_SECONDS = 2.0
"""How often a user's state in a room is pushed at most."""


@dataclass(slots=True)
class _State:
    local: bool
    """Whether a client of this pod reported it, so that the other pods must hear of it."""
    wanted: bool = False
    pushed: bool = False
    expires_at: float = 0.0
    quiet_until: float = 0.0
    renewed: bool = False
    timer: asyncio.TimerHandle | None = None


class Typing:
    """What the users of rooms with sockets on this pod are doing.

    A change within the quiet time is pushed when that is over, if it is still one: whatever a
    client sends, others get at most one frame in that time.
    """

    def __init__(self, rooms: LiveRooms, publish: Callable[[str], None], *, pod: str) -> None:
        self._rooms = rooms
        self._publish = publish
        self._pod = pod
        self._states: dict[tuple[str, str], _State] = {}

    def said(self, room_id: str, user: str, *, is_typing: bool) -> None:
        """Accept what a client of this pod reports."""
        self._accept((room_id, user), is_typing=is_typing, local=True)

    def heard(self, text: str) -> None:
        """Accept what a pod publishes: throttled again, because a user may be on many pods."""
        body = json.loads(text)
        if body["pod"] != self._pod:
            self._accept((body["room"], body["user"]), is_typing=body["is_typing"], local=False)

    def _accept(self, key: tuple[str, str], *, is_typing: bool, local: bool) -> None:
        state = self._states.get(key)
        if state is None:
            if not is_typing:
                return
            state = self._states[key] = _State(local)
        state.local = state.local or local
        state.wanted = is_typing
        if is_typing:
            state.expires_at = asyncio.get_running_loop().time() + EXPIRES_SECONDS
            state.renewed = True
        self._settle(key, state)

    def _settle(self, key: tuple[str, str], state: _State) -> None:
        """Push what is due, and come back when something else may be."""
        now = asyncio.get_running_loop().time()
        if state.timer is not None:
            state.timer.cancel()
        if state.wanted and now >= state.expires_at:
            state.wanted = False
        due = state.wanted is not state.pushed or (state.wanted and state.renewed)
        if due and now >= state.quiet_until:
            state.pushed, state.renewed = state.wanted, False
            state.quiet_until = now + QUIET_SECONDS
            self._push(key, state)
            due = False
        if not due and not state.wanted and now >= state.quiet_until:
            del self._states[key]
            return
        again = state.quiet_until if due or not state.wanted else state.expires_at
        state.timer = asyncio.get_running_loop().call_at(again, self._settle, key, state)

    def _push(self, key: tuple[str, str], state: _State) -> None:
        room_id, user = key
        payload: TypingShown = {"is_typing": state.pushed, "user_id": user}
        self._rooms.tell(room_id, "typing", payload, but=user)
        if state.local:
            body = {"pod": self._pod, "room": room_id, "user": user, "is_typing": state.pushed}
            self._publish(json.dumps(body))
