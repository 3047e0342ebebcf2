"""`mosu simulate`: what a policy would make of a cluster, without a hub."""

import json
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mosu.compute.placement.charts import console, print_bars, print_table, told
from mosu.compute.placement.fleet import Machine
from mosu.compute.placement.podqueue import PodWaits, paced, queue_pods, scaled
from mosu.compute.placement.policies import DEFAULT, POLICIES
from mosu.compute.placement.queueing import DISCIPLINES
from mosu.compute.placement.replay import Replayed, replay
from mosu.compute.placement.traces import Pod, clusters_in, jobs_in, machines_in, pods_in
from mosu.compute.placement.waits import jobs_between, rows_by_size, waits_of
from mosu.compute.placement.whatif import Added, added, with_added
from mosu.kernel.refusals import Invalid

FIRST_SEED: Final = 42
"""Those of the ATC 2023 artifact: 42 to 51."""

simulate = typer.Typer(
    help="What a policy would make of a cluster and its demand; needs no hub.", no_args_is_help=True
)

Nodes = Annotated[Path, typer.Option("--nodes", help="The cluster's nodes, CSV.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write all figures into this file.")]
Add = Annotated[
    list[str] | None, typer.Option("--add", help="And with so many more cards, such as 64xA100. Repeatable.")
]


@simulate.command()
def placement(  # noqa: PLR0917 - the options of a command
    nodes: Nodes,
    pods: Annotated[Path, typer.Option("--pods", help="What was asked of it, CSV.")],
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="best-fit, fgd or mosu. Repeatable. [default: all]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="How many orders of arrival are tried.")] = 10,
    first_seed: Annotated[int, typer.Option(min=0, help="The first order's number.")] = FIRST_SEED,
    queued: Annotated[
        bool,
        typer.Option("--queue", help="Pods come and go when they did, and wait instead of being dropped."),
    ] = False,
    scale: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="Only so many times the nodes of each kind, rounded up."),
    ] = 1.0,
    pace: Annotated[
        float, typer.Option(min=0.001, max=1_000_000, help="With --queue: pods come so many times as fast.")
    ] = 1.0,
    add: Add = None,
    file: Json = None,
) -> None:
    """How many of the cards each policy has allocated when as many have been asked for.

    Pods arrive in random orders and stay; one that fits nowhere is dropped. With --queue: who waits, and how long.
    """
    _check_folder_of(file)
    names = _named(policy, POLICIES)
    machines, asked, more = scaled(machines_in(nodes), scale), pods_in(pods), added(add or ())
    fleets = {"": machines} | ({" ".join(add): with_added(machines, more)} if add else {})
    if queued:
        told_of = {"nodes": str(nodes), "pods": str(pods), "scale": scale, "pace": pace}
        _queue_pods(fleets, paced(asked, pace), names, facts=told_of, file=file)
        return
    answers = {}
    with _progress(len(names) * seeds * len(fleets) * len(asked)) as tell:
        for label, fleet in fleets.items():
            answers[label] = {
                name: [
                    replay(fleet, asked, policy=name, seed=first_seed + number, tell=tell)
                    for number in range(seeds)
                ]
                for name in names
            }
    for label, of_policy in answers.items():
        _print_placement(_title_of(label, fleets[label]), of_policy)
    if file:
        base = _placement_facts(answers[""])
        facts: dict[str, Any] = {
            "nodes": str(nodes),
            "pods": str(pods),
            "scale": scale,
            "first_seed": first_seed,
            "policies": base,
        }
        if add:
            facts["with_added"] = {
                "cards": _cards_of(more),
                "policies": _placement_facts(answers[" ".join(add)]),
            }
        file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _queue_pods(
    fleets: Mapping[str, Sequence[Machine]],
    pods: Sequence[Pod],
    names: Sequence[str],
    *,
    facts: dict[str, Any],
    file: Path | None,
) -> None:
    with _progress(len(names) * len(fleets) * len(pods)) as tell:
        found = {
            label: {name: queue_pods(fleet, pods, policy=name, tell=tell) for name in names}
            for label, fleet in fleets.items()
        }
    for label, of_policy in found.items():
        print_table(
            _title_of(label, fleets[label]),
            ("policy", "pods that waited", "mean wait", "p99", "longest", "too large"),
            [_waits_row(name, one) for name, one in of_policy.items()],
        )
        print_bars([(name, one.all.mean_s) for name, one in of_policy.items()], unit="s")
        print_table(told("Mean wait by cards"), ("cards", "pods", *names), _rows_by_cards(of_policy))
    for label, of_policy in found.items():
        told_of = {name: one.as_json() for name, one in of_policy.items()}
        facts |= {"with_added": {"added": label, "policies": told_of}} if label else {"policies": told_of}
    if file:
        file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _title_of(label: str, fleet: Sequence[Machine]) -> str:
    cards = sum(one.cards for one in fleet)
    return told(f"{cards} cards, with {label} added") if label else told(f"{cards} cards")


def _waits_row(name: str, one: PodWaits) -> tuple[str, ...]:
    seconds = (one.all.mean_s, one.all.p99_s, one.all.longest_s)
    waited = f"{sum(one.waited.values())} / {one.all.count}"
    return (
        name + (" *" if name == DEFAULT else ""),
        waited,
        *(f"{value:,.0f} s" for value in seconds),
        str(one.too_large),
    )


