"""Holding all guests of a group still for the moment of the snapshots, and surely letting them go.

`ledger` is what is written down, `machine` decides, `hosts` speaks with the compute hosts' agents,
`atom` drives one round from the first to the last step. The dead-man that thaws when all of this is
dead runs beside the guests: `isthmus.agent.host`.
"""
