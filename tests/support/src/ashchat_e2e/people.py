"""People by the dozen."""

from typing import Any

from ashchat_dev.client import Person
from ashchat_dev.environment import Environment
from ashchat_dev.mailbox import Mailbox


class PersonFactory:
    """Makes people; all are closed at the test's end."""

    def __init__(self, where: Environment, mailbox: Mailbox) -> None:
        self._where = where
        self._mailbox = mailbox
        self.made: list[Person] = []

    def reading(self, mailbox: Mailbox) -> "PersonFactory":
        """Return one whose people get their mail elsewhere; they are closed with this one's."""
        other = PersonFactory(self._where, mailbox)
        other.made = self.made
        return other

    def names_only(self, name: str = "Ana", language: str = "es", **fields: Any) -> Person:
        """Return someone who has not signed up yet."""
        made = Person(self._where, name, language, **fields)
        self.made.append(made)
        return made

    async def __call__(self, name: str = "Ana", language: str = "es", **fields: Any) -> Person:
        """Return someone who signed up with the code from their mail, and signed in."""
        return await self.names_only(name, language, **fields).register(self._mailbox)
