"""The events of all rooms on Redis Streams: every pod hears every pod, and reads on after a break.

Rooms are hashed onto a fixed number of streams. A pod remembers the last entry that it has read of
each, so that a lost connection loses nothing. What can still be missed is reported to the listener,
which then compares its rooms with the store:

* entries that were trimmed before this pod read them (it was away or slow for too long);
* entries that Redis lost (it restarted from an older state, or was flushed: the epoch changed);
* events of a pod that died, or cannot reach Redis, after a commit (its heartbeat ended);
* events that a pod dropped while Redis was away (it leaves a marker).

docs/development/decisions/0014-fan-out-on-redis-streams.md has why.
"""

import asyncio
import contextlib
import secrets
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from ashchat_chat import metrics
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.events import AnyEvent
from ashchat_chat.rooms.ports import Listener, Publication
from ashchat_core.redis import Redis

STREAMS: Final = 16
STREAM_PREFIX: Final = "chat:events:"
PODS_KEY: Final = "chat:pods"
EPOCH_KEY: Final = "chat:epoch"
CLOCK_KEY: Final = "chat:clock"

KEEP_SECONDS: Final = 30
"""How long an entry can be read: the longest interruption after which a pod reads on.

An erased text is in Redis for up to twice as long: a stream without new entries is not trimmed,
it expires.
"""

ENTRIES_MAX: Final = 1_000
"""Maximum entries of a stream, checked every second."""

INLINE_MAX_BYTES: Final = 2_048
"""A larger event is published as its place only, and read from the store."""

NAMED_MEMBERS: Final = 8
"""A room with more members is published without their names."""

PUBLISH_BATCH: Final = 500
WAITING_MAX: Final = 20_000
"""Publications kept while Redis is away. The oldest are dropped first, and reported."""

READ_MAX: Final = 500
"""Maximum entries that one read returns of a stream."""

READ_WAIT_MS: Final = 1_000
AGAIN_SECONDS: Final = 0.5

BEAT_SECONDS: Final = 1.0
OVERDUE_SECONDS: Final = 3.0
"""Age of a heartbeat that has ended."""

SUSPECT_SECONDS: Final = 60.0
"""How long a pod whose heartbeat has ended may still commit events that it cannot publish."""

LEAVE_SECONDS: Final = 2.0
"""How long a stopping pod waits until everything is published."""

COMPARE_SECONDS: Final = 4.0
"""How often rooms are compared meanwhile, and while this pod is not connected."""

_BEAT: Final = """
-- The id of an entry is Redis' time; TIME itself is not among a service's permissions.
local id = redis.call('XADD', KEYS[3], 'MAXLEN', 1, '*', 'by', ARGV[1])
local now = tonumber(string.match(id, '^%d+'))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[4])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SET', KEYS[2], ARGV[2], 'NX')
return {
  now,
  redis.call('GET', KEYS[2]),
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[3]))
}
"""
"""Records that this process lives; returns Redis' time and epoch, and the overdue processes."""


def stream_of(room: str) -> int:
    """Return the number of a room's stream; the same on every pod and version."""
    return zlib.crc32(room.encode()) % STREAMS


@dataclass(slots=True)
class _End:
    """Where the stream stands, as XINFO reports it."""

    first: tuple[int, int]
    last: tuple[int, int]


