"""User-provided credentials: the mail server's login, the key of a translation provider.

To add one, write a module with a `ProvidedCredential` and list it in `KINDS`; reading its Secrets,
trying it, storing its files, the condition and the rotation of pods follow from it.
"""

from collections.abc import Mapping
from typing import Final

from ashchat_operator.credentials.provided.base import ProvidedCredential
from ashchat_operator.credentials.provided.google import GoogleCredential
from ashchat_operator.credentials.provided.smtp import SmtpCredential

KINDS: Final[Mapping[str, ProvidedCredential]] = {
    kind.name: kind for kind in (SmtpCredential(), GoogleCredential())
}
"""All user-provided credentials, by name."""
