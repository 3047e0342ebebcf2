"""One's notices."""

from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router

from mosu.platform import queries, services
from mosu.platform.auth import token_auth
from mosu.platform.cursors import Listed, Paging, page_of
from mosu.platform.doors import door
from mosu.platform.models import (
    Notice,
)
from mosu.platform.requests import actor_of
from mosu.platform.schemas import Bilingual, Out

router = Router(auth=token_auth, tags=["platform"])


class NoticeOut(Out):
    id: str
    kind: str
    title: Bilingual
    body: Bilingual
    link: str
    created_at: datetime
    read_at: datetime | None

    @staticmethod
    def of(notice: Notice) -> "NoticeOut":
        return NoticeOut(
            id=notice.public_id,
            kind=notice.kind,
            title=Bilingual(**notice.title),
            body=Bilingual(**notice.body),
            link=notice.link,
            created_at=notice.created_at,
            read_at=notice.read_at,
        )


@router.get("/notices", response=Listed[NoticeOut], operation_id="listNotices")
@door("self.read")
def list_notices(request: HttpRequest, paging: Query[Paging]) -> Listed[NoticeOut]:
    """The caller's inbox, newest first."""
    rows, after = page_of(queries.notices_of(actor_of(request)), paging.cursor, paging.limit)
    return Listed(items=[NoticeOut.of(row) for row in rows], next=after)


class ReadOut(Out):
    read: int
    """How many were unread until now."""


@router.post("/notices/read", response=ReadOut, operation_id="readNotices")
@door("self.change")
def read_notices(request: HttpRequest) -> ReadOut:
    """Mark all of the caller's notices as read."""
    return ReadOut(read=services.read_notices(actor=actor_of(request), now=timezone.now()))


@router.post("/notices/{notice_id}/read", response=NoticeOut, operation_id="readNotice")
@door("self.change")
def read_notice(request: HttpRequest, notice_id: str) -> NoticeOut:
    """Mark a notice as read."""
    notice = services.read_notice(
        actor=actor_of(request), notice_id=Notice.key_of(notice_id), now=timezone.now()
    )
    return NoticeOut.of(notice)
