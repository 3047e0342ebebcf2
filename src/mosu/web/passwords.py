"""What a password must be and what was wrong with it, said as the pages say everything else."""

from typing import ClassVar

from django.contrib.auth import password_validation as django_rules
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.utils.translation import ngettext

from mosu.platform.accounts import AccountAdapter, MfaAdapter

_CODE_WRONG = _lazy("This code is wrong, or it was used already.")


class Unlike(django_rules.UserAttributeSimilarityValidator):
    def get_help_text(self) -> str:
        return _("Unlike your name and address.")


class LongEnough(django_rules.MinimumLengthValidator):
    def get_help_text(self) -> str:
        return ngettext("%(n)s character or more.", "%(n)s characters or more.", self.min_length) % {
            "n": self.min_length
        }


class Uncommon(django_rules.CommonPasswordValidator):
    def get_help_text(self) -> str:
        return _("None of those that many people use.")


class Adapter(AccountAdapter):
    """The platform's, in the pages' words."""

    error_messages: ClassVar = {
        **AccountAdapter.error_messages,
        "email_password_mismatch": _lazy("The e-mail address or the password is wrong."),
        "too_many_login_attempts": _lazy("Too many failed attempts. Try again in a quarter of an hour."),
        "account_inactive": _lazy("This account is closed."),
        "incorrect_code": _CODE_WRONG,
    }


class SecondFactor(MfaAdapter):
    """The platform's, in the pages' words."""

    error_messages: ClassVar = {**MfaAdapter.error_messages, "incorrect_code": _CODE_WRONG}
