"""Which engine an agent's settings name. An engine's module is read only where it is chosen."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mosu.kernel.refusals import Invalid
from mosu.sandbox.environments import Environment
from mosu.site_agent.config import AgentConfig, measured
from mosu.site_agent.engines.protocol import Engine
from mosu.site_agent.images import Images, check_place
from mosu.site_agent.jobs import attempts_folder
from mosu.site_agent.volumes import Volumes
from mosu.wire.agent import EnvironmentInfo


def volumes_of(config: AgentConfig) -> Volumes | None:
    """The folders in which buyers' volumes are kept, if the settings name one.

    Raises:
        Invalid: the engine keeps none in folders, or the folder does not do.
        SandboxUnavailable: the sandbox's user cannot reach it.
    """
    if config.volumes_dir is None:
        return None
    if config.engine not in _WITH_FOLDERS:
        raise Invalid(
            f"The engine {config.engine} keeps no volumes in a folder.",
            hint="Leave out volumes_dir; on Kubernetes, name [kubernetes] volumes_storage_class.",
            field="volumes_dir",
        )
    memory = attempts_folder(config.state_dir.absolute()).with_name("volumes.json")
    return Volumes(config.volumes_dir.absolute(), room_gb=config.volumes_gb, memory=memory)


def engine_of(
    config: AgentConfig,
    state_dir: Path,
    environments: Sequence[Environment],
    volumes: Volumes | None = None,
    images: Images | None = None,
) -> Engine:
    """The engine that `config.engine` names, with the settings of the table of its name.

    Raises:
        Invalid: there is no such engine, or its settings are wrong.
        SandboxUnavailable: it cannot work here.
    """
    make = _ENGINES.get(config.engine)
    if make is None:
        raise Invalid(
            f"There is no engine {config.engine!r}.",
            hint=f"Available: {', '.join(_ENGINES)}.",
            field="engine",
            found=config.engine,
        )
    if not environments and config.engine not in _WITH_IMAGES:
        raise Invalid(
            "environments is missing.",
            hint="Make one with: python -m mosu.sandbox.environments FOLDER",
            field="environments",
        )
    return make(config, state_dir, environments, volumes, images)


def environments_of(config: AgentConfig, environments: Sequence[Environment]) -> tuple[EnvironmentInfo, ...]:
    """What a task may name: the folders that are laid here, or the images in the engine's settings."""
    if config.engine in _WITH_IMAGES:
        from mosu.site_agent.engines.kubernetes.options import options_of

        return tuple(
            EnvironmentInfo(name=name, python=item.python, packages=item.packages, has_sshd=item.has_sshd)
            for name, item in options_of(config.options).images.items()
        )
    return tuple(
        EnvironmentInfo(name=item.name, python=item.version, packages=item.packages) for item in environments
    )


def images_of(config: AgentConfig, environments: Sequence[Environment]) -> Images | None:
    """Where images of containers are kept for an engine that does not fetch them itself, if the settings say so.

    Raises:
        Invalid: as `check_images` says, or another agent keeps its images there.
        SandboxUnavailable: the sandbox's user cannot reach the folder.
    """
    folder = _images_dir(config, environments)
    if folder is None:
        return None
    return Images(
        folder,
        room_gb=config.images_gb,
        allowed=config.allowed_images,
        environment=environments[0],
    )


def check_images(config: AgentConfig, environments: Sequence[Environment]) -> None:
    """
    Raises:
        Invalid: the engine fetches images itself, a setting or a program is missing, or the folder does not do.
        SandboxUnavailable: the sandbox's user cannot reach it.
    """
    folder = _images_dir(config, environments)
    if folder is not None:
        check_place(folder, room_gb=config.images_gb)


