"""The headers of HTML pages: a page loads only what its policy names, and no other site shows it in a frame."""

from collections.abc import Mapping

# Content Security Policy, level 3.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
NO_MARKUP_FROM_TEXT = {"require-trusted-types-for": "'script'", "trusted-types": "'none'"}


def page_headers(directives: Mapping[str, str]) -> dict[str, str]:
    """The headers of a page whose Content Security Policy has these directives beside, or instead of, the common ones.

    Without others a page has styles and images from here, and no script.
    """
    policy = {**_POLICY, **directives}
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
