"""The engine's own login, and which sites have a Neutron according to the catalog.

It exists so that one session (one token, renewed by keystoneauth) serves all threads: a token of
the own site is valid in every site. It is not for people's tokens: `isthmus.engine.rights` is.
"""

from __future__ import annotations

import threading
from typing import Any

from keystoneauth1 import loading
from keystoneauth1 import session as keystone

from isthmus.engine.config import Identity


class Sessions:
    """Makes sessions; each logs in when it is first used, so that nothing is needed to start.

    `session`: of the account's own project. For several threads.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._lock = threading.Lock()
        self._of_projects: dict[str, Any] = {}
        self.session: Any = self._made(
            project_name=identity.project_name, project_domain_id=identity.project_domain_id
        )

    def of_project(self, project_id: str) -> Any:
        """The session of the engine's account in another project, in which it needs a role."""
        with self._lock:
            if project_id not in self._of_projects:
                self._of_projects[project_id] = self._made(project_id=project_id)
            return self._of_projects[project_id]

    def _made(self, **scope: str) -> Any:
        auth: Any = loading.get_plugin_loader("password").load_from_options(
            auth_url=self._identity.auth_url,
            username=self._identity.username,
            password=self._identity.password.get_secret_value(),
            user_domain_id=self._identity.user_domain_id,
            **scope,
        )
        return keystone.Session(auth=auth, timeout=30, app_name="isthmus-engine")
