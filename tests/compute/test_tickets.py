"""Tickets over the API, and what the database holds of them."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from mosu.compute.models import Ticket
from mosu.compute.services import make_ticket, redeem_ticket
from mosu.compute.session_apps import jupyter
from mosu.platform.actors import Role, Scope
from tests.compute.sessions import JUPYTER, Session, let_in, make_session, with_token
from tests.compute.test_sessions import bearer
from tests.compute.world import make_organisation, report, started
from tests.platform.factories import make_member

pytestmark = pytest.mark.urls("tests.compute.urls")


@pytest.fixture(autouse=True)
def apps(fresh_db: None, settings: Any) -> None:
    settings.MOSU_RELAY_URL, settings.MOSU_APPS_HOST = "https://hub.example", "apps.hub.example"
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()


def post(client: Client, session: Session, who: Any, **body: Any) -> Any:
    path = f"/api/v1/runs/{session.run.public_id}/tickets"
    return client.post(path, data=body, content_type="application/json", headers=bearer(who))


def test_a_ticket_over_the_api(client: Client) -> None:
    session = make_session(now=timezone.now())
    answer = post(client, session, session.person, port=6006)
    assert answer.status_code == 201 and "no-store" in answer["Cache-Control"]
    name = session.run.public_id.removeprefix("run_")
    assert answer.json()["url"].startswith(f"https://6006-{name}.apps.hub.example/.mosu/open?ticket=")
    ticket = Ticket.objects.get()
    assert ticket.token is not None and ticket.sign_in == ""
    assert ticket.expires_at - ticket.made_at == timedelta(seconds=60)
    assert ticket.secret_sha256 not in answer.json()["url"]


def test_who_may_not_connect_gets_no_ticket(client: Client, settings: Any) -> None:
    session = make_session(now=timezone.now())
    viewer = make_member(session.world.buyer, Role.VIEWER)
    stranger = make_member(make_organisation("Stranger"), Role.OWNER)
    assert post(client, session, viewer, port=80).status_code == 403
    assert post(client, session, stranger, port=80).status_code == 404
    assert post(client, session, session.person, port=0).status_code == 422
    report(session.world, session.attempt, now=timezone.now())
    assert post(client, session, session.person, port=80).status_code == 409
    assert Ticket.objects.count() == 0


def test_the_database_keeps_a_ticket_as_it_was_redeemed() -> None:
    now = timezone.now()
    session = make_session(now=now)
    person, _ = with_token(session.person, now=now, scopes=(Scope.BUY,))
    made = make_ticket(actor=person, run_id=session.run.id, port=80, sign_in="", now=now)
    redeemed = redeem_ticket(secret=made.url.rpartition("=")[2], run_id=session.run.id, port=80, now=now)
    assert now < redeemed.expires_at <= now + timedelta(hours=12)
    row = Ticket.objects.filter(run=session.run)
    wrong: list[dict[str, Any]] = [
        {"redeemed_at": None, "cookie_sha256": None, "cookie_expires_at": None},
        {"cookie_expires_at": now + timedelta(days=1)},
    ]
    for change in wrong:
        with pytest.raises(IntegrityError), transaction.atomic():
            row.update(**change)
    for column in ("port", "expires_at", "run_id", "user_id", "secret_sha256"):
        with pytest.raises(Exception, match="permission denied"), transaction.atomic():
            row.update(**{column: row.values_list(column, flat=True).get()})
    with pytest.raises(Exception, match="permission denied"), transaction.atomic():
        row.delete()


def test_a_cookie_lasts_no_longer_than_the_sessions_place() -> None:
    now = timezone.now()
    session = make_session(now=now)
    person, _ = with_token(session.person, now=now)
    made = make_ticket(actor=person, run_id=session.run.id, port=80, sign_in="", now=now)
    redeemed = redeem_ticket(secret=made.url.rpartition("=")[2], run_id=session.run.id, port=80, now=now)
    (place,) = session.attempt.allocations.filter(live=True)
    assert redeemed.expires_at == place.period.upper < now + timedelta(hours=12)


def test_a_notebook_opens_with_its_own_token() -> None:
    now = timezone.now()
    session = make_session(now=now, environments=(JUPYTER,))
    text = "name: lab\nresources: {cpus: 1}\nmosu: {kind: session, apps: [jupyter], wall_limit: 1h}\n"
    run, attempt = started(session.world, now=now, text=text)
    let_in(session.person, run)
    person, _ = with_token(session.person, now=now)
    made = make_ticket(actor=person, run_id=run.id, port=jupyter.PORT, sign_in="", now=now)
    redeemed = redeem_ticket(secret=made.url.rpartition("=")[2], run_id=run.id, port=jupyter.PORT, now=now)
    assert redeemed.path == f"/lab?token={jupyter.token_of(attempt.public_id)}"
