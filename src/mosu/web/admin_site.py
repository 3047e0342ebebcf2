"""All tables for the hub's operators, read-only: Django's admin behind the one policy.

Whatever is written is written by services; here nothing can be added, changed or deleted, and the database would
refuse it too. Nobody signs in here: a session comes from the sign-in with its second factor, and `is_staff` means
nothing. Keys, hashes of keys, sealed links, and what runs were told to do are in no column.
"""

import json
import re
from typing import Any, Final

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _lazy

from mosu.kernel.ids import uuid_of
from mosu.kernel.refusals import NotFound
from mosu.platform.models import User
from mosu.platform.policy import allows
from mosu.platform.requests import actor_of
from mosu.platform.rows import Row
from mosu.web.pages import page

ACTION: Final = "admin.read"
_SECRET: Final = re.compile(r"(secret|token|password|sealed|request$|^key$|digest_key)")
"""Names of columns that are not shown: what opens something, and `request`, in which runs carry their environment."""
_COLUMNS_MAX: Final = 7
COUNTED_MAX: Final = 5_000
_KEPT: Final = frozenset({"login", "logout", "index", "app_list", "jsi18n"})


def is_shown(field: "models.Field[Any, Any]") -> bool:
    """Whether a column is for people to read: no secret, no bytes."""
    return not isinstance(field, models.BinaryField) and not _SECRET.search(field.name)


class ReadOnlySite(admin.AdminSite):
    """The admin as a place to look, for whom the policy allows `admin.read`."""

    site_title = site_header = index_title = _lazy("All tables")
    site_url = "/books/"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        user = request.user
        return isinstance(user, User) and user.is_active and allows(actor_of(request), ACTION)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        return page(ACTION)(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Nobody signs in here: the hub's sign-in asks for the second factor."""
        return redirect_to_login(reverse("admin:index"))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Index, lists and rows; no passwords, no history of a log that nobody writes, no other views."""
        return [found for found in super().get_urls() if _keeps(found)]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "is_popup": False}


def _keeps(found: URLPattern | URLResolver) -> bool:
    if isinstance(found, URLResolver):
        found.url_patterns[:] = [one for one in found.url_patterns if _keeps(one)]
        return True
    name = found.name or ""
    of_a_table = name.endswith(("_changelist", "_change")) and name != "password_change"
    return name in _KEPT or of_a_table


class Counted(Paginator):  # type: ignore[type-arg]
    """How many rows there are: counted up to a bound, beyond it as many as PostgreSQL's planner expects.

    To count them all it would read them all, which takes longer than all else of the page.
    """

    @cached_property
    def count(self) -> int:
        listed: Any = self.object_list
        rows = listed.order_by()
        counted: int = rows[: COUNTED_MAX + 1].count()
        if counted <= COUNTED_MAX:
            return counted
        expected: int = json.loads(rows.explain(format="json"))[0]["Plan"]["Plan Rows"]
        return max(counted, expected)

    @property
    def is_estimate(self) -> bool:
        return self.count > COUNTED_MAX


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """A table to look at: what can be searched is searched, nothing can be done."""

    actions = None
    list_per_page = 50
    paginator = Counted
    show_full_result_count = False
    view_on_site = False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return allows(actor_of(request), ACTION)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return allows(actor_of(request), ACTION)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_list_display(self, request: HttpRequest) -> Any:
        return [field.name for field in _shown(self.model)][:_COLUMNS_MAX]

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        """Rows that a column names, and no further: Django's own choice joins what those rows name, too."""
        return [field.name for field in _shown(self.model)[:_COLUMNS_MAX] if field.is_relation]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field.name for field in _shown(self.model)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in _shown(self.model)]

    def get_ordering(self, request: HttpRequest) -> Any:
        return ["-pk"]

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        texts = (models.CharField, models.TextField)
        key = self.model._meta.pk
        return [
            field.name for field in _shown(self.model) if isinstance(field, texts) and not field.choices
        ] or ["pk__pk" if key is not None and key.is_relation else "pk"]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """No filter out of an address: `?password__startswith=` would tell, letter by letter, what is in no column."""
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The row of an id; PostgreSQL keeps no NUL, so no row has one in its id."""
        return None if "\x00" in object_id else super().get_object(request, object_id, from_field)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By text, or by a public id."""
        if issubclass(self.model, Row):
            try:
                return queryset.filter(pk=uuid_of(self.model.prefix, search_term.strip())), False
            except NotFound:
                pass
        return super().get_search_results(request, queryset, search_term)


def _shown(model: type[models.Model]) -> "list[models.Field[Any, Any]]":
    return [field for field in model._meta.concrete_fields if is_shown(field)]


def _tables() -> list[type[models.Model]]:
    """mosu's own tables; one whose key has several columns has a page of the books instead."""
    return [
        model
        for model in apps.get_models()
        if model.__module__.startswith("mosu.")
        and not isinstance(model._meta.pk, models.CompositePrimaryKey)
        and model._meta.model_name not in _WITHOUT
    ]


_WITHOUT: Final = frozenset({"logpiece"})
"""What users' programs wrote is theirs."""

site: Final = ReadOnlySite(name="admin")
site.register(_tables(), ReadOnly)
