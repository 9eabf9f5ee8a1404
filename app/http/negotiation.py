"""Which representation a request accepts (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Sequence


def accepts(headers: Sequence[str], media_type: str) -> bool:
    """Whether the headers `Accept` name the media type itself, and do not refuse it with a weight of 0."""
    for part in ",".join(headers).lower().split(","):
        media_range, *parameters = (one.strip() for one in part.split(";"))
        if media_range == media_type:
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", one) for one in parameters)
    return False
