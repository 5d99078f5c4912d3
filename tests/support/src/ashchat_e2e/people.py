"""Create any number of users."""

from typing import Any

import jwt

from ashchat_dev.client import Person
from ashchat_dev.environment import Environment
from ashchat_dev.mailbox import Mailbox


class PersonFactory:
    """Creates users, who are disconnected at the end of the test."""

    def __init__(self, where: Environment, mailbox: Mailbox) -> None:
        self._where = where
        self._mailbox = mailbox
        self.made: list[Person] = []

    def reading(self, mailbox: Mailbox) -> "PersonFactory":
        """Return a factory with another mailbox; its users are disconnected with this one's."""
        other = PersonFactory(self._where, mailbox)
        other.made = self.made
        return other

    def names_only(self, name: str = "Ana", language: str = "es", **fields: Any) -> Person:
        """Return a user who has not signed up yet."""
        made = Person(self._where, name, language, **fields)
        self.made.append(made)
        return made

    async def on_another_device(self, who: Person) -> Person:
        """Return the same user, signed in on a device that the mailed code has confirmed."""
        other = self.names_only(who.name, who.language, email=who.email, password=who.password)
        token = (await other.signin()).data["token"]
        challenge = jwt.decode(token, options={"verify_signature": False})["challenge"]
        mail = await self._mailbox.wait(who.email, lambda mail: challenge in mail.message_id)
        assert (await other.confirm_new_device(mail.code or "", token)).status == 204
        assert (await other.signin()).status == 200
        return other

    async def __call__(self, name: str = "Ana", language: str = "es", **fields: Any) -> Person:
        """Return a user who signed up with the mailed code, and signed in."""
        return await self.names_only(name, language, **fields).register(self._mailbox)
