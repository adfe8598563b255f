"""A page of reports: one HTML file with relative links, opened from disk."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment
from markupsafe import Markup, escape


@dataclass(frozen=True)
class Block:
    """A piece of a section: a title, text in Markdown, files beside the page (PNGs are shown), or why there is none."""

    title: str = ""
    markdown: str = ""
    files: tuple[str, ...] = ()
    reason: str | None = None


TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
 :root { color-scheme: light; }
 body { font: 15px/1.5 system-ui, sans-serif; color: #111827; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
 body { max-width: 78rem; } p { max-width: 60rem; }
 h1 { font-size: 1.7rem; margin: 0 0 .5rem; }
 h2 { margin: 3rem 0 .5rem; padding-top: .5rem; border-top: 1px solid #e5e7eb; }
 h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
 nav a { margin-right: 1rem; } a { color: #0072b2; }
 img { max-width: 100%; height: auto; display: block; margin: .4rem 0; }
 .wide { overflow-x: auto; }
 table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
 th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eef0f3; }
 th { border-bottom: 1.5px solid #111827; white-space: normal; vertical-align: bottom; }
 th:first-child, td:first-child { text-align: left; }
 tbody tr:hover { background: #f6f8fa; }
 .files, .reason { font-size: .85rem; color: #6b7280; }
</style>
<h1>{{ title }}</h1>
<nav>{% for name, _ in sections %}<a href="#{{ loop.index }}">{{ name }}</a>{% endfor %}</nav>
{% for name, blocks in sections %}
<h2 id="{{ loop.index }}">{{ name }}</h2>
{% for block in blocks %}
{% if block.title %}<h3>{{ block.title }}</h3>{% endif %}
{% for file in block.files if file.endswith(".png") %}<img src="{{ file }}" alt="{{ block.title or name }}">
{% endfor %}
{{ html_of(block.markdown) }}
{% if block.files %}
<p class="files">{% for file in block.files %}<a href="{{ file }}">{{ file }}</a> {% endfor %}</p>
{% endif %}
{% if block.reason %}<p class="reason">Not shown: {{ block.reason }}</p>{% endif %}
{% endfor %}
{% endfor %}
</html>
"""


def page(title: str, sections: Sequence[tuple[str, Sequence[Block]]]) -> str:
    """The page; whatever comes from prompts or records is text, never markup."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE)
    return template.render(title=title, sections=sections, html_of=html_of)


def html_of(markdown: str) -> Markup:
    """The Markdown that the project's reports are written in: headings, tables, paragraphs, bold, italics, code."""
    out = []
    for part in re.split(r"\n\s*\n", markdown.strip()):
        rows = part.splitlines()
        if part.startswith("|"):
            header, _, *body = [[c.strip() for c in re.split(r"(?<!\\)\|", row.strip())[1:-1]] for row in rows]
            head = "".join(f"<th>{_inline(cell)}</th>" for cell in header)
            lines = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in body)
            out.append(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>')
        elif part.startswith("#"):
            out.append(f"<h3>{_inline(part.lstrip('# '))}</h3>")
        elif part:
            out.append(f"<p>{_inline(part)}</p>")
    return Markup("\n".join(out))


# an escaped character, code, bold, italics (an underscore within a word is one)
_MARKS = re.compile(r"\\([\\|<>*`_])|`(.+?)`|\*\*((?:\\.|[^\\])+?)\*\*|(?<!\w)_((?:\\.|[^\\])+?)_(?!\w)")


def _inline(text: str) -> str:
    out, end = [], 0
    for found in _MARKS.finditer(text):
        plain, code, bold, italic = found.groups()
        out.append(str(escape(text[end : found.start()])))
        if plain or code:
            out.append(str(escape(plain)) if plain else f"<code>{escape(code)}</code>")
        else:
            out.append(f"<b>{_inline(bold)}</b>" if bold else f"<i>{_inline(italic)}</i>")
        end = found.end()
    return "".join([*out, str(escape(text[end:]))])
