"""How allauth makes mosu's users."""

from allauth.account.adapter import DefaultAccountAdapter


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Everyone may sign up; what a new account may do is the policy's."""
