"""Quiesce and unquiesce through Nova's real API: what is told to the host, and what Nova remembers."""

from __future__ import annotations

import threading
import time
from unittest import mock

import oslo_messaging
import pytest
from nova import exception
from nova.compute import power_state, rpcapi, vm_states
from nova_site import Site

from conditions import wait_for

# A message over a bus in memory; the machine may be busy.
TOLD_SECONDS = 10.0


def test_a_server_is_frozen_and_thawed_and_both_are_recorded(site: Site) -> None:
    server = site.server()
    assert site.quiesce(server) == (202, "")
    assert site.told == ["quiesce"]
    assert site.unquiesce(server) == (202, "")
    wait_for("the thaw arrived", lambda: site.told == ["quiesce", "unquiesce"], TOLD_SECONDS)
    assert site.actions(server) == [("quiesce", None), ("unquiesce", None)]


def test_a_window_locks_the_server_and_says_why(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    shown = site.admin_api.get_server(server)
    assert shown["locked"]
    assert shown["locked_reason"].startswith("isthmus: quiesced since")
    assert shown["OS-EXT-STS:task_state"] is None
    status, words = site.ask(server, {"pause": None}, who=site.api)
    assert (status, "is locked" in words) == (409, True)
    site.unquiesce(server)
    shown = site.admin_api.get_server(server)
    assert (shown["locked"], shown["locked_reason"]) == (False, None)


def test_a_second_quiesce_is_a_conflict_and_changes_nothing(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    status, words = site.quiesce(server)
    assert (status, "is quiesced already" in words) == (409, True)
    assert site.told == ["quiesce"]
    assert site.admin_api.get_server(server)["locked"]


def test_of_two_quiesces_at_once_one_freezes_and_the_other_is_a_conflict(site: Site) -> None:
    server, entered, leave = site.server(), threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        entered.set()
        assert leave.wait(TOLD_SECONDS)

    site.driver("quiesce", slow)
    answers: list[tuple[int, str]] = []
    first = threading.Thread(target=lambda: answers.append(site.quiesce(server)))
    first.start()
    assert entered.wait(TOLD_SECONDS)
    status, words = site.quiesce(server)
    leave.set()
    first.join(TOLD_SECONDS)
    assert (status, "task_state image_snapshot_pending" in words) == (409, True)
    assert answers == [(202, "")]


def test_a_request_that_looked_before_another_froze_is_a_conflict_too(site: Site) -> None:
    server = site.server()
    stale = site.look(server)
    site.quiesce(server)
    with mock.patch("nova.compute.api.API.get", return_value=stale):
        status, words = site.quiesce(server)
    assert (status, "is quiesced already" in words) == (409, True)
    assert site.admin_api.get_server(server)["locked"], "the window of the first is left alone"
    assert site.told == ["quiesce"]


def test_an_unquiesce_may_be_repeated_because_nobody_answers_a_thaw(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    assert [site.unquiesce(server)[0] for _ in range(3)] == [202, 202, 202]
    wait_for("all thaws arrived", lambda: site.told.count("unquiesce") == 3, TOLD_SECONDS)


def test_a_lock_that_was_there_before_stays(site: Site) -> None:
    server = site.server()
    site.ask(server, {"lock": {"locked_reason": "mine"}}, who=site.api)
    assert site.quiesce(server)[0] == 202
    assert site.unquiesce(server)[0] == 202
    shown = site.admin_api.get_server(server)
    assert (shown["locked"], shown["locked_reason"]) == (True, "mine")


def test_an_unquiesce_in_the_middle_of_a_freeze_wins(site: Site) -> None:
    server = site.server()
    site.driver("quiesce", lambda *_: site.unquiesce(server))
    status, words = site.quiesce(server)
    assert (status, "a thaw was sent" in words) == (409, True)
    wait_for("both thaws arrived", lambda: site.told == ["unquiesce", "unquiesce"], TOLD_SECONDS)
    assert not site.admin_api.get_server(server)["locked"]


# --- refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task_state": "migrating"}, "task_state migrating"),
        ({"task_state": "image_snapshot"}, "task_state image_snapshot"),
        ({"vm_state": vm_states.RESIZED}, "vm_state resized"),
        ({"vm_state": vm_states.SHELVED}, "vm_state shelved"),
        ({"vm_state": vm_states.SHELVED_OFFLOADED}, "vm_state shelved_offloaded"),
        ({"vm_state": vm_states.PAUSED}, "vm_state paused"),
        ({"vm_state": vm_states.STOPPED}, "vm_state stopped"),
        ({"vm_state": vm_states.ERROR}, "vm_state error"),
        ({"power_state": power_state.PAUSED}, "power_state 3"),
    ],
)
def test_a_server_that_something_else_is_done_with_is_not_frozen(
    site: Site, change: dict[str, object], words: str
) -> None:
    server = site.server()
    with site.instance(server) as instance:
        for name, value in change.items():
            setattr(instance, name, value)
    status, said = site.quiesce(server)
    assert (status, words in said) == (409, True), said
    assert site.told == []
    assert site.actions(server) == []


def test_a_server_without_a_guest_agent_is_not_frozen(site: Site) -> None:
    status, words = site.quiesce(site.server(agent=False))
    assert (status, "hw_qemu_guest_agent=yes" in words) == (409, True)


@pytest.mark.parametrize(
    "error",
    [
        exception.InstanceQuiesceNotSupported(instance_id="it"),
        exception.QemuGuestAgentNotEnabled(),
        NotImplementedError(),
        exception.InstanceQuiesceFailed(reason="the guest agent is silent"),
        exception.InternalError("libvirt: guest-fsfreeze-freeze has been disabled"),
    ],
)
def test_what_a_hypervisor_cannot_do_is_a_conflict_that_leaves_nothing_behind(
    site: Site, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    server = site.server()
    site.driver("quiesce", refuse)
    status, words = site.quiesce(server)
    assert status == 409, words
    shown = site.admin_api.get_server(server)
    assert (shown["locked"], shown["OS-EXT-STS:task_state"]) == (False, None)
    assert site.actions(server) == [("quiesce", "Error")]


def test_a_guest_that_somebody_else_froze_is_not_thawed(site: Site) -> None:
    def frozen(*_: object) -> None:
        raise exception.InternalError("the command guest-fsfreeze-freeze has been disabled")

    server = site.server()
    site.driver("quiesce", frozen)
    site.quiesce(server)
    site.unquiesce(server)
    wait_for("the thaw that was asked for arrived", lambda: site.told, TOLD_SECONDS)
    assert site.told == ["unquiesce"]


def test_a_silent_guest_agent_is_sent_a_thaw(site: Site) -> None:
    def silent(*_: object) -> None:
        raise exception.InstanceQuiesceFailed(reason="the guest agent is silent")

    server = site.server()
    site.driver("quiesce", silent)
    assert "A thaw was sent" in site.quiesce(server)[1]
    wait_for("the thaw arrived", lambda: site.told == ["unquiesce"], TOLD_SECONDS)


def test_a_host_that_does_not_answer_is_unavailable_and_is_sent_a_thaw(site: Site) -> None:
    server = site.server()
    with mock.patch.object(
        rpcapi.ComputeAPI, "quiesce_instance", side_effect=oslo_messaging.MessagingTimeout
    ):
        status, words = site.quiesce(server)
    assert (status, "a thaw was sent" in words) == (503, True)
    wait_for("the thaw arrived", lambda: site.told == ["unquiesce"], TOLD_SECONDS)
    assert not site.admin_api.get_server(server)["locked"]


def test_a_host_that_is_down_is_not_waited_for(site: Site) -> None:
    server = site.server()
    with mock.patch("nova.servicegroup.api.API.service_is_up", return_value=False):
        status, words = site.quiesce(server)
    assert (status, "is down" in words) == (503, True)


def test_a_thaw_that_cannot_be_sent_is_unavailable_and_keeps_the_window(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    with mock.patch.object(
        rpcapi.ComputeAPI,
        "unquiesce_instance",
        side_effect=oslo_messaging.MessageDeliveryFailure,
    ):
        status, words = site.unquiesce(server)
    assert (status, "thaws it by itself" in words) == (503, True)
    assert site.admin_api.get_server(server)["locked"]
    assert site.unquiesce(server)[0] == 202


def test_the_freeze_of_novas_own_snapshot_is_not_ended(site: Site) -> None:
    server = site.server()
    with site.instance(server) as instance:
        instance.task_state = "image_snapshot_pending"
    assert site.unquiesce(server)[0] == 409
    assert site.told == []


def test_a_window_of_a_server_that_stopped_is_closed_without_a_message(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    with site.instance(server) as instance:
        instance.vm_state = vm_states.STOPPED
    assert site.unquiesce(server)[0] == 202
    assert not site.admin_api.get_server(server)["locked"]
    assert site.told == ["quiesce"]


# --- a window that nobody closed


def outlived(site: Site, server: str) -> None:
    """Let the server's window be over."""
    with site.instance(server) as instance:
        text = instance.system_metadata["isthmus_quiesced"]
        past = time.time() - 1.0
        instance.system_metadata["isthmus_quiesced"] = text.replace(
            text.split('"until": ')[1].split(",")[0], repr(past)
        )


def test_a_lock_that_outlived_its_window_is_in_nobodys_way(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    outlived(site, server)
    assert site.ask(server, {"pause": None}, who=site.api) == (202, "")
    wait_for(
        "it is paused",
        lambda: site.admin_api.get_server(server)["status"] == "PAUSED",
        TOLD_SECONDS,
    )
    assert not site.admin_api.get_server(server)["locked"]


def test_a_window_that_is_over_does_not_hinder_the_next(site: Site) -> None:
    server = site.server()
    site.quiesce(server)
    outlived(site, server)
    assert site.quiesce(server) == (202, "")
    assert site.told == ["quiesce", "quiesce"]


def test_an_api_process_that_died_half_way_leaves_nothing_that_unquiesce_cannot_clear(
    site: Site,
) -> None:
    server = site.server()
    site.quiesce(server)
    with site.instance(server) as instance:
        instance.task_state = "image_snapshot_pending"
    assert site.unquiesce(server)[0] == 202
    shown = site.admin_api.get_server(server)
    assert (shown["locked"], shown["OS-EXT-STS:task_state"]) == (False, None)


# --- form and rights


def test_who_is_no_administrator_may_not(site: Site) -> None:
    server = site.server()
    for action in ("quiesce", "unquiesce"):
        status, words = site.ask(server, {action: None}, who=site.api)
        assert (status, f"os-quiesce:{action}" in words) == (403, True)


def test_an_operator_may_allow_it_to_others(site: Site) -> None:
    server = site.server()
    site.quiesce(server, who=site.api)  # So that the rules are known.
    site.policy.set_rules({"os_compute_api:os-quiesce:quiesce": "role:member"}, overwrite=False)
    try:
        assert site.quiesce(server, who=site.api) == (202, "")
    finally:
        site.policy.set_rules(
            {"os_compute_api:os-quiesce:quiesce": "rule:context_is_admin"}, overwrite=False
        )


def test_an_unknown_server_is_not_found(site: Site) -> None:
    status, _ = site.quiesce("5e4ff28f-0000-4000-8000-000000000000")
    assert status == 404


@pytest.mark.parametrize(
    "body", [{"quiesce": {}}, {"quiesce": None, "pause": None}, {"unquiesce": "now"}]
)
def test_another_form_is_a_bad_request(site: Site, body: object) -> None:
    status, words = site.ask(site.server(), body)
    assert (status, "nothing else" in words) == (400, True)


def test_the_project_of_the_path_has_to_be_the_tokens(site: Site) -> None:
    server = site.server()
    status, words = 0, ""
    try:
        site.admin_api.api_post(f"/{'a' * 32}/servers/{server}/action", {"quiesce": None})
    except Exception as error:
        status, words = error.response.status_code, error.response.text  # type: ignore[attr-defined]
    assert (status, "Malformed request URL" in words) == (400, True)


def test_everything_else_passes_as_before(site: Site) -> None:
    server = site.server()
    assert site.ask(server, {"pause": None}) == (202, "")
    assert site.ask(server, {"nonsense": None})[0] == 400
    wait_for(
        "it is paused",
        lambda: site.admin_api.get_server(server)["status"] == "PAUSED",
        TOLD_SECONDS,
    )
