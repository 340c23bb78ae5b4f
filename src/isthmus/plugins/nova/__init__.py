"""Quiesce and unquiesce as server actions of Nova's API: the filter that stock Nova lacks.

Nova can freeze the file systems of a server through its guest agent, and does so inside its own
snapshots; the public actions (approved for Mitaka, spec ``expose-quiesce-unquiesce-api``) were never
merged. This filter for Nova's ``api-paste.ini`` offers them and calls the compute RPC that is there.
Nothing here patches Nova. It is not what guarantees the thaw (the agent of the compute host is, since
Nova's thaw is a message without an answer) and not an atomic action on several servers.

The parts and who knows whom::

    middleware       the WSGI filter: which requests are ours, and what they are answered
    ├─ freezing      one freeze or thaw: task state, action record, RPC, what an error means
    │  └─ windows    the window: mark and lock that the server has in Nova's tables meanwhile
    ├─ acceptance    why a request is refused (pure)
    └─ policies, options   who may, and for how long a window holds
"""
