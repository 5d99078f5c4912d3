"""MongoDB (or FerretDB): creates the services' users, each with rights on its own database.

A password is verified by logging in with it, so that a pass over a server in order writes
nothing. FerretDB stores its users as PostgreSQL roles and has no rights per database: there the
users are separate, and the result reports that least privilege is not enforced.
"""
