"""A session on its order's page: the line that joins one to it, and who is joined."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.test import Client

from mosu.compute.models import Connection, Ticket
from mosu.compute.services import Traffic, close_connection, open_connection
from mosu.platform.actors import Role
from mosu.platform.models import Membership, User
from mosu.platform.queries import actor_for_user
from mosu.web.buying import connect
from tests.compute import world as compute
from tests.compute.sessions import EDITOR, JUPYTER, SESSION, let_in
from tests.web.conftest import Hub, page, queries

AsSeenBy = Callable[[str], Client]


@pytest.fixture(autouse=True)
def relay(settings: Any) -> None:
    settings.MOSU_RELAY_URL = "https://relay.example.org"


def session_of(hub: Hub) -> tuple[compute.Run, compute.Attempt, str]:
    """A session that runs, and the address of its order's page."""
    compute.register(hub.world, cores=64, now=hub.now, reaches=True)
    run, attempt = compute.started(hub.world, now=hub.now, text=SESSION)
    let_members_in(hub, run)
    return run, attempt, f"/orders/{hub.order_of(run).public_id}/"


def let_members_in(hub: Hub, run: compute.Run) -> None:
    """Whoever belongs to the organisation by now may be joined to it, as far as their role lets them."""
    for member in Membership.objects.filter(organisation=hub.world.buyer).select_related("user"):
        let_in(member.user, run)


def join(hub: Hub, run: compute.Run, person: User, *, port: int, after_s: int = 0) -> Any:
    let_in(person, run)
    return open_connection(
        actor=actor_for_user(person), run_id=run.id, port=port, now=hub.now + timedelta(seconds=after_s)
    ).connection_id


def test_a_session_that_runs_shows_the_line_that_joins_one_to_it(hub: Hub, owner: Client) -> None:
    run, _, path = session_of(hub)
    text = page(owner.get(path))
    assert f'value="mosu port-forward {run.public_id} 8888"' in text
    assert "Session" in text
    assert "Nobody has connected." in text
    zh = page(hub.client(hub.user(role=Role.DEVELOPER), language="zh-hans").get(path))
    assert "会话" in zh
    assert "还没有人连接" in zh
    assert "Nobody has connected" not in zh


def test_a_batch_has_no_such_panel(hub: Hub, owner: Client) -> None:
    compute.register(hub.world, cores=64, now=hub.now, reaches=True)
    run, _ = compute.started(hub.world, now=hub.now)
    text = page(owner.get(f"/orders/{hub.order_of(run).public_id}/"))
    assert "port-forward" not in text
    assert "now-connections" not in text


def test_who_is_and_was_joined_is_listed_newest_first(hub: Hub, owner: Client) -> None:
    run, _, path = session_of(hub)
    person = hub.user(role=Role.DEVELOPER)
    first, second = join(hub, run, person, port=8888), join(hub, run, person, port=6006, after_s=1)
    close_connection(
        connection_id=first, traffic=Traffic(2048, 3 << 20), why="its token was revoked", now=hub.now
    )
    text = page(owner.get(f"{path}now/"))
    assert text.count(person.email) == 2
    assert text.index("6006") < text.index("8888</td>")
    assert "its token was revoked" in text
    assert "2.0\xa0KB" in text and "3.0\xa0MB" in text
    assert Connection.objects.get(id=second).closed_at is None
    zh = page(hub.client(hub.user(role=Role.VIEWER), language="zh-hans").get(path))
    assert "所用令牌已撤销" in zh


def test_a_long_list_shows_the_newest_and_asks_as_often(
    hub: Hub, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "SHOWN_MAX", 3)
    run, _, path = session_of(hub)
    person = hub.user(role=Role.DEVELOPER)
    join(hub, run, person, port=1000)
    one = queries(owner, path)
    for index in range(1, 4):
        join(hub, run, person, port=1000 + index, after_s=index)
    text = page(owner.get(path))
    assert "And 1 earlier one." in text
    assert ">1003</td>" in text
    assert text.count("<caption") == 1
    assert ">1000</td>" not in text
    assert queries(owner, path) == one + 1 <= 19


@pytest.mark.parametrize(("who", "sees_it"), [("owner", True), ("viewer", False), ("auditor", False)])
def test_only_who_may_connect_is_shown_how(hub: Hub, as_seen_by: AsSeenBy, who: str, sees_it: bool) -> None:
    client = as_seen_by(who)
    _, _, path = session_of(hub)
    text = page(client.get(path))
    assert ("port-forward" in text) is sees_it
    assert ("Developers, admins and owners" in text) is not sees_it
    assert as_seen_by("stranger").get(path).status_code == 404


