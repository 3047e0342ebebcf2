from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "mosu.web"
    label = "web"
