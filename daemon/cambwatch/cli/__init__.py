"""
The command line: `daemon` runs, checks and backs up the daemon; `operations` talks to a running one through `client`.

`demo` shows the whole job on loopback.
"""
