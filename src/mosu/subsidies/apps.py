from django.apps import AppConfig


class SubsidiesConfig(AppConfig):
    name = "mosu.subsidies"
    label = "subsidies"
