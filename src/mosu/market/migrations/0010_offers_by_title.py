"""Offers are found by a part of their title: by its pairs of characters, of which a Chinese word may be one."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("market", "0009_budgets"),
    ]

    operations = [
        migrations.RunSQL(
            """
            create function market_bigrams(zh text, en text) returns text[] language sql immutable parallel safe as $$
              select coalesce(array_agg(distinct substr(lower(said), at, 2)), '{}')
                from unnest(array[zh, en]) as said, generate_series(1, length(said) - 1) as at
            $$;
            create index market_offer_titles on market_offer using gin (market_bigrams(title_zh, title_en));
            """,
            "drop index market_offer_titles; drop function market_bigrams",
        ),
    ]
