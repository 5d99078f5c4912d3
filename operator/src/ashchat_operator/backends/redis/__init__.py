"""Redis: the access list of an instance, as a file to mount and on the running server.

The mounted file brings the users back after a restart; the running server is corrected by
ACL SETUSER and DELUSER. ACL LOAD is never used: a mounted Secret lags by up to a minute, and
loading the old file would undo what was just set.
"""
