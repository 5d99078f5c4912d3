"""Rate limits in Redis. They fail closed: without Redis, nothing can be counted or tried.

An attacker cannot lock an account's owner out. A wrong password from a device that the owner
has confirmed counts against that device; from any other device it counts against the account
*and* the network, so that attackers never slow down a known device. Two limits are wider: all
accounts from one network (a list of stolen passwords being tried), and one account from all
unknown devices (a botnet). An owner on a new device gets past the latter with a reset by mail.
"""

import ipaddress
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, Literal

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from ashchat_auth.settings import Settings
from ashchat_core.redis import Redis

RESEND_WAITS_SECONDS: Final = (0, 30, 60, 120, 240, 480, 600)
"""Wait before the next mail to one address from one network, by the number of mails sent. The
first repetition is free: an answer was lost, or a button was pressed twice."""

RESEND_FORGOTTEN_SECONDS: Final = 3600
"""How long mails to an address are counted."""

CHALLENGE_TRIES: Final = 5
"""Attempts at a second factor per challenge; then the password (or mail) is required again."""

PROFILE_CHANGES: Final = 30
"""Maximum changes of an account's name or language per 15 minutes; each is sent to chat."""

_IPV6_NETWORK_BITS: Final = 64
"""A subscriber has at least a /64 (RFC 6177), so its addresses count as one client."""

INBOX_SECONDS: Final = 180
"""Window in which an address gets at most `mails_per_address` mails, across networks."""

# KEYS: the address from a network, the address. ARGV: now, the lifetime of the first key, the
# maximum mails per address in a window, the window, the waits; times in seconds. The ACL does
# not allow TIME.
_MAIL: Final = """
local now = tonumber(ARGV[1])
local next = tonumber(redis.call('HGET', KEYS[1], 'next') or '0')
if now < next then return math.ceil(next - now) end
if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[3]) then
  return math.max(1, redis.call('TTL', KEYS[2]))
end
local mails = redis.call('HINCRBY', KEYS[1], 'mails', 1)
local wait = ARGV[math.min(mails + 4, #ARGV)]
redis.call('HSET', KEYS[1], 'next', string.format('%.6f', now + tonumber(wait)))
redis.call('EXPIRE', KEYS[1], ARGV[2])
if redis.call('INCR', KEYS[2]) == 1 then redis.call('EXPIRE', KEYS[2], ARGV[4]) end
return 0
"""

# KEYS: as above. A mail that could not be requested is not counted.
_NO_MAIL: Final = """
if redis.call('HINCRBY', KEYS[1], 'mails', -1) <= 0 then redis.call('DEL', KEYS[1]) end
redis.call('HDEL', KEYS[1], 'next')
if redis.call('DECR', KEYS[2]) <= 0 then redis.call('DEL', KEYS[2]) end
return 0
"""

MailKind = Literal["sign-up", "reset"]
Names = tuple[str, ...]


class RedisLimits:
    """Counts by sliding window. Keys are `auth:limit:…` with hashes, so they reveal nothing."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        storage = RedisStorage(
            "async+redis://localhost:6379",  # not used: the pool has the address
            implementation="redispy",
            key_prefix=redis.key("auth:limit"),
            connection_pool=redis.client.connection_pool,  # type: ignore[arg-type]
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._sign_ups = RateLimitItemPerHour(settings.sign_ups_per_hour)
        self._sign_ins = RateLimitItemPerMinute(settings.sign_in_tries_per_quarter, 15)
        self._network = RateLimitItemPerMinute(settings.sign_in_tries_per_network, 15)
        self._strangers = RateLimitItemPerHour(settings.stranger_tries_per_hour)
        self._mails = RateLimitItemPerHour(settings.device_codes_per_hour)
        self._inbox = settings.mails_per_address
        self._profiles = RateLimitItemPerMinute(PROFILE_CHANGES, 15)
        self._codes = RateLimitItemPerMinute(settings.code_tries_per_quarter, 15)
        self._challenges = RateLimitItemPerMinute(CHALLENGE_TRIES, 15)

    async def sign_up(self, address: str) -> int:
        """Count a sign-up from a network."""
        return await self._hit(self._sign_ups, _names("sign-up", network(address)))

    async def mail(self, kind: MailKind, email_key: str, address: str) -> int:
        """Count a code for an address; the wait grows separately for each network.

        Across networks an address gets a few mails in three minutes: no inbox is flooded, and
        other clients delay its owner by no more than that.
        """
        return await self._eval(
            _MAIL,
            _mail_keys(kind, email_key, address),
            time.time(),
            RESEND_FORGOTTEN_SECONDS,
            self._inbox,
            INBOX_SECONDS,
            *RESEND_WAITS_SECONDS,
        )

    async def uncount_mail(self, kind: MailKind, email_key: str, address: str) -> None:
        """Undo what `mail` counted, because the code could not be requested."""
        await self._eval(_NO_MAIL, _mail_keys(kind, email_key, address))

    async def sign_in_wait(self, account: str, address: str, device: str | None) -> int:
        """Return how many seconds to wait before a sign-in; 0: it is allowed now."""
        for item, names in self._failures(account, address, device):
            if not await self._limiter.test(item, *names):
                return await self._wait(item, names)
        return 0

    async def sign_in_failed(self, account: str, address: str, device: str | None) -> None:
        """Count a wrong password."""
        for item, names in self._failures(account, address, device):
            await self._limiter.hit(item, *names)

    async def forgive(self, account: str) -> None:
        """Delete the count of wrong passwords from unknown devices."""
        await self._limiter.clear(self._strangers, *_names("strangers", account))

    async def profile_changed(self, account: str) -> int:
        """Count a profile change."""
        return await self._hit(self._profiles, _names("profile", account))

    async def code_mailed(self, account: str) -> int:
        """Count a code that will be mailed."""
        return await self._hit(self._mails, _names("mail", account))

    async def code_tried(self, account: str, address: str) -> int:
        """Count an attempt at a code."""
        return await self._hit(self._codes, _names("code", account, network(address)))

    async def challenge_tried(self, challenge_id: str) -> int:
        """Count an attempt at a second factor."""
        return await self._hit(self._challenges, _names("challenge", challenge_id))

    def _failures(
        self, account: str, address: str, device: str | None
    ) -> list[tuple[RateLimitItem, Names]]:
        if device is not None:
            return [(self._sign_ins, _names("device", account, device))]
        where = network(address)
        return [
            (self._sign_ins, _names("sign-in", account, where)),
            (self._network, _names("network", where)),
            (self._strangers, _names("strangers", account)),
        ]

    async def _eval(self, script: str, keys: Sequence[str], *arguments: float) -> int:
        client: Any = self._redis.client
        return int(await client.eval(script, len(keys), *map(self._redis.key, keys), *arguments))

    async def _hit(self, item: RateLimitItem, names: Names) -> int:
        if await self._limiter.hit(item, *names):
            return 0
        return await self._wait(item, names)

    async def _wait(self, item: RateLimitItem, names: Names) -> int:
        stats = await self._limiter.get_window_stats(item, *names)
        return max(1, int(stats.reset_time - time.time()))


def network(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, _IPV6_NETWORK_BITS), strict=False))
    return str(ip)


def _names(kind: str, *who: str) -> Names:
    return (kind, *(sha256(name.encode()).hexdigest()[:32] for name in who))


def _mail_keys(kind: MailKind, email_key: str, address: str) -> tuple[str, str]:
    names = ":".join(_names(kind, email_key, network(address)))
    return f"auth:resend:{names}", f"auth:inbox:{':'.join(_names(kind, email_key))}"
