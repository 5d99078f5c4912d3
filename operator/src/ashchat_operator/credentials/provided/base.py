"""What all user-provided credentials have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from ashchat_core.topology import Service
from ashchat_operator.credentials.candidates import Pair, ProvidedSecret, Verdict
from ashchat_operator.resource.model import SecretReference, Spec
from ashchat_operator.resource.types import Data

CA_KEY: Final = "ca.crt"
"""The key of a certificate authority in a user's Secret."""


@dataclass(frozen=True, slots=True)
class References:
    """The Secrets of one user-provided credential, as the spec names them."""

    login: SecretReference | None = None
    ca: SecretReference | None = None

    def __bool__(self) -> bool:
        return self.login is not None or self.ca is not None

    @property
    def names(self) -> str:
        """The names of the Secrets, each once, for messages."""
        named = [item.name for item in (self.login, self.ca) if item is not None]
        return " and ".join(dict.fromkeys(named))


class ProvidedCredential(ABC):
    """One kind of user-provided credential."""

    name: ClassVar[str]
    """In lower case; prefixes the files in the service's Secret, and names the credential whose
    revision the pods report."""
    service: ClassVar[Service]
    """The service that uses it."""
    files: ClassVar[Mapping[str, str]]
    """Key in the user's Secret → file in the service's Secret."""

    @abstractmethod
    def references(self, spec: Spec) -> References:
        """Return the Secrets that the spec names; none if the spec does not use this kind."""

    @abstractmethod
    def server(self, spec: Spec) -> str:
        """Return the server to try the credential at, as text."""

    @abstractmethod
    async def attempt(self, spec: Spec, pair: Pair) -> Verdict:
        """Try the credential once at its server."""

    def stored(self, pair: Pair) -> dict[str, bytes]:
        """Return the files in the service's Secret that hold a pair."""
        result: dict[str, bytes] = {}
        if pair.login is not None:
            result |= {file: pair.login.data[key] for key, file in self.files.items()}
            result[f"{self.name}.revision"] = pair.login.revision.encode()
        if pair.ca is not None:
            result[f"{self.name}-ca.pem"] = pair.ca.data[CA_KEY]
        if pair.accepted_by:
            result[f"{self.name}.accepted-by"] = pair.accepted_by.encode()
        return result

    def held(self, files: Data) -> Pair:
        """Return the pair that a service's Secret holds.

        Args:
            files: The data of the service's Secret.
        """
        server = _text(files, f"{self.name}.accepted-by")
        login = ca = None
        if set(self.files.values()) <= files.keys():
            data = {key: files[file] for key, file in self.files.items()}
            login = ProvidedSecret(data, _text(files, f"{self.name}.revision"), server)
        if f"{self.name}-ca.pem" in files:
            ca = ProvidedSecret({CA_KEY: files[f"{self.name}-ca.pem"]}, "", server)
        return Pair(login, ca)


def _text(files: Data, name: str) -> str:
    return files.get(name, b"").decode("utf-8", "ignore").strip()