class RedisStreams:
    """One pod's end of the streams; see `ports.Broadcast`."""

    def __init__(self, redis: Redis, *, pod: str, listener: Callable[[], Listener]) -> None:
        self._redis = redis
        # A restarted container has the pod's name, but not what the former process knew.
        self._process = f"{pod}/{secrets.token_hex(4)}"
        self._listener = listener
        self._waiting: deque[Publication] = deque()
        self._writing = False
        self._dropped: set[int] = set()
        self._published = asyncio.Event()
        self._positions: dict[int, str] = {}
        self._reading = False
        self._epoch = ""
        self._offset_ms: int | None = None
        """What has to be added to this process' monotonic time to get Redis' time."""
        self._beaten_at = float("-inf")
        self._compared_at = float("-inf")
        self._beat = redis.client.register_script(_BEAT)
        self._log = structlog.get_logger("streams")

    @property
    def connected(self) -> bool:
        """Whether this pod hears what others publish, and others would notice its end."""
        return self._reading and monotonic() - self._beaten_at < OVERDUE_SECONDS

    # Publishing

    def publish(self, event: AnyEvent, members: Collection[str]) -> None:
        """Publish a committed event of a room soon; never waits."""
        text = event.model_dump_json(exclude_none=True)
        if len(text.encode()) > INLINE_MAX_BYTES:
            text = ""
        named = tuple(members) if len(members) <= NAMED_MEMBERS else ()
        if len(self._waiting) >= WAITING_MAX:
            self._dropped.add(stream_of(self._waiting.popleft().room))
        self._waiting.append(Publication(event.room, event.rev, named, text))
        self._published.set()

    async def run_publisher(self) -> None:
        """Write what waits, in batches; until cancelled."""
        while True:
            await self._published.wait()
            self._published.clear()
            while self._waiting:
                count = min(PUBLISH_BATCH, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                self._writing = True
                try:
                    await self._write(batch)
                except (RedisError, OSError) as error:
                    # Hearing an event twice is harmless, so the whole batch is written again.
                    self._waiting.extendleft(reversed(batch))
                    self._log.warning("publishing failed", kind=type(error).__name__)
                    await asyncio.sleep(AGAIN_SECONDS)
                else:
                    self._writing = False

    async def _write(self, batch: Sequence[Publication]) -> None:
        dropped, self._dropped = self._dropped, set()
        oldest = () if self._offset_ms is None else ("MINID", "=", self._oldest_ms())
        touched = {stream_of(one.room) for one in batch} | dropped
        try:
            async with self._redis.client.pipeline(transaction=False) as pipeline:
                for one in batch:
                    pipeline.execute_command(
                        "XADD", self._key(stream_of(one.room)), *oldest, "*", "by", self._process,
                        "room", one.room, "rev", one.rev, "members", " ".join(one.members),
                        "event", one.text,
                    )  # fmt: skip
                for number in dropped:
                    pipeline.execute_command("XADD", self._key(number), "*", "lost", "1")
                for number in touched:
                    pipeline.execute_command("EXPIRE", self._key(number), 2 * KEEP_SECONDS)
                await pipeline.execute()
        except BaseException:
            self._dropped |= dropped
            raise

    def _oldest_ms(self) -> int:
        return int(monotonic() * 1000) + (self._offset_ms or 0) - KEEP_SECONDS * 1000

    # Reading

    async def run_reader(self) -> None:
        """Give the listener what is published; until cancelled."""
        while True:
            try:
                await self._resume()
                self._set_reading(value=True)
                while True:
                    await self._read()
            except (RedisError, OSError) as error:
                if self._reading:
                    self._log.warning("reading the streams failed", kind=type(error).__name__)
            finally:
                self._set_reading(value=False)
            await asyncio.sleep(AGAIN_SECONDS)

    def _set_reading(self, *, value: bool) -> None:
        self._reading = value
        metrics.FANOUT_CONNECTED.set(int(value))

    async def _read(self) -> None:
        before = dict(self._positions)
        found: Any = await self._redis.client.xread(
            {self._key(number): position for number, position in before.items()},
            count=READ_MAX,
            block=READ_WAIT_MS,
        )
        full: list[int] = []
        for key, entries in found or ():
            number = int(self._redis.bare(key).removeprefix(STREAM_PREFIX))
            if len(entries) >= READ_MAX:
                full.append(number)
            for _, fields in entries:
                self._hear(number, fields)
            self._positions[number] = entries[-1][0]
        if full:
            # This pod is behind; the next entries may have been trimmed before it read them.
            await self._check({number: before[number] for number in full})

    def _hear(self, number: int, fields: Mapping[str, str]) -> None:
        if fields.get("by") == self._process:
            return
        if "lost" in fields:
            self._listener().missed(lambda room: stream_of(room) == number)
            return
        try:
            members = tuple(fields["members"].split())
            self._listener().heard(
                Publication(fields["room"], int(fields["rev"]), members, fields["event"])
            )
        except Exception:  # noqa: BLE001 (logged whole)
            # Another version's event must not end what all rooms depend on.
            self._log.exception("a publication is not valid")

    async def _resume(self) -> None:
        """Continue where the last read ended; the first time, at the ends of the streams."""
        if self._positions:
            await self._check(self._positions)
            return
        for number, end in (await self._ends(range(STREAMS))).items():
            self._positions[number] = _text(end.last if end else (0, 0))

    async def _check(self, positions: Mapping[int, str]) -> None:
        """Report streams whose entries after these positions may be gone."""
        missed: set[int] = set()
        for number, end in (await self._ends(positions)).items():
            position = _parsed(positions[number])
            if end is None:
                # Nothing was written for a while, or Redis lost it; nothing has to be read.
                missed |= {number} if position > (0, 0) else set()
                self._positions[number] = "0-0"
            elif end.last < position:
                missed.add(number)
                self._positions[number] = "0-0"
            elif end.first > position:
                missed.add(number)
        if missed:
            self._log.info("streams may have been trimmed", streams=len(missed))
            self._listener().missed(lambda room: stream_of(room) in missed)

    async def _ends(self, numbers: Iterable[int]) -> dict[int, _End | None]:
        asked = list(numbers)
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for number in asked:
                pipeline.execute_command("XINFO STREAM", self._key(number))
            answers = await pipeline.execute(raise_on_error=False)
        result: dict[int, _End | None] = {}
        for number, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Mapping):
                first = answer["first-entry"]
                last = _parsed(answer["last-generated-id"])
                result[number] = _End(_parsed(first[0]) if first else last, last)
            elif "no such key" in str(answer):
                result[number] = None
            else:
                raise answer
        return result

    # Heartbeats

    async def run_heartbeat(self) -> None:
        """Report this process as alive, and notice others' ends; until cancelled."""
        while True:
            try:
                await self._beat_once()
            except (RedisError, OSError) as error:
                self._log.info("a heartbeat failed", kind=type(error).__name__)
            if not self.connected:
                self._compare_all()
            await asyncio.sleep(BEAT_SECONDS)

    async def _beat_once(self) -> None:
        now, epoch, overdue = await self._beat(
            keys=[self._redis.key(key) for key in (PODS_KEY, EPOCH_KEY, CLOCK_KEY)],
            args=[
                self._process,
                secrets.token_hex(8),
                int(OVERDUE_SECONDS * 1000),
                int(SUSPECT_SECONDS * 1000),
            ],
        )
        self._beaten_at = monotonic()
        self._offset_ms = int(now) - int(monotonic() * 1000)
        if self._epoch and epoch != self._epoch:
            self._log.warning("Redis lost its data")
            self._positions = dict.fromkeys(self._positions, "0-0")
            self._listener().missed(lambda _: True)
        self._epoch = str(epoch)
        if overdue:
            self._compare_all()
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for number in range(STREAMS):
                pipeline.execute_command("XTRIM", self._key(number), "MAXLEN", "~", ENTRIES_MAX)
            await pipeline.execute()

    def _compare_all(self) -> None:
        if monotonic() - self._compared_at >= COMPARE_SECONDS:
            self._compared_at = monotonic()
            self._listener().missed(lambda _: True)

    async def leave(self) -> None:
        """Publish the rest and end the heartbeat; if Redis is away, the others notice."""
        deadline = monotonic() + LEAVE_SECONDS
        while (self._waiting or self._writing) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if self._waiting or self._writing or self._dropped:
            return
        with contextlib.suppress(RedisError, OSError):
            await self._redis.client.zrem(self._redis.key(PODS_KEY), self._process)

    def _key(self, number: int) -> str:
        return self._redis.key(f"{STREAM_PREFIX}{number}")


def _parsed(identifier: str) -> tuple[int, int]:
    milliseconds, _, number = identifier.partition("-")
    return int(milliseconds), int(number or 0)


def _text(identifier: tuple[int, int]) -> str:
    return f"{identifier[0]}-{identifier[1]}"
