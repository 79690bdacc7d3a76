"""HTML page of a report: one file with its data, pictures, style and scripts, which loads nothing from a network."""

import json
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.comparing.report import Report
    from jobs.comparing.views import View

ASSETS = resources.files("jobs.comparing") / "assets"
SCRIPTS = ("base.js", "charts.js", "curves.js", "tables.js", "viewer.js", "start.js")


def render(report: "Report", views: "list[View]") -> str:
    """Fill the page's template with a report, its views, the style and the scripts."""
    data = json.dumps({**json.loads(report.to_json()), "views": [asdict(v) for v in views]}, allow_nan=False)
    page = asset("report.html")
    script = "\n".join(asset(name) for name in SCRIPTS)
    parts = {"STYLE": asset("style.css"), "SCRIPT": script, "DATA": data.replace("<", "\\u003c")}
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def asset(name: str) -> str:
    """Return the text of a file of the page's assets."""
    return (ASSETS / name).read_text(encoding="utf-8")
