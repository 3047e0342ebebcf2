"""Certificates with which people come into sessions by ssh: for whom, for what, for how long."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)
from django.test import Client
from django.utils import timezone

from mosu.compute import services
from mosu.compute.models import Attempt
from mosu.compute.services import Certified, NoSuchApp, NotASession, NotRunning, PoolAway
from mosu.compute.session_apps import APPS
from mosu.compute.session_apps.ssh import authority, host_key_of, hub_host_key_line
from mosu.kernel.ids import typeid, uuid7
from mosu.kernel.refusals import Forbidden, Invalid, NotFound
from mosu.platform.actors import Actor, HubRole, Role, Scope
from mosu.platform.models import AuditRecord, User
from mosu.platform.services import revoke_token
from tests.compute.sessions import SESSION, Session, let_in, with_token
from tests.compute.world import (
    at,
    buy,
    make_organisation,
    make_world,
    quote,
    register,
    report,
    started,
    task_of,
)
from tests.conftest import NOW
from tests.platform.factories import bearer, make_member, make_staff

pytestmark = pytest.mark.django_db

SSH_SESSION = SESSION.replace("kind: session", "kind: session, apps: [ssh]")


@pytest.fixture(autouse=True)
def _key(settings: Any) -> None:
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()


def ssh_session(*, text: str = SSH_SESSION, now: datetime = NOW, wall: str = "2h") -> Session:
    world = make_world(now=now)
    register(world, now=now, reaches=True, has_sshd=True)
    run, attempt = started(world, now=now, text=text.replace("wall_limit: 2h", f"wall_limit: {wall}"))
    session = Session(world, run, attempt, make_member(world.buyer, Role.DEVELOPER))
    session.let_in(session.person)
    return session


def line_of(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return text.decode()


KEY = line_of(ed25519.Ed25519PrivateKey.generate())


def certified(
    session: Session, *, actor: Actor | None = None, key: str = KEY, now: datetime = NOW
) -> Certified:
    return services.certify_key(actor=actor or session.person, run_id=session.run.id, public_key=key, now=now)


def opened(made: Certified) -> SSHCertificate:
    found = load_ssh_public_identity(made.certificate.encode())
    assert isinstance(found, SSHCertificate)
    found.verify_cert_signature()
    assert (
        line_of(authority())
        == found.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    )
    return found


def test_a_certificate_is_for_this_attempt_this_person_and_its_time() -> None:
    session = ssh_session()
    made = certified(session, now=at(20))
    found = opened(made)
    person = typeid("user", session.person.id or uuid7())
    assert found.valid_principals == [session.attempt.public_id.encode(), person.encode()]
    assert found.key_id.decode().startswith("user_") and session.person.id is not None
    assert (found.critical_options, set(found.extensions)) == (
        {},
        {b"permit-pty", b"permit-port-forwarding"},
    )
    held = session.attempt.allocations.get(live=True).period
    assert made.valid_until == held.upper < NOW + timedelta(hours=3)
    assert (found.valid_after, found.valid_before) == (int(at(-40).timestamp()), int(held.upper.timestamp()))
    assert made.host_key == host_key_of(session.attempt.public_id)


def test_it_lives_a_day_at_most() -> None:
    session = ssh_session(wall="60h")
    assert certified(session, now=at(20)).valid_until == at(20) + timedelta(hours=24)


@pytest.mark.parametrize(
    ("off_s", "counted_s"), [(-600, -600), (600, 600), (-86_400, -3_600), (86_400, 3_600)]
)
def test_it_is_meant_for_the_suppliers_clock(off_s: int, counted_s: int) -> None:
    session = ssh_session()
    plain = opened(certified(session, now=at(20)))
    register(session.world, now=at(20), clock_at=at(20 + off_s), reaches=True, has_sshd=True)
    made = certified(session, now=at(20))
    found = opened(made)
    assert found.valid_before - plain.valid_before == counted_s
    assert found.valid_after - plain.valid_after == min(counted_s, 0), "the hub's own port reads it too"
    assert made.valid_until.timestamp() == plain.valid_before


def test_openssh_reads_it_as_we_mean_it(tmp_path: Path) -> None:
    session = ssh_session(now=timezone.now())
    file = tmp_path / "key-cert.pub"
    file.write_text(certified(session, now=timezone.now()).certificate)
    said = subprocess.run(["ssh-keygen", "-L", "-f", file], capture_output=True, text=True, check=True).stdout
    assert "user certificate" in said and f"{session.attempt.public_id}\n" in said
    assert "Critical Options: (none)" in said


def test_the_audit_says_who_when_and_which_key() -> None:
    session = ssh_session()
    actor, _ = with_token(session.person)
    made = certified(session, actor=actor, now=at(5))
    [record] = AuditRecord.objects.filter(action="run.key_certified")
    assert (record.actor_id, record.at, record.subject_id) == (actor.id, at(5), session.run.id)
    assert record.organisation_id == session.world.buyer.id
    file = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=KEY, capture_output=True, text=True, check=True
    )
    assert record.facts["fingerprint"] == file.stdout.split()[1]
    assert record.facts["valid_until"] == made.valid_until.isoformat()
    assert made.certificate not in str(record.facts)


@pytest.mark.parametrize(
    "make",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 3072),
    ],
    ids=["ed25519", "nistp256", "nistp521", "rsa-3072"],
)
def test_keys_that_are_taken(make: Any) -> None:
    key = line_of(make())
    found = opened(certified(ssh_session(), key=f"{key} ada@laptop\n"))
    assert found.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() == key


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: line_of(rsa.generate_private_key(65537, 2048)), id="rsa-2048"),
        pytest.param(lambda: line_of(dsa.generate_private_key(1024)), id="dsa"),
        pytest.param(lambda: "ssh-ed25519 AAAA", id="cut off"),
        pytest.param(lambda: "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t", id="sk"),
        pytest.param(lambda: "-----BEGIN OPENSSH PRIVATE KEY-----\n", id="private"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: KEY + " " + "x" * 8_192, id="too long"),
        pytest.param(lambda: "ssh-ed25519 \udcff", id="no text"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*DSA")
def test_keys_that_are_refused(key: Any) -> None:
    session = ssh_session()
    with pytest.raises(Invalid) as refused:
        certified(session, key=key())
    assert refused.value.facts["field"] == "public_key" and "ed25519" in refused.value.hint
    assert not AuditRecord.objects.filter(action="run.key_certified").exists()


# Who may.


@pytest.mark.parametrize("role", list(Role))
def test_who_may_connect_may_have_one(role: Role) -> None:
    session = ssh_session()
    member = make_member(session.world.buyer, role)
    session.let_in(member)
    if role in (Role.OWNER, Role.ADMIN, Role.DEVELOPER):
        assert opened(certified(session, actor=member))
    else:
        with pytest.raises(Forbidden):
            certified(session, actor=member)


def test_others_may_not() -> None:
    session = ssh_session()
    with pytest.raises(NotFound):
        certified(session, actor=make_member(make_organisation("other"), Role.OWNER))
    with pytest.raises(Forbidden):
        certified(session, actor=make_staff(HubRole.OPERATOR))
    with pytest.raises(Forbidden):
        certified(session, actor=with_token(session.person, scopes=(Scope.READ,))[0])
    assert not AuditRecord.objects.filter(action="run.key_certified").exists()


def test_for_what_there_is_none() -> None:
    session = ssh_session()
    for text, refusal in ((SESSION, NoSuchApp), (task_of(), NotASession)):
        run, attempt = started(session.world, now=NOW, text=text)
        let_in(session.person, run)
        with pytest.raises(refusal):
            certified(Session(session.world, run, attempt, session.person))
    with pytest.raises(PoolAway):
        certified(session, now=at(60 * 60))
    report(session.world, session.attempt, now=at(10))
    with pytest.raises(NotRunning):
        certified(session, now=at(10))


# What a session is given.


def test_each_attempt_has_a_host_key_of_its_own_and_none_of_the_hubs() -> None:
    one, other = (APPS["ssh"].secrets(name) for name in ("attempt_1", "attempt_2"))
    assert set(one) == {"MOSU_SSH_HOST_KEY", "MOSU_SSH_AUTHORITY", "MOSU_SSH_PRINCIPALS", "MOSU_SSH_START"}
    assert host_key_of("attempt_1") != host_key_of("attempt_2")
    assert one["MOSU_SSH_AUTHORITY"] == other["MOSU_SSH_AUTHORITY"] == line_of(authority()) + "\n"
    assert one["MOSU_SSH_PRINCIPALS"] == "attempt_1\n"


def test_a_pool_without_an_openssh_server_sells_no_ssh() -> None:
    world = make_world()
    register(world, reaches=True)
    refused = quote(world, SSH_SESSION)
    assert not refused.quotes
    assert [reason.code for reason in refused.refused[0].reasons] == ["no_sshd"]
    assert any(group.codes == frozenset({"no_sshd"}) for group in refused.refused_groups)
    assert quote(world, SESSION).quotes
    register(world, reaches=True, has_sshd=True)
    assert buy(world, SSH_SESSION).request["apps"] == ["ssh"]


@pytest.mark.urls("tests.compute.urls")
def test_over_http(client: Client) -> None:
    session = ssh_session(now=timezone.now())
    path = f"/api/v1/runs/{session.run.public_id}/ssh-certificates"
    answer = client.post(
        path, {"public_key": KEY}, content_type="application/json", headers=bearer(session.person)
    )
    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"certificate", "host_key", "valid_until", "jump"}
    assert body["certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    assert datetime.fromisoformat(body["valid_until"]) > datetime.now(UTC)
    refused = client.post(
        path, {"public_key": "no"}, content_type="application/json", headers=bearer(session.person)
    )
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:mosu:invalid")
    stranger = make_member(make_organisation("stranger"), Role.OWNER)
    assert (
        client.post(
            path, {"public_key": KEY}, content_type="application/json", headers=bearer(stranger)
        ).status_code
        == 404
    )
    assert Attempt.objects.count() == 1


# What the name hangs on with which a certificate opens the hub's own port.


def test_a_certificate_made_with_a_token_enters_as_the_token_and_ends_with_it() -> None:
    session = ssh_session()
    actor, token = with_token(session.person)
    name = certified(session, actor=actor).enters_as
    assert name == token.public_id
    entering = services.entering(name, now=NOW)
    assert entering is not None and (entering.id, entering.token_id) == (session.person.id, token.id)
    assert services.entering(name, now=NOW + timedelta(days=31)) is None
    revoke_token(actor=actor, token_id=token.id, now=NOW)
    assert services.entering(name, now=NOW) is None


def test_a_certificate_made_on_a_page_enters_as_its_person_and_ends_with_them() -> None:
    session = ssh_session()
    name = certified(session).enters_as
    entering = services.entering(name, now=NOW)
    assert entering is not None and entering.id == session.person.id
    User.objects.filter(id=session.person.id).update(is_active=False)
    assert services.entering(name, now=NOW) is None


@pytest.mark.parametrize("name", ["", "root", "user_", "token_x", f"user_{'0' * 26}", f"token_{'0' * 26}"])
def test_nobody_else_enters(name: str) -> None:
    assert services.entering(name, now=NOW) is None


@pytest.mark.urls("tests.compute.urls")
def test_the_hubs_port_is_told_with_the_certificate_where_there_is_one(client: Client, settings: Any) -> None:
    """Over HTTP, as `ssh` needs it."""
    session = ssh_session(now=timezone.now())
    path, body = f"/api/v1/runs/{session.run.public_id}/ssh-certificates", {"public_key": KEY}
    headers = bearer(session.person)
    assert client.post(path, body, content_type="application/json", headers=headers).json()["jump"] is None
    settings.MOSU_SSH_ADDRESS = "hub.example:2200"
    jump = client.post(path, body, content_type="application/json", headers=headers).json()["jump"]
    assert (jump["host"], jump["port"], jump["host_key"]) == ("hub.example", 2200, hub_host_key_line())
    assert jump["user"].startswith("token_")
