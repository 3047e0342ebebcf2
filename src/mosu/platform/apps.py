from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "mosu.platform"
    label = "platform"
