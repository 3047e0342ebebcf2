"""Apps of a session: sold where they can start, started by the hub, opened by those who may be joined alone."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.test import Client
from django.utils import timezone

from mosu.compute import services
from mosu.compute.services import NotASession, NotRunning
from mosu.compute.session_apps import APPS, script_with, secrets_of
from mosu.compute.session_apps.jupyter import token_of
from mosu.kernel.refusals import Forbidden, NotFound
from mosu.platform.actors import Actor, HubRole, Role
from mosu.platform.models import AuditRecord
from mosu.wire.agent import EnvironmentInfo
from tests.compute.sessions import EDITOR, JUPYTER, let_in
from tests.compute.world import (
    World,
    at,
    attempt_of,
    beat,
    buy,
    lease,
    make_organisation,
    make_world,
    quote,
    register,
    report,
    started,
)
from tests.conftest import NOW
from tests.patience import PATIENCE_S
from tests.platform.factories import bearer, make_member, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def key(settings: Any) -> None:
    settings.MOSU_ENCRYPTION_KEY = Fernet.generate_key().decode()


NOTEBOOK = "resources: {cpus: 1}\nmosu: {kind: session, apps: [jupyter], wall_limit: 1h}\n"
PYTHON = EnvironmentInfo(name="python", python="3.11", packages=("numpy==2.4.0",))
LATER = EnvironmentInfo(name="later", python="3.12", packages=("JupyterLab==4.6.6",))


def make_pool(*environments: EnvironmentInfo, **how: Any) -> World:
    world = make_world(**how)
    register(world, reaches=True, environments=environments, **how)
    return world


def reason_against(world: World, task: str) -> tuple[str, str, str]:
    refused = quote(world, task)
    assert not refused.quotes
    [reason] = refused.refused[0].reasons
    assert any(group.codes == frozenset({reason.code}) for group in refused.refused_groups)
    return reason.code, reason.message, reason.hint


def test_a_notebook_runs_in_the_first_environment_that_has_it() -> None:
    world = make_pool(PYTHON, JUPYTER, LATER)
    run = buy(world, NOTEBOOK)
    assert (run.request["environment"], run.request["apps"]) == ("notebooks", ["jupyter"])
    found = lease(world, now=NOW)
    assert found is not None
    assert found.spec.environment == "notebooks" and found.spec.session
    assert "jupyter-lab" in found.spec.run and found.spec.run.endswith('exit "$code"\n')
    attempt_id = attempt_of(run).public_id
    assert found.spec.secrets == {"MOSU_JUPYTER_TOKEN": token_of(attempt_id)}
    assert token_of(attempt_id) not in found.spec.run + json.dumps(found.spec.envs)


def test_ssh_is_sold_in_the_environments_that_bring_it() -> None:
    """As on Kubernetes, where each is an image. What an image has that a task names nobody knows beforehand."""
    ssh, other = (
        NOTEBOOK.replace("jupyter", "ssh"),
        PYTHON.model_copy(update={"name": "other", "has_sshd": True}),
    )
    images = ("registry.example.org",)
    world = make_pool()
    register(world, reaches=True, environments=(PYTHON, JUPYTER, other), images=images)
    run = buy(world, ssh)
    assert run.request["environment"] == "other"
    named = ssh.replace("wall_limit", "environment: python, wall_limit")
    assert reason_against(world, named) == (
        "no_sshd",
        "has no OpenSSH server in its environment 'python'",
        "Choose its environment 'other'.",
    )
    assert buy(world, named.replace("python", "other")).request["environment"] == "other"
    image = f"registry.example.org/one@sha256:{64 * 'a'}"
    unseen = ssh.replace("cpus: 1", f"cpus: 1, image_id: 'docker:{image}'")
    no_server = ("no_sshd", "has no OpenSSH server on its machines")
    assert reason_against(world, unseen)[:2] == no_server
    assert reason_against(world, ssh.replace("[ssh]", "[ssh, jupyter]"))[:2] == no_server
    register(world, reaches=True, environments=(PYTHON, other), images=images, has_sshd=True)
    assert buy(world, ssh).request["environment"] == "python"
    assert buy(world, unseen).request["environment"] == f"docker:{image}"


def test_an_editor_needs_an_environment_that_has_one() -> None:
    editing = NOTEBOOK.replace("jupyter", "vscode")
    assert reason_against(make_pool(PYTHON, JUPYTER), editing)[:2] == (
        "no_app",
        "has no environment with code-server",
    )
    assert secrets_of(["vscode"], "attempt_1") == {}


def test_an_editor_is_started_in_it() -> None:
    run = buy(make_pool(PYTHON, JUPYTER, EDITOR), NOTEBOOK.replace("jupyter", "vscode"))
    assert (run.request["environment"], run.request["apps"]) == ("editor", ["vscode"])


def test_a_task_may_name_the_one_that_it_wants() -> None:
    world = make_pool(PYTHON, JUPYTER, LATER)
    run = buy(world, NOTEBOOK.replace("wall_limit", "environment: later, wall_limit"))
    assert run.request["environment"] == "later"


def test_what_has_no_apps_runs_in_the_first_of_all() -> None:
    world = make_pool(PYTHON, JUPYTER)
    run = buy(world, "run: ls\nresources: {cpus: 1}\nmosu: {kind: session, wall_limit: 1h}\n")
    assert (run.request["environment"], run.request["apps"]) == ("python", [])
    found = lease(world, now=NOW)
    assert found is not None
    assert (found.spec.run, found.spec.secrets) == ("ls", {})


def test_a_pool_without_jupyterlab_is_refused_by_name() -> None:
    assert reason_against(make_pool(PYTHON), NOTEBOOK) == (
        "no_app",
        "has no environment with jupyterlab",
        "Choose another offer, or ask its supplier for it.",
    )


def test_so_is_an_environment_without_it_and_one_that_is_not_there() -> None:
    world = make_pool(PYTHON, JUPYTER)
    named = NOTEBOOK.replace("wall_limit", "environment: python, wall_limit")
    assert reason_against(world, named) == (
        "no_app",
        "has no jupyterlab in its environment 'python'",
        "Choose its environment 'notebooks'.",
    )
    assert reason_against(world, named.replace("python", "rust"))[0] == "no_environment"


def test_its_command_ends_the_session_and_without_one_the_first_app_that_ends(tmp_path: Path) -> None:
    """As bash has it: an app that fails or is shut down, while another one runs."""
    lines = script_with(("jupyter", "ssh"), "python board.py").splitlines()
    assert [line.endswith("&") for line in lines] == [True, True, False]
    assert lines[-1] == "python board.py"
    assert script_with((), "ls") == "ls"
    for ends, goes_on in (("jupyter", "ssh"), ("ssh", "jupyter")):
        waits = script_with(("jupyter", "ssh"), "").replace("/tmp/ended", str(tmp_path / "ended"))
        waits = waits.replace(APPS[ends].command, "(exit 3)").replace(APPS[goes_on].command, "sleep 300")
        with subprocess.Popen(["bash", "-c", waits], start_new_session=True) as session:
            try:
                assert session.wait(PATIENCE_S) == 3
            finally:
                os.killpg(session.pid, signal.SIGKILL)


def test_the_line_that_starts_it_is_one_that_bash_can_read() -> None:
    assert subprocess.run(["bash", "-n", "-c", script_with(tuple(APPS), "")]).returncode == 0


def test_secrets_follow_from_the_attempt() -> None:
    assert secrets_of(["jupyter"], "attempt_1") == secrets_of(["jupyter"], "attempt_1")
    assert secrets_of(["jupyter"], "attempt_1") != secrets_of(["jupyter"], "attempt_2")
    assert all(name.startswith("MOSU_") for app in APPS for name in secrets_of([app], "attempt_1"))


def reached(world: World, actor: Actor, run_id: Any, *, now: Any = NOW) -> list[services.AppReached]:
    return services.reached_apps(actor=actor, run_id=run_id, now=now)


def test_who_may_be_joined_learns_what_opens_it_while_it_runs() -> None:
    world = make_pool(JUPYTER)
    run = buy(world, NOTEBOOK)
    maker = make_member(world.buyer, Role.DEVELOPER)
    let_in(maker, run)
    with pytest.raises(NotRunning):
        reached(world, maker, run.id)
    assert lease(world, now=NOW) is not None
    beat(world, attempt_of(run), "running", now=NOW)
    [app] = reached(world, maker, run.id)
    token = token_of(attempt_of(run).public_id)
    assert (app.app, app.port, app.path) == ("jupyter", 8888, f"/lab?token={token}")
    assert token not in repr(app)
    with pytest.raises(services.PoolAway):
        reached(world, maker, run.id, now=at(60))
    report(world, attempt_of(run), now=at(1))
    with pytest.raises(NotRunning):
        reached(world, maker, run.id, now=at(1))


def test_others_do_not() -> None:
    world = make_pool(JUPYTER)
    run, _ = started(world, now=NOW, text=NOTEBOOK)
    for who in (make_member(world.buyer, Role.VIEWER), make_member(world.buyer, Role.FINANCE)):
        with pytest.raises(Forbidden):
            reached(world, who, run.id)
    for staff in HubRole:
        with pytest.raises(Forbidden):
            reached(world, make_staff(staff), run.id)
    with pytest.raises(NotFound):
        reached(world, make_member(make_organisation("stranger"), Role.OWNER), run.id)


def test_a_batch_has_none_and_a_session_without_any_has_an_empty_list() -> None:
    world = make_pool(PYTHON, cores=8)
    run, _ = started(world, now=NOW)
    maker = make_member(world.buyer, Role.DEVELOPER)
    with pytest.raises(NotASession):
        reached(world, maker, run.id)
    session, _ = started(world, now=NOW, text="run: ls\nresources: {cpus: 1}\nmosu: {kind: session}\n")
    let_in(maker, session)
    assert reached(world, maker, session.id) == []


@pytest.mark.urls("tests.compute.urls")
def test_what_opens_it_is_kept_by_nobody(client: Client) -> None:
    now = timezone.now()
    world = make_pool(JUPYTER, now=now)
    run, attempt = started(world, now=now, text=NOTEBOOK)
    maker = make_member(world.buyer, Role.DEVELOPER)
    let_in(maker, run)
    path, headers = f"/api/v1/runs/{run.public_id}", bearer(maker)
    answer = client.get(f"{path}/apps", headers=headers)
    token = token_of(attempt.public_id)
    assert answer.json() == {"items": [{"app": "jupyter", "port": 8888, "path": f"/lab?token={token}"}]}
    assert "no-store" in answer["Cache-Control"]
    for other in (path, "/api/v1/runs", f"{path}/connections", f"{path}/samples"):
        assert token not in client.get(other, headers=headers).content.decode()
    run.refresh_from_db()
    assert token not in json.dumps(run.request)
    assert not [row for row in AuditRecord.objects.values() if token in str(row)]
    assert client.get(f"{path}/apps").status_code == 401
