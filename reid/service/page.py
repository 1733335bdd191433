"""A page that describes the routes, in plain HTML that loads nothing."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 0.3rem; }
h2 b { display: inline-block; min-width: 5rem; }
code { font-size: 0.95em; }
table { border-collapse: collapse; }
td { padding: 0.1rem 1rem 0.1rem 0; vertical-align: top; }
"""


def describe_api(schema: Mapping[str, Any]) -> str:
    """Render an OpenAPI 3 description as an HTML page."""
    info = schema["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}"
    routes = "\n".join(_routes(schema))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{escape(info.get('description', ''))} Errors are JSON: "
        "<code>{&quot;error&quot;: what happened and what to do}</code>. "
        'For programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"{routes}</body></html>"
    )


def _routes(schema: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            yield f"<h2><b>{escape(method.upper())}</b> <code>{escape(path)}</code></h2>"
            yield f"<p>{escape(route.get('description', ''))}</p>"
            yield _table(
                {
                    f"{parameter['name']} ({parameter['in']})": parameter.get("description", "")
                    for parameter in route.get("parameters", ())
                }
            )
            kinds = route.get("requestBody", {}).get("content", {})
            if kinds:
                yield f"<p>Body: {', '.join(f'<code>{escape(kind)}</code>' for kind in kinds)}</p>"
            yield _table(
                {status: answer["description"] for status, answer in route["responses"].items()}
            )


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"
        for name, text in rows.items()
    )
    return f"<table>{cells}</table>" if cells else ""
