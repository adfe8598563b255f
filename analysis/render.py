"""A table ready to print, and its three forms: Markdown, LaTeX (booktabs) and HTML. Also the page around tables.

pandas' Styler has no groups over a part of the columns in Markdown, no rules, notes or banner, so each form has a short
writer here.
"""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jinja2 import Environment, StrictUndefined

# A best cell is bold and a second best cell is underlined. A grey cell is grey, which is a ~ in Markdown. An aside is
# a row from elsewhere, in italics where Markdown does not need them.
MARKS = ("", "best", "second", "grey", "aside")
TEMPLATE = Path(__file__).with_name("page.html")
DAGGER = "†"  # marks a column's title; a note that begins with it explains it
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "θ": r"$\theta$", "†": r"$^\dagger$", "–": "--",
    "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "−": "$-$", "×": r"$\times$", "▲": r"$\triangle$",
    "‡": r"$^\ddagger$", "§": r"\S{}", "<": r"\textless{}",
    ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A text and its mark, one of MARKS."""

    text: str
    mark: str = ""


def plain(*texts: str) -> tuple[Cell, ...]:
    """Returns a row without marks."""
    return tuple(Cell(text) for text in texts)


@dataclass(frozen=True)
class Sheet:
    """Rows below a header, with plain texts around them.

    groups: (name, number of columns) over the columns after the first.
    rules: indices of rows that begin a part.
    notes, title: texts in which only `backticks` mean something: the text between them is code.
    banner: a warning that nobody must overlook, or None.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()
    rules: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    banner: str | None = None
    title: str = ""


def _prose(text: str, escape: Callable[[str], str], code: str) -> str:
    """Returns a note or title, escaped. `code` is the format of a text between backticks."""
    parts = re.split(r"`([^`]+)`", text)
    return "".join(code.format(escape(part)) if i % 2 else escape(part) for i, part in enumerate(parts))


def markdown(sheet: Sheet) -> str:
    """Returns GitHub's Markdown with aligned columns.

    Markdown has no cell over several columns, so a line below the table names the groups.
    """
    # Italics mean the second best. A row from elsewhere says so itself.
    marks = {"": "{}", "best": "**{}**", "second": "_{}_", "grey": "~{}", "aside": "{}"}

    def text(cell: Cell) -> str:
        escaped = re.sub(r"([|<*`])", r"\\\1", cell.text)
        return marks[cell.mark].format(escaped) if escaped else ""

    header, body = [text(Cell(title)) for title in sheet.header], [[text(cell) for cell in row] for row in sheet.rows]
    widths = [max(3, *(len(row[i]) for row in [header, *body])) for i in range(len(header))]

    def line(texts: list[str]) -> str:
        cells = (t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(texts, widths, strict=True)))
        return f"| {' | '.join(cells)} |"

    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    out = [f"## {sheet.title}", ""] if sheet.title else []
    out += [f"**{sheet.banner}**", ""] if sheet.banner else []
    out += [line(header), rule, *map(line, body), ""]
    spans = _spans(sheet)
    out += [" ".join(f"{name}: {_range(sheet.header[a:b])}." for name, a, b in spans if name), ""] if spans else []
    return "\n".join([*out, *(note + "\n" for note in sheet.notes)])


