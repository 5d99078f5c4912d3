"""Kind `translation`: a message in another language."""

from collections.abc import Collection
from typing import Literal, Self

from ashchat_chat.pushes import Ordinal
from ashchat_chat.rooms.events.base import ERASED, PURGED, AboutMessage, Event
from ashchat_chat.rooms.identifiers import TRANSLATOR, message_id
from ashchat_chat.rooms.views import MessageView, RoomView, Translation
from ashchat_core import languages


class TranslatedPayload(AboutMessage):
    """A message in another language, or the result that it will not be translated."""

    kind: Literal["translation"]
    text_version: Ordinal
    language: str
    outcome: Literal["translated", "unchanged", "failed"]
    content: str | None
    provider: str | None
    reason: str | None


class Translated(Event):
    """A message in another language, or the result that it will not be translated."""

    kind: Literal["translation"] = "translation"
    sender: Literal["system:translate"] = TRANSLATOR
    client_id: str
    about: int
    """The revision of the translated message."""
    text_version: int
    target: str
    outcome: Literal["translated", "unchanged", "failed"]
    text: str | None = None
    provider: str | None = None
    reason: str | None = None

    def payload(self) -> TranslatedPayload:
        """Return the event as protocol 2 has it."""
        return {
            **self.head(),
            "kind": self.kind,
            "message_id": message_id(self.room, self.about),
            "message_rev": self.about,
            "text_version": self.text_version,
            "language": self.target,
            "outcome": self.outcome,
            "content": self.text,
            "provider": self.provider,
            "reason": self.reason,
        }

    def visible_to(self, language: str) -> bool:
        """Return whether readers of a language are sent this translation."""
        return languages.same(language, self.target)

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room unchanged."""
        return view

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message with this translation, if it is one of its present text."""
        if before is None or before.gone or before.text_version != self.text_version:
            return before
        translation = Translation(
            outcome=self.outcome, text=self.text, text_version=self.text_version
        )
        return before.model_copy(
            update={"translations": {**before.translations, self.target: translation}}
        )

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the translation of the user's message without its text."""
        if self.about not in theirs or self.reason == ERASED:
            return None
        return self.purged().model_copy(update={"reason": ERASED})

    def purged(self) -> Self:
        """Return the translation without its text."""
        return self.model_copy(
            update={"outcome": "failed", "text": None, "provider": None, "reason": PURGED}
        )
