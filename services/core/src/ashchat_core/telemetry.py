"""Logging as JSON lines without secrets.

uvicorn logs a WebSocket's whole URL, including the token, even with its access log disabled, so
its loggers pass through the same redaction as ours.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

SECRET_KEYS: Final = frozenset(
    {"password", "password_hash", "token", "refresh_token", "authorization", "code", "text",
     "content", "uri", "secret", "body", "device_token"}
)  # fmt: skip
"""Log fields whose values are never written."""

_QUERY: Final = re.compile(r"\?[^\s\"']*")
_CREDENTIALS: Final = re.compile(r"://[^/\s@]+@")
_JWT: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")


def redact(text: str) -> str:
    """Remove query strings, userinfo and tokens from a line."""
    text = _QUERY.sub("?…", text)
    text = _CREDENTIALS.sub("://…@", text)
    return _JWT.sub("…", text)


def _redact_event(
    _logger: object, _name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key in SECRET_KEYS:
            event[key] = "…"
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


class _JSONFormatter(logging.Formatter):
    """Render the standard library's records like structlog's events."""

    def __init__(self, processors: list[structlog.typing.Processor]) -> None:
        super().__init__()
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        event: Any = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
        }
        if record.exc_info:
            event["exc_info"] = record.exc_info
        for processor in self._processors:
            event = processor(None, "", event)
        return str(event)


def configure_logging(service: str, level: str) -> None:
    """Write every log line, ours and the libraries', to stdout as redacted JSON."""

    def name_service(
        _logger: object, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        event["service"] = service
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_service,
        structlog.processors.format_exc_info,
        _redact_event,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    structlog.configure(
        processors=[structlog.processors.add_log_level, *shared],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JSONFormatter(shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn.access", "aio_pika", "aiormq", "pymongo", "httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
