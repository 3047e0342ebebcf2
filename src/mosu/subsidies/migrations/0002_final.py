"""Vouchers keep amount and period, redemptions what was frozen, claims what was claimed; what is over keeps all."""

from django.db import migrations

from mosu.platform.sql import final, only


class Migration(migrations.Migration):
    dependencies = [("subsidies", "0001_initial"), ("platform", "0003_final")]

    operations = [
        only("subsidies_voucher", "state", "checker_id", "account_id", "owes_pool", "released_at"),
        only(
            "subsidies_redemption",
            "state",
            "amount_micros",
            "settled_at",
            "claim_by",
            "voucher_hold_id",
            "cap_hold_id",
        ),
        only("subsidies_claim", "state", "maker_id", "checker_id", "decided_at"),
        only("subsidies_application", "state", "decided_by_id", "decided_at", "voucher_id"),
        final("subsidies_redemption", "captured", "released"),
        final("subsidies_claim", "disbursed", "rejected"),
        final("subsidies_application", "approved", "rejected"),
    ]
