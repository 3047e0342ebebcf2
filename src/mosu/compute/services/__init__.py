"""Writes of the compute shelf; one function per intention."""

from mosu.compute.services.blackouts import AlreadyTaken, lift_blackout, set_blackout, span_between
from mosu.compute.services.block_quotes import quote_block
from mosu.compute.services.blocks import turn_blocks
from mosu.compute.services.capacity import SoldOut
from mosu.compute.services.certificates import Certified, NoSuchApp, certify_key, entering
from mosu.compute.services.connections import (
    AppReached,
    Granted,
    NotASession,
    NotRunning,
    PoolAway,
    TooManyConnections,
    Traffic,
    close_connection,
    close_forgotten,
    close_left_open,
    open_connection,
    reached_apps,
    renew_connections,
)
from mosu.compute.services.copying import note_copying
from mosu.compute.services.delivery import count_deliveries
from mosu.compute.services.dispatch import LeaseAnswer, heartbeat, lease_attempt
from mosu.compute.services.endings import expire_leases, fence_attempt
from mosu.compute.services.endpoint_entry import (
    Entry,
    NoSignInThere,
    entry_by_cookie,
    entry_by_key,
    make_endpoint_ticket,
    redeem_endpoint_ticket,
    renew_entries,
)
from mosu.compute.services.endpoint_log import (
    InFlight,
    Minute,
    forget_in_flight,
    forget_requests,
    note_in_flight,
    note_requests,
)
from mosu.compute.services.endpoint_routes import (
    EndpointRoute,
    ReplicaRoute,
    endpoint_labelled,
    endpoint_routes,
    note_well,
)
from mosu.compute.services.endpoints import (
    EndpointEnded,
    EndpointNameTaken,
    MadeKey,
    TooManyEndpoints,
    change_endpoint,
    end_endpoint,
    make_endpoint,
    make_key,
    revoke_key,
)
from mosu.compute.services.ends import watch_ends
from mosu.compute.services.extending import (
    ExtendedMeanwhile,
    ExtensionKept,
    NotExtensible,
    TooLate,
    quote_extension,
    why_not_extensible,
)
from mosu.compute.services.fitting import Reason
from mosu.compute.services.guests import TooManyGuests, end_sharing, share_run
from mosu.compute.services.health import check_now, take_health
from mosu.compute.services.identity import AgentTaken, NotRegistered
from mosu.compute.services.idle import keep_run, set_idle_stop, set_own_idle_stop, watch_idle
from mosu.compute.services.interruption import place_interrupted
from mosu.compute.services.inventory import publish_node
from mosu.compute.services.keeping import keep_endpoint, keep_endpoints, task_of
from mosu.compute.services.logs import LogSlice, append_log, log_of, read_log
from mosu.compute.services.pools import (
    NameTaken,
    NotASupplier,
    actor_of_agent,
    create_pool,
    digest_of_agent,
    pool_of_agent,
    register_agent,
    rotate_token,
    set_node_state,
    set_placing,
    set_pool_state,
    tokens_that_hold,
)
from mosu.compute.services.quoting import QuoteResult, RefusedOffer, choice_of, quote_run
from mosu.compute.services.replicas import KEEP_ENDPOINT, Overtaken, wake_keeper
from mosu.compute.services.reports import NotLeased, take_report
from mosu.compute.services.runs import cancel_run
from mosu.compute.services.sharing import QuotaReached, set_quota, set_share
from mosu.compute.services.snapshots import FAULTS, quote_snapshot, restore_volume
from mosu.compute.services.tickets import (
    MadeTicket,
    NoAppsHost,
    Redeemed,
    TicketRefused,
    enter_by_cookie,
    make_ticket,
    not_entered,
    redeem_ticket,
    sha256_of,
)
from mosu.compute.services.trial import (
    LOCAL_REGION,
    SUPPLIER_NAME,
    ensure_local_pool,
    ensure_local_volumes,
)
from mosu.compute.services.uploads import (
    Destination,
    check_input,
    missing_for,
    output_named,
    output_of,
    upload_of,
)
from mosu.compute.services.usage import attempt_epoch_of, seen_s, take_usage
from mosu.compute.services.volume_offers import TERM_DAYS_MAX, volume_offer
from mosu.compute.services.volume_quotas import kept_gb
from mosu.compute.services.volume_quotes import VolumeNameTaken, quote_volume, quote_volume_time
from mosu.compute.services.volume_uses import VolumeGone, VolumeInUse
from mosu.compute.services.volumes import (
    VolumeKept,
    delete_volume,
    end_volumes,
    set_renewal,
    turn_volumes,
)

