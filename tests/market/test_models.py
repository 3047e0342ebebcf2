import pytest
from django.db import connection

pytestmark = pytest.mark.django_db


def test_migrates() -> None:
    with connection.cursor() as c:
        c.execute("select nextval('market_order_number')")
        assert c.fetchone()[0] >= 1
