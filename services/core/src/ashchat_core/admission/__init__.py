"""Admission: who is charged for a request, and whether a bucket still has room for it.

A request charges several buckets at once: those of the client's networks (`networks`), of the
account, and of the platform. `rules` decides without I/O. `counters` stores the buckets, in Redis
or in the process. `gate` asks Redis once per request; while it does not answer, it counts in the
process, so that a lost Redis costs precision and refuses nobody.

Existing libraries (limits, pyrate-limiter, throttled-py) ask the storage once for every limit,
charge the limits before the one that refuses, and cannot return a charge.
"""
