from django.apps import AppConfig


class MarketConfig(AppConfig):
    name = "mosu.market"
    label = "market"
