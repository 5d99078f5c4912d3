"""A mail server in this process: real SMTP over real sockets, with faults to order.

RFC 5321 with STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954), as much as a submission needs.
"""

import asyncio
import base64
import ssl
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

HOST: Final = "127.0.0.1"


class Fault(Enum):
    """What a server does instead of answering."""

    DROP = "closes the connection"
    HANG = "does not respond until it is released"


@dataclass(frozen=True, slots=True)
class Received:
    """A mail the server took."""

    sender: str
    recipient: str
    content: str
    username: str | None
    encrypted: bool
    connection: int


class SmtpServer:
    """Listens from `async with` on; `instead` says what to answer next time, by command."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        logins: Mapping[str, str] | None = None,
    ) -> None:
        self._tls = tls
        self._implicit = implicit
        self.logins = dict(logins or {})
        self.mails: list[Received] = []
        self.commands: list[str] = []
        self.tried: list[str] = []
        """The user names that tried to log in."""
        self.connections = 0
        self.instead: defaultdict[str, deque[str | Fault]] = defaultdict(deque)
        """Command ("BODY" after the mail itself, "HELLO" at the start) → what comes instead."""
        self.go_on = asyncio.Event()
        self.offers_starttls = tls is not None and not implicit
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        context = self._tls if self._implicit else None
        self._server = await asyncio.start_server(self._accept, HOST, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        await self.hang_up()
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def hang_up(self) -> None:
        """Close every connection without a word."""
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """How many connections there are now."""
        return len(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.connections += 1
        try:
            await _Dialogue(self, reader, writer, self.connections).hold()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            del self._open[task]

    @property
    def context(self) -> ssl.SSLContext | None:
        """What STARTTLS changes to."""
        return self._tls


class _Dialogue:
    """One connection."""

    def __init__(
        self,
        server: SmtpServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._number = number
        self._username: str | None = None
        self._sender = ""
        self._recipient = ""

    @property
    def _encrypted(self) -> bool:
        return self._writer.get_extra_info("sslcontext") is not None

    async def hold(self) -> None:
        """Talk until either side has enough."""
        await self._say("HELLO", "220 test ESMTP")
        while line := await self._reader.readline():
            words = line.decode().rstrip("\r\n")
            command = words.partition(" ")[0].upper()
            self._server.commands.append(command)
            if command == "STARTTLS" and self._server.context is not None:
                await self._say(command, "220 go ahead")
                await self._writer.start_tls(self._server.context)
            elif command == "DATA":
                if await self._say(command, "354 go ahead"):
                    await self._take()
            else:
                await self._say(command, self._answer(command, words))
                if command == "QUIT":
                    return

    async def _say(self, command: str, answer: str) -> bool:
        """Answer; tell whether it was what is usual."""
        waiting = self._server.instead[command]
        said: str | Fault = waiting.popleft() if waiting else answer
        if said is Fault.DROP:
            raise ConnectionAbortedError
        if said is Fault.HANG:
            await self._server.go_on.wait()
            said = answer
        self._writer.write(f"{said}\r\n".encode())
        await self._writer.drain()
        if isinstance(said, str) and said.startswith("421"):
            raise ConnectionAbortedError
        return said == answer

    def _answer(self, command: str, words: str) -> str:
        match command:
            case "EHLO":
                more = ["STARTTLS"] if self._server.offers_starttls and not self._encrypted else []
                more += ["AUTH PLAIN"] if self._server.logins else []
                lines = ["test", "8BITMIME", *more, "SIZE 1000000"]
                return "\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"])
            case "AUTH":
                _, username, password = base64.b64decode(words.split()[2]).decode().split("\0")
                self._server.tried.append(username)
                if self._server.logins.get(username) != password:
                    return f"535 5.7.8 {username} is not welcome"
                self._username = username
                return "235 2.7.0 welcome"
            case "MAIL":
                if self._server.logins and self._username is None:
                    return "530 5.7.0 log in first"
                self._sender = words.partition("<")[2].partition(">")[0]
            case "RCPT":
                self._recipient = words.partition("<")[2].partition(">")[0]
            case "QUIT":
                return "221 bye"
            case _:
                pass
        return "250 fine"

    async def _take(self) -> None:
        lines = []
        while (line := await self._reader.readline()) != b".\r\n":
            if not line:
                return
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if await self._say("BODY", "250 taken"):
            content = b"".join(lines).decode()
            self._server.mails.append(
                Received(
                    self._sender,
                    self._recipient,
                    content,
                    self._username,
                    self._encrypted,
                    self._number,
                )
            )