def _rows_by_cards(of_policy: Mapping[str, PodWaits]) -> list[tuple[str, ...]]:
    sizes = next(iter(of_policy.values())).by_size
    return [
        (size, str(one.count), *(f"{found.by_size[size].mean_s:,.0f} s" for found in of_policy.values()))
        for size, one in sizes.items()
    ]


def _check_folder_of(file: Path | None) -> None:
    """Before hours are reckoned: there is a folder to write the figures into."""
    if file is not None and not file.absolute().parent.is_dir():
        raise Invalid(f"There is no folder {file.parent}.", hint="Make it first.", field="json")


def _named(asked: Sequence[str] | None, known: Collection[str]) -> list[str]:
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise Invalid(
            f"There is no policy {unknown[0]!r}.", hint=f"Known: {', '.join(known)}.", field="policy"
        )
    return list(dict.fromkeys(asked or known))


def _cards_of(more: Sequence[Added]) -> int:
    return sum(one.cards for one in more)


def _placement_facts(of_policy: Mapping[str, Sequence[Replayed]]) -> dict[str, Any]:
    return {
        name: {
            "allocated_percent_at_100": {
                "mean": statistics.fmean(one.allocated_percent for one in found),
                "per_seed": [one.allocated_percent for one in found],
            },
            "refused": {
                "pods": statistics.fmean(one.refused for one in found),
                "cards": statistics.fmean(one.refused_cards for one in found),
            },
            "decisions_per_second": _speed(found),
        }
        for name, found in of_policy.items()
    }


def _speed(found: Sequence[Replayed]) -> float:
    return sum(one.decisions for one in found) / max(1e-9, sum(one.seconds for one in found))


def _print_placement(title: str, of_policy: Mapping[str, Sequence[Replayed]]) -> None:
    rows, bars = [], []
    for name, found in of_policy.items():
        percents = [one.allocated_percent for one in found]
        mean = statistics.fmean(percents)
        spread = statistics.stdev(percents) if len(percents) > 1 else 0.0
        rows.append(
            (
                name + (" *" if name == DEFAULT else ""),
                f"{mean:.2f} ± {spread:.2f}",
                f"{statistics.fmean(one.refused for one in found):.1f}",
                f"{statistics.fmean(one.refused_cards for one in found):.1f}",
                f"{_speed(found):,.0f}",
            )
        )
        bars.append((name, mean))
    headings = ("policy", "% of cards allocated", "pods refused", "cards refused", "decisions/s")
    print_table(title, headings, rows)
    print_bars(bars, unit="%")


@simulate.command()
def queue(  # noqa: PLR0917 - the options of a command
    jobs: Annotated[Path, typer.Option("--jobs", help="Jobs with their times, CSV.")],
    nodes: Annotated[Path, typer.Option("--nodes", help="Clusters and their nodes, CSV.")],
    scale: Annotated[
        float,
        typer.Option(min=0.001, max=1000, help="Each cluster with so many times its nodes, rounded up."),
    ] = 1.0,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="fifo, backfill or mosu. Repeatable. [default: all]")
    ] = None,
    since: Annotated[
        str, typer.Option(help="Only jobs submitted from this date on, such as 2017-10-01.")
    ] = "",
    until: Annotated[str, typer.Option(help="Only jobs submitted before this date.")] = "",
    add: Annotated[int, typer.Option(min=0, help="And with so many more nodes in each cluster.")] = 0,
    file: Json = None,
) -> None:
    """How long jobs wait for whole cards, by who starts next. How long a job will last is not known to any.

    fifo: nobody passes. backfill: what fits passes. mosu: what fits, first who has waited longest for what jobs like
    it lasted.
    """
    _check_folder_of(file)
    names = _named(policy, DISCIPLINES)
    clusters = clusters_in(nodes, scale=scale)
    asked = jobs_between(jobs_in(jobs), clusters, since=since, until=until)
    sizes = {0: clusters} | ({add: [replace(one, nodes=one.nodes + add) for one in clusters]} if add else {})
    facts: dict[str, Any] = {"jobs": str(jobs), "nodes": str(nodes), "scale": scale, "policies": {}}
    with _progress(len(names) * len(sizes) * len(asked)) as tell:
        found = {
            more: {name: waits_of(these, asked, discipline=name, tell=tell) for name in names}
            for more, these in sizes.items()
        }
    for more, of_name in found.items():
        cards = sum(one.nodes * one.cards for one in sizes[more])
        title = told(f"{len(asked)} jobs, {cards} cards")
        headings = ("policy", "mean wait", "p50", "p99", "longest", "too large")
        print_table(title, headings, [one.row(name) for name, one in of_name.items()])
        print_bars([(name, one.mean_s) for name, one in of_name.items()], unit="s")
        print_table(told("Mean wait by cards"), ("cards", "jobs", *names), rows_by_size(of_name))
    facts["policies"] = {name: one.as_json() for name, one in found[0].items()}
    if add:
        facts["with_added"] = {"nodes": add, "policies": {n: one.as_json() for n, one in found[add].items()}}
    if file:
        file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Shown where somebody watches."""
    bar = Progress(
        TextColumn("{task.percentage:>3.0f}%"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
        console=console(err=True),
        transient=True,
        disable=not console(err=True).is_terminal,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda steps: bar.advance(task, steps)
