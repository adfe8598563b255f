"""A table ready to be printed, and its forms: Markdown, LaTeX (booktabs), HTML. What is in it is decided elsewhere."""

import html
import re
from dataclasses import dataclass
from itertools import pairwise

MARKS = (
    "",
    "best",
    "second",
    "aside",
)  # bold; underlined; a row from elsewhere, in italics where Markdown does not need them
DAGGER = "†"  # marks a column's title; a note that begins with it explains it
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "θ": r"$\theta$", "†": r"$^\dagger$", "–": "--",
    "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$", "−": "$-$", "×": r"$\times$", "<": r"\textless{}",
    ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A text and its mark, one of MARKS."""

    text: str
    mark: str = ""


def plain(*texts: str) -> tuple[Cell, ...]:
    """A row with no marks."""
    return tuple(Cell(text) for text in texts)


@dataclass(frozen=True)
class Sheet:
    """Rows below a header; `groups` are (name, columns) over the columns after the first; `rules` rows begin a part.

    `banner` is what must not be overlooked, None if there is nothing such.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    groups: tuple[tuple[str, int], ...] = ()
    rules: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    banner: str | None = None
    title: str = ""


def markdown(sheet: Sheet) -> str:
    """GitHub's Markdown, columns aligned; groups are named below, as it has no cell over several columns."""
    # italics are taken by the second best; a row from elsewhere says so itself
    marks = {"": "", "best": "**", "second": "_", "aside": ""}

    def text(cell: Cell) -> str:
        escaped = re.sub(r"([|<*`])", r"\\\1", cell.text)
        return marks[cell.mark] + escaped + marks[cell.mark] if escaped else ""

    body = [[text(cell) for cell in row] for row in sheet.rows]
    widths = [max(3, *(len(row[i]) for row in [list(sheet.header), *body])) for i in range(len(sheet.header))]

    def line(texts: list[str]) -> str:
        cells = (t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(texts, widths, strict=True)))
        return f"| {' | '.join(cells)} |"

    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    out = [f"## {sheet.title}", ""] if sheet.title else []
    out += [f"**{sheet.banner}**", ""] if sheet.banner else []
    out += [line(list(sheet.header)), rule, *map(line, body), ""]
    spans = _spans(sheet)
    out += [" ".join(f"{name}: {_range(sheet.header[a:b])}." for name, a, b in spans if name), ""] if spans else []
    return "\n".join([*out, *(note + "\n" for note in sheet.notes)])


def latex(sheet: Sheet) -> str:
    """A booktabs tabular; the banner and what † means are rows of it, the other notes comments below."""
    marks = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "aside": r"\textit{{{}}}"}

    def line(texts: list[str]) -> str:
        return " & ".join(texts) + r" \\"

    def across(text: str, style: str) -> str:
        return rf"\multicolumn{{{len(sheet.header)}}}{{l}}{{{style} {escaped(text)}}} \\"

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
    out += [r"\end{tabular}", *(f"% {line}" for note in sheet.notes for line in note.splitlines())]
    return "\n".join(out) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in text)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead tr:first-child th { border-top: 2px solid; } thead tr:last-child th { border-bottom: 1px solid; }
tbody tr.rule td { border-top: 1px solid #999; } tbody tr:last-child td { border-bottom: 2px solid; }
th.group { text-align: center; } .banner { font-weight: bold; } p { max-width: 60rem; }
""".strip()


def page(title: str, *sheets: Sheet) -> str:
    """A page of its own that asks nothing of the network."""
    parts = [f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>',
             f"<style>\n{STYLE}\n</style>", *map(fragment, sheets), "</html>\n"]  # fmt: skip
    return "\n".join(parts)


def fragment(sheet: Sheet) -> str:
    """The table as HTML, to stand in a page."""
    tags = {"": "{}", "best": "<strong>{}</strong>", "second": "<u>{}</u>", "aside": "<em>{}</em>"}
    out = [f"<h2>{html.escape(sheet.title)}</h2>"] if sheet.title else []
    out += [f'<p class="banner">{html.escape(sheet.banner)}</p>'] if sheet.banner else []
    out += ["<table>", "<thead>"]
    if spans := _spans(sheet):
        over = "".join(f'<th class="group" colspan="{b - a}">{html.escape(name)}</th>' for name, a, b in spans)
        out.append(f"<tr><th></th>{over}</tr>")
    out.append("<tr>" + "".join(f"<th>{html.escape(title)}</th>" for title in sheet.header) + "</tr>")
    out += ["</thead>", "<tbody>"]
    for i, row in enumerate(sheet.rows):
        cells = "".join(f"<td>{tags[cell.mark].format(html.escape(cell.text))}</td>" for cell in row)
        out.append(_tr(i in sheet.rules, cells))
    out += ["</tbody>", "</table>", *(f"<p>{html.escape(note)}</p>" for note in sheet.notes)]
    return "\n".join(out)


def _tr(begins: bool, cells: str) -> str:
    return f'<tr class="rule">{cells}</tr>' if begins else f"<tr>{cells}</tr>"


def _spans(sheet: Sheet) -> list[tuple[str, int, int]]:
    """(name, first column, one after the last) of each group."""
    ends = [1]
    for _, count in sheet.groups:
        ends.append(ends[-1] + count)
    return [(name, a, b) for (name, _), (a, b) in zip(sheet.groups, pairwise(ends), strict=True)]


def _range(titles: tuple[str, ...]) -> str:
    return titles[0] if len(titles) == 1 else f"{titles[0]} to {titles[-1]}"
