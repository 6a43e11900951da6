"""What a connection manager can be told. Each setting changes behaviour; none is advisory."""

from __future__ import annotations

from dataclasses import dataclass, fields

from simkit.kernel.units import SECOND, format_duration

READERS_MAX = 64
IDLE_TTL_MAX_NS = 3_600 * SECOND


@dataclass(frozen=True)
class PoolSettings:
    """Settings of a pool or worker. Durations are simulated nanoseconds.

    Attributes:
        read_pool_enabled: False sends everything through the writer.
        max_readers: read-only connections open at once, 0 to 64; 0 sends everything through the writer.
        idle_ttl_ns: a reader that nobody used for this long is closed.
        waiting_max: statements that may wait at once; one more is refused with `Overloaded`.
        transaction_deadline_ns: an open transaction is rolled back after this time.
        close_timeout_ns: how long `close()` waits for work that was admitted before it gives it up.
    """

    read_pool_enabled: bool = True
    max_readers: int = 4
    idle_ttl_ns: int = 60 * SECOND
    waiting_max: int = 128
    transaction_deadline_ns: int = 60 * SECOND
    close_timeout_ns: int = 5 * SECOND

    def __post_init__(self) -> None:
        if not 0 <= self.max_readers <= READERS_MAX:
            raise ValueError(f"max_readers is {self.max_readers}; a pool has 0 to {READERS_MAX} readers")
        if self.waiting_max < 1:
            raise ValueError(f"waiting_max is {self.waiting_max}; at least 1 statement must be able to wait")
        if not 0 < self.idle_ttl_ns <= IDLE_TTL_MAX_NS:
            raise ValueError(
                f"idle_ttl_ns is {self.idle_ttl_ns}; it is more than 0 and at most {format_duration(IDLE_TTL_MAX_NS)}"
            )
        for name in ("transaction_deadline_ns", "close_timeout_ns"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a span of simulated time above 0")

    @property
    def readers_max(self) -> int:
        """The readers that there can really be."""
        return self.max_readers if self.read_pool_enabled else 0


SETTING_NAMES = tuple(field.name for field in fields(PoolSettings))
