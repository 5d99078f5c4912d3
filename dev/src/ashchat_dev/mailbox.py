"""A person's mailbox: Mailpit's HTTP API (https://mailpit.axllent.org/docs/api-v1/)."""

import asyncio
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx2

from ashchat_dev.http import http_client

_CODE: Final = re.compile(r"(?<![\w#])(\d{6})(?!\w)")
_POLL_SECONDS: Final = 0.2


class NoMailError(TimeoutError):
    """The awaited mail did not come; the message says to whom and for how long."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as Mailpit keeps it."""

    id: str
    message_id: str
    subject: str
    to: tuple[str, ...]
    sender: str
    text: str
    html: str

    @property
    def code(self) -> str | None:
        """The six-digit code in the plain text, None when there is none."""
        found = _CODE.search(self.text)
        return found.group(1) if found else None


def anything(_mail: Mail) -> bool:
    """Accept every mail."""
    return True


def has_code(mail: Mail) -> bool:
    """Accept a mail that carries a six-digit code."""
    return mail.code is not None


class Mailbox:
    """The mails of everyone, by address."""

    def __init__(self, url: str) -> None:
        self._client = http_client(url, timeout=10)
        self._known: dict[str, Mail] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def list(self, address: str) -> list[Mail]:
        """Return the mails to an address, oldest first.

        Raises:
            httpx2.HTTPError: Mailpit does not answer.
        """
        found = await self._client.get(
            "/api/v1/search", params={"query": f'to:"{address}"', "limit": 100}
        )
        found.raise_for_status()
        # Mailpit lists the newest first and matches parts of an address too.
        ids = [
            entry["ID"]
            for entry in reversed(found.json()["messages"])
            if any(to["Address"].lower() == address.lower() for to in entry["To"] or [])
        ]
        return [await self._read(mail_id) for mail_id in ids]

    async def wait(
        self,
        address: str,
        condition: Callable[[Mail], bool] = anything,
        *,
        after: Collection[str] = (),
        within: float = 30.0,
    ) -> Mail:
        """Return the newest mail to an address that meets the condition.

        Args:
            address: Whom the mail is to.
            condition: What the mail must be like.
            after: Ids of mails that do not count (those that were there before).
            within: Seconds to wait for it.

        Raises:
            NoMailError: It did not come in time.
        """
        deadline = time.monotonic() + within
        while True:
            try:
                mails = await self.list(address)
            except httpx2.TransportError:
                # The mailbox may be restarting; the deadline decides.
                mails = []
            for mail in reversed(mails):
                if mail.id not in after and condition(mail):
                    return mail
            if time.monotonic() > deadline:
                raise NoMailError(
                    f"no such mail to {address} within {within:.0f} s; "
                    f"there are {[mail.subject for mail in mails]}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def code_for(
        self, address: str, *, after: Collection[str] = (), within: float = 30.0
    ) -> str:
        """Return the six-digit code of the newest mail to an address that has one.

        Raises:
            NoMailError: None came in time.
        """
        mail = await self.wait(address, has_code, after=after, within=within)
        return mail.code or ""

    async def _read(self, mail_id: str) -> Mail:
        # A kept mail never changes, so each is read once.
        if mail_id not in self._known:
            reply = await self._client.get(f"/api/v1/message/{mail_id}")
            reply.raise_for_status()
            self._known[mail_id] = _mail(reply.json())
        return self._known[mail_id]


def _mail(body: dict[str, Any]) -> Mail:
    return Mail(
        id=body["ID"],
        message_id=body.get("MessageID", ""),
        subject=body.get("Subject", ""),
        to=tuple(to["Address"] for to in body.get("To") or []),
        sender=(body.get("From") or {}).get("Address", ""),
        text=body.get("Text", ""),
        html=body.get("HTML", ""),
    )
