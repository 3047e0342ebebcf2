"""The catalogue of accelerators and what its loader refuses."""

import re

import pytest

from mosu.compute.accelerators import (
    FILE,
    BadCatalogue,
    UnknownAccelerator,
    accelerators_named,
    catalogue,
    read_catalogue,
)


@pytest.mark.parametrize(
    "vendor",
    [
        "Huawei",
        "Cambricon",
        "Hygon",
        "MetaX",
        "Moore Threads",
        "Iluvatar CoreX",
        "Enflame",
        "Biren",
        "Kunlunxin",
        "T-Head",
        "NVIDIA",
        "AMD",
    ],
)
def test_every_vendor_of_the_field_is_there(vendor: str) -> None:
    assert any(one.vendor == vendor for one in catalogue().accelerators.values())


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("H100", ("nvidia-h100-sxm",)),
        ("h100", ("nvidia-h100-sxm",)),
        ("Ascend910B2", ("ascend-910b2",)),
        ("昇腾 910B3", ("ascend-910b3",)),
        ("4090", ("nvidia-rtx-4090",)),
    ],
)
def test_names_of_task_files(name: str, ids: tuple[str, ...]) -> None:
    assert accelerators_named(name) == ids


def test_a_family_name_means_any_of_its_cards() -> None:
    assert accelerators_named("昇腾910B") == accelerators_named("Ascend910B")
    assert "ascend-910b4" in accelerators_named("910B")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownAccelerator) as caught:
        accelerators_named("H9000")
    assert "H100" in caught.value.hint


def test_what_is_unknown_stays_unknown() -> None:
    assert catalogue().accelerators["kunlunxin-p800"].memory_gb is None
    assert all(one.make is None for one in catalogue().accelerators.values() if one.vendor == "Huawei")


def test_every_source_is_used() -> None:
    used = set().union(*(one.sources() for one in catalogue().accelerators.values()))
    assert catalogue().sources.keys() == used


def test_a_source_names_the_page_that_was_read_or_admits_to_memory() -> None:
    for key, source in catalogue().sources.items():
        addressed = re.match(r"([a-z0-9-]+\.)+[a-z]{2,}\b", source.title) is not None
        assert addressed != (source.confidence == "recalled"), key


def test_only_pages_of_the_maker_count_as_the_vendors_figure() -> None:
    makers = {"NVIDIA": "docs.nvidia.com", "AMD": "rocm.docs.amd.com"}
    known = catalogue().sources
    vendors = {
        (one.vendor, known[key].title)
        for one in catalogue().accelerators.values()
        for key in one.sources()
        if known[key].confidence == "vendor"
    }
    assert all(title.startswith(makers[vendor]) for vendor, title in vendors)


@pytest.mark.parametrize("card", ["enflame-t20", "biren-br106", "cambricon-mlu590", "iluvatar-bi-v150"])
def test_a_card_without_any_page_has_no_figures(card: str) -> None:
    one = catalogue().accelerators[card]
    assert (one.memory_gb, one.bandwidth_gb_s, one.interconnect, one.compute) == (None, None, None, ())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("id: ascend-910b2\n", "id: ascend-910b1\n", "twice"),
        ("source: amd-mi250}", "source: hearsay}", "hearsay"),
        ("{value: 192,", "{value: -1,", "greater than 0"),
        ("aliases: [MI300X]", "aliases: [H100]", "two things"),
        ("    vendor: AMD", "    vendor: AMD\n    colour: red", "Extra"),
        ("ascend-910b4-1]", "ascend-999]", "ascend-999"),
    ],
)
def test_a_bad_file_is_refused_whole(old: str, new: str, why: str) -> None:
    text = FILE.read_text()
    assert old in text
    with pytest.raises(BadCatalogue, match=why):
        read_catalogue(text.replace(old, new, 1), source="x.yaml")
