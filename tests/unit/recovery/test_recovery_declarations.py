"""What may be declared as a group or a policy, and what order follows from it."""

import dataclasses

import pytest
from hypothesis import given
from recovery_values import a_group, groups

from isthmus import errors
from isthmus.recovery.declarations import (
    DeclarationError,
    Group,
    Hook,
    HookPlace,
    Member,
    Option,
    Policy,
    Retention,
    check_group,
    check_policy,
    check_together,
)


@given(groups())
def test_thaw_is_the_exact_reverse_of_freeze(group: Group) -> None:
    frozen = [member for level in group.freeze_order for member in level]
    assert sorted(each.name for each in frozen) == sorted(each.name for each in group.members)
    assert group.thaw_order == tuple(reversed(group.freeze_order))
    for level in group.freeze_order:
        assert len({member.level for member in level}) == 1


@given(groups())
def test_nobody_boots_before_what_it_needs(group: Group) -> None:
    check_group(group)
    running: set[str] = set()
    for level in group.boot_order:
        for member in level:
            assert set(member.depends) <= running
        running |= {member.name for member in level}


@given(groups())
def test_a_group_reads_back_as_it_was_written(group: Group) -> None:
    assert Group.from_document(group.to_document()) == group


def test_a_member_that_depends_on_a_lower_level_is_refused() -> None:
    client = Member(server_id="a", name="client", level=1, depends=("database",))
    database = Member(server_id="b", name="database", level=1)
    with pytest.raises(DeclarationError, match="must be frozen before it") as caught:
        check_group(a_group(members=(client, database)))
    assert caught.value.field == "members.level"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ((), "members"),
        ((Member(server_id="a", name="x"), Member(server_id="b", name="x")), "members.name"),
        ((Member(server_id="a", name="x"), Member(server_id="a", name="y")), "members.server_id"),
        ((Member(server_id="a", name="x", depends=("z",)),), "members.depends"),
        ((Member(server_id="a", name="x", depends=("x",)),), "members.level"),
    ],
)
def test_members_that_cannot_be_are_refused(members: tuple[Member, ...], field: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        check_group(a_group(members=members))
    assert caught.value.field == field


def test_a_server_belongs_to_one_group() -> None:
    mine, other = a_group(), a_group(id="other", name="other")
    check_together(mine, [mine])
    with pytest.raises(DeclarationError, match="refused") as caught:
        check_together(mine, [other])
    assert "client, database, middle belongs to group other" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"option": Option.REPLICATION}, "option"),
        ({"freeze_deadline_s": 11.0}, "freeze_deadline_s"),
        ({"freeze_deadline_s": float("nan")}, "freeze_deadline_s"),
        ({"retention": Retention(keep=0)}, "retention.keep"),
        ({"retention": Retention(full_every=0)}, "retention.full_every"),
        ({"schedule_s": 5.0}, "schedule_s"),
        ({"pre_hooks": (Hook(command=()),)}, "hooks.command"),
        ({"pre_hooks": (Hook(command=("sync",)),)}, "hooks.command"),
        ({"post_hooks": (Hook(command=("../x",), place=HookPlace.SCRIPT),)}, "hooks.command"),
        ({"post_hooks": (Hook(command=("/x",), timeout_s=0),)}, "hooks.timeout_s"),
        ({"pre_hooks": (Hook(command=("/x",), timeout_s=601),)}, "hooks.timeout_s"),
        (
            {"pre_hooks": (Hook(command=("x",), place=HookPlace.SCRIPT, timeout_s=3601),)},
            "hooks.timeout_s",
        ),
    ],
)
def test_policies_that_cannot_work_are_refused(changes: dict[str, object], field: str) -> None:
    check_policy(Policy(name="gold"))
    with pytest.raises(DeclarationError) as caught:
        check_policy(dataclasses.replace(Policy(name="gold"), **changes))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_policy_reads_back_as_it_was_written() -> None:
    policy = Policy(
        name="gold", pre_hooks=(Hook(command=("/bin/sync",), member="database"),), schedule_s=300
    )
    assert Policy.from_document(policy.to_document()) == policy


@pytest.mark.parametrize(
    ("field", "value"),
    [("surprise", 1), ("revision", "7"), ("revision", True), ("members", [{"name": "x"}])],
)
def test_a_declaration_with_what_nobody_understands_is_refused(field: str, value: object) -> None:
    document = {**a_group().to_document(), field: value}
    with pytest.raises(errors.InputError, match=field):
        Group.from_document(document)
