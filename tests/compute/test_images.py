"""Images of containers that a task names: sold where the supplier allows them, refused elsewhere, by name."""

import pytest

from mosu.compute.models import Pool
from mosu.wire.agent import Registration
from tests.compute.world import at, buy, lease, make_world, quote, register, task_of

pytestmark = pytest.mark.django_db
IMAGE = "registry.example.org/team/train@sha256:" + "0a" * 32
TASK = (
    f"resources: {{cpus: 1, memory: 1, image_id: 'docker:{IMAGE}'}}\nrun: 'true'\nmosu: {{wall_limit: 10m}}\n"
)


def test_a_pool_that_allows_it_runs_it_as_the_environment() -> None:
    world = make_world()
    register(world, images=("registry.example.org/team",))
    run = buy(world, TASK)
    assert run.request["environment"] == f"docker:{IMAGE}"
    found = lease(world, now=at(1))
    assert found is not None and found.spec.environment == f"docker:{IMAGE}"
    assert buy(world).request["environment"] == "python"


@pytest.mark.parametrize(
    ("allowed", "code", "hint"),
    [
        ((), "no_images", "mosu.environment"),
        (
            ("registry.example.org/tea", "docker.io/vllm"),
            "other_images",
            "registry.example.org/tea, docker.io/vllm",
        ),
    ],
)
def test_others_are_refused_by_name_in_words_and_by_code(
    allowed: tuple[str, ...], code: str, hint: str
) -> None:
    world = make_world()
    register(world, images=allowed)
    refused = quote(world, TASK)
    assert not refused.quotes
    [reason] = refused.refused[0].reasons
    assert reason.code == code and hint in reason.hint
    assert any(group.codes == frozenset({code}) for group in refused.refused_groups)
    assert quote(world, task_of()).quotes


def test_what_is_allowed_goes_with_the_agents_word() -> None:
    world = make_world()
    register(world, images=("registry.example.org",))
    assert quote(world, TASK).quotes
    register(world)
    assert not Pool.objects.exclude(images=[]).exists()
    assert not quote(world, TASK).quotes


@pytest.mark.parametrize(
    "prefix", ["", "*", "registry.example.org/*", "a b", "https://registry.example.org", "a@b"]
)
def test_an_agent_allows_registries_and_parts_of_them(prefix: str) -> None:
    world = make_world()
    with pytest.raises(ValueError, match="images"):
        register(world, images=(prefix,))
    assert Registration.model_fields["images"].default == ()
