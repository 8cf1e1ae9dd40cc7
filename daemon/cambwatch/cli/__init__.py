"""
The command line: `daemon` runs and checks the daemon itself, `operations` talks to a running one through `client`.

`backup` copies the database, `demo` shows the whole job on loopback.
"""
