"""From when on a bound of simulated time counts: what holds requests up, and what does not."""

from __future__ import annotations

import pytest

from simkit.check.disturbances import Disturbances
from simkit.check.events import OperationEnded
from simkit.check.watch import follow
from simkit.depot.events import CommitAcknowledged, FaultFired, NetworkDisturbed, RequestFailed
from simkit.kernel import Record

ANSWER = CommitAcknowledged(30, "ann", "instance-1", 1, 7, 1)


def since(*events: Record) -> int:
    """From when on something counts that began at 0 and is looked at at 100."""
    disturbances = Disturbances()
    follow(list(events), disturbances)
    return disturbances.since_ns(0, 100)


def network(what: str, request: int = 7) -> NetworkDisturbed:
    return NetworkDisturbed(10, "ann", "instance-1", request, "request", what)


@pytest.mark.parametrize("what", ["lost", "delayed", "held", "slow"])
def test_request_that_the_network_holds_up_disturbs_until_it_is_answered(what: str) -> None:
    assert since(network(what)) == 100
    assert since(network(what), ANSWER) == 30
    assert since(network(what), RequestFailed(40, "ann", "instance-1", 1, 7, "commit", "transport_failed", "")) == 40
    assert since(network(what), OperationEnded(50, "ann", 1, "ok", "")) == 50


@pytest.mark.parametrize("what", ["duplicated", "refused"])
def test_message_that_comes_twice_or_too_late_holds_nobody_up(what: str) -> None:
    assert since(network(what)) == 10


@pytest.mark.parametrize("action", ["pause", "delay"])
def test_request_that_a_fault_holds_up_disturbs_until_it_is_answered_and_a_job_does_not(action: str) -> None:
    assert since(FaultFired(10, "ann", "instance-1", 7, 0, "commit.before_tx", action)) == 100
    assert since(FaultFired(10, "ann", "instance-1", 7, 0, "commit.before_tx", action), ANSWER) == 30
    job = FaultFired(10, "hot compacter", "compaction", -1, 0, "hot.stage_before_input_read", action)
    assert since(job) == 10
