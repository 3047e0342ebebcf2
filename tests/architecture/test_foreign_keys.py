"""Foreign keys point down the house, as imports do."""

from django.apps import apps

FLOORS = ["platform", "store", "ledger", "subsidies", "market", "compute", "web"]
"""From the ground up; what is not in it (django, allauth, procrastinate) stands below all."""


def test_no_foreign_key_points_up_or_sideways() -> None:
    height = {label: floor for floor, label in enumerate(FLOORS)}
    pointing_up = [
        f"{model._meta.label}.{field.name} -> {field.related_model._meta.label}"
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if field.concrete
        and field.is_relation
        and height.get(field.related_model._meta.app_label, -1) > height.get(model._meta.app_label, -1)
        and model._meta.app_label in height
    ]
    assert pointing_up == []


def test_every_context_has_its_floor() -> None:
    ours = {app.label for app in apps.get_app_configs() if app.name.startswith("mosu.")}
    assert ours == set(FLOORS)
