"""keystonemiddleware's ``auth_token`` with several identity endpoints.

A WSGI filter for the services of a site (Glance, Neutron, ...). The first endpoint is the stock one
of ``[keystone_authtoken]``, the site's own. When it does not answer, named endpoints of other sites
are asked in order, and when it is back it is asked again. Without ``[isthmus_authtoken] others`` it
is the stock filter.

Invariant: a revoked token is accepted no longer than by the stock filter that asks its own endpoint
alone, whose bound is: lag of the own replica + Keystone's cache + ``token_cache_time``. The argument:

- A refusal is an answer. Who says 404 (the token is not valid) or 401 and 403 (this service is not)
  ends the search; no other endpoint is asked for a better answer. Only silence and 5xx go on.
- Another endpoint counts only with proof (:mod:`proving`), asked for before the question and at
  most ``proof_seconds`` old when the answer arrives: its databases are at most ``stale_limit``
  behind, and no write of the own site waits in the own site's queue, where no other site sees it.
  So its "valid" is true for a moment at most ``stale_limit + proof_seconds`` (and Keystone's cache)
  ago.
- Such an answer is kept for ``token_cache_time - stale_limit - proof_seconds``, or not at all if
  that is nothing, and the filter does not start if it is negative. So both ways end together.
- A refusal is remembered for a while (:mod:`refusals`): what one endpoint refused, another that
  does not know it yet cannot bring back to life.

`choosing` is the pure decision whom to ask now and when to come back; `asking` talks to one
endpoint; `middleware` is the filter. It imports the standard library, oslo.config,
keystonemiddleware and keystoneauth1, and nothing of the rest.
"""
