"""The catalogue of accelerators: a data file, checked whole when it is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mosu.kernel.refusals import Invalid, NotFound
from mosu.wire.shares import kind_of

FILE: Final = Path(__file__).with_name("accelerators.yaml")

Confidence = Literal["vendor", "measured", "contract", "press", "recalled"]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,59}$")]
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Where figures come from, and how far they can be trusted."""

    title: str
    confidence: Confidence


class Figure(_Part):
    value: Positive
    source: str


class Countries(_Part):
    """ISO 3166 codes."""

    value: tuple[Country, ...]
    source: str


class Compute(_Part):
    """TFLOPS (TOPS for integers) at one precision."""

    precision: Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "unstated"]
    tflops: Positive
    sparse: bool = False
    vector: bool = False
    source: str


class Interconnect(_Part):
    kind: str
    gb_s: Positive | None = None
    source: str


class Accelerator(_Part):
    """One card type. What is not known is None or empty."""

    id: Id
    name: str
    zh: str = ""
    vendor: str
    aliases: tuple[str, ...] = ()
    memory_gb: Figure | None = None
    bandwidth_gb_s: Figure | None = None
    interconnect: Interconnect | None = None
    compute: tuple[Compute, ...] = ()
    software: tuple[str, ...] = ()
    design: Countries | None = None
    make: Countries | None = None

    @property
    def compared_by(self) -> Compute | None:
        """The figure by which cards are compared: dense 16-bit matrix compute. Unknown stays unknown."""
        fitting = (one for one in self.compute if one.precision in ("fp16", "bf16"))
        return next((one for one in fitting if not one.sparse and not one.vector), None)

    def sources(self) -> set[str]:
        """Every source that a figure of this card names."""
        parts = (
            self.memory_gb,
            self.bandwidth_gb_s,
            self.interconnect,
            self.design,
            self.make,
            *self.compute,
        )
        return {part.source for part in parts if part is not None}


class _Family(_Part):
    names: tuple[str, ...]
    members: tuple[Id, ...]


class _File(_Part):
    sources: dict[str, Source]
    accelerators: tuple[Accelerator, ...]
    families: dict[str, _Family] = {}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All accelerators by id, their sources, and the names by which a task may ask for them."""

    accelerators: Mapping[str, Accelerator]
    sources: Mapping[str, Source]
    names: Mapping[str, tuple[str, ...]]
    families: Mapping[str, tuple[str, ...]]
    """By accelerator: the names of the families that it belongs to."""


class BadCatalogue(Invalid):
    """The data file breaks a rule; nothing of it is used."""

    code = "bad_catalogue"


class UnknownAccelerator(NotFound):
    """No accelerator has this name."""

    code = "unknown_accelerator"


@cache
def catalogue() -> Catalogue:
    """The catalogue that is shipped, read once."""
    return read_catalogue(FILE.read_text(), source=FILE.name)


def read_catalogue(text: str, *, source: str) -> Catalogue:
    """The catalogue in `text`.

    Raises:
        BadCatalogue: a key, value or source is unknown, or a name stands for two things.
    """
    try:
        data = _File.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _refused(source, field, first["msg"]) from error
    except yaml.YAMLError as error:
        raise _refused(source, "YAML", str(error).replace("\n", " ")[:200]) from error
    by_id: dict[str, Accelerator] = {}
    for one in data.accelerators:
        if one.id in by_id:
            raise _refused(source, one.id, "this id is there twice")
        unknown = one.sources() - data.sources.keys()
        if unknown:
            raise _refused(source, one.id, f"unknown source {min(unknown)!r}")
        by_id[one.id] = one
    return Catalogue(
        MappingProxyType(by_id),
        MappingProxyType(data.sources),
        MappingProxyType(_names(data, by_id, source)),
        MappingProxyType(_families(data)),
    )


def accelerators_named(name: str) -> tuple[str, ...]:
    """The ids that a task means by `name`: an id, an alias or a family; letter case and separators do not count.

    Raises:
        UnknownAccelerator: nothing is called so.
    """
    found = catalogue().names.get(_plain(name))
    if found is None:
        known = ", ".join(one.aliases[0] for one in catalogue().accelerators.values() if one.aliases)
        raise UnknownAccelerator(
            f"There is no accelerator called {name[:60]!r}.", hint=f"Known: {known}.", found=name[:60]
        )
    return found


def card_named(kind: str) -> Accelerator | None:
    """The accelerator of that id, or of which that kind is a share; None where the catalogue lacks it."""
    return catalogue().accelerators.get(kind_of(kind).accelerator)


def kinds_named(name: str) -> tuple[str, ...]:
    """As `accelerators_named`; of a share such as `A100-80GB/4` the kinds that it can mean.

    Raises:
        UnknownAccelerator: nothing is called so.
    """
    kind = kind_of(name)
    return tuple(
        str(replace(kind, accelerator=accelerator)) for accelerator in accelerators_named(kind.accelerator)
    )


def memory_of(kind: str) -> float | None:
    """The memory of such a card in GB; of a share its equal part. None where it is not known."""
    card = card_named(kind)
    return card.memory_gb.value / kind_of(kind).shares if card and card.memory_gb else None


def share_told(kind: str, *, memory_gb: float | None = None) -> Mapping[str, str] | None:
    """In both languages which share of what it is, with how much memory, and if that is shared; None: a whole card."""
    share, card = kind_of(kind), card_named(kind)
    if share.shares == 1:
        return None
    zh, en = ((card.zh or card.name), card.name) if card else (share.accelerator, share.accelerator)
    has = memory_gb or memory_of(kind)
    memory = (f"{has:.3g} GB",) if has else ()
    bare_zh, bare_en = (("显存不隔离",), ("shared without isolation",)) if share.shared else ((), ())
    return {
        "zh": "，".join((f"{zh} 的 1/{share.shares}", *memory, *bare_zh)),
        "en": ", ".join((f"1/{share.shares} of {en}", *memory, *bare_en)),
    }


def _names(data: _File, by_id: Mapping[str, Accelerator], source: str) -> dict[str, tuple[str, ...]]:
    names: dict[str, tuple[str, ...]] = {}

    def claim(name: str, ids: tuple[str, ...]) -> None:
        if names.setdefault(_plain(name), ids) != ids:
            raise _refused(source, name, "this name stands for two things")

    for one in data.accelerators:
        for name in (one.id, one.name, *((one.zh,) if one.zh else ()), *one.aliases):
            claim(name, (one.id,))
    for family_id, family in data.families.items():
        missing = [member for member in family.members if member not in by_id]
        if missing:
            raise _refused(source, family_id, f"unknown member {missing[0]!r}")
        for name in (family_id, *family.names):
            claim(name, family.members)
    return names


def _families(data: _File) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for family in data.families.values():
        for member in family.members:
            found[member] = (*found.get(member, ()), *family.names)
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]", "", name).lower()


def _refused(source: str, field: str, why: str) -> BadCatalogue:
    return BadCatalogue(f"{source}: {field}: {why}.", hint="Mend the file.", field=field)
