"""The page: one HTML file with its data, pictures, style and program inside. It asks nothing of any network."""

import json
from dataclasses import asdict
from importlib import resources

from jobs.comparing.pictures import View
from jobs.comparing.report import Report

ASSETS = resources.files("jobs.comparing") / "assets"
SCRIPTS = ("base.js", "charts.js", "curves.js", "tables.js", "viewer.js", "start.js")


def render(report: Report, views: list[View]) -> str:
    """The page's text."""
    data = json.dumps({**json.loads(report.to_json()), "views": [asdict(v) for v in views]}, allow_nan=False)
    page = _asset("report.html")
    script = "\n".join(_asset(name) for name in SCRIPTS)
    parts = {"STYLE": _asset("style.css"), "SCRIPT": script, "DATA": data.replace("<", "\\u003c")}
    for name, text in parts.items():
        page = page.replace(f"@{name}@", text, 1)
    return page


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
