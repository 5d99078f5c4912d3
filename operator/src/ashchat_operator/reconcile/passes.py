"""The state that all steps of a reconcile pass share."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ashchat_operator.lifecycle.annotations import Commands
from ashchat_operator.lifecycle.switches import SwitchDecision
from ashchat_operator.reconcile.memory import Memory
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.types import Live, Object


@dataclass(frozen=True, slots=True)
class Pass:
    """One reconcile pass of one AshChat."""

    ash: AshChat
    """The resource, with the current backends instead of those of an unconfirmed switch."""
    body: Object
    """The resource as the API server returned it, for writing its status."""
    found: Live
    """The objects that carry the labels of this AshChat."""
    switch: SwitchDecision
    commands: Commands
    components: Sequence[str]
    """The names of the components."""
    memory: Memory
    now: datetime