def latex(sheet: Sheet) -> str:
    """Returns a booktabs tabular. The banner and notes that begin with † are rows, the other notes comments below.

    Grey cells need the package xcolor, and a comment says so.
    """
    marks = {
        "": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "grey": r"\textcolor{{gray}}{{{}}}",
        "aside": r"\textit{{{}}}",
    }  # fmt: skip

    def line(texts: list[str]) -> str:
        return " & ".join(texts) + r" \\"

    def across(text: str, style: str) -> str:
        prose = _prose(text, escaped, r"\texttt{{{}}}")
        return rf"\multicolumn{{{len(sheet.header)}}}{{l}}{{{style} {prose}}} \\"

    out = [rf"\begin{{tabular}}{{l{'r' * (len(sheet.header) - 1)}}}"]
    out += [across(sheet.banner, r"\bfseries")] if sheet.banner else []
    out.append(r"\toprule")
    if spans := _spans(sheet):
        over = [rf"\multicolumn{{{b - a}}}{{c}}{{{escaped(name)}}}" if name else "" for name, a, b in spans]
        out.append(line(["", *over]))
        out.append(" ".join(rf"\cmidrule(lr){{{a + 1}-{b}}}" for name, a, b in spans if name))
    out.append(line([escaped(title) for title in sheet.header]))
    for i, row in enumerate(sheet.rows):
        if i == 0 or i in sheet.rules:
            out.append(r"\midrule")
        out.append(line([marks[cell.mark].format(escaped(cell.text)) for cell in row]))
    out.append(r"\bottomrule")
    out += [across(note, r"\footnotesize") for note in sheet.notes if note.startswith(DAGGER)]
    grey = any(cell.mark == "grey" for row in sheet.rows for cell in row)
    out += [r"\end{tabular}", *[r"% needs \usepackage{xcolor}"] * grey]
    out += [*(f"% {line}" for note in sheet.notes for line in note.splitlines())]
    return "\n".join(out) + "\n"


def escaped(text: str) -> str:
    """Returns the text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in text)


def fragment(sheet: Sheet) -> str:
    """Returns the table as HTML to embed in a page. A wide table scrolls within its frame."""
    tags = {
        "": "{}", "best": "<strong>{}</strong>", "second": "<u>{}</u>", "grey": '<span class="grey">{}</span>',
        "aside": "<em>{}</em>",
    }  # fmt: skip

    def prose(text: str) -> str:
        return _prose(text, html.escape, "<code>{}</code>")

    def data(cell: Cell) -> str:
        text = html.escape(cell.text)
        found = _DETAILED.match(text)
        number, detail = (found[1], f" <small>{found[2]}</small>") if found else (text, "")
        return f"<td>{tags[cell.mark].format(number)}{detail}</td>"

    out = [f"<h3>{prose(sheet.title)}</h3>"] if sheet.title else []
    out += [f'<p class="banner">{prose(sheet.banner)}</p>'] if sheet.banner else []
    out += ['<div class="table" tabindex="0" role="region" aria-label="Table">', "<table>", "<thead>"]
    if spans := _spans(sheet):
        over = "".join(f'<th class="group" colspan="{b - a}">{html.escape(name)}</th>' for name, a, b in spans)
        out.append(f"<tr><th></th>{over}</tr>")
    header = "".join(f"<th>{html.escape(title)}</th>" for title in sheet.header)
    out += [f"<tr>{header}</tr>", "</thead>", "<tbody>"]
    for i, row in enumerate(sheet.rows):
        start = '<tr class="rule">' if i in sheet.rules else "<tr>"
        out.append(f"{start}{''.join(map(data, row))}</tr>")
    out += ["</tbody>", "</table>", "</div>", *(f"<p>{prose(note)}</p>" for note in sheet.notes)]
    return "\n".join(out)


# a number, and its interval or count, which stand on a line of their own
_DETAILED = re.compile(r"([-+]?[\d.]+) ([\[(].*)$")


@dataclass(frozen=True)
class Block:
    """A piece of a page's section.

    files: paths relative to the page. It shows PNG files and links to all.
    reason: why there is nothing to show, or None.
    """

    title: str = ""
    sheets: tuple[Sheet, ...] = ()
    files: tuple[str, ...] = ()
    reason: str | None = None


def report_page(title: str, sections: Sequence[tuple[str, Sequence[Block]]]) -> str:
    """Returns a page of named sections, which asks nothing of the network. Texts of prompts and records stay texts."""
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = jinja.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections, fragment=fragment)


def page(title: str, *sheets: Sheet) -> str:
    """Returns a page of sheets."""
    return report_page(title, [("", [Block(sheets=sheets)])])


def _spans(sheet: Sheet) -> list[tuple[str, int, int]]:
    """Returns (name, first column, one after the last column) of each group."""
    ends = [1]
    for _, count in sheet.groups:
        ends.append(ends[-1] + count)
    return [(name, a, b) for (name, _), (a, b) in zip(sheet.groups, pairwise(ends), strict=True)]


def _range(titles: tuple[str, ...]) -> str:
    return titles[0] if len(titles) == 1 else f"{titles[0]} to {titles[-1]}"
