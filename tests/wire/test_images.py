"""Images of containers: pinned by digest, told where they are not, allowed by whole parts of a name."""

import pytest

from mosu.kernel.languages import said
from mosu.wire.images import Unpinned, image_in, image_of, is_allowed
from mosu.wire.task import ResourceNeed, TaskFile, TaskRefused, dump_task, parse_task

DIGEST = "sha256:" + "0a" * 32
IMAGE = f"registry.example.org/team/train@{DIGEST}"


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (f"registry.example.org/team/train@{DIGEST}", IMAGE),
        (f"registry.example.org/team/train:1.2@{DIGEST}", IMAGE),
        (f"python@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        (f"vllm/vllm-openai@{DIGEST}", f"docker.io/vllm/vllm-openai@{DIGEST}"),
        (f"localhost:5000/a@{DIGEST}", f"localhost:5000/a@{DIGEST}"),
    ],
)
def test_an_image_has_its_full_name(written: str, means: str) -> None:
    assert image_in(f"docker:{written}") == means
    assert image_of(f"docker:{means}") == means
    task = parse_task(f"resources: {{image_id: 'docker:{written}'}}\nrun: 'true'\n")
    assert task == TaskFile(run="true", resources=ResourceNeed(image=means))
    assert parse_task(dump_task(task)) == task


@pytest.mark.parametrize("written", ["python:3.12", "python", "registry.example.org/team/train:latest"])
def test_a_tag_is_refused_with_the_command_that_finds_its_digest(written: str) -> None:
    with pytest.raises(Unpinned):
        image_in(f"docker:{written}")
    with pytest.raises(TaskRefused) as refused:
        parse_task(f"resources: {{image_id: docker:{written}}}\nrun: 'true'\n")
    [problem] = refused.value.problems
    command = f"skopeo inspect --format '{{{{.Digest}}}}' docker://{written}"
    assert problem["message"].endswith(command) and problem["field"] == "resources.image_id"
    assert said(problem["message"], "zh").endswith(command)
    assert "摘要" in said(problem["message"], "zh")


@pytest.mark.parametrize(
    "written",
    [
        "python",
        "ami-0123",
        "docker:",
        f"docker:-x@{DIGEST}",
        f"docker:a/../b@{DIGEST}",
        f"docker:a b@{DIGEST}",
        f"docker:a@{DIGEST}0",
        "docker:a@sha256:" + "0" * 63,
        f"docker:{'a' * 500}@{DIGEST}",
        f"docker:$(id)@{DIGEST}",
    ],
)
def test_what_names_no_image_is_refused(written: str) -> None:
    assert image_in(written) is None
    assert image_of(written) == ""
    with pytest.raises(TaskRefused) as refused:
        parse_task(f"resources: {{image_id: {written!r}}}\nrun: 'true'\n")
    assert [problem["field"] for problem in refused.value.problems] == ["resources.image_id"]


def test_an_image_is_an_environment() -> None:
    for mosu, field in (
        ("{environment: python}", "mosu.environment"),
        ("{kind: session, apps: [jupyter]}", "resources.image_id"),
        ("{kind: session, apps: [ssh, vscode]}", "resources.image_id"),
    ):
        with pytest.raises(TaskRefused) as refused:
            parse_task(f"resources: {{image_id: 'docker:{IMAGE}'}}\nrun: 'true'\nmosu: {mosu}\n")
        assert [problem["field"] for problem in refused.value.problems] == [field]


@pytest.mark.parametrize(
    ("prefix", "allowed"),
    [
        ("registry.example.org", True),
        ("registry.example.org/", True),
        ("registry.example.org/team", True),
        ("registry.example.org/team/train", True),
        ("registry.example.org/te", False),
        ("registry.example", False),
        ("registry.example.org/team/train/more", False),
        ("docker.io", False),
    ],
)
def test_an_allow_list_goes_by_whole_parts(prefix: str, allowed: bool) -> None:
    assert is_allowed(IMAGE, [prefix]) is allowed
    assert is_allowed(IMAGE, ["other.example.org", prefix]) is allowed
    assert not is_allowed(IMAGE, [])
