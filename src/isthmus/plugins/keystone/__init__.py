"""The replica-site kit: Keystone reads the site's own database and writes to the writer site.

The parts and who knows whom::

    wsgi             the WSGI entry: puts the parts below around stock Keystone
    ├─ coherence     answers repeated validations from memory while nothing has changed
    │   moments      what can change an answer, as one value       answers  the bounded memory
    │   generation_file  what the agent proves    writes   what this host wrote
    │   signatures   keys and policy files    regions Keystone's own caches by moment
    ├─ routing       readers use the replica, and a request reads what it has written
    ├─ fencing       a fenced site issues no tokens, and says so
    ├─ unavailable   a database that refuses becomes 503 with a clear body
    └─ runtime       this process's queue and its replay
    identity, shadow_users, revoke, trust
                     drivers (by entry point) that answer locally and queue what must be written
    journal          the durable queue          entries   what is queued, and what it adds up to
    replay           when to try again          delivery  one batch into the writer's database
    scope            what one request has done  options   section [isthmus] of keystone.conf

Nothing here patches Keystone: the drivers are entry points, and the readers are a subclass of
oslo.db's factory that is handed to Keystone's own context manager.

What may wait in the queue is only what no answer depends on anywhere else: the day of the last
login, the counters of failed logins, and revocations. Everything else is written at the writer
site before it is answered, or refused.
"""
