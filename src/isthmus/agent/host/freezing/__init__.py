"""Freezes of guests on this host, and the dead-man that ends each of them at its deadline.

A guest whose file systems are frozen waits for ever for whoever froze it. So nothing is frozen here
before its end is assured: a freeze is *armed* first, which means that its deadline is on the disk and
a process of its own (the watchdog) waits for it. At the deadline the guest is thawed, whoever else is
dead by then: controller, message bus, nova-compute, API, libvirtd, this agent.

The parts and who knows whom::

    routes        HTTP: arm, freeze, thaw, disarm, tell
    service       what the agent starts before all else
    └─ rounds     carries the orders out; takes over what an earlier life of the agent left
       ├─ guarding    the guard: one thread for each armed guest, in the agent and in the watchdog
       │  └─ deciding     what a guard does next, and why an order is refused (pure)
       ├─ watchdog    the process for each round; survives the agent
       ├─ ledger      the files: armed entries and what the dead-man did
       │  └─ entries      what they hold
       └─ guests      the guest agent, through libvirt or, where that is dead, its socket
       └─ libvirts     libvirt's library (the agent) and virsh (the watchdog)

It knows no order of guests and no checkpoint: `isthmus.recovery` does. A guest that Nova froze is
guarded as well as one that was frozen here, as long as it was armed before.
"""
