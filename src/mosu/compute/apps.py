from django.apps import AppConfig


class ComputeConfig(AppConfig):
    name = "mosu.compute"
    label = "compute"
