import csv
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from difftune.report import Measured, Table, written


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture
def table():
    return Table(
        columns=("Process", "Yield & <unit>"),
        rows=(("t$\\bar{t}$_5%", Measured(12345.678, 12.3)), ("<script>", 1.5), ("", None)),
        caption="A & B",
        emphasised=(1,),
    )


def test_html_holds_every_cell_escaped(table):
    text = table.html()
    assert "<script>" not in text
    assert Cells(text).rows == [
        ["Process", "Yield & <unit>"],
        ["tt̄_5%", "12\u2009346 ± 12"],
        ["<script>", "1.5"],
        ["", ""],
    ]
    assert "A &amp; B" in text


def test_text_is_aligned(table):
    lines = table.text().splitlines()
    assert lines[0] == "A & B"
    assert len(lines[3]) == len(lines[4]) == len(lines[1])


def test_latex_escapes_but_keeps_math(table):
    lines = table.latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert r"t$\bar{t}$\_5\% & $12\,346 \pm 12$ \\" in lines
    assert r"Process & Yield \& <unit> \\" in lines


def test_csv_keeps_full_precision(table):
    rows = list(csv.reader(io.StringIO(table.csv())))
    assert rows[0] == ["Process", "Yield & <unit>", "Yield & <unit> uncertainty"]
    assert [float(x) for x in rows[1][1:]] == [12345.678, 12.3]
    assert rows[2] == ["<script>", "1.5", ""]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (Measured(1.23456, 0.0789), "1.235 ± 0.079"),
        (Measured(1234.5, 56.0), "1\u2009234 ± 56"),
        (Measured(-0.5, 0.25, 0.1), "−0.50 ± 0.25 ± 0.10"),
        (Measured(3.0, 0.0), "3.00 ± 0.00"),
        (Measured(float("nan"), 1.0), "n/a ± 1.0"),
        (Measured(5.0, float("nan")), "5.00 ± n/a"),
        (1234567, "1\u2009234\u2009567"),
        (0.00001234567, "1.235e−5"),
        (0.0, "0"),
        (12345.6, "12\u2009346"),
        (float("inf"), "n/a"),
        (None, ""),
        ("text", "text"),
    ],
)
def test_numbers_are_written_for_reading(cell, expected):
    assert written(cell) == expected


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="one cell"):
        Table(columns=("a", "b"), rows=(("x",),))


def named(*names: str) -> Table:
    return Table(columns=("Process", *names), rows=tuple((name, *names) for name in names))


@pytest.mark.parametrize(
    "name",
    [
        r"$\input{/etc/passwd}$",
        r"$\text{\input{x}}$",
        r"$\mathrm{\csname input\endcsname x}$",
        r"$\catcode`\%=12$",
        r"$^^5cinput x$",
        r"$x$ $\write18{ls}$",
        r"$\openin5=x$ $y$",
        r"$\def\x{\x}\x$",
        r"$a%$",
        r"$a#1$",
        r"$a & b$",
        r"$$\int$$",
        r"\include{x}",
        r"\$\input{x}$ $",
        "a_b^c~d{e}f&g#h%i",
        "${" + "{" * 5000 + "$",
        "100%\n\\end{tabular}",
    ],
)
def test_no_command_reaches_latex(name):
    cell = named(name).latex().splitlines()[4].split(" & ")[0].removesuffix(r" \\")
    # What is left when escapes and the names of signs are taken away has no meaning to TeX.
    plain = re.sub(r"\\text(backslash|asciitilde|asciicircum)\{\}|\\[&%$#_{}]|\{[\[*]\}", "", cell)
    math = re.findall(r"\$([^$]*)\$", plain)
    assert not re.search(r"[\\&%#~{}]|\^\^", re.sub(r"\$[^$]*\$", "", plain))
    assert all(re.fullmatch(r"[xy]", each) for each in math)


@pytest.mark.parametrize(
    "name",
    [r"$p_T$", r"H $\to\tau\tau$", r"$\sqrt{s}=13\,$TeV", r"$p_\text{T}$ [GeV]", r"$\Delta\phi$"],
)
def test_math_of_the_field_stays(name):
    cell = named(name).latex().splitlines()[4].split(" & ")[0]
    assert cell.replace("{[}", "[") == name


def test_a_row_does_not_begin_with_what_the_end_of_the_last_one_takes():
    lines = Table(columns=("a",), rows=(("x",), ("[2em]",), ("*",))).latex().splitlines()
    assert lines[5:7] == [r"{[}2em] \\", r"{*} \\"]


FORMULAS = [
    '=HYPERLINK("http://x")',
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =1",
    "＝1+1",
]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_of_a_csv_file_is_a_formula(name):
    header, row = csv.reader(io.StringIO(named(name).csv()))
    for cell in (header[1], *row):
        assert cell == "'" + re.sub(r"[\t\r]", " ", name)


def test_numbers_of_a_csv_file_stay_numbers():
    values = (-1.5, 2, Measured(-3e-7, 1e-8), "-4.5", "+12.3 %", "-inf")
    header, row = csv.reader(io.StringIO(Table(columns=("x",) * 6, rows=(values,)).csv()))
    assert [float(cell.removesuffix(" %")) for cell in row] == [
        *(-1.5, 2, -3e-7, 1e-8, -4.5, 12.3, -np.inf)
    ]
    assert len(header) == 7


def test_titles_stand_in_the_place_of_names():
    table = Table(columns=("Process", "SR"), rows=(("ttbar", 1.0), ("zjets", None)))
    titled = table.titled({"ttbar": "top pairs", "SR": "signal region"})
    assert titled.columns == ("Process", "signal region")
    assert titled.rows == (("top pairs", 1.0), ("zjets", None))


def test_decimals_are_those_of_the_column_and_a_rounded_zero_has_no_sign():
    table = Table(
        columns=("", "pull", "p"), rows=(("a", -1e-9, 1e-9), ("b", 0.125, 2)), decimals=(None, 2)
    )
    assert table.text().splitlines()[2:] == ["a  0.00  1.000e−9", "b  0.12         2"]
    assert Cells(table.html()).rows[1:] == [["a", "0.00", "1.000e−9"], ["b", "0.12", "2"]]
    assert [line.split(",")[1] for line in table.csv().splitlines()] == ["pull", "-1e-09", "0.125"]
    assert r"$0.00$" in table.latex()
