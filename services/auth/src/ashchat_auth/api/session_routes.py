"""Routes of a signed-in user's sessions and security events."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from ashchat_auth.api.context import Context
from ashchat_auth.api.envelope import Envelope, answer, signed_in_errors
from ashchat_auth.models import Caller, EventKind
from ashchat_auth.service.events import PAGE_EVENTS
from ashchat_core.tokens import SOCKET_TICKET_SECONDS

YEARS: Final = range(2000, 3000)
"""Accepted years of times in requests; outside of them, some arithmetic overflows."""


def _plausible(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise ValueError("not a plausible time")
    return moment


class SessionItem(BaseModel):
    """A session."""

    id: str
    device_os: str | None
    created_at: datetime
    used_at: datetime
    current: bool


class SessionList(BaseModel):
    """The caller's sessions."""

    sessions: list[SessionItem]


class SessionsAnswer(Envelope):
    """The caller's sessions, last used first."""

    data: SessionList


class Revoked(BaseModel):
    """The number of ended sessions."""

    revoked: int


class RevokedAnswer(Envelope):
    """The response to ending several sessions."""

    data: Revoked


class Ticket(BaseModel):
    """A ticket for a socket."""

    ticket: str = Field(description="Opaque; valid once.")
    expires_in_seconds: int


class TicketAnswer(Envelope):
    """The response to a request for a ticket."""

    data: Ticket


class EventItem(BaseModel):
    """A security event."""

    id: str
    kind: EventKind
    at: datetime
    address: str | None
    device_os: str | None
    session_id: str | None
    count: int = Field(description="How often it happened in the same hour from the same address.")


class EventList(BaseModel):
    """A page of events."""

    events: list[EventItem]


class EventsAnswer(Envelope):
    """Events, newest first."""

    data: EventList


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/user")
    flows = context.auth
    SignedIn = Annotated[Caller, Depends(context.caller())]  # noqa: N806 (a type)

    @router.get("/sessions", response_model=SessionsAnswer, responses=signed_in_errors())
    async def all_sessions(caller: SignedIn) -> Response:
        """List the account's sessions."""
        found = await flows.sessions.all_of(caller)
        items = [SessionItem.model_validate(item, from_attributes=True) for item in found]
        return answer(
            200, "The account's sessions.", SessionList(sessions=items).model_dump(mode="json")
        )

    @router.delete(
        "/sessions/{session_id}",
        status_code=204,
        responses=signed_in_errors(_404="no_such_session"),
    )
    async def revoke(
        session_id: Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")],
        caller: SignedIn,
    ) -> Response:
        """End one session."""
        await flows.sessions.revoke(caller, session_id)
        return Response(status_code=204)

    @router.delete(
        "/sessions",
        response_model=RevokedAnswer,
        responses=signed_in_errors(_409="changed_meanwhile"),
    )
    async def revoke_all(
        caller: SignedIn,
        current: Annotated[bool, Query(description="Whether this session ends, too.")] = False,  # noqa: FBT002
    ) -> Response:
        """End all other sessions, or all sessions."""
        count = await flows.sessions.revoke_all(caller, current=current)
        return answer(200, "The sessions were ended.", {"revoked": count})

    @router.post("/socket-ticket", response_model=TicketAnswer, responses=signed_in_errors())
    async def socket_ticket(caller: SignedIn) -> Response:
        """Return a ticket that opens one socket, within 30 seconds."""
        ticket = Ticket(
            ticket=flows.sessions.socket_ticket(caller), expires_in_seconds=SOCKET_TICKET_SECONDS
        )
        return answer(200, "Open the socket with this ticket.", ticket.model_dump())

    @router.post("/signout", status_code=204, responses=signed_in_errors())
    async def sign_out(caller: SignedIn) -> Response:
        """End this session."""
        await flows.sessions.sign_out(caller)
        return Response(status_code=204)

    @router.get("/security-events", response_model=EventsAnswer, responses=signed_in_errors())
    async def events(
        caller: SignedIn,
        before: Annotated[
            Annotated[AwareDatetime, AfterValidator(_plausible)] | None,
            Query(
                description="Return older events only: the `at` of the previous page's last event."
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_EVENTS)] = PAGE_EVENTS,
    ) -> Response:
        """List the account's security events, newest first."""
        found = await flows.events.page(caller.user.id, before=before, limit=limit)
        items = [EventItem.model_validate(item, from_attributes=True) for item in found]
        return answer(
            200, "The account's security events.", EventList(events=items).model_dump(mode="json")
        )

    return router
