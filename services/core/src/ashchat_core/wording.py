"""Words for messages to users."""


def counted(number: float, noun: str, plural: str = "") -> str:
    """Return a number with its noun, for example "1 user" or "2 users".

    Args:
        number: How many; fractions are rounded.
        noun: In the singular.
        plural: If it is not the noun with an s.
    """
    whole = round(number)
    return f"{whole} {noun if whole == 1 else plural or f'{noun}s'}"
