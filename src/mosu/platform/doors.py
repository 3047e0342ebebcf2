"""How a door names its action, so that the matrix of roles x doors can list every one of them."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ninja.constants import NOT_SET
from ninja.operation import Operation
from ninja.utils import contribute_operation_callback

from mosu.platform.auth import TokenAuth, token_auth
from mosu.platform.policy import POLICY, require
from mosu.platform.requests import actor_of

ViewT = TypeVar("ViewT", bound=Callable[..., Any])

ATTRIBUTE = "mosu_action"


def door(action: str) -> Callable[[ViewT], ViewT]:
    """Let a view or API operation be entered only by those whom the policy allows `action` somewhere.

    The service behind it asks again with the organisation that is touched.
    """
    if action not in POLICY:
        raise ValueError(f"{action} is not in the policy")

    def mark(view: ViewT) -> ViewT:
        @wraps(view)
        def entered(request: Any, *args: Any, **kwargs: Any) -> Any:
            require(actor_of(request), action)
            return view(request, *args, **kwargs)

        setattr(entered, ATTRIBUTE, action)
        contribute_operation_callback(entered, _ask_before_reading)
        return entered  # type: ignore[return-value]

    return mark


def _ask_before_reading(operation: Operation) -> None:
    """Ask the policy with the authentication of an API operation: who may not enter learns nothing of what the
    body should be, since ninja reads it only afterwards. Without an `auth` of its own it takes a token."""
    action = getattr(operation.view_func, ATTRIBUTE)
    if operation.auth_param is NOT_SET:
        operation.auth_param = token_auth
        operation.auth_callbacks = [token_auth]
    operation.auth_callbacks = [
        each.before(action) if isinstance(each, TokenAuth) else each for each in operation.auth_callbacks
    ]
