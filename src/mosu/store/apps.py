from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "mosu.store"
    label = "store"
