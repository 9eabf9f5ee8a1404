"""A subject may send a burst, and then so many a second: exactly, for each subject alone, in bounded memory."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.auth.route import RateLimited
from app.concurrency.rate_limit import MAX_SUBJECTS, RateLimiter
from app.main import create_app
from tests.auth.clock import FakeClock
from tests.conftest import MakeSettings
from tests.support.application import serve_in_process
from tests.support.tokens import TokenFactory

EVENT = {"file_id": "7d3e1f58-4c1c-4f0e-9a44-0b7f4f6f2f11", "event_type": "upload"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1000)


def passed(limiter: RateLimiter, attempts: int, subject: str = "a") -> int:
    return sum(limiter.take(subject) is None for _ in range(attempts))


@pytest.mark.parametrize("rate", [0.5, 3, 2000])
@pytest.mark.parametrize("burst", [1, 7, 10_000])
def test_a_burst_is_exactly_so_many(clock: FakeClock, rate: float, burst: int) -> None:
    limiter = RateLimiter(rate, burst, clock)
    assert passed(limiter, burst + 10) == burst
    assert limiter.take("a") == pytest.approx(1 / rate, rel=1e-3)
    clock.advance(1 / rate + 1e-6)
    assert passed(limiter, 10) == 1
    clock.advance((burst + 10) / rate)
    assert passed(limiter, burst + 10) == burst


def test_a_refused_request_does_not_make_the_wait_longer(clock: FakeClock) -> None:
    limiter = RateLimiter(2, 1, clock)
    assert [limiter.take("a") for _ in range(3)] == [None, 0.5, 0.5]
    clock.advance(0.25)
    assert limiter.take("a") == 0.25
    clock.advance(0.25)
    assert limiter.take("a") is None


def test_subjects_do_not_share(clock: FakeClock) -> None:
    limiter = RateLimiter(1, 2, clock)
    assert [passed(limiter, 5, subject) for subject in ("a", "b", "")] == [2, 2, 2]


@settings(max_examples=40)
@given(
    rate=st.integers(1, 1000),
    burst=st.integers(1, 50),
    pauses=st.lists(st.floats(0, 0.5), min_size=1, max_size=100),
)
def test_no_stretch_of_time_has_more_than_its_share(rate: int, burst: int, pauses: list[float]) -> None:
    clock = FakeClock(0)
    limiter = RateLimiter(rate, burst, clock)
    taken: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        if limiter.take("a") is None:
            taken.append(clock.now)
    for index, start in enumerate(taken):
        for count, end in enumerate(taken[index:], start=1):
            assert count <= burst + (end - start) * rate + 1e-3


def test_the_quietest_are_forgotten_when_there_are_too_many(clock: FakeClock) -> None:
    limiter = RateLimiter(0.001, 1, clock)
    for number in range(MAX_SUBJECTS):
        assert limiter.take(str(number)) is None
    assert limiter.take("0") is not None
    for number in range(100):
        assert limiter.take(f"more {number}") is None
    assert len(limiter._even_times) == MAX_SUBJECTS
    assert limiter.take(str(MAX_SUBJECTS - 1)) is not None
    assert limiter.take("0") is None


def test_who_has_the_whole_burst_again_takes_no_room(clock: FakeClock) -> None:
    limiter = RateLimiter(1, 1, clock)
    for number in range(10):
        limiter.take(str(number))
    for _ in range(20):
        clock.advance(2)
        limiter.take("a")
    assert list(limiter._even_times) == ["a"]


@pytest.mark.parametrize(("seconds", "text"), [(0.0001, "1"), (1, "1"), (1.2, "2"), (61, "61")])
def test_the_wait_is_told_in_whole_seconds(seconds: float, text: str) -> None:
    assert RateLimited(seconds).headers == {"Retry-After": text}


async def test_a_subject_beyond_its_rate_gets_429(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    first, second, nobody = (
        {"Authorization": f"Bearer {token}"} for token in (tokens.token(), tokens.token(sub="b"), "x")
    )
    app = create_app(make_settings(rate_limit_per_second=0.01, rate_limit_burst=3))
    async with serve_in_process(app) as client:
        assert (await client.post("/sync-events", json=EVENT, headers=first)).status_code == 201
        # A batch counts as one, and so does what is refused later on.
        batch = {"events": [EVENT] * 50}
        assert (await client.post("/sync-events/batch", json=batch, headers=first)).status_code == 201
        assert (await client.get("/sync-events?x=1", headers=first)).status_code == 422
        for answer in (
            await client.post("/sync-events", content=unread(), headers=first),
            await client.get("/sync-events", headers=first),
        ):
            assert answer.status_code == 429
            assert 90 <= int(answer.headers["Retry-After"]) <= 100
            assert answer.json()["type"] == "urn:sync-service:problem:rate-limited"
        for _ in range(5):
            assert (await client.get("/sync-events", headers=nobody)).status_code == 401
            assert (await client.get("/health")).status_code != 429
        assert (await client.get("/sync-events", headers=second)).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'sync_http_requests_rejected_total{reason="rate"} 2.0' in metrics


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("the body was asked for")
    yield b""


async def test_a_rate_of_nought_is_no_limit(make_settings: MakeSettings, tokens: TokenFactory) -> None:
    headers = {"Authorization": f"Bearer {tokens.token()}"}
    app = create_app(make_settings(rate_limit_per_second=0, rate_limit_burst=1))
    async with serve_in_process(app) as client:
        assert {(await client.get("/sync-events", headers=headers)).status_code for _ in range(5)} == {200}
