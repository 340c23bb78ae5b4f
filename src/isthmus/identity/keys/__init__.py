"""Token keys of several sites: who makes them, when they are used, how they get everywhere.

The parts and who knows whom::

    generations   what is known of the keys of one kind, without the keys: the replicated document
    ├─ settings   lifetimes and schedule, and the refusal of those that cannot be safe
    ├─ rotating   what whoever conducts does next, and what an operator's word changes
    └─ following  what one node does about the document that it sees
    showing       what is told about it, without the keys
    sealing       a key for one node, by another one; nobody else can read or make it
    credentials   encrypting stored credentials anew, so that their old keys may go
    records       the statements on the tables of `isthmus_identity.schema`
    repository    the directory that Keystone reads

Everything but `credentials`, `records` and `repository` is free of I/O. Who conducts, and the threads of a node, are
`isthmus.agent.keying`.
"""
