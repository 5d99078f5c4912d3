"""Which texts can be stored."""


def is_storable(text: str) -> bool:
    """Return whether every character of a text can be stored and sent.

    JSON may contain half a surrogate pair, UTF-8 may not; PostgreSQL, which stores FerretDB's
    documents, does not accept NUL.
    """
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


def storable(text: str) -> str:
    """Return a text.

    Raises:
        ValueError: not every character of it can be stored and sent.
    """
    if not is_storable(text):
        raise ValueError("has a character that cannot be stored")
    return text