def test_a_session_is_called_one_before_it_is_ordered_and_asked_for_again_as_one(
    hub: Hub, owner: Client
) -> None:
    compute.register(hub.world, cores=64, now=hub.now, reaches=True)
    for text, is_session in ((SESSION, True), (compute.task_of(), False)):
        quoted = compute.quote(hub.world, text, now=hub.now).quotes[0]
        checkout = page(owner.get(f"/quotes/{quoted.public_id}/"))
        assert ("· Session</p>" in checkout) is is_session
        again = page(owner.get(f"/quote/?like={quoted.public_id}"))
        assert ("kind: session" in again) is is_session


def test_a_pools_page_says_whether_sessions_are_sold_there(hub: Hub, as_seen_by: AsSeenBy) -> None:
    path = f"/pools/{compute.pool_of(hub.world).public_id}/"
    assert "not sold: its engine" in page(as_seen_by("auditor").get(path))
    compute.register(hub.world, cores=64, now=hub.now, reaches=True)
    assert "not sold: its engine" not in page(as_seen_by("auditor").get(path))


def test_the_page_says_why_one_cannot_connect(hub: Hub, owner: Client, settings: Any) -> None:
    compute.register(hub.world, cores=64, now=hub.now, reaches=True)
    run = compute.buy(hub.world, SESSION, now=hub.now)
    let_members_in(hub, run)
    path = f"/orders/{hub.order_of(run).public_id}/"
    assert "Its ports are reached once it runs." in page(owner.get(path))
    assert compute.lease(hub.world, now=hub.now) is not None
    compute.beat(hub.world, compute.attempt_of(run), "running", now=hub.now)
    assert "port-forward" in page(owner.get(path))
    settings.MOSU_RELAY_URL = ""
    assert "This hub has no relay" in page(owner.get(path))
    settings.MOSU_RELAY_URL = "https://relay.example.org"
    compute.register(hub.world, cores=64, now=hub.now)
    assert "agent is not reached now" in page(owner.get(path)).replace("&#x27;", "'")
    compute.report(hub.world, compute.attempt_of(run), now=hub.now)
    assert "The session has ended." in page(owner.get(path))


@pytest.fixture
def apps(settings: Any) -> None:
    settings.MOSU_APPS_HOST = "apps.example.org"


@pytest.mark.usefixtures("apps")
def test_a_port_is_opened_by_a_link_to_its_own_host(hub: Hub, owner: Client) -> None:
    run, _, path = session_of(hub)
    text = page(owner.get(path))
    assert f'action="{path}open/"' in text and 'target="_blank"' in text
    assert "Open port" in text and "Open notebook" not in text
    answer = owner.post(f"{path}open/", {"port": "6006"})
    name = run.public_id.removeprefix("run_")
    found = re.findall(
        rf"https://6006-{name}\.apps\.example\.org/\.mosu/open\?ticket=[\w-]{{43}}", page(answer)
    )
    assert len(found) == 2 and found[0] == found[1]
    assert answer["Referrer-Policy"] == "no-referrer" and "no-store" in answer["Cache-Control"]
    ticket = Ticket.objects.get()
    assert (ticket.port, ticket.run_id, ticket.sign_in) == (6006, run.id, owner.session.session_key)


@pytest.mark.usefixtures("apps")
@pytest.mark.parametrize("port", ["", "0", "65536", "x", "٨٠", "-1", "123456"])
def test_what_is_no_port_is_refused(hub: Hub, owner: Client, port: str) -> None:
    _, _, path = session_of(hub)
    assert "is no port" in page(owner.post(f"{path}open/", {"port": port}))
    assert Ticket.objects.count() == 0


@pytest.mark.usefixtures("apps")
@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("auditor", 403), ("stranger", 404)])
def test_who_may_not_connect_opens_nothing(hub: Hub, as_seen_by: AsSeenBy, who: str, status: int) -> None:
    _, _, path = session_of(hub)
    assert as_seen_by(who).post(f"{path}open/", {"port": "80"}).status_code == status
    assert Ticket.objects.count() == 0


