"""Kind `members`: users became members, changed their role, or are members no more."""

from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from ashchat_chat.pushes import WirePayload
from ashchat_chat.rooms.events.base import Event, Head
from ashchat_chat.rooms.identifiers import is_placeholder, placeholder
from ashchat_chat.rooms.views import CONFIG, Member, MessageView, Role, RoomView


class MemberChange(BaseModel):
    """What happened to one user."""

    model_config = CONFIG

    user: str
    role: Role | None = None
    """The role from here on; None: not a member any more."""


class MemberChangePayload(WirePayload):
    """What happened to one user."""

    user_id: str
    role: Annotated[Role | None, Field(description="null: not a member any more.")]


class MembersPayload(Head):
    """Users became members, changed their role, or are members no more; applied in order."""

    kind: Literal["members"]
    by: str | None
    changes: list[MemberChangePayload]


class Members(Event):
    """The room's members changed. The changes are applied in their order."""

    kind: Literal["members"] = "members"
    by: str | None = None
    """The user who made the change; None: the room was opened, or an account was deleted."""
    changes: tuple[MemberChange, ...]

    def payload(self) -> MembersPayload:
        """Return the event as protocol 2 has it."""
        return {
            **self.head(),
            "kind": self.kind,
            "by": self.by,
            "changes": [{"user_id": change.user, "role": change.role} for change in self.changes],
        }

    def visible_to(self, language: str) -> bool:  # noqa: ARG002
        """Return True: it is sent to every reader."""
        return True

    def fold_room(self, view: RoomView) -> RoomView:
        """Return the room with its members changed."""
        members = dict(view.members)
        for change in self.changes:
            if is_placeholder(change.user):
                # The event may have been erased before this view was brought up to it.
                for user in [user for user in members if placeholder(user) == change.user]:
                    del members[user]
            before = members.pop(change.user, None)
            if change.role is None:
                continue
            if before is None:
                before = Member(joined_rev=self.rev, joined_n=view.n)
            members[change.user] = before.model_copy(update={"role": change.role})
        return view.model_copy(update={"members": members})

    def fold_message(self, before: MessageView | None) -> MessageView | None:
        """Return the message unchanged."""
        return before

    def erased_for(self, user: str, theirs: Collection[int]) -> Self | None:  # noqa: ARG002
        """Return the event with the user's placeholder."""
        if user != self.by and all(change.user != user for change in self.changes):
            return None
        gone = placeholder(user)
        changes = tuple(
            change.model_copy(update={"user": gone}) if change.user == user else change
            for change in self.changes
        )
        by = gone if self.by == user else self.by
        return self.model_copy(update={"by": by, "changes": changes})

    def purged(self) -> None:
        """Return None: it is not about a message."""
