"""Asked for on the organisation's page, decided at the desk, read by who asked; and an application taken back."""

from pathlib import Path
from typing import Any

import pytest

from mosu.platform.actors import HubRole, Role
from mosu.platform.models import Admission, Organisation
from mosu.platform.queries import actor_for_user
from mosu.platform.services import record_fact
from mosu.store.documents import attach_to_fact
from mosu.subsidies.models import Application
from mosu.subsidies.services import apply_for_voucher
from tests.subsidies.factories import YUAN
from tests.web import residents
from tests.web.conftest import Hub, page

BOTH = ("en", "zh-hans")


@pytest.fixture(autouse=True)
def _folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path


@pytest.mark.parametrize("language", BOTH)
def test_it_is_asked_for_with_a_document_and_declined_with_a_reason_that_is_read(
    hub: Hub, language: str
) -> None:
    user = hub.user(role=Role.OWNER)
    client = hub.client(user, language=language)
    paper = residents.document(hub, actor_for_user(user))
    assert "/organisation/admission/?as=supplier" in page(client.get("/organisation/"))
    given = {"capability": "supplier", "note": "Two racks", "documents": [paper.public_id]}
    assert client.post("/organisation/admission/", {**given, "note": ""}).status_code == 422
    assert not Admission.objects.exists()
    assert client.post("/organisation/admission/", given).status_code == 302
    again = client.post("/organisation/admission/", given)
    assert again.status_code == 409 and "Two racks" in page(again)
    admission = Admission.objects.get()
    operator = hub.client(hub.user(hub=HubRole.OPERATOR), language=language)
    desk = f"/desk/organisations/{hub.world.buyer.public_id}/"
    assert desk in page(operator.get("/today/"))
    shown = page(operator.get(desk))
    assert "Two racks" in shown and f"/documents/{paper.public_id}/" in shown
    assert operator.get(f"/documents/{paper.public_id}/").status_code == 200
    decide = f"/desk/admissions/{admission.public_id}/"
    assert operator.post(decide, {"decline": "1", "why": ""}).status_code == 422
    for stranger in (hub.client(user), hub.client(hub.user(hub=HubRole.CHECKER))):
        assert stranger.post(decide, {"why": "mine"}).status_code == 403
    admission.refresh_from_db()
    assert admission.state == "asked"
    operator.post(decide, {"decline": "1", "why": "No licence yet"})
    assert "No licence yet" in page(client.get("/organisation/"))
    assert Organisation.objects.get(id=hub.world.buyer.id).capabilities == hub.world.buyer.capabilities
    client.post("/organisation/admission/", given)
    second = Admission.objects.get(state="asked")
    operator.post(f"/desk/admissions/{second.public_id}/", {"why": "Seen the licence"})
    assert "supplier" in Organisation.objects.get(id=hub.world.buyer.id).capabilities


def test_it_is_taken_back_by_its_own_and_a_viewer_only_looks(hub: Hub) -> None:
    client, viewer = (hub.client(hub.user(role=role)) for role in (Role.OWNER, Role.VIEWER))
    assert viewer.get("/organisation/admission/").status_code == 403
    client.post("/organisation/admission/", {"capability": "sponsor", "note": "Prizes"})
    path = f"/admissions/{Admission.objects.get().public_id}/withdraw/"
    assert "Prizes" in page(viewer.get("/organisation/"))
    assert viewer.post(path).status_code == 403
    assert Admission.objects.get().state == "asked"
    assert client.post(path).status_code == 302
    assert Admission.objects.get().state == "withdrawn"
    assert client.post(path, follow=True).status_code == 200


def test_the_desk_shows_what_facts_rest_on_and_what_lapsed(hub: Hub) -> None:
    user = hub.user(role=Role.OWNER)
    actor = actor_for_user(user)
    paper = residents.document(hub, actor, "licence.pdf")
    fact = record_fact(
        actor=actor,
        organisation_id=hub.world.buyer.id,
        name="founded",
        value=2020,
        source="register",
        now=hub.now,
    )
    attach_to_fact(actor=actor, fact_id=fact.id, document_id=paper.id, now=hub.now)
    auditor = hub.client(hub.user(hub=HubRole.AUDITOR))
    shown = page(auditor.get(f"/desk/organisations/{hub.world.buyer.public_id}/"))
    assert shown.count(f"/documents/{paper.public_id}/") == 2
    assert "no end" in shown and user.email in shown


def _applied(hub: Hub, actor: Any) -> Application:
    return apply_for_voucher(
        actor=actor,
        organisation_id=hub.world.buyer.id,
        programme_id=residents.programme(hub).programme_id,
        amount_micros=20 * YUAN,
        now=hub.now,
    )


@pytest.mark.parametrize("language", BOTH)
def test_an_application_is_taken_back_on_its_page_while_undecided(hub: Hub, language: str) -> None:
    user = hub.user(role=Role.OWNER)
    client = hub.client(user, language=language)
    application = _applied(hub, actor_for_user(user))
    path = f"/applications/{application.public_id}/"
    assert path in page(client.get("/applications/"))
    viewer = hub.client(hub.user(role=Role.VIEWER))
    assert f"{path}withdraw/" in page(client.get(path))
    assert f"{path}withdraw/" not in page(viewer.get(path))
    assert viewer.post(f"{path}withdraw/", {"why": "no"}).status_code == 403
    assert client.post(f"{path}withdraw/", {"why": ""}).status_code == 422
    assert Application.objects.get().state == "submitted"
    shown = page(client.post(f"{path}withdraw/", {"why": "Another plan"}, follow=True))
    assert "Another plan" in shown and f"{path}withdraw/" not in shown
    assert Application.objects.get().state == "withdrawn"


def test_who_was_refused_reads_why(hub: Hub) -> None:
    user = hub.user(role=Role.OWNER)
    client = hub.client(user)
    application = _applied(hub, actor_for_user(user))
    operator = hub.client(hub.user(hub=HubRole.OPERATOR))
    operator.post(f"/desk/applications/{application.public_id}/reject/", {"why": "Out of scope"})
    path = f"/applications/{application.public_id}/"
    assert "Out of scope" in page(client.get(path))
    late = client.post(f"{path}withdraw/", {"why": "too late"})
    assert late.status_code == 409 and "Out of scope" in page(late)
    assert Application.objects.get().state == "rejected"
