# mypy: disable-error-code="import-untyped"
"""One freeze or thaw of one server: task state, record of the action, RPC, and what errors mean.

`InstanceQuiesce` is what changes Nova's tables. Order of a freeze: the task state is taken by
compare-and-set, so that of two requests one goes on and no migration can begin; mark and lock are
written; then the compute host is asked, with an answer (``call``). A thaw is a message without an
answer (``cast``): that it was accepted does not say that the guest is thawed.

The task state is ``image_snapshot_pending``, what Nova itself sets while it freezes. The spec's
``quiescing`` would be unknown to Nova's notifications, and nova-compute would not clear it at its
start when an API process died half-way.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import oslo_messaging
from nova import exception
from nova.compute import task_states
from nova.compute import utils as compute_utils
from nova.objects import instance_action
from oslo_log import log as logging

from isthmus.plugins.nova import acceptance, windows

LOG = logging.getLogger(__name__)

QUIESCE, UNQUIESCE = "quiesce", "unquiesce"
_TAKEN = task_states.IMAGE_SNAPSHOT_PENDING

_UNREACHED = (oslo_messaging.MessagingException, exception.ServiceUnavailable)
_UNABLE = (exception.InstanceQuiesceNotSupported, exception.InstanceAgentNotEnabled)


class Refused(Exception):
    """409: the server cannot be frozen or thawed as it is."""


class Unreached(Exception):
    """503: the host of the server did not answer, or could not be told."""


class InstanceQuiesce:
    """Freezes and thaws servers. For several threads.

    Invariant: unless a freeze succeeds, the server has afterwards the task state, lock and mark that
    it had before; if it is not known whether the guest froze, a thaw was sent.
    """

    def __init__(self, compute_api: Any, *, window_seconds: float) -> None:
        self._api = compute_api
        self._window_seconds = window_seconds

    def quiesce(self, context: Any, instance: Any) -> None:
        """Freeze; raises Refused or Unreached."""
        if (stale := windows.of(instance)) and stale.over(time.time()):
            self.close(instance)
        self._refuse(acceptance.refuse_quiesce(described(instance), admin=context.is_admin))
        self._require_host(instance)
        self._take(instance)
        spoiled = False
        try:
            # Another request may have come first since the instance was read.
            if found := windows.of(instance):
                raise Refused(f"Instance {instance.uuid} is quiesced already, {found}.")
            spoiled = True
            self._open(context, instance)
            with self._recorded(context, instance, QUIESCE):
                self._freeze(context, instance)
            spoiled = False
        finally:
            mine = self._give_back(instance, clear=spoiled)
        if not mine:
            self._thaw_in_doubt(context, instance)
            raise Refused(
                f"Instance {instance.uuid} was unquiesced or reset while it froze; a thaw was sent."
            )
        LOG.info("quiesced", instance=instance)

    def unquiesce(self, context: Any, instance: Any) -> None:
        """Send the thaw; raises Refused or Unreached (then mark and lock stay)."""
        server = described(instance)
        self._refuse(acceptance.refuse_unquiesce(server, admin=context.is_admin))
        with self._recorded(context, instance, UNQUIESCE):
            if acceptance.thaw(server) is acceptance.Thaw.SEND:
                self._thaw(context, instance)
        self.close(instance)
        LOG.info("unquiesced", instance=instance)

    def close(self, instance: Any) -> None:
        """Take away what a window has left: mark, lock, and the task of a process that died."""
        if windows.of(instance) is None:
            return
        if instance.task_state == _TAKEN:
            instance.task_state = None
        windows.clear(instance)
        instance.save()

    def _refuse(self, reason: str | None) -> None:
        if reason:
            raise Refused(reason)

    def _require_host(self, instance: Any) -> None:
        """A host that is down would be asked in vain for as long as an RPC takes to time out."""
        services = [each for each in instance.services if each.binary == "nova-compute"]
        if not any(self._api.servicegroup_api.service_is_up(each) for each in services):
            raise Unreached(
                f"The compute service of the host of instance {instance.uuid} is down. Nothing was changed."
            )

    def _take(self, instance: Any) -> None:
        instance.task_state = _TAKEN
        try:
            # The row comes back with it, mark included.
            instance.save(expected_task_state=[None], expected_vm_state=[acceptance.ACTIVE])
        except (exception.UnexpectedTaskStateError, exception.UnexpectedVMStateError) as error:
            raise Refused(
                f"Instance {instance.uuid} changed meanwhile: {error.format_message()}"
            ) from error

    def _open(self, context: Any, instance: Any) -> None:
        now = time.time()
        window = windows.Window(
            since=now,
            until=now + self._window_seconds,
            request=context.request_id,
            locks=not instance.locked,
        )
        windows.mark(instance, window)
        instance.save()

    def _give_back(self, instance: Any, *, clear: bool) -> bool:
        """Whether the task was still ours. `clear`: mark and lock go with it."""
        instance.task_state = None
        if clear:
            windows.clear(instance)
        try:
            instance.save(expected_task_state=[_TAKEN])
        except (exception.UnexpectedTaskStateError, exception.InstanceNotFound) as error:
            # An administrator reset it or deleted the server: theirs is the last word.
            LOG.warning("the task state was not given back: %s", error, instance=instance)
            return False
        return True

    @contextlib.contextmanager
    def _recorded(self, context: Any, instance: Any, action: str) -> Iterator[None]:
        """The action and its event, with the error if there is one, as `server event list` shows."""
        instance_action.InstanceAction.action_start(
            context, instance.uuid, action, want_result=False
        )
        with compute_utils.EventReporter(context, f"api_{action}", self._api.host, instance.uuid):
            yield

    def _freeze(self, context: Any, instance: Any) -> None:
        try:
            self._api.compute_rpcapi.quiesce_instance(context, instance)
        except _UNABLE as error:
            raise Refused(f"{error.format_message()} Nothing was changed.") from error
        except NotImplementedError as error:
            raise Refused(
                f"Quiescing is not supported by the hypervisor of instance {instance.uuid}. Nothing was changed."
            ) from error
        except exception.InstanceQuiesceFailed as error:
            # The guest agent did not answer in time; it may still do what it was told.
            self._thaw_in_doubt(context, instance)
            raise Refused(
                f"{error.format_message()} A thaw was sent, in case the guest froze after all."
            ) from error
        except exception.NovaException as error:
            # The guest refused. So it also answers when somebody else has frozen it, and that
            # freeze is not ours to end.
            raise Refused(
                f"The guest of instance {instance.uuid} could not be frozen (frozen by somebody else?): "
                f"{error.format_message()}. Nothing was changed."
            ) from error
        except _UNREACHED as error:
            self._thaw_in_doubt(context, instance)
            raise Unreached(
                f"The host of instance {instance.uuid} did not answer ({type(error).__name__}); a thaw was sent, in "
                "case the guest froze. Ask the agent of the host for the state of the guest."
            ) from error

    def _thaw_in_doubt(self, context: Any, instance: Any) -> None:
        try:
            self._thaw(context, instance)
        except Unreached:
            LOG.exception("a thaw could not be sent", instance=instance)

    def _thaw(self, context: Any, instance: Any) -> None:
        try:
            self._api.compute_rpcapi.unquiesce_instance(context, instance)
        except (*_UNREACHED, exception.NovaException) as error:
            raise Unreached(
                f"The thaw of instance {instance.uuid} could not be sent ({type(error).__name__}). If its agent "
                "was armed, the compute host thaws it by itself at its deadline."
            ) from error


def described(instance: Any) -> acceptance.Server:
    """What `acceptance` judges by."""
    window = windows.of(instance)
    return acceptance.Server(
        uuid=instance.uuid,
        vm_state=instance.vm_state,
        task_state=instance.task_state,
        power_state=instance.power_state,
        host=instance.host,
        guest_agent=bool(instance.image_meta.properties.get("hw_qemu_guest_agent", False)),
        locked=bool(instance.locked),
        window=str(window) if window else None,
    )
