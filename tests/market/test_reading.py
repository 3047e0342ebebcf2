"""One row by its key is the row that Django reads, and is shown to whom the list shows it."""

import pytest
from tests.market.conftest import World, make_organisation, person

from mosu.kernel.ids import uuid7
from mosu.market.queries import quote_visible_to, quotes_visible_to
from mosu.platform.actors import ANONYMOUS, HubRole, Role
from mosu.platform.models import Organisation
from mosu.platform.reading import RowReader

pytestmark = pytest.mark.django_db


def test_a_row_is_as_django_reads_it(world: World) -> None:
    quote = world.quote()
    for row in (quote, quote.offer, quote.organisation):
        kind = type(row)
        read, known = RowReader(kind).read(row.pk), kind.objects.get(pk=row.pk)
        assert read is not None
        shown = {field.attname: getattr(read, field.attname) for field in kind._meta.concrete_fields}
        assert shown == {field.attname: getattr(known, field.attname) for field in kind._meta.concrete_fields}
        assert [type(value) for value in shown.values()] == [
            type(getattr(known, field.attname)) for field in kind._meta.concrete_fields
        ]
        assert (read, read._state.adding, read._state.db) == (known, False, "default")


def test_a_row_that_is_not_there_is_none() -> None:
    make_organisation("Somebody")
    assert RowReader(Organisation).read(uuid7()) is None


def test_a_quote_is_shown_to_whom_the_list_shows_it(world: World) -> None:
    quote, seen = world.quote(), []
    for actor in (
        person((world.buyer, Role.VIEWER)),
        person((world.supplier, Role.OWNER)),
        person(),
        person(hub_roles=[HubRole.AUDITOR]),
        person((make_organisation("Stranger"), Role.OWNER)),
        ANONYMOUS,
    ):
        found = quote_visible_to(actor, quote.id)
        assert found == quotes_visible_to(actor).filter(id=quote.id).first()
        seen.append(found is not None)
    assert seen == [True, False, False, True, False, False]
