"""Endpoints: addresses at which services answer, who may ask there, and what was asked."""

from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from mosu.compute.models.known import choices, known
from mosu.compute.models.runs import Run
from mosu.compute.states import EndpointState
from mosu.platform.rows import Row
from mosu.wire.task_service import AUTHS, REPLICAS_MAX

LATENCY_MS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
"""Upper bounds of the classes in which answers are counted; the last class has none."""
_OPEN = Q(state=EndpointState.OPEN.value)


class Endpoint(Row):
    """An address that an organisation wants answered: its replicas are runs, bought one by one as they are needed.

    Each replica is an order like any other, placed in the name of `owner`, with its own hold, charge and receipt.
    """

    prefix = "endpoint"

    organisation = models.ForeignKey("platform.Organisation", on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey("platform.Project", on_delete=models.PROTECT, related_name="+")
    owner = models.ForeignKey("platform.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    """In whose name replicas are ordered: what they may no longer buy is no longer bought."""
    name = models.CharField(max_length=40)
    label = models.CharField(max_length=63)
    """The first part of its host (see `app_hosts.EndpointHost`): of one open endpoint at most."""
    state = models.CharField(max_length=20, choices=choices(EndpointState), default=EndpointState.OPEN.value)
    auth = models.CharField(max_length=10, choices=[(auth, auth) for auth in AUTHS])
    """Who may ask: whoever has one of its keys, whoever is signed in at the hub, or anybody."""
    port = models.PositiveIntegerField()
    """At which its replicas answer."""
    health = models.CharField(max_length=200, blank=True)
    """Where a replica says that it is well; empty: it is well while something listens."""
    task = models.TextField()
    """The task file, without secrets."""
    sealed_secrets = models.TextField(blank=True)
    workdir_manifest = models.CharField(max_length=64, blank=True)
    """The files of its working folder; empty: it has none."""
    version = models.PositiveIntegerField(default=1)
    """Of the task: replicas of an earlier one are replaced."""
    replicas_min = models.PositiveIntegerField()
    replicas_max = models.PositiveIntegerField()
    requests_per_replica = models.PositiveIntegerField()
    """In flight at once, above which one more is started."""
    idle_s = models.PositiveIntegerField()
    """What was not needed for so long is drained, down to the fewest."""
    in_flight = models.PositiveIntegerField(default=0)
    """The most requests at once since the relay last said so, those that wait among them."""
    asked_at = models.DateTimeField(null=True)
    """When somebody last asked there."""
    reason = models.CharField(max_length=500, blank=True)
    """Why it has fewer replicas than it should; empty: it has them, or they are on their way."""
    failures = models.PositiveIntegerField(default=0)
    """How often in a row a replica could not be had, or ended at once."""
    retry_at = models.DateTimeField(null=True)
    """Not before then is one ordered again."""
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["organisation", "-created_at", "-id"], name="endpoint_of_organisation"),
            models.Index(fields=["id"], condition=_OPEN, name="endpoint_open"),
        ]
        constraints = [
            known("endpoint_state_known", EndpointState),
            models.UniqueConstraint(fields=["label"], condition=_OPEN, name="endpoint_label_once"),
            models.CheckConstraint(condition=Q(auth__in=AUTHS), name="endpoint_auth_known"),
            models.CheckConstraint(condition=Q(port__gte=1, port__lte=65_535), name="endpoint_port_known"),
            models.CheckConstraint(
                condition=Q(replicas_max__gte=F("replicas_min"), replicas_max__lte=REPLICAS_MAX)
                & Q(replicas_max__gte=1, requests_per_replica__gte=1),
                name="endpoint_replicas_bounded",
            ),
            models.CheckConstraint(
                condition=(_OPEN & Q(ended_at=None)) | (~_OPEN & Q(ended_at__isnull=False)),
                name="endpoint_ended_at_when_ended",
            ),
        ]


class Replica(Row):
    """A run that answers for an endpoint, until it ends or is drained."""

    prefix = "replica"

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="replicas")
    run = models.OneToOneField(Run, on_delete=models.PROTECT, related_name="replica")
    ordinal = models.PositiveIntegerField()
    """How many the endpoint had before it: each is ordered once, whoever orders."""
    version = models.PositiveIntegerField()
    """Of the endpoint's task."""
    added_at = models.DateTimeField()
    well_at = models.DateTimeField(null=True)
    """When it first said that it is well; None: it has not yet."""
    drained_at = models.DateTimeField(null=True)
    """Since when it is given no new requests; it is stopped when it has none."""
    in_flight = models.PositiveIntegerField(default=0)
    """Requests at it, as the relay last said."""
    over = models.BooleanField(default=False)
    """Its run has ended, or was told to."""

    class Meta:
        indexes = [
            models.Index(fields=["endpoint", "id"], condition=Q(over=False), name="replica_live"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "ordinal"], name="replica_ordered_once"),
        ]


class EndpointKey(Row):
    """With which programs ask at an endpoint marked `key`. Its text is not kept, only the sha256."""

    prefix = "ekey"

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(max_length=63)
    secret_sha256 = models.CharField(max_length=64, unique=True)
    made_by = models.ForeignKey("platform.User", on_delete=models.PROTECT, related_name="+", db_index=False)
    made_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)
    """To within half a minute."""


class EndpointMinute(models.Model):
    """What was asked at an endpoint within a minute, for curves: added to while it lasts."""

    id = models.BigAutoField(primary_key=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="minutes", db_index=False)
    minute = models.DateTimeField()
    requests = models.PositiveIntegerField()
    refused = models.PositiveIntegerField()
    """Answered by us: no key, none that answers, too many."""
    failed = models.PositiveIntegerField()
    """Answered by a replica with 500 and above, or broken off by it."""
    in_flight_max = models.PositiveIntegerField()
    latencies = ArrayField(models.PositiveIntegerField(), size=len(LATENCY_MS) + 1)
    """How many answers of replicas began within each class of `LATENCY_MS`."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["endpoint", "minute"], name="endpoint_minute_once")]


class EndpointRequest(models.Model):
    """One request at an endpoint: when, what path, how it ended; never a query, a header or a body. Kept a while."""

    id = models.BigAutoField(primary_key=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="requests", db_index=False)
    at = models.DateTimeField()
    method = models.CharField(max_length=20)
    path = models.CharField(max_length=300)
    status = models.PositiveIntegerField()
    """Of the answer; 0: it was broken off before one began."""
    waited_ms = models.PositiveIntegerField()
    """For a replica."""
    took_ms = models.PositiveIntegerField()
    """From the request's head to the answer's end, the waiting among it."""
    bytes_in = models.PositiveBigIntegerField()
    bytes_out = models.PositiveBigIntegerField()
    key = models.ForeignKey(
        EndpointKey, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    user = models.ForeignKey(
        "platform.User", null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    run = models.ForeignKey(Run, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    """Which replica's answered; None: none."""

    class Meta:
        indexes = [models.Index(fields=["endpoint", "-at", "-id"], name="endpoint_request_of")]
