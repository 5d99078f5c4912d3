"""Kubernetes quantities."""

from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


def quantity(text: str | int) -> Decimal:
    """Return the number a Kubernetes quantity means, for example 2**29 for "512Mi".

    Raises:
        ValueError: It is not a quantity.
    """
    written = str(text)
    number = written.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    try:
        return Decimal(number) * _UNITS[written[len(number) :]]
    except (ArithmeticError, KeyError) as error:
        raise ValueError(f"not a quantity: {written}") from error
