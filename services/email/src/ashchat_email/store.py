"""Pending accounts and codes in Redis, each change one atomic script.

Keys, all with a time to live: `email:signup:<hash of the address>`,
`email:device:<challenge>`, `email:reset:<reset>` and `email:change:<change>`, hashes of what
waits for its code (an address change has two digests and one count of tries);
`email:settled:<flow>:<id>`, the last that was used there; `email:answer:<flow>:<id>:<request>`,
an answer given; `email:sent:<hash of the message's id>`, a mail the
server took: the id itself may name an account that is deleted meanwhile.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from ashchat_core.redis import Redis
from ashchat_email.codes import LIFETIME_SECONDS, TRIES
from ashchat_email.service import Checked

ANSWER_SECONDS = 60
"""How long an answer is remembered for a repeated request: nobody asks for longer."""

SENT_SECONDS = 24 * 3600
"""How long a mail that went out is remembered; a redelivery after that mails again."""

_FIELDS = ("digest", "digest2")
"""Where the digests of an item are kept: of its one code, or of both ends'."""

# KEYS: pending, answer. ARGV: tries, answer's life in seconds, then pairs of a field and a
# digest it may hold. Every digest that is kept has to be met; both ends share the tries.
# A request that was answered before gets the same answer, and costs no try.
_CHECK = """
local before = redis.call('GET', KEYS[2])
if before then return before end
local tries = redis.call('HGET', KEYS[1], 'tries')
local met = {}
for index = 3, #ARGV, 2 do
  if ARGV[index + 1] == redis.call('HGET', KEYS[1], ARGV[index]) then met[ARGV[index]] = true end
end
local right = met['digest']
if redis.call('HEXISTS', KEYS[1], 'digest2') == 1 then right = right and met['digest2'] end
local answer
if not tries then
  answer = cjson.encode({refusal = 'expired'})
elseif tonumber(tries) >= tonumber(ARGV[1]) then
  answer = cjson.encode({refusal = 'too_many_tries'})
elseif not right then
  local now = redis.call('HINCRBY', KEYS[1], 'tries', 1)
  if now >= tonumber(ARGV[1]) then
    answer = cjson.encode({refusal = 'too_many_tries'})
  else
    answer = cjson.encode({refusal = 'wrong_code'})
  end
else
  answer = cjson.encode({payload = redis.call('HGET', KEYS[1], 'payload')})
end
redis.call('SET', KEYS[2], answer, 'EX', ARGV[2])
return answer
"""

# KEYS: pending, settled. ARGV: subject, payload, requested at (seconds), life in seconds,
# then pairs of a field and its digest.
# An older sign-up that arrives late does not replace a newer one; the same one again does
# not begin its life anew, nor its count of tries (its code may be another, if the key is);
# one that was used does not come back to life.
_PUT = """
if redis.call('GET', KEYS[2]) == ARGV[1] then return 'settled' end
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

# KEYS: pending, settled. ARGV: subject, life in seconds. Only the sign-up that was stored
# goes, not a newer one.
_DROP = """
if redis.call('HGET', KEYS[1], 'subject') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
return redis.call('DEL', KEYS[1])
"""


class RedisPending:
    """What waits for its code: sign-ups, new devices, resets, address changes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(
        self, key: str, *, subject: str, digests: Sequence[str], payload: str, at: float
    ) -> bool:
        """Keep a pending item for 600 s; False: a newer one is there, or it was used."""
        arguments: list[str | float] = [subject, payload, at, LIFETIME_SECONDS]
        for field, digest in zip(_FIELDS[: len(digests)], digests, strict=True):
            arguments += [field, digest]
        outcome = await self._eval(_PUT, [f"email:{key}", f"email:settled:{key}"], arguments)
        return outcome == "kept"

    async def check(
        self, key: str, *, request_id: str, digests: Sequence[Sequence[str]]
    ) -> Checked:
        """Check codes by their possible digests; the same request gets the same answer again."""
        arguments: list[str | float] = [TRIES, ANSWER_SECONDS]
        for field, possible in zip(_FIELDS[: len(digests)], digests, strict=True):
            for digest in possible:
                arguments += [field, digest]
        raw = await self._eval(
            _CHECK, [f"email:{key}", f"email:answer:{key}:{request_id}"], arguments
        )
        answer: dict[str, Any] = json.loads(raw)
        return Checked(answer.get("refusal"), answer.get("payload"))

    async def drop(self, key: str, subject: str) -> None:
        """Forget a pending item that was used; the same one is not kept again."""
        await self._eval(
            _DROP, [f"email:{key}", f"email:settled:{key}"], [subject, LIFETIME_SECONDS]
        )

    async def was_sent(self, message_id: str) -> bool:
        """Tell whether the server took this mail before."""
        return bool(await self._redis.client.exists(self._redis.key(_sent_key(message_id))))

    async def sent(self, message_id: str) -> None:
        """Remember that the server took this mail."""
        await self._redis.client.set(self._redis.key(_sent_key(message_id)), "1", ex=SENT_SECONDS)

    async def _eval(self, script: str, keys: list[str], arguments: list[str | float]) -> str:
        client: Any = self._redis.client
        named = [self._redis.key(key) for key in keys]
        return str(await client.eval(script, len(named), *named, *arguments))


def _sent_key(message_id: str) -> str:
    return f"email:sent:{sha256(message_id.encode()).hexdigest()}"
