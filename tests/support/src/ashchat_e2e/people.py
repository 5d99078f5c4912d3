"""Create any number of users."""

from typing import Any

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

    async def __call__(self, name: str = "Ana", language: str = "es", **fields: Any) -> Person:
        """Return a user who signed up with the mailed code, and signed in."""
        return await self.names_only(name, language, **fields).register(self._mailbox)
