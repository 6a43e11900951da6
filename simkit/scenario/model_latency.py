"""Models of what requests cost: a named profile, the file of a profile, or costs written in the scenario.

A profile in a file is read here, at its path relative to the scenario, and its text is kept among the scenario's
attachments, so that a capsule needs no other file. What is wrong in it is reported at the `latency` key, with the
line in the profile. The format of that file is known to `simkit.depot.profile_file`. Nothing is drawn here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, Tag, ValidationInfo, WithJsonSchema

from simkit.depot.latency import DEFAULT_LATENCY_PROFILE, LATENCY_PROFILES, LatencyProfile, RequestLatency
from simkit.depot.profile_file import ProfileInvalid, parse_profile
from simkit.scenario.model_base import (
    DurationDistribution,
    DurationNs,
    Model,
    by_shape,
    describe,
    read_attachment,
    refuse,
)
from simkit.scenario.problems import suggest

_FILE_ENDINGS = (".yaml", ".yml")
_PROFILE_SCHEMA = {"anyOf": [{"enum": list(LATENCY_PROFILES)}, {"type": "string", "pattern": r"\.ya?ml$"}]}


def _profile(name: str, info: ValidationInfo) -> LatencyProfile:
    if name in LATENCY_PROFILES:
        return LATENCY_PROFILES[name]
    if not name.endswith(_FILE_ENDINGS):
        advice = f"{suggest(name, LATENCY_PROFILES)}; or the path of a profile, such as latency/mine.yaml"
        raise refuse(f"{describe(name)} is no latency profile; {advice}")
    context = info.context or {}
    directory = Path(context.get("directory", "."))
    try:
        text = read_attachment(name, directory, context.get("attachments", {}), context.get("sealed", False))
        return parse_profile(text, name)
    except ProfileInvalid as error:
        first, *others = str(error).splitlines()
        more = f" ({len(others)} more of its problems after this one)" if others else ""
        raise refuse(first + more) from None
    except ValueError as error:
        raise refuse(str(error)) from None


if TYPE_CHECKING:
    Profile = LatencyProfile
else:
    Profile = Annotated[str, AfterValidator(_profile), WithJsonSchema(_PROFILE_SCHEMA)]
    """In the file a name or a path; in the model the profile."""


class InlineRequest(Model):
    """The cost of one kind of request; what is left out comes from the base profile."""

    rtt: DurationDistribution | None = None
    """Network round trip."""
    server: DurationDistribution | None = None
    """Fixed work of the server."""
    per_page: DurationNs | None = None
    """Added for each page carried."""

    def over(self, base: RequestLatency) -> RequestLatency:
        """This cost, completed from `base`."""
        return RequestLatency(
            rtt=base.rtt if self.rtt is None else self.rtt,
            server=base.server if self.server is None else self.server,
            per_page_ns=base.per_page_ns if self.per_page is None else self.per_page,
        )


class InlineLatency(Model):
    """A latency profile written in the scenario, over another one."""

    base: Profile = Field(
        default=LATENCY_PROFILES[DEFAULT_LATENCY_PROFILE], json_schema_extra={"default": DEFAULT_LATENCY_PROFILE}
    )
    """The profile that gives whatever is left out: a name, or the path of a file relative to the scenario."""
    get_pages: InlineRequest = InlineRequest()
    """The cost of reading pages."""
    commit: InlineRequest = InlineRequest()
    """The cost of a commit."""
    open: InlineRequest = InlineRequest()
    """The cost of opening the database."""

    def build(self) -> LatencyProfile:
        """The complete profile."""
        base = self.base
        return LatencyProfile(
            name="inline",
            source=f"Written in the scenario over {base.name}. {base.source}",
            get_pages=self.get_pages.over(base.get_pages),
            commit=self.commit.over(base.commit),
            open=self.open.over(base.open),
        )


def _complete(value: Any) -> LatencyProfile:
    return value.build() if isinstance(value, InlineLatency) else value


if TYPE_CHECKING:
    Latency = LatencyProfile
else:
    Latency = Annotated[
        Annotated[Profile, Tag("<text>")] | Annotated[InlineLatency, Tag("<mapping>")],
        by_shape("the name of a latency profile, its file, or a mapping {base, get_pages, commit, open}"),
        AfterValidator(_complete),
    ]
