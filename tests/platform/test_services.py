"""Organisations, people, tokens, events, notices."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from cryptography.fernet import Fernet
from django.contrib.auth.hashers import ScryptPasswordHasher
from django.core import mail
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, connection, transaction
from tests.platform.factories import NOW, again, make_founder, make_member, make_staff, make_user

from mosu.kernel.ids import uuid7
from mosu.kernel.refusals import DomainError, Forbidden, Invalid, NotFound
from mosu.kernel.states import IllegalMove
from mosu.platform import services
from mosu.platform.actors import ALL_SCOPES, SYSTEM, HubRole, Role, Scope
from mosu.platform.models import (
    ApiToken,
    AuditRecord,
    Delivery,
    Event,
    Fact,
    FailureCount,
    HubMembership,
    IdempotencyRecord,
    Invitation,
    Mail,
    Membership,
    Notice,
    Organisation,
    OrganisationState,
    Project,
    User,
)
from mosu.platform.policy import Unauthenticated
from mosu.platform.queries import (
    actor_for_user,
    audit_visible_to,
    mail_waiting,
    organisations_visible_to,
    verified_facts,
)
from mosu.platform.requests import actor_of_authorization
from mosu.platform.rows import inserts_together
from mosu.platform.secrets import seal, unseal

LATER = NOW + timedelta(days=1)


def in_threads(*jobs: Callable[[], Any]) -> list[Any]:
    """What each returned or raised, all started together."""
    gate = threading.Barrier(len(jobs))
    results: list[Any] = [None] * len(jobs)

    def run(index: int, job: Callable[[], Any]) -> None:
        gate.wait()
        try:
            results[index] = job()
        except Exception as error:  # noqa: BLE001 -- the test judges what came
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return results


# Founding


@pytest.mark.django_db
def test_founding_makes_organisation_owner_project_audit_and_event() -> None:
    actor, organisation = make_founder("  Ding  Wei ")
    assert organisation.name == "Ding Wei"
    assert dict(actor.roles) == {organisation.id: Role.OWNER}
    assert actor.organisation_id == organisation.id
    assert [project.name for project in Project.objects.filter(organisation=organisation)] == ["default"]
    assert set(AuditRecord.objects.values_list("action", flat=True)) == {
        "organisation.found",
        "membership.begin",
    }
    event = Event.objects.get(name="platform.organisation_founded")
    assert (event.subject_id, event.payload["founder_id"]) == (organisation.id, str(actor.id))


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ding wei", "DING WEI", "Ding  Wei"])
def test_a_name_is_taken_once(name: str) -> None:
    make_founder("Ding Wei")
    with pytest.raises(services.NameTaken):
        make_founder(name)
    assert Organisation.objects.count() == Event.objects.count() == 1


def test_of_two_who_found_the_same_name_at_once_one_does(fresh_db: Any) -> None:
    def found(user: User) -> Callable[[], Any]:
        actor = actor_for_user(user)
        return lambda: services.found_organisation(actor=actor, name="Ding Wei", kind="team", now=NOW)

    results = in_threads(*[found(make_user()) for _ in range(4)])
    assert sorted(type(result).__name__ for result in results) == ["NameTaken"] * 3 + ["Organisation"]
    assert Membership.objects.count() == Event.objects.count() == 1


def test_one_who_founds_many_at_once_stays_within_the_limit(fresh_db: Any) -> None:
    actor = actor_for_user(make_user())

    def found(number: int) -> Callable[[], Any]:
        return lambda: services.found_organisation(actor=actor, name=f"No {number}", kind="team", now=NOW)

    in_threads(*[found(number) for number in range(6)])
    assert Organisation.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", " ", "x", "a" * 201, "a\u202eb", "a\x00b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid):
        make_founder(name or " ")
    assert not Organisation.objects.exists()


@pytest.mark.django_db
def test_a_fourth_organisation_needs_the_operator() -> None:
    actor, _ = make_founder()
    for number in range(2):
        services.found_organisation(actor=actor, name=f"More {number}", kind="team", now=NOW)
    with pytest.raises(services.TooManyOrganisations):
        services.found_organisation(actor=actor, name="Too many", kind="team", now=NOW)
    assert Organisation.objects.count() == 3
    services.grant_hub_role(actor=SYSTEM, user_id=actor.id, role=HubRole.OPERATOR, now=NOW)
    services.found_organisation(actor=again(actor), name="Not too many", kind="team", now=NOW)


@pytest.mark.django_db
def test_nobody_founds_without_being_somebody() -> None:
    with pytest.raises(Unauthenticated):
        services.found_organisation(actor=SYSTEM, name="Nobody's", kind="team", now=NOW)
    user = make_user()
    with pytest.raises(Invalid):
        services.found_organisation(actor=actor_for_user(user), name="Odd", kind="cartel", now=NOW)
    assert not Organisation.objects.exists()


# Admission, suspension


@pytest.mark.django_db
def test_only_the_operator_admits_and_it_is_audited_once() -> None:
    owner, organisation = make_founder()
    operator = make_staff(HubRole.OPERATOR)
    for nobody in (owner, make_staff(HubRole.CHECKER), make_staff(HubRole.AUDITOR)):
        with pytest.raises(Forbidden):
            services.admit(actor=nobody, organisation_id=organisation.id, capability="supplier", now=NOW)
    for _ in range(2):
        services.admit(
            actor=operator, organisation_id=organisation.id, capability="supplier", now=NOW, why="visited"
        )
    organisation.refresh_from_db()
    assert organisation.capabilities == ["supplier"]
    record = AuditRecord.objects.get(action="organisation.admit")
    assert (record.before, record.after, record.why) == ("", "supplier", "visited")
    services.dismiss(
        actor=operator, organisation_id=organisation.id, capability="supplier", now=NOW, why="left"
    )
    organisation.refresh_from_db()
    assert organisation.capabilities == []


@pytest.mark.django_db
def test_roles_in_a_suspended_organisation_count_for_nothing_until_it_is_resumed() -> None:
    owner, organisation = make_founder()
    operator = make_staff(HubRole.OPERATOR)

    def move(to: OrganisationState) -> None:
        services.move_organisation(
            actor=operator, organisation_id=organisation.id, to=to, why="late papers", now=NOW
        )

    move(OrganisationState.SUSPENDED)
    assert not again(owner).roles
    with pytest.raises(IllegalMove):
        move(OrganisationState.SUSPENDED)
    move(OrganisationState.ACTIVE)
    assert again(owner).roles
    move(OrganisationState.CLOSED)
    with pytest.raises(IllegalMove):
        move(OrganisationState.ACTIVE)


def test_the_database_refuses_a_new_state_without_its_audit_record(fresh_db: Any) -> None:
    _, organisation = make_founder()
    with pytest.raises(IntegrityError, match="without an audit record"):
        Organisation.objects.filter(id=organisation.id).update(state=OrganisationState.SUSPENDED)
    organisation.refresh_from_db()
    assert organisation.state == OrganisationState.ACTIVE


@pytest.mark.django_db
@pytest.mark.parametrize("statement", ["update {} set action = 'x'", "delete from {}", "truncate {}"])
def test_history_cannot_be_rewritten(statement: str) -> None:
    make_founder()
    for table in ("platform_auditrecord", "platform_event"):
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement.format(table))
    assert AuditRecord.objects.count() == 2


# Members


@pytest.mark.django_db
def test_an_invitation_is_accepted_once_by_whom_it_names() -> None:
    owner, organisation = make_founder()
    invitation, link = services.invite(
        actor=owner, organisation_id=organisation.id, email="Li@Example.org", role=Role.DEVELOPER, now=NOW
    )
    secret = link.rpartition("/")[2]
    assert secret not in str(vars(Invitation.objects.get()))
    li, stranger = (actor_for_user(make_user(email)) for email in ("li@example.org", "wu@example.org"))
    with pytest.raises(NotFound):
        services.accept_invitation(actor=stranger, secret=secret, now=NOW)
    first = services.accept_invitation(actor=li, secret=secret, now=NOW)
    assert services.accept_invitation(actor=li, secret=secret, now=NOW) == first
    assert dict(again(li).roles) == {organisation.id: Role.DEVELOPER}
    services.remove_member(actor=owner, membership_id=first.id, now=NOW)
    with pytest.raises(services.InvitationOver):
        services.accept_invitation(actor=li, secret=secret, now=NOW)
    assert not again(li).roles
    with pytest.raises(services.InvitationOver):
        services.revoke_invitation(actor=owner, invitation_id=invitation.id, now=NOW)


@pytest.mark.django_db
def test_an_expired_or_replaced_invitation_is_over() -> None:
    owner, organisation = make_founder()
    li = actor_for_user(make_user("li@example.org"))

    def invite() -> str:
        _, link = services.invite(
            actor=owner, organisation_id=organisation.id, email="li@example.org", role=Role.VIEWER, now=NOW
        )
        return link.rpartition("/")[2]

    first, second = invite(), invite()
    for secret, at in ((first, NOW), (second, NOW + timedelta(days=14))):
        with pytest.raises(services.InvitationOver):
            services.accept_invitation(actor=li, secret=secret, now=at)
    assert not again(li).roles
    services.accept_invitation(actor=li, secret=second, now=NOW)
    with pytest.raises(services.AlreadyMember):
        invite()


@pytest.mark.django_db
def test_an_admin_makes_no_owner_and_removes_none() -> None:
    owner, organisation = make_founder()
    admin = make_member(organisation, Role.ADMIN)
    own, owners = (Membership.objects.get(user=actor.id) for actor in (admin, owner))
    with pytest.raises(Forbidden):
        services.invite(
            actor=admin, organisation_id=organisation.id, email="a@b.cn", role=Role.OWNER, now=NOW
        )
    with pytest.raises(Forbidden):
        services.change_role(actor=admin, membership_id=own.id, role=Role.OWNER, now=NOW)
    with pytest.raises(Forbidden):
        services.change_role(actor=admin, membership_id=owners.id, role=Role.VIEWER, now=NOW)
    with pytest.raises(Forbidden):
        services.remove_member(actor=admin, membership_id=owners.id, now=NOW)
    assert not Invitation.objects.exists()
    assert set(Membership.objects.values_list("role", flat=True)) == {"owner", "admin"}


@pytest.mark.django_db
def test_the_last_owner_stays() -> None:
    owner, organisation = make_founder()
    membership = Membership.objects.get()
    with pytest.raises(services.LastOwner):
        services.remove_member(actor=owner, membership_id=membership.id, now=NOW)
    with pytest.raises(services.LastOwner):
        services.change_role(actor=owner, membership_id=membership.id, role=Role.ADMIN, now=NOW)
    assert Membership.objects.get().role == Role.OWNER
    make_member(organisation, Role.OWNER)
    services.remove_member(actor=owner, membership_id=membership.id, now=NOW)
    assert not again(owner).roles


def test_of_two_owners_who_leave_at_once_one_stays(fresh_db: Any) -> None:
    owner, organisation = make_founder()
    other = make_member(organisation, Role.OWNER)

    def leave(actor: Any) -> Callable[[], Any]:
        membership = Membership.objects.get(user=actor.id)
        return lambda: services.remove_member(actor=actor, membership_id=membership.id, now=NOW)

    results = in_threads(leave(owner), leave(other))
    assert sorted(type(result).__name__ for result in results) == ["LastOwner", "NoneType"]
    assert Membership.objects.filter(role=Role.OWNER).count() == 1


@pytest.mark.django_db
def test_a_stranger_learns_nothing_of_members() -> None:
    make_founder()
    stranger, _ = make_founder()
    membership = Membership.objects.exclude(user=stranger.id).get()
    with pytest.raises(NotFound):
        services.remove_member(actor=stranger, membership_id=membership.id, now=NOW)
    with pytest.raises(NotFound):
        services.change_role(actor=stranger, membership_id=uuid7(), role=Role.VIEWER, now=NOW)


@pytest.mark.django_db
def test_nobody_takes_a_hub_role_alone() -> None:
    operator = make_staff(HubRole.OPERATOR)
    with pytest.raises(services.SamePerson):
        services.grant_hub_role(actor=operator, user_id=operator.id, role=HubRole.CHECKER, now=NOW)
    assert again(operator).hub_roles == {HubRole.OPERATOR}
    other = make_user()
    for _ in range(2):
        services.grant_hub_role(actor=operator, user_id=other.id, role=HubRole.CHECKER, now=NOW)
    assert actor_for_user(other).hub_roles == {HubRole.CHECKER}


@pytest.mark.django_db
def test_a_hub_role_is_taken_back_by_another_and_the_last_operator_stays() -> None:
    operator, other = make_staff(HubRole.OPERATOR), make_staff(HubRole.OPERATOR)
    own, others = (HubMembership.objects.get(user=one.id) for one in (operator, other))
    with pytest.raises(services.SamePerson):
        services.revoke_hub_role(actor=operator, membership_id=own.id, why="tired", now=NOW)
    with pytest.raises(Invalid):
        services.revoke_hub_role(actor=operator, membership_id=others.id, why=" ", now=NOW)
    with pytest.raises(Forbidden):
        services.revoke_hub_role(
            actor=make_staff(HubRole.CHECKER), membership_id=others.id, why="left", now=NOW
        )
    assert HubMembership.objects.filter(role=HubRole.OPERATOR).count() == 2
    services.revoke_hub_role(actor=operator, membership_id=others.id, why="left", now=NOW)
    assert not again(other).hub_roles
    record = AuditRecord.objects.get(action="hub.staff", subject_id=others.id, after=None)
    assert (record.before, record.why) == ("operator", "left")
    with pytest.raises(services.LastOperator):
        # What they were is still in the hands of who asked a moment ago.
        services.revoke_hub_role(actor=other, membership_id=own.id, why="revenge", now=NOW)
    assert again(operator).hub_roles == {HubRole.OPERATOR}


@pytest.mark.parametrize("pair", [(None, None), (uuid7(), None), (None, uuid7())])
def test_nobody_is_not_a_second_person(pair: tuple[UUID | None, UUID | None]) -> None:
    with pytest.raises(services.SamePerson):
        services.two_persons(*pair)
    services.two_persons(uuid7(), uuid7())


# Projects, facts


@pytest.mark.django_db
def test_a_project_has_its_name_once_in_its_organisation() -> None:
    owner, organisation = make_founder()
    services.make_project(actor=owner, organisation_id=organisation.id, name="Voice", now=NOW)
    with pytest.raises(services.NameTaken):
        services.make_project(actor=owner, organisation_id=organisation.id, name="voice", now=NOW)
    with pytest.raises(Forbidden):
        services.make_project(
            actor=make_member(organisation, Role.FINANCE), organisation_id=organisation.id, name="X1", now=NOW
        )
    assert Project.objects.count() == 2


@pytest.mark.django_db
def test_a_fact_counts_once_a_second_person_verified_it_and_until_it_expires() -> None:
    owner, organisation = make_founder()
    operator = make_staff(HubRole.OPERATOR)

    def record(actor: Any, value: int, **when: Any) -> Fact:
        return services.record_fact(
            actor=actor,
            organisation_id=organisation.id,
            name="staff",
            value=value,
            source="payroll",
            now=NOW,
            **when,
        )

    own = record(operator, 7)
    with pytest.raises(services.SamePerson):
        services.verify_fact(actor=operator, fact_id=own.id, now=NOW)
    with pytest.raises(Forbidden):
        services.verify_fact(actor=owner, fact_id=own.id, now=NOW)
    assert verified_facts(organisation.id, at=LATER) == {}
    services.verify_fact(
        actor=operator, fact_id=record(owner, 8, expires_at=NOW + timedelta(days=30)).id, now=NOW
    )
    record(owner, 9)
    assert verified_facts(organisation.id, at=LATER) == {"staff": 8}
    assert verified_facts(organisation.id, at=NOW + timedelta(days=30)) == {}
    with pytest.raises(Invalid):
        record(owner, 10, expires_at=NOW)


@pytest.mark.django_db
def test_the_database_wants_two_persons_for_a_fact() -> None:
    owner, organisation = make_founder()
    with pytest.raises(IntegrityError, match="fact_two_persons"), transaction.atomic():
        Fact.objects.create(
            organisation=organisation,
            name="x",
            value=1,
            source="y",
            recorded_at=NOW,
            recorded_by_id=owner.id,
            verified_by_id=owner.id,
            verified_at=NOW,
        )


# Tokens


@pytest.mark.django_db
def test_a_token_works_until_it_expires_or_is_revoked() -> None:
    owner, _ = make_founder()
    token, secret = services.make_token(actor=owner, name="laptop", scopes=["buy", "read"], now=NOW)
    assert secret not in str(vars(ApiToken.objects.get()))
    assert token.scopes == ["read", "buy"]
    header = f"Bearer {secret}"
    actor = actor_of_authorization(header, now=LATER)
    assert (actor.id, actor.scopes) == (owner.id, {Scope.READ, Scope.BUY})
    with pytest.raises(Unauthenticated):
        actor_of_authorization(header, now=NOW + timedelta(days=90))
    with pytest.raises(NotFound):
        services.revoke_token(actor=make_founder()[0], token_id=token.id, now=LATER)
    assert actor_of_authorization(header, now=LATER)
    services.revoke_token(actor=owner, token_id=token.id, now=LATER)
    with pytest.raises(Unauthenticated):
        actor_of_authorization(header, now=LATER)
    assert (
        services.revoke_token(actor=owner, token_id=token.id, now=NOW + timedelta(days=2)).revoked_at == LATER
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic mosu_x", "Bearer mosu_", "Bearer x", "Bearer mosu_pool_x"]
)
def test_what_is_no_token_is_refused(header: str) -> None:
    with pytest.raises(Unauthenticated):
        actor_of_authorization(header, now=NOW)


@pytest.mark.django_db
def test_a_token_of_one_organisation_speaks_for_it_alone() -> None:
    owner, organisation = make_founder()
    second = services.found_organisation(actor=owner, name="The second", kind="team", now=NOW)
    services.grant_hub_role(actor=SYSTEM, user_id=owner.id, role=HubRole.AUDITOR, now=NOW)
    owner = again(owner)
    _, secret = services.make_token(
        actor=owner, name="one", scopes=ALL_SCOPES, organisation_id=second.id, now=NOW
    )
    actor = actor_of_authorization(f"Bearer {secret}", now=NOW)
    assert (set(actor.roles), actor.hub_roles, actor.organisation_id) == ({second.id}, frozenset(), second.id)
    assert list(organisations_visible_to(actor)) == [second]
    assert {record.organisation_id for record in audit_visible_to(actor)} == {second.id}
    with pytest.raises(NotFound):
        services.make_token(
            actor=actor, name="other", scopes=["read"], organisation_id=organisation.id, now=NOW
        )


@pytest.mark.django_db
def test_a_token_makes_none_with_more_scopes() -> None:
    owner, _ = make_founder()
    _, secret = services.make_token(actor=owner, name="small", scopes=["read"], now=NOW)
    actor = actor_of_authorization(f"Bearer {secret}", now=NOW)
    for scopes in (["manage"], ["read", "buy"], [], ["root"]):
        with pytest.raises(Invalid):
            services.make_token(actor=actor, name="larger", scopes=scopes, now=NOW)
    for expires_at in (NOW, NOW + timedelta(days=367)):
        with pytest.raises(Invalid):
            services.make_token(actor=owner, name="odd", scopes=["read"], expires_at=expires_at, now=NOW)
    assert ApiToken.objects.count() == 1


@pytest.mark.django_db
def test_the_use_of_a_token_is_noted_at_most_hourly() -> None:
    owner, _ = make_founder()
    _, secret = services.make_token(actor=owner, name="used", scopes=["read"], now=NOW)
    for minutes, noted in ((1, 1), (30, 1), (62, 62)):
        actor_of_authorization(f"Bearer {secret}", now=NOW + timedelta(minutes=minutes))
        assert ApiToken.objects.get().last_used_at == NOW + timedelta(minutes=noted)


def sign_in(**changed: Any) -> tuple[ApiToken, str]:
    facts = {"email": "li@example.org", "password": "right enough", "name": "laptop", "now": NOW, **changed}
    return services.token_by_password(**facts)


@pytest.mark.django_db
def test_the_password_gives_a_token() -> None:
    make_user("li@example.org", password="right enough")
    token, secret = sign_in(email=" LI@example.org ")
    assert token.scopes == ["read", "buy"]
    assert actor_of_authorization(f"Bearer {secret}", now=NOW).label == "li@example.org"
    assert set(FailureCount.objects.values_list("count", flat=True)) == {0}


@pytest.mark.django_db
def test_wrong_password_unknown_and_inactive_users_look_the_same() -> None:
    make_user("li@example.org", password="right enough")
    gone = make_user("gone@example.org", password="right enough")
    User.objects.filter(id=gone.id).update(is_active=False)
    refusals = []
    for changed in ({"password": "wrong"}, {"email": "no@example.org"}, {"email": "gone@example.org"}):
        with pytest.raises(services.WrongCredentials) as refused:
            sign_in(**changed)
        refusals.append((refused.value.message, refused.value.hint, refused.value.facts))
    assert refusals[0] == refusals[1] == refusals[2]
    assert not ApiToken.objects.exists()


@pytest.mark.django_db
def test_an_unknown_user_costs_as_much_hashing_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    make_user("li@example.org", password="right enough")
    runs: list[str] = []
    encode = ScryptPasswordHasher.encode

    def counted(self: Any, password: str, *args: Any, **kwargs: Any) -> str:
        runs.append(password)
        return encode(self, password, *args, **kwargs)

    monkeypatch.setattr(ScryptPasswordHasher, "encode", counted)
    for email in ("li@example.org", "no@example.org"):
        with pytest.raises(services.WrongCredentials):
            sign_in(email=email, password="guess")
    assert len(runs) == 2


@pytest.mark.django_db
def test_guessing_is_slowed_down_and_the_right_password_does_not_help_then() -> None:
    make_user("li@example.org", password="right enough")
    for _ in range(10):
        with pytest.raises(services.WrongCredentials):
            sign_in(password="wrong", address="203.0.113.9")
    with pytest.raises(services.TooMany) as refused:
        sign_in(address="203.0.113.9")
    assert refused.value.facts["retry_after_s"] == 901
    assert not ApiToken.objects.exists()
    sign_in(address="203.0.113.10")
    sign_in(address="203.0.113.9", now=NOW + timedelta(minutes=15))


def test_parallel_guesses_are_all_counted(fresh_db: Any) -> None:
    def guess() -> None:
        services.count_failure(key="k", limit=3, window=timedelta(minutes=1), now=NOW)

    results = in_threads(*[guess] * 8)
    assert sum(isinstance(result, services.TooMany) for result in results) == 5


@pytest.mark.django_db
def test_an_account_with_an_authenticator_app_asks_for_its_code(settings: Any) -> None:
    settings.MFA_TOTP_TOLERANCE = 1  # else the code is over when the test meets the end of its half minute
    user = make_user("li@example.org", password="right enough")
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))
    with pytest.raises(services.CodeNeeded):
        sign_in()
    with pytest.raises(services.WrongCredentials):
        sign_in(otp="000000" if code != "000000" else "000001")
    with pytest.raises(services.WrongCredentials):
        sign_in(password="wrong", otp=code)
    assert not ApiToken.objects.exists()
    sign_in(otp=code)
    with pytest.raises(services.WrongCredentials):
        sign_in(otp=code)
    assert Authenticator.objects.count() == ApiToken.objects.count() == 1


@pytest.mark.django_db
def test_codes_are_counted_and_used_once_on_every_process(settings: Any) -> None:
    """allauth notes used codes and wrong ones in the memory of a process: another one knows nothing of it."""
    settings.MFA_TOTP_TOLERANCE = 1
    user = make_user("li@example.org", password="right enough")
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    code = format_hotp_value(hotp_value(secret, int(time.time()) // 30))
    sign_in(otp=code)
    cache.clear()
    with pytest.raises(services.WrongCredentials):
        sign_in(otp=f" {code[:3]} {code[3:]} ")
    for number in range(9):
        cache.clear()
        with pytest.raises(services.WrongCredentials):
            sign_in(otp="wrong", address=f"203.0.113.{number}")
    with pytest.raises(services.TooMany):
        sign_in(otp=code, address="203.0.113.77")
    assert ApiToken.objects.count() == 1


@pytest.mark.django_db
def test_a_flood_of_guesses_at_many_addresses_writes_no_more() -> None:
    for number in range(150):
        with suppress(services.TooMany):
            services.count_password(email=f"{number}@example.org", address="203.0.113.9", now=NOW)
    assert FailureCount.objects.count() == 201


@pytest.mark.django_db
def test_where_mail_goes_out_the_address_must_be_confirmed(settings: Any) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    user = make_user("li@example.org", password="right enough")
    with pytest.raises(services.EmailUnverified):
        sign_in()
    assert not ApiToken.objects.exists()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    sign_in()


# Bootstrap


@pytest.mark.django_db
def test_the_first_bootstrap_makes_the_operator_and_further_ones_do_not() -> None:
    first = services.bootstrap(
        email="Op@hub.cn", organisation_name="The Hub", capabilities=["operator"], now=NOW
    )
    second = services.bootstrap(
        email="sam@example.org", organisation_name="Sam's", capabilities=["supplier", "resident"], now=NOW
    )
    third = services.bootstrap(
        email="chk@hub.cn", organisation_name="Checkers", hub_roles=[HubRole.CHECKER], now=NOW
    )
    actors = [actor_of_authorization(f"Bearer {made.token}", now=NOW) for made in (first, second, third)]
    assert [actor.hub_roles for actor in actors] == [{HubRole.OPERATOR}, set(), {HubRole.CHECKER}]
    assert [actor.organisation_id for actor in actors] == [
        made.organisation_id for made in (first, second, third)
    ]
    assert Organisation.objects.get(id=second.organisation_id).capabilities == ["resident", "supplier"]
    assert first.password
    services.token_by_password(email="op@hub.cn", password=first.password, name="laptop", now=NOW)
    more = services.bootstrap(email="op@hub.cn", organisation_name="More", now=NOW)
    assert (more.user_id, more.password) == (first.user_id, None)


@pytest.mark.django_db
def test_staff_may_come_before_the_operator_and_speak_for_themselves() -> None:
    user_id, token, password = services.add_staff(email="chk@hub.cn", role=HubRole.CHECKER, now=NOW)
    first = services.bootstrap(email="op@hub.cn", organisation_name="The Hub", now=NOW)
    checker, operator = (
        actor_of_authorization(f"Bearer {secret}", now=NOW) for secret in (token, first.token)
    )
    assert (checker.id, checker.hub_roles, checker.organisation_id) == (user_id, {HubRole.CHECKER}, None)
    assert operator.hub_roles == {HubRole.OPERATOR}
    assert password
    again = services.add_staff(email="CHK@hub.cn", role=HubRole.CHECKER, now=NOW)
    assert (again[0], again[2]) == (user_id, None)
    assert again[1] != token
    with pytest.raises(Invalid):
        services.add_staff(email="nobody", role=HubRole.CHECKER, now=NOW)
    assert User.objects.count() == 2


@pytest.mark.django_db
def test_a_refused_bootstrap_changes_nothing() -> None:
    services.bootstrap(email="op@hub.cn", organisation_name="The Hub", now=NOW)
    for wrong in (
        {"organisation_name": "the hub"},
        {"email": "nobody"},
        {"capabilities": ["king"]},
        {"kind": "cartel"},
    ):
        with pytest.raises(DomainError):
            services.bootstrap(**{"email": "a@b.cn", "organisation_name": "Other", "now": NOW, **wrong})
    assert (User.objects.count(), Organisation.objects.count(), ApiToken.objects.count()) == (1, 1, 1)


# Idempotency


def test_the_same_key_at_once_is_done_once(fresh_db: Any) -> None:
    made: list[UUID] = []

    def work() -> UUID:
        with transaction.atomic(durable=True):
            mine = uuid7()
            earlier = services.claim_key(scope="s", key="k", digest="d", result_id=mine)
            if earlier:
                return earlier
            time.sleep(0.05)
            made.append(mine)
            return mine

    results = in_threads(*[work] * 6)
    assert len(made) == 1
    assert results == made * 6


@pytest.mark.django_db
def test_a_key_used_with_another_request_is_refused() -> None:
    first, second = uuid7(), uuid7()
    assert services.claim_key(scope="s", key="k", digest="d", result_id=first) is None
    with pytest.raises(services.KeyReused):
        services.claim_key(scope="s", key="k", digest="other", result_id=second)
    assert services.claim_key(scope="another's", key="k", digest="other", result_id=second) is None
    assert services.claim_key(scope="s", key="k", digest="d", result_id=second) == first


@pytest.mark.django_db
def test_old_keys_are_forgotten() -> None:
    for key, age in (("old", 31), ("new", 29)):
        services.claim_key(scope="s", key=key, digest="d", result_id=uuid7())
        IdempotencyRecord.objects.filter(key=key).update(created_at=NOW - timedelta(days=age))
    assert services.purge_keys(now=NOW) == 1
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == ["new"]


# Events


@pytest.mark.django_db
def test_a_failing_subscriber_stops_no_other_and_is_tried_again(subscribers: Any) -> None:
    seen: list[str] = []
    broken = True

    def bad(event: Event) -> None:
        Project.objects.create(organisation=organisation, name="half done", created_at=NOW)
        if broken:
            raise ZeroDivisionError
        seen.append("bad")

    def good(event: Event) -> None:
        seen.append("good")

    _, organisation = make_founder()
    services.subscribe("x", bad)
    services.subscribe("x", good)
    services.emit(name="x", subject_id=organisation.id, payload={"a": 1}, now=NOW)
    event = Event.objects.get(name="x")
    with pytest.raises(services.DeliveryFailed, match="bad"):
        services.deliver(event_id=event.id, now=NOW)
    assert seen == ["good"]
    assert not Project.objects.filter(name="half done").exists()
    broken = False
    for _ in range(2):
        services.deliver(event_id=event.id, now=NOW)
    assert seen == ["good", "bad"]
    assert Delivery.objects.count() == 2


def test_an_event_delivered_twice_at_once_is_handled_once(fresh_db: Any, subscribers: Any) -> None:
    seen: list[UUID] = []

    def handler(event: Event) -> None:
        time.sleep(0.05)
        seen.append(event.id)

    services.subscribe("x", handler)
    services.emit(name="x", subject_id=uuid7(), payload={}, now=NOW)
    event = Event.objects.get()
    in_threads(*[lambda: services.deliver(event_id=event.id, now=NOW)] * 4)
    assert seen == [event.id]


@pytest.mark.django_db
def test_what_is_rolled_back_tells_nobody(subscribers: Any) -> None:
    services.subscribe("x", lambda event: None)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.emit(name="x", subject_id=uuid7(), payload={}, now=NOW)
        raise ZeroDivisionError
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from procrastinate_jobs")
        assert (cursor.fetchone(), Event.objects.count()) == ((0,), 0)
        services.emit(name="x", subject_id=uuid7(), payload={}, now=NOW)
        cursor.execute("select task_name from procrastinate_jobs")
        assert cursor.fetchall() == [("platform.deliver_event",)]


# Notices, mail, secrets

TEXT = {"zh": "您好", "en": "Hello"}


@pytest.mark.django_db
def test_a_notice_is_its_users_alone_and_read_once() -> None:
    actor, organisation = make_founder()
    stranger = make_user()
    (notice,) = services.notify(
        user_ids=services.members_of(organisation.id), kind="hello", title=TEXT, body=TEXT, now=NOW, mail=True
    )
    with pytest.raises(NotFound):
        services.read_notice(actor=actor_for_user(stranger), notice_id=notice.id, now=LATER)
    for at in (LATER, LATER + timedelta(days=1)):
        assert services.read_notice(actor=actor, notice_id=notice.id, now=at).read_at == LATER
    assert not Mail.objects.exists()


@pytest.mark.django_db
def test_all_of_ones_notices_are_read_and_nobody_elses() -> None:
    one, other = make_user(), make_user()
    text = {"zh": "一", "en": "one"}
    for _ in range(2):
        services.notify(user_ids=[one.id, other.id], kind="test", title=text, body=text, now=NOW)
    assert services.read_notices(actor=actor_for_user(one), now=NOW) == 2
    assert services.read_notices(actor=actor_for_user(one), now=NOW) == 0
    assert Notice.objects.filter(user=other, read_at=None).count() == 2


def test_a_profile_is_ones_own_words_and_a_language_of_the_hub() -> None:
    user = make_user()
    actor = actor_for_user(user)
    services.change_profile(actor=actor, name="  Wei  Li ", language="zh-hans", now=NOW)
    user.refresh_from_db()
    assert (user.name, user.language) == ("Wei Li", "zh-hans")
    assert AuditRecord.objects.filter(subject_id=user.id, action="user.name").count() == 1
    for wrong in ({"language": "fr"}, {"name": "x"}):
        with pytest.raises(Invalid):
            services.change_profile(actor=actor, now=NOW, **wrong)
    services.change_profile(actor=actor, language="", now=NOW)
    user.refresh_from_db()
    assert (user.name, user.language) == ("Wei Li", "")


def test_a_letter_is_in_the_language_of_the_account_it_goes_to() -> None:
    user = make_user("wei@example.org")
    services.change_profile(actor=actor_for_user(user), language="zh-hans", now=NOW)
    text = {"zh": "一", "en": "one"}
    letters = [
        services.post_mail(email=email, title=text, body=text, now=NOW)
        for email in ("WEI@example.org", "nobody@example.org")
    ]
    assert [letter.language for letter in letters] == ["zh-hans", ""]


def test_a_title_of_two_lines_is_one_header() -> None:
    text = {"zh": "一\r\nBcc: x@example.org", "en": "one\ntwo"}
    letter = services.post_mail(email="li@example.org", title=text, body=text, now=NOW)
    services.send_posted(mail_id=letter.id, now=NOW)
    (sent,) = mail.outbox
    assert (sent.subject, sent.recipients()) == ("一 Bcc: x@example.org / one two", ["li@example.org"])


def test_a_text_in_one_language_is_a_bug() -> None:
    user = make_user()
    with pytest.raises(ValueError, match="zh and en"):
        services.notify(user_ids=[user.id], kind="x", title={"en": "Hello"}, body=TEXT, now=NOW)
    with pytest.raises(IntegrityError, match="notice_in_both_languages"), transaction.atomic():
        Notice.objects.create(user=user, kind="x", title={"en": "Hello"}, body=TEXT, created_at=NOW)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "subject", "has", "has_not"),
    [
        ("", "您好 / Hello", ["您好", "Hello"], []),
        ("en", "Hello", ["Hello"], ["您好"]),
        ("zh-hans", "您好", ["您好"], ["Hello"]),
    ],
)
def test_mail_goes_out_once_in_the_readers_language(
    settings: Any, language: str, subject: str, has: list[str], has_not: list[str]
) -> None:
    settings.EMAIL_HOST = "mail.example.org"
    user = make_user()
    User.objects.filter(id=user.id).update(language=language)
    services.notify(user_ids=[user.id], kind="x", title=TEXT, body=TEXT, link="/orders/1", now=NOW, mail=True)
    letter = Mail.objects.get()
    for _ in range(2):
        services.send_posted(mail_id=letter.id, now=NOW)
    (sent,) = mail.outbox
    assert (sent.subject, sent.to) == (subject, [user.email])
    assert all(text in sent.body for text in [*has, f"{settings.MOSU_URL}/orders/1"])
    assert not any(text in sent.body for text in has_not)


@pytest.mark.django_db
def test_without_a_mail_server_the_operator_passes_the_link_on_and_it_is_recorded() -> None:
    owner, organisation = make_founder()
    _, link = services.invite(
        actor=owner, organisation_id=organisation.id, email="li@example.org", role=Role.VIEWER, now=NOW
    )
    letter = Mail.objects.get()
    assert link.encode() not in bytes(letter.sealed_link or b"")
    assert not mail.outbox
    for nobody in (owner, make_staff(HubRole.AUDITOR)):
        with pytest.raises(Forbidden):
            mail_waiting(nobody)
        with pytest.raises(Forbidden):
            services.pass_on(actor=nobody, mail_id=letter.id, now=NOW)
    operator = make_staff(HubRole.OPERATOR)
    assert list(mail_waiting(operator)) == [letter]
    assert services.pass_on(actor=operator, mail_id=letter.id, now=NOW) == link
    assert AuditRecord.objects.get(action="mail.pass_on").actor_id == operator.id


def test_what_is_sealed_opens_only_under_its_key(settings: Any) -> None:
    sealed = seal("open sesame 芝麻")
    assert b"sesame" not in sealed
    assert unseal(sealed) == "open sesame 芝麻"
    with pytest.raises(ValueError, match="altered"):
        unseal(sealed[:-3] + b"abc")
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    with pytest.raises(ValueError, match="another key"):
        unseal(sealed)
    settings.MOSU_ENCRYPTION_KEY = ""
    with pytest.raises(ImproperlyConfigured):
        seal("x")


# Rows written together


def _record(action: str) -> None:
    services.record_audit(
        actor=SYSTEM, action=action, subject_id=uuid7(), before=None, after="x", now=NOW, facts={"a": ["'%s"]}
    )


@pytest.mark.django_db
def test_what_is_inserted_together_is_written_at_the_end_by_one_message(
    django_assert_num_queries: Any,
) -> None:
    with django_assert_num_queries(1), inserts_together():
        _record("first")
        with inserts_together():
            _record("second")
        services.emit(name="third", subject_id=uuid7(), payload={"p": 1}, now=NOW)
    assert dict(AuditRecord.objects.values_list("action", "facts")) == {
        "first": {"a": ["'%s"]},
        "second": {"a": ["'%s"]},
    }
    assert Event.objects.get().payload == {"p": 1}


@pytest.mark.django_db
def test_a_refusal_writes_nothing_of_what_was_to_be_inserted() -> None:
    with pytest.raises(services.KeyReused), inserts_together():
        _record("lost")
        raise services.KeyReused("no", hint="no")
    assert not AuditRecord.objects.exists()
    _record("kept")
    assert AuditRecord.objects.get().action == "kept"
