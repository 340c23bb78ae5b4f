"""The engine's own login, and which sites have a Neutron according to the catalog.

It exists so that one session (one token, renewed by keystoneauth) serves all threads: a token of
the own site is valid in every site. It is not for people's tokens: `isthmus.engine.rights` is.
"""

from __future__ import annotations

from typing import Any

from keystoneauth1 import loading
from keystoneauth1 import session as keystone

from isthmus.engine.config import Identity


class Sessions:
    """Makes the session when it is first used: logging in is not needed to start."""

    def __init__(self, identity: Identity) -> None:
        auth: Any = loading.get_plugin_loader("password").load_from_options(
            auth_url=identity.auth_url,
            username=identity.username,
            password=identity.password.get_secret_value(),
            project_name=identity.project_name,
            user_domain_id=identity.user_domain_id,
            project_domain_id=identity.project_domain_id,
        )
        self.session: Any = keystone.Session(auth=auth, timeout=30, app_name="isthmus-engine")
