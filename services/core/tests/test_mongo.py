"""Which errors of MongoDB mean "not now"."""

import pytest
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, WriteError

from ashchat_core.mongo import unavailable

DEADLOCK = 16_908_292  # as FerretDB 2.7 answered when two bulk writes met


def bulk(*codes: int) -> BulkWriteError:
    return BulkWriteError({"writeErrors": [{"index": 0, "code": code} for code in codes]})


@pytest.mark.parametrize(
    ("error", "later"),
    [
        (WriteError("deadlock detected", DEADLOCK), True),
        (bulk(DEADLOCK), True),
        (bulk(DEADLOCK, 11000), False),
        (bulk(11000), False),
        (bulk(), False),
        (OperationFailure("write conflict", 112), True),
        (OperationFailure("bad value", 2), False),
        (DuplicateKeyError("there", 11000), False),
    ],
    ids=str,
)
def test_what_is_rolled_back_is_right_later_and_what_is_wrong_is_not(
    *, error: Exception, later: bool
) -> None:
    assert unavailable(error) is later
