"""Pending accounts and codes in Redis, each change one atomic script.

Keys: `email:signup:<hash of the address>` and `email:device:<challenge>`, hashes with a
time to live; `email:answer:<request>`, an answer given; `email:sent:<message>`, a mail
the server took.
"""

import json
from typing import Any

from ashchat_core.redis import Redis
from ashchat_email.codes import LIFETIME_SECONDS, TRIES
from ashchat_email.service import Checked

ANSWER_SECONDS = 60
"""How long an answer is remembered for a repeated request: nobody asks for longer."""

SENT_SECONDS = 24 * 3600
"""How long a mail that went out is remembered; a redelivery after that mails again."""

# KEYS: pending, answer. ARGV: tries, answer's life in seconds, the possible digests.
# A request that was answered before gets the same answer, and costs no try.
_CHECK = """
local before = redis.call('GET', KEYS[2])
if before then return before end
local answer
local tries = redis.call('HGET', KEYS[1], 'tries')
local kept = redis.call('HGET', KEYS[1], 'digest')
local right = false
for index = 3, #ARGV do
  if ARGV[index] == kept then right = true end
end
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

# KEYS: pending. ARGV: subject, digest, payload, requested at (seconds), life in seconds.
# An older sign-up that arrives late does not replace a newer one; the same one again does
# not begin its life anew, nor its count of tries (its code may be another, if the key is).
_PUT = """
local subject = redis.call('HGET', KEYS[1], 'subject')
if subject == ARGV[1] then
  redis.call('HSET', KEYS[1], 'digest', ARGV[2])
  return 'kept'
end
local at = redis.call('HGET', KEYS[1], 'at')
if at and tonumber(at) > tonumber(ARGV[4]) then return 'older' end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'subject', ARGV[1], 'digest', ARGV[2], 'payload', ARGV[3],
           'at', ARGV[4], 'tries', 0)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 'put'
"""

# KEYS: pending. ARGV: subject. Only the sign-up that was stored goes, not a newer one.
_DROP = """
if redis.call('HGET', KEYS[1], 'subject') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisPending:
    """Pending sign-ups and device challenges."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, key: str, *, subject: str, digest: str, payload: str, at: float) -> bool:
        """Keep a pending item for 600 s; False: a newer one is there."""
        outcome = await self._eval(
            _PUT, [f"email:{key}"], [subject, digest, payload, at, LIFETIME_SECONDS]
        )
        return outcome != "older"

    async def check(self, key: str, *, request_id: str, digests: tuple[str, ...]) -> Checked:
        """Check a code by its possible digests; the same request gets the same answer again."""
        raw = await self._eval(
            _CHECK,
            [f"email:{key}", f"email:answer:{request_id}"],
            [TRIES, ANSWER_SECONDS, *digests],
        )
        answer: dict[str, Any] = json.loads(raw)
        return Checked(answer.get("refusal"), answer.get("payload"))

    async def drop(self, key: str, subject: str) -> None:
        """Forget a pending item that was used."""
        await self._eval(_DROP, [f"email:{key}"], [subject])

    async def was_sent(self, message_id: str) -> bool:
        """Tell whether the server took this mail before."""
        return bool(await self._redis.client.exists(f"email:sent:{message_id}"))

    async def sent(self, message_id: str) -> None:
        """Remember that the server took this mail."""
        await self._redis.client.set(f"email:sent:{message_id}", "1", ex=SENT_SECONDS)

    async def _eval(self, script: str, keys: list[str], arguments: list[str | float]) -> str:
        client: Any = self._redis.client
        return str(await client.eval(script, len(keys), *keys, *arguments))
