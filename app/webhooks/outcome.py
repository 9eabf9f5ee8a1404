"""What an attempt amounts to. Pure policy."""

from enum import StrEnum
from http import HTTPStatus

from app.webhooks.answer import Answer

_SLOW_DOWN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"  # any 2xx
    FAILED = "failed"  # any other answer, redirects among them, or none in HTTP
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # no connection
    REFUSED = "refused"  # by us: the address is not allowed
    SLOW_DOWN = "slow_down"  # 429, 502, 504
    GONE = "gone"  # 410: the subscriber wants nothing more

    @property
    def slows(self) -> bool:
        """Whether the subscriber has too much to do, whatever the event: then others wait too."""
        return self in {Outcome.SLOW_DOWN, Outcome.UNREACHABLE}


def judge(answer: Answer) -> Outcome:
    """The outcome of an attempt."""
    if answer.status_code is not None:
        return _judge_status(answer.status_code)
    if answer.refused:
        return Outcome.REFUSED
    if answer.timed_out:
        return Outcome.TIMEOUT
    return Outcome.UNREACHABLE if answer.unreachable else Outcome.FAILED


def _judge_status(status: int) -> Outcome:
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == HTTPStatus.GONE:
        return Outcome.GONE
    return Outcome.SLOW_DOWN if status in _SLOW_DOWN else Outcome.FAILED
