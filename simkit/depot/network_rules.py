"""The rules of a network: what happens to which messages, or during which time. Plain data; `network.py` acts on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from simkit.kernel.units import SECOND

if TYPE_CHECKING:
    from simkit.depot.request import Request

Leg = Literal["request", "reply"]
"""A message is a request on its way to the depot, or a reply on its way back."""

TIMEOUT_DEFAULT_NS = 5 * SECOND


class LinkScope(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Which links a rule concerns: the requests of one kind, of one instance; "": of any."""

    kind: Literal["", "get_pages", "commit", "open", "control"] = ""
    instance: str = ""

    def has(self, message: Request) -> bool:
        """Whether a message travels on one of them."""
        return self.kind in ("", message.kind) and self.instance in ("", message.instance)


class _AtMessages(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Acts on the `nth` message in scope (from 1), or on each with a probability."""

    nth: int | None = None
    probability_ppm: int = 0
    once: bool = False
    scope: LinkScope = LinkScope()

    def __post_init__(self) -> None:
        if (self.nth is None) == (self.probability_ppm == 0):
            raise ValueError("a network rule has nth or probability_ppm, and not both")


class _During(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Acts during a time of the run, in nanoseconds since its start."""

    at_ns: int
    lasts_ns: int
    scope: LinkScope = LinkScope()

    @property
    def until_ns(self) -> int:
        """When it is over."""
        return self.at_ns + self.lasts_ns


class Lose(_AtMessages, frozen=True, tag="lose", gc=False):
    """The request never arrives, or the reply, when the work is done. Its sender gives up after `timeout_ns`."""

    leg: Leg
    timeout_ns: int = TIMEOUT_DEFAULT_NS


class Reorder(_AtMessages, frozen=True, tag="reorder", gc=False):
    """The message travels longer by one of `by_ns`, so that later ones may overtake it."""

    leg: Leg
    by_ns: tuple[int, ...]


class Duplicate(_AtMessages, frozen=True, tag="duplicate", gc=False):
    """The request is sent a second time, one of `after_ns` later. Both are carried out; the first reply counts."""

    after_ns: tuple[int, ...]


class SlowDisk(_AtMessages, frozen=True, tag="slow", gc=False):
    """The service of the request takes at least one of `takes_ns`."""

    takes_ns: tuple[int, ...]


class Partition(_During, frozen=True, tag="partition", gc=False):
    """Messages are lost, in both directions. Their senders give up `timeout_ns` after they sent."""

    timeout_ns: int = TIMEOUT_DEFAULT_NS


class Clog(_During, frozen=True, tag="clog", gc=False):
    """Messages are held, in both directions, and arrive in their order when it is over."""


class SwizzleClog(_During, frozen=True, tag="swizzle_clog", gc=False):
    """The links (a kind of requests of an instance) are clogged one after another during the first half of the time,
    and freed in another order during the second.
    """


NetworkRule = Lose | Reorder | Duplicate | SlowDisk | Partition | Clog | SwizzleClog
