"""What pages stream: a run's log and outputs, for whoever is signed in by session. Reading only."""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.db import DatabaseError
from django.http import HttpRequest
from starlette.requests import Request
from starlette.types import Scope

from mosu.compute.stream_doors import stream_door
from mosu.compute.streams import reading_routes
from mosu.platform.actors import Actor, ActorKind
from mosu.platform.requests import actor_of

_engine = import_module(settings.SESSION_ENGINE)


def actor_of_session(request: Request) -> Actor:
    """The actor whose session cookie came, or nobody."""
    asked = HttpRequest()
    asked.session = _engine.SessionStore(request.cookies.get(settings.SESSION_COOKIE_NAME))
    asked.user = get_user(asked)
    return actor_of(asked)


def is_signed_in(scope: Scope) -> bool:
    """Whether the request comes with the session of somebody; where the database cannot say it, it does not."""
    try:
        return actor_of_session(Request(scope)).kind is ActorKind.USER
    except DatabaseError:
        return False


routes = reading_routes("", stream_door("run.read", actor_of=actor_of_session))
