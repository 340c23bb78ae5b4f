# mypy: disable-error-code="import-untyped"
"""The filter in Nova's API: two more actions on servers, everything else passes.

It stands after ``keystonecontext`` in the pipelines of ``api-paste.ini``, so that requests come with
their context and errors leave as Nova's own. It has no microversion: stock Nova has no such action at
any version, so there is nothing to tell apart.

The context of a request is directed at the cell of its server when the server is looked up (as in
Nova's own controllers); reads, writes and RPC of that request then all go there.
"""

from __future__ import annotations

import re
import time
from typing import Any

import webob.dec
import webob.exc
from nova import exception
from nova.api import wsgi as base_wsgi
from nova.api.openstack import common, wsgi
from nova.compute import api as compute
from oslo_config import cfg
from oslo_db import exception as db_exceptions
from oslo_log import log as logging

from isthmus.plugins.nova import freezing, options, policies, windows

LOG = logging.getLogger(__name__)

_ACTION = re.compile(r"(?:/(?P<project>[^/]+))?/servers/(?P<server>[^/]+)/action/?")
_SERVER = re.compile(r"(?:/[^/]+)?/servers/(?P<server>[0-9a-fA-F-]{32,36})(?:/.*)?")
_READS = ("GET", "HEAD", "OPTIONS")
_OURS = (freezing.QUIESCE, freezing.UNQUIESCE)


class Quiesce(base_wsgi.Middleware):  # type: ignore[misc]
    """Answers ``{"quiesce": null}`` and ``{"unquiesce": null}``; see docs/quiesce-api."""

    def __init__(self, application: Any) -> None:
        super().__init__(application)
        section = options.register(cfg.CONF)
        self._api = compute.API()
        self._freezing = freezing.InstanceQuiesce(self._api, window_seconds=section.window_seconds)

    @webob.dec.wsgify(RequestClass=wsgi.Request)  # type: ignore[untyped-decorator]
    def __call__(self, req: Any) -> Any:
        match = _ACTION.fullmatch(req.path_info) if req.method == "POST" else None
        action = _action(req) if match else None
        if match is None or action is None:
            return self._pass_on(req)
        try:
            return self._answer(req, match, action)
        except webob.exc.HTTPException as error:
            return wsgi.Fault(error)

    def _answer(self, req: Any, match: re.Match[str], action: str) -> Any:
        context = req.environ["nova.context"]
        _check_form(req, match, action, context)
        try:
            instance = common.get_instance(self._api, context, match["server"])
            policies.register()
            context.can(policies.RULE % action, target={"project_id": instance.project_id})
            getattr(self._freezing, action)(context, instance)
        except freezing.Refused as error:
            raise webob.exc.HTTPConflict(explanation=str(error)) from error
        except freezing.Unreached as error:
            raise webob.exc.HTTPServiceUnavailable(explanation=str(error)) from error
        except exception.Forbidden as error:
            raise webob.exc.HTTPForbidden(explanation=error.format_message()) from error
        except exception.InstanceNotFound as error:
            raise webob.exc.HTTPNotFound(explanation=error.format_message()) from error
        except (exception.NovaException, db_exceptions.DBError) as error:
            # A cell that does not answer, or its database.
            LOG.exception("%s of server %s failed", action, match["server"])
            raise webob.exc.HTTPServiceUnavailable(
                explanation=f"Server {match['server']} could not be looked up or changed ({type(error).__name__})."
            ) from error
        return webob.Response(status=202)

    def _pass_on(self, req: Any) -> Any:
        """Everything that is not ours. What a lock refuses that outlived its window is done after all."""
        match = None if req.method in _READS else _SERVER.fullmatch(req.path_info)
        if match is None:
            return self.application
        again = req.copy()
        response = req.get_response(self.application)
        if response.status_int == 409 and self._release(req, match["server"]):
            return again.get_response(self.application)
        return response

    def _release(self, req: Any, server: str) -> bool:
        """Whether there was a window that is over, and it is closed now."""
        try:
            context = req.environ["nova.context"].elevated()
            instance = common.get_instance(self._api, context, server)
            window = windows.of(instance)
            if window is None or not window.over(time.time()):
                return False
            self._freezing.close(instance)
        except (webob.exc.HTTPException, exception.NovaException, db_exceptions.DBError) as error:
            LOG.warning("an old window of server %s was not closed: %s", server, error)
            return False
        LOG.info("the window of server %s was over: its lock is taken away", server)
        return True


def _action(req: Any) -> str | None:
    """Which of our actions a request names, if any. What is no JSON object is Nova's to refuse."""
    try:
        body = req.json_body
    except ValueError:
        return None
    named = [name for name in _OURS if isinstance(body, dict) and name in body]
    return named[0] if named else None


def _check_form(req: Any, match: re.Match[str], action: str, context: Any) -> None:
    """The approved spec's form and nothing else; the project in the path has to be the token's."""
    if req.json_body != {action: None}:
        raise webob.exc.HTTPBadRequest(
            explanation=f'The body has to be {{"{action}": null}} and nothing else.'
        )
    if match["project"] and match["project"] != context.project_id:
        raise webob.exc.HTTPBadRequest(
            explanation=f"Malformed request URL: URL's project_id '{match['project']}' doesn't match "
            f"Context's project_id '{context.project_id}'"
        )
