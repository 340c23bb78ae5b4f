"""Recovery: a group of servers comes back in another site (requirements, geo-site disaster recovery).

Decisions are pure and stand in `declarations`, `freezing.machine`, `backups.parents`, `mapping`,
`plans` and `rebuild`; what talks to hosts, clouds and stores is at the rim. Who runs it, when, and
with whose approval is not decided here: that is `isthmus.operations` and the engine.
"""
