"""Names one entry in an address or a form: where it lies, and what tells it from the others there."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, cast

import attrs
from starlette.exceptions import HTTPException

from ..api import Api, Entry, Place
from ..errors import InvalidQueue
from ..setting import check_queue_name

Kind: TypeAlias = Literal["queue", "retry", "schedule", "dead"]

KINDS: tuple[Kind, ...] = ("queue", "retry", "schedule", "dead")

LONGEST_JID = 200
"""Characters of a jid that stands in a reference; a longer one, which helps only to find the job fast, is left out."""


@attrs.frozen(kw_only=True)
class Ref:
    """One entry: written as ``dead~<score>~<key>~<jid>``, or ``queue~<position>~<key>~<jid>~<queue>``."""

    place: Place
    where: float
    """Its score, or in a queue its position."""
    key: str
    jid: str

    @classmethod
    def of(cls, entry: Entry) -> Ref:
        """The reference of *entry*."""
        where = float(entry.position) if entry.score is None else entry.score
        jid = entry.jid if len(entry.jid) <= LONGEST_JID and entry.jid.isprintable() else ""
        return cls(place=entry.place, where=where, key=entry.key, jid=jid)

    @classmethod
    def parse(cls, text: str) -> Ref:
        """Read what :meth:`__str__` wrote.

        Raises:
            HTTPException: 404, it is none.
        """
        try:
            kind, where, key, rest = text.split("~", 3)
            jid, queue = rest.rsplit("~", 1) if kind == "queue" else (rest, "")
            place = Place("queue", check_queue_name(queue)) if kind == "queue" else Place(cast("Kind", kind))
            number = float(where)
            if kind not in KINDS or math.isnan(number) or (kind == "queue" and not 0 <= number < 2**53):
                raise ValueError(text)
        except (ValueError, InvalidQueue):
            raise HTTPException(404, "The address names no job.") from None
        return cls(place=place, where=number, key=key, jid=jid)

    def __str__(self) -> str:
        where = str(int(self.where)) if self.place.kind == "queue" else repr(self.where)
        text = f"{self.place.kind}~{where}~{self.key}~{self.jid}"
        return f"{text}~{self.place.queue}" if self.place.kind == "queue" else text

    async def entry(self, api: Api) -> Entry | None:
        """The entry, None when it is there no more."""
        if self.place.kind == "queue":
            found = await api.at(self.place).locate(self.key, jid=self.jid, near=int(self.where))
        else:
            found = await api.at(self.place).locate(self.key, jid=self.jid, score=self.where)
        return found.entry
