"""What others ask of the platform: each service is one intention, all or nothing."""

from mosu.platform.rules import SamePerson, two_persons
from mosu.platform.services.audit import record_audit
from mosu.platform.services.bootstrap import Bootstrapped, bootstrap
from mosu.platform.services.events import DeliveryFailed, Handler, deliver, emit, subscribe
from mosu.platform.services.keys import KeyReused, claim_key, fill_key, purge_keys
from mosu.platform.services.memberships import (
    AlreadyMember,
    InvitationOver,
    LastOwner,
    accept_invitation,
    change_role,
    grant_hub_role,
    invite,
    remove_member,
    revoke_invitation,
)
from mosu.platform.services.notices import (
    mail_goes_out,
    members_of,
    notify,
    pass_on,
    post_mail,
    read_notice,
    send_posted,
)
from mosu.platform.services.organisations import (
    NameTaken,
    TooManyOrganisations,
    admit,
    dismiss,
    found_organisation,
    make_project,
    move_organisation,
    record_fact,
    verify_fact,
)
from mosu.platform.services.throttle import TooMany, count_failure, forgive_failure
from mosu.platform.services.tokens import (
    CodeNeeded,
    EmailUnverified,
    WrongCredentials,
    make_token,
    revoke_token,
    token_by_password,
)

__all__ = [
    "AlreadyMember",
    "Bootstrapped",
    "CodeNeeded",
    "DeliveryFailed",
    "EmailUnverified",
    "Handler",
    "InvitationOver",
    "KeyReused",
    "LastOwner",
    "NameTaken",
    "SamePerson",
    "TooMany",
    "TooManyOrganisations",
    "WrongCredentials",
    "accept_invitation",
    "admit",
    "bootstrap",
    "change_role",
    "claim_key",
    "count_failure",
    "deliver",
    "dismiss",
    "emit",
    "fill_key",
    "forgive_failure",
    "found_organisation",
    "grant_hub_role",
    "invite",
    "mail_goes_out",
    "make_project",
    "make_token",
    "members_of",
    "move_organisation",
    "notify",
    "pass_on",
    "post_mail",
    "purge_keys",
    "read_notice",
    "record_audit",
    "record_fact",
    "remove_member",
    "revoke_invitation",
    "revoke_token",
    "send_posted",
    "subscribe",
    "token_by_password",
    "two_persons",
    "verify_fact",
]
