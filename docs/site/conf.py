"""The documentation site, built by Sphinx from the Markdown pages where they are: `make site`."""

from typing import Any

project = "Sync Service"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/adr/*.md", "deploy/*/*.md", "sync_client/*.md"]
exclude_patterns = [".*", "**/node_modules", "app", "build", "dist", "tests"]  # not even walked through
myst_heading_anchors = 4  # as many levels as pages link to, named as code hosts name them
nitpicky = True
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
html_extra_path = ["index.html"]
highlight_language = "none"

NAVIGATION = {
    "Start": ["docs/tutorial"],
    "Guides": ["docs/feed", "docs/webhooks", "docs/client", "docs/consistency"],
    "Operation": [
        "docs/operations",
        "docs/console",
        "deploy/systemd/README",
        "deploy/kubernetes/README",
        "deploy/monitoring/README",
        "docs/alerts",
        "docs/failures",
        "docs/troubleshooting",
        "docs/performance",
    ],
    "Reference": ["docs/problems", "docs/settings", "docs/glossary", "sync_client/README"],
    "Project": ["CONTRIBUTING", "SECURITY", "CHANGELOG", "sync_client/CHANGELOG", "docs/adr/README"],
}


def add_navigation(_app: object, page: str, source: list[str]) -> None:
    """Append to the first page, and to that of the decisions, the trees that code hosts would show as text."""
    if page == root_doc:
        source[0] += "".join(_tree(pages, caption=caption) for caption, pages in NAVIGATION.items())
    elif page == "docs/adr/README":
        source[0] += _tree(["[0-9]*"], glob="")


def _tree(pages: list[str], **options: str) -> str:
    lines = [f":{name}: {value}" for name, value in {"hidden": "", **options}.items()]
    return "\n".join(["", "", "```{toctree}", *lines, "", *pages, "```", ""])


def setup(app: Any) -> None:
    """Connect to the `sphinx.application.Sphinx` that calls this."""
    app.connect("source-read", add_navigation)
