"""One self-contained page: the packed traces, a style and a script in a single file that loads nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from components import __version__
from components.explain.compare import compared
from components.explain.pack import BUDGET, Json, as_data, packed
from components.explain.subject import Config
from components.explain.trace import Trace

SCRIPTS = ("core.js", "text.js", "attention.js", "stream.js", "model.js", "network.js", "app.js")


def page(traces: Sequence[Trace], configs: Sequence[Config]) -> str:
    """The page of one trace, or of two side by side.

    Args:
        traces: what ``trace`` gave.
        configs: theirs, spelled out, for what differs.
    """
    shown = []
    for trace in traces:
        data, notes = packed(trace, BUDGET // len(traces))
        shown.append({**data, "notes": [*data["notes"], *notes]})
    data: Json = {
        "traces": shown,
        "about": f"Made by components {__version__} from one real pass, computed in float32 on the CPU.",
    }
    data["bits"] = max((w["bits"] for t in shown for w in [m["weights"] for m in t["mixers"]] if w), default=32)
    if len(traces) > 1:
        data["compare"] = as_data(compared(traces, configs))
    fields = {"title": escape(" and ".join(t.name for t in traces)), "style": asset("style.css"), "data": embedded(data)}
    fields["script"] = "(() => {\n" + "\n".join(asset(name) for name in SCRIPTS) + "\n})();"
    before, *rest = asset("page.html").split("{{")
    text = [before]
    for piece in rest:
        name, _, after = piece.partition("}}")
        text += [fields[name], after]
    return "".join(text)


def embedded(data: object) -> str:
    """JSON that cannot end the script that it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def asset(name: str) -> str:
    """The text of a file in ``assets/``."""
    return (files("components.explain") / "assets" / name).read_text(encoding="utf8")
