"""Errors of the Kubernetes API, and the status codes that the operator distinguishes."""

from typing import Final

FORBIDDEN: Final = 403

NOT_FOUND: Final = 404

CONFLICT: Final = 409

TOO_MANY_REQUESTS: Final = 429

SERVER_ERRORS_FROM: Final = 500

NAMESPACE_TERMINATING: Final = "NamespaceTerminating"


class ApiServerError(Exception):
    """The API server responded with an error; the text is its message."""

    def __init__(self, status: int, message: str, causes: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.status = status
        self.terminating = NAMESPACE_TERMINATING in causes
        """Whether the namespace is being deleted, so that nothing can be created in it."""


class NotLeadingError(Exception):
    """Another operator leads, or may lead soon, so this one must not write."""