def _images_dir(config: AgentConfig, environments: Sequence[Environment]) -> Path | None:
    """Where the settings, which are whole, want images kept; None: nowhere."""
    given = {
        "images_dir": config.images_dir,
        "images_gb": config.images_gb,
        "allowed_images": config.allowed_images,
    }
    if not any(given.values()):
        return None
    if config.engine in _WITH_IMAGES:
        raise Invalid(
            f"The engine {config.engine} fetches images itself.",
            hint=f"Leave out images_dir and images_gb, and name registries in [{config.engine}] allowed_images.",
            field="images_dir",
        )
    missing = [name for name, value in given.items() if not value]
    if config.images_dir is None or missing or not environments:
        raise Invalid(
            f"{', '.join(missing or ['environments'])} is missing.",
            hint="Images need images_dir, images_gb, allowed_images, and an environment.",
            field=(missing or ["environments"])[0],
        )
    return config.images_dir.absolute()


def allowed_images_of(config: AgentConfig) -> tuple[str, ...]:
    """From where tasks may name images of containers."""
    if config.engine not in _WITH_IMAGES:
        return config.allowed_images
    from mosu.site_agent.engines.kubernetes.options import options_of

    return options_of(config.options).allowed_images


def _local(
    config: AgentConfig,
    state_dir: Path,
    environments: Sequence[Environment],
    volumes: Volumes | None,
    images: Images | None,
) -> Engine:
    from mosu.site_agent.engines.local import LocalEngine, LocalNode
    from mosu.site_agent.engines.local_cards import options_of

    cores, memory_bytes, disk_bytes = measured(config)
    return LocalEngine(
        state_dir,
        node=LocalNode(config.node_name, cores, memory_bytes, disk_bytes, options_of(config.options)),
        environments=environments,
        log_bytes_max=config.log_bytes_max,
        volumes=volumes,
        images=images,
    )


def _slurm(
    config: AgentConfig,
    state_dir: Path,
    environments: Sequence[Environment],
    volumes: Volumes | None,
    images: Images | None,
) -> Engine:
    from mosu.site_agent.engines.slurm.engine import SlurmEngine
    from mosu.site_agent.engines.slurm.options import options_of

    return SlurmEngine(
        state_dir,
        options=options_of(config.options),
        environments=environments,
        disk_bytes=measured(config)[2],
        log_bytes_max=config.log_bytes_max,
        volumes=volumes,
        images=images,
    )


def _ray(
    config: AgentConfig,
    _state_dir: Path,
    environments: Sequence[Environment],
    volumes: Volumes | None,
    images: Images | None,
) -> Engine:
    from mosu.site_agent.engines.ray.engine import RayEngine
    from mosu.site_agent.engines.ray.options import options_of

    options = options_of(config.options)
    return RayEngine(
        options,
        environments=environments,
        disk_bytes=config.disk_bytes or shutil.disk_usage(options.folder).free // 10 * 9,
        log_bytes_max=config.log_bytes_max,
        volumes=volumes,
        images=images,
    )


def _kubernetes(
    config: AgentConfig,
    _state_dir: Path,
    _environments: Sequence[Environment],
    _volumes: Volumes | None,
    _images: Images | None,
) -> Engine:
    from mosu.site_agent.engines.kubernetes.engine import KubernetesEngine
    from mosu.site_agent.engines.kubernetes.options import options_of

    options = options_of(config.options)
    if options.volumes_storage_class and config.volumes_gb < 1:
        raise Invalid(
            "volumes_gb is missing.", hint="Say how many GB of volumes may be sold.", field="volumes_gb"
        )
    return KubernetesEngine(options, log_bytes_max=config.log_bytes_max, volumes_gb=config.volumes_gb)


_Make = Callable[[AgentConfig, Path, Sequence[Environment], Volumes | None, Images | None], Engine]
_WITH_FOLDERS: Final = frozenset({"local", "slurm", "ray"})
_WITH_IMAGES: Final = frozenset({"kubernetes"})
_ENGINES: Final[Mapping[str, _Make]] = {
    "local": _local,
    "slurm": _slurm,
    "ray": _ray,
    "kubernetes": _kubernetes,
}
