"""What an attempt amounts to. Pure policy."""

from http import HTTPStatus

from app.outbound.response import Answer
from app.subscriptions.models import Outcome

_SLOW_DOWN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})


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