def test_a_hub_without_apps_hosts_says_what_to_set(hub: Hub, owner: Client) -> None:
    _, _, path = session_of(hub)
    text = page(owner.get(path))
    assert "MOSU_APPS_HOST" in text and "Open port" not in text
    assert "MOSU_APPS_HOST" in page(owner.post(f"{path}open/", {"port": "80"}))


@pytest.mark.usefixtures("apps")
def test_a_notebook_has_a_button_of_its_own(hub: Hub, owner: Client) -> None:
    compute.register(hub.world, cores=64, now=hub.now, reaches=True, environments=(JUPYTER,))
    text = SESSION.replace("kind: session", "kind: session, apps: [jupyter]")
    run, _ = compute.started(hub.world, now=hub.now, text=text)
    let_members_in(hub, run)
    path = f"/orders/{hub.order_of(run).public_id}/"
    shown = page(owner.get(path))
    assert 'name="app" value="8888"' in shown
    for line in (f"mosu notebook --run {run.public_id}", f"mosu port-forward {run.public_id} 8888"):
        assert f'value="{line}"' in shown
    assert "mosu ssh" not in shown
    assert "//8888-" in page(owner.post(f"{path}open/", {"app": "8888", "port": ""}))


@pytest.mark.usefixtures("apps")
def test_an_editor_has_one_too(hub: Hub, owner: Client) -> None:
    compute.register(hub.world, cores=64, now=hub.now, reaches=True, environments=(EDITOR,))
    text = SESSION.replace("kind: session", "kind: session, apps: [vscode]")
    run, _ = compute.started(hub.world, now=hub.now, text=text)
    let_members_in(hub, run)
    path = f"/orders/{hub.order_of(run).public_id}/"
    shown = page(owner.get(path))
    assert "Open editor" in shown and 'name="app" value="8889"' in shown
    # A forwarded one is open to every page that is led to this machine's own addresses.
    assert f'value="mosu open {run.public_id} 8889"' in shown and "mosu port-forward" in shown
    assert f"mosu port-forward {run.public_id} 8889" not in shown
    assert "//8889-" in page(owner.post(f"{path}open/", {"app": "8889", "port": ""}))


# Plain ssh, by the hub's own port.

SSH_SESSION = SESSION.replace("kind: session", "kind: session, apps: [ssh]")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHKV8bZ+Y5bG4U0bTk3ZXkXo2XgJXQbXlqXv6q8nQ9Y me"


def with_ssh(hub: Hub, settings: Any) -> tuple[compute.Run, str]:
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()
    settings.MOSU_SSH_ADDRESS = "hub.example:2200"
    compute.register(hub.world, cores=64, now=hub.now, reaches=True, has_sshd=True)
    run, _ = compute.started(hub.world, now=hub.now, text=SSH_SESSION)
    let_members_in(hub, run)
    return run, f"/orders/{hub.order_of(run).public_id}/"


def test_a_key_is_certified_and_the_page_shows_what_ssh_needs(hub: Hub, owner: Client, settings: Any) -> None:
    run, path = with_ssh(hub, settings)
    assert f"{path}ssh/" in page(owner.get(path))
    assert "Certify this key" in page(owner.get(f"{path}ssh/"))
    text = page(owner.post(f"{path}ssh/", {"public_key": KEY}))
    for told in (
        "ssh-ed25519-cert-v01@openssh.com ",
        "    HostName hub.example\n    Port 2200\n    User user_",
        f"Host {run.public_id}\n    Port 2222\n    User runner\n    ProxyJump mosu-hub.example\n",
        f"[{run.public_id}]:2222 ssh-ed25519 ",
    ):
        assert told in text
    refused = owner.post(f"{path}ssh/", {"public_key": "ssh-dss AAAA"})
    assert refused.status_code == 422 and "ssh-keygen -t ed25519" in refused.content.decode()


def test_without_such_a_port_nothing_leads_there(hub: Hub, owner: Client, settings: Any) -> None:
    _, path = with_ssh(hub, settings)
    settings.MOSU_SSH_ADDRESS = ""
    assert f"{path}ssh/" not in page(owner.get(path))
    assert owner.get(f"{path}ssh/").status_code == 404


@pytest.mark.parametrize(("who", "status"), [("auditor", 403), ("stranger", 404)])
def test_who_may_not_connect_has_no_key_certified(
    hub: Hub, as_seen_by: AsSeenBy, settings: Any, who: str, status: int
) -> None:
    _, path = with_ssh(hub, settings)
    assert as_seen_by(who).post(f"{path}ssh/", {"public_key": KEY}).status_code == status