__all__ = [
    "FAULTS",
    "KEEP_ENDPOINT",
    "LOCAL_REGION",
    "SUPPLIER_NAME",
    "TERM_DAYS_MAX",
    "AgentTaken",
    "AlreadyTaken",
    "AppReached",
    "Certified",
    "Destination",
    "EndpointEnded",
    "EndpointNameTaken",
    "EndpointRoute",
    "Entry",
    "ExtendedMeanwhile",
    "ExtensionKept",
    "Granted",
    "InFlight",
    "LeaseAnswer",
    "LogSlice",
    "MadeKey",
    "MadeTicket",
    "Minute",
    "NameTaken",
    "NoAppsHost",
    "NoSignInThere",
    "NoSuchApp",
    "NotASession",
    "NotASupplier",
    "NotExtensible",
    "NotLeased",
    "NotRegistered",
    "NotRunning",
    "Overtaken",
    "PoolAway",
    "QuotaReached",
    "QuoteResult",
    "Reason",
    "Redeemed",
    "RefusedOffer",
    "ReplicaRoute",
    "SoldOut",
    "TicketRefused",
    "TooLate",
    "TooManyConnections",
    "TooManyEndpoints",
    "TooManyGuests",
    "Traffic",
    "VolumeGone",
    "VolumeInUse",
    "VolumeKept",
    "VolumeNameTaken",
    "actor_of_agent",
    "append_log",
    "attempt_epoch_of",
    "cancel_run",
    "certify_key",
    "change_endpoint",
    "check_input",
    "check_now",
    "choice_of",
    "close_connection",
    "close_forgotten",
    "close_left_open",
    "count_deliveries",
    "create_pool",
    "delete_volume",
    "digest_of_agent",
    "end_endpoint",
    "end_sharing",
    "end_volumes",
    "endpoint_labelled",
    "endpoint_routes",
    "ensure_local_pool",
    "ensure_local_volumes",
    "enter_by_cookie",
    "entering",
    "entry_by_cookie",
    "entry_by_key",
    "expire_leases",
    "fence_attempt",
    "forget_in_flight",
    "forget_requests",
    "heartbeat",
    "keep_endpoint",
    "keep_endpoints",
    "keep_run",
    "kept_gb",
    "lease_attempt",
    "lift_blackout",
    "log_of",
    "make_endpoint",
    "make_endpoint_ticket",
    "make_key",
    "make_ticket",
    "missing_for",
    "not_entered",
    "note_copying",
    "note_in_flight",
    "note_requests",
    "note_well",
    "open_connection",
    "output_named",
    "output_of",
    "place_interrupted",
    "pool_of_agent",
    "publish_node",
    "quote_block",
    "quote_extension",
    "quote_run",
    "quote_snapshot",
    "quote_volume",
    "quote_volume_time",
    "reached_apps",
    "read_log",
    "redeem_endpoint_ticket",
    "redeem_ticket",
    "register_agent",
    "renew_connections",
    "renew_entries",
    "restore_volume",
    "revoke_key",
    "rotate_token",
    "seen_s",
    "set_blackout",
    "set_idle_stop",
    "set_node_state",
    "set_own_idle_stop",
    "set_placing",
    "set_pool_state",
    "set_quota",
    "set_renewal",
    "set_share",
    "sha256_of",
    "share_run",
    "span_between",
    "take_health",
    "take_report",
    "take_usage",
    "task_of",
    "tokens_that_hold",
    "turn_blocks",
    "turn_volumes",
    "upload_of",
    "volume_offer",
    "wake_keeper",
    "watch_ends",
    "watch_idle",
    "why_not_extensible",
]
