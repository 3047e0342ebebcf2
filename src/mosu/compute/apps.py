from django.apps import AppConfig


class ComputeConfig(AppConfig):
    name = "mosu.compute"
    label = "compute"

    def ready(self) -> None:
        # Imported here: tables exist only once the registry is ready.
        from mosu.compute.shelf import ComputeShelf  # noqa: PLC0415
        from mosu.compute.volume_shelf import VolumeShelf  # noqa: PLC0415
        from mosu.market.shelves import register_shelf  # noqa: PLC0415

        register_shelf(ComputeShelf())
        register_shelf(VolumeShelf())
