"""Rooms: an ordered log of events each, what is folded from it, and its delivery to sockets.

No I/O library is imported here; the store, the fan-out and the sockets are `ports`.
"""
