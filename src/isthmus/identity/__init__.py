"""Identity in several sites: one replicated database, one set of token keys, decisions over both.

The modules here are decisions and formats; what talks to a database or runs as a process is
`isthmus.agent`.
"""
