"""Pending accounts and codes in Redis, each change one atomic script.

Keys, all with a time to live:

- `email:signup:<hash of the address>`, `email:own-signup:<sign-up>`, `email:device:<challenge>`,
  `email:reset:<reset>` and `email:change:<change>`: hashes of what waits for its code (an address
  change has two digests and one count of attempts; a sign-up is stored under two keys, each with
  its own count)
- `email:settled:<hash of flow and id>`: the last item that was used there, without what it was for
- `email:answer:<hash of flow, id and request>`: the answer to a request
- `email:sent:<hash of the message's id>`: a mail that the server accepted

The last three have hashes, because an id may identify an account that was deleted since.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

from ashchat_core.redis import Redis
from ashchat_email.codes import LIFETIME_SECONDS, TRIES
from ashchat_email.ports import Checked

ANSWER_SECONDS: Final = 60
"""How long an answer is stored for repeated requests."""

SENT_SECONDS: Final = 24 * 3600
"""How long an accepted mail is recorded; a redelivery after that sends it again."""

_FIELDS: Final = ("digest", "digest2")
"""Fields of an item's digests: of its code, or of the codes of both addresses."""

# KEYS: pending, answer, settled. ARGV: maximum attempts, the answer's lifetime in seconds, then
# pairs of a field and a digest that it may contain. Every stored digest must match; both addresses
# share the attempts. A repeated request gets the same answer and does not count as an attempt. That
# an item was used is revealed by its right code only: to others it looks as before.
_CHECK: Final = """
local before = redis.call('GET', KEYS[2])
if before then return before end
local used = redis.call('EXISTS', KEYS[1]) == 0
local item = used and KEYS[3] or KEYS[1]
local tries = redis.call('HGET', item, 'tries')
local met = {}
for index = 3, #ARGV, 2 do
  if ARGV[index + 1] == redis.call('HGET', item, ARGV[index]) then met[ARGV[index]] = true end
end
local right = met['digest']
if redis.call('HEXISTS', item, 'digest2') == 1 then right = right and met['digest2'] end
local answer
if not tries then
  answer = cjson.encode({refusal = 'expired'})
elseif tonumber(tries) >= tonumber(ARGV[1]) then
  answer = cjson.encode({refusal = 'too_many_tries'})
elseif not right then
  local now = redis.call('HINCRBY', item, 'tries', 1)
  if now >= tonumber(ARGV[1]) then
    answer = cjson.encode({refusal = 'too_many_tries'})
  else
    answer = cjson.encode({refusal = 'wrong_code'})
  end
elseif used then
  answer = cjson.encode({refusal = 'expired'})
else
  answer = cjson.encode({payload = redis.call('HGET', item, 'payload')})
end
redis.call('SET', KEYS[2], answer, 'EX', ARGV[2])
return answer
"""

# KEYS: pending, settled. ARGV: subject, payload, requested at (seconds), lifetime in seconds,
# then pairs of a field and its digest.
# An older sign-up that arrives late does not replace a newer one. The same one again keeps its
# lifetime and its count of attempts (its code changes with the key). One that was used is not
# stored again.
_PUT: Final = """
if redis.call('HGET', KEYS[2], 'subject') == ARGV[1] then return 'settled' end
local same = redis.call('HGET', KEYS[1], 'subject') == ARGV[1]
if not same then
  local at = redis.call('HGET', KEYS[1], 'at')
  if at and tonumber(at) > tonumber(ARGV[3]) then return 'older' end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'subject', ARGV[1], 'payload', ARGV[2], 'at', ARGV[3], 'tries', 0)
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
for index = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1]) end
return 'kept'
"""

# KEYS: pending, settled. ARGV: subject. Settles only this item, not a newer one, and deletes what
# it was for. Its time to live stays.
_SETTLE: Final = """
if redis.call('HGET', KEYS[1], 'subject') ~= ARGV[1] then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
return redis.call('HDEL', KEYS[2], 'payload')
"""


class RedisPending:
    """Pending sign-ups, new devices, resets and address changes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(
        self, key: str, *, subject: str, digests: Sequence[str], payload: str, at: float
    ) -> bool:
        """Store a pending item for 600 s; False if a newer one is stored, or it was used."""
        arguments: list[str | float] = [subject, payload, at, LIFETIME_SECONDS]
        for field, digest in zip(_FIELDS[: len(digests)], digests, strict=True):
            arguments += [field, digest]
        outcome = await self._eval(_PUT, [f"email:{key}", _hashed("settled", key)], arguments)
        return outcome == "kept"

    async def check(
        self, key: str, *, request_id: str, digests: Sequence[Sequence[str]]
    ) -> Checked:
        """Check codes by their possible digests; a repeated request gets the same answer."""
        arguments: list[str | float] = [TRIES, ANSWER_SECONDS]
        for field, possible in zip(_FIELDS[: len(digests)], digests, strict=True):
            for digest in possible:
                arguments += [field, digest]
        answered = _hashed("answer", f"{key}:{request_id}")
        raw = await self._eval(
            _CHECK, [f"email:{key}", answered, _hashed("settled", key)], arguments
        )
        answer: dict[str, Any] = json.loads(raw)
        return Checked(answer.get("refusal"), answer.get("payload"))

    async def settle(self, key: str, subject: str) -> None:
        """Mark a pending item as used, and delete its payload; it cannot be stored again."""
        await self._eval(_SETTLE, [f"email:{key}", _hashed("settled", key)], [subject])

    async def was_sent(self, message_id: str) -> bool:
        """Return whether the server has accepted this mail before."""
        return bool(await self._redis.client.exists(self._redis.key(_hashed("sent", message_id))))

    async def sent(self, message_id: str) -> None:
        """Record that the server accepted this mail."""
        await self._redis.client.set(
            self._redis.key(_hashed("sent", message_id)), "1", ex=SENT_SECONDS
        )

    async def _eval(self, script: str, keys: list[str], arguments: list[str | float]) -> str:
        client: Any = self._redis.client
        named = [self._redis.key(key) for key in keys]
        return str(await client.eval(script, len(named), *named, *arguments))


def _hashed(kind: str, name: str) -> str:
    return f"email:{kind}:{sha256(name.encode()).hexdigest()}"
