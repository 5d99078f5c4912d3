"""What is folded from a log. Pure; how one event is folded is in `events`, in its kind."""

from collections.abc import Iterable

from ashchat_chat.rooms.events import AnyEvent
from ashchat_chat.rooms.views import MessageView, RoomView


class OutOfOrderError(ValueError):
    """An event was folded that is not the next one, which is a defect of the caller."""


def fold_room(view: RoomView, events: Iterable[AnyEvent]) -> RoomView:
    """Return the room after these events.

    Raises:
        OutOfOrderError: an event is not the next one.
    """
    for event in events:
        if event.rev != view.rev + 1:
            raise OutOfOrderError(f"{event.rev} after {view.rev}")
        view = event.fold_room(view).model_copy(update={"rev": event.rev})
    return view


def fold_messages(known: Iterable[MessageView], events: Iterable[AnyEvent]) -> list[MessageView]:
    """Return the messages after these events, by revision.

    Folding an event twice changes nothing, so two pods may project the same range.
    """
    messages = {message.rev: message for message in known}
    for event in events:
        if event.message_rev is None:
            continue
        message = event.fold_message(messages.get(event.message_rev))
        if message is not None:
            messages[event.message_rev] = message
    return [messages[rev] for rev in sorted(messages)]
