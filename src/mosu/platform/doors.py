"""How a door names its action, so that the matrix of roles x doors can list every one of them."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

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
        return entered  # type: ignore[return-value]

    return mark
