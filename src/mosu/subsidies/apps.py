from django.apps import AppConfig


class SubsidiesConfig(AppConfig):
    name = "mosu.subsidies"
    label = "subsidies"

    def ready(self) -> None:
        # Imported here: services need the application registry, which calls this.
        from mosu.platform.services import subscribe  # noqa: PLC0415
        from mosu.subsidies.services.events import FOUNDED, give_trial  # noqa: PLC0415

        subscribe(FOUNDED, give_trial)
