"""The generic cell rate algorithm (ITU-T I.371, annex A). Pure policy."""


def allow(even_time: int | None, now: int, step: int, burst: int, at_most: int = 1) -> tuple[int, int]:
    """How many of `at_most` may go now, one every `step` and `burst` at once, and the `even_time` to store for them.

    All are times in one integer unit. The even time is the end of what went before, had it come at the even rate; None:
    nothing went before. One that is further ahead than it can have been given, before a clock was set back, is none.
    """
    start = now if even_time is None or even_time > now + burst + step else max(even_time, now)
    count = min(at_most, max(0, (now + burst - start) // step))
    return count, start + step * count
