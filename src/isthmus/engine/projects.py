"""Names and ids of projects, at the Keystone of the own site."""

from __future__ import annotations

import urllib.parse
from typing import Any

from keystoneauth1 import exceptions

from isthmus import errors

DEFAULT_DOMAIN = "default"


def identity(session: Any, site: str, named: str) -> str:
    """The id of the project with this id, or with this name in the default domain.

    Raises UsageError when there is none, UnavailableError when Keystone does not answer.
    """
    quoted = urllib.parse.quote(named, safe="")
    query = urllib.parse.urlencode({"name": named, "domain_id": DEFAULT_DOMAIN})
    found = _get(session, site, f"/projects/{quoted}")
    if found is not None:
        return str(found["project"]["id"])
    listed = (_get(session, site, f"/projects?{query}") or {}).get("projects", [])
    if len(listed) != 1:
        raise errors.UsageError(
            f"there is no project {named!r}",
            where=f"Keystone of {site}",
            unchanged="nothing was declared",
            next_command="openstack project list",
        )
    return str(listed[0]["id"])


def _get(session: Any, site: str, path: str) -> Any:
    endpoint = {"service_type": "identity", "interface": "internal", "region_name": site}
    try:
        return session.get(path, endpoint_filter={**endpoint, "min_version": "3"}).json()
    except exceptions.NotFound:
        return None
    except (exceptions.ClientException, ValueError) as error:
        raise errors.UnavailableError(
            "the project cannot be looked up",
            where=f"Keystone of {site}",
            cause=" ".join(str(error).split()),
            unchanged="nothing was declared",
            next_command="name the project by its id, or: isthmus status",
        ) from error
