from django.apps import AppConfig


class LedgerConfig(AppConfig):
    name = "mosu.ledger"
    label = "ledger"
