import unicodedata
import xml.etree.ElementTree as ElementTree

import pytest

from difftune.report.formulas import as_html, without_tags


def text(title: str) -> str:
    """What a browser shows, without what is raised or italic."""
    return "".join(ElementTree.fromstring(f"<td>{as_html(title)}</td>").itertext())


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        (r"$t\bar{t}$", "tt̄"),
        (r"Lepton $p_\mathrm{T}$ [GeV]", "Lepton pT [GeV]"),
        (r"$H\to\tau\tau$", "H → ττ"),
        (r"$\sqrt{s} = 13\,$TeV", "√s = 13\u2009TeV"),
        (r"140 fb$^{-1}$", "140 fb−1"),
        (r"$\Delta\phi(\ell, b)$", "Δϕ(ℓ, b)"),
        (r"$W^{\pm}$ & $Z<3$", "W± & Z < 3"),
        (r"$\vec{p}_{T}^\text{miss}$", "p⃗Tmiss"),
        ("5$ or 6 &$", "5$ or 6 &$"),
        ("costs 5$", "costs 5$"),
    ],
)
def test_titles_read_as_latex_would_set_them(title, shown):
    assert unicodedata.normalize("NFKD", text(title)) == unicodedata.normalize("NFKD", shown)


def test_what_is_raised_and_what_is_upright():
    assert as_html(r"$p_\mathrm{T}^{\ell 1}$") == ("<i>p</i><sub>T</sub><sup><i>ℓ</i>1</sup>")
    assert without_tags(as_html(r"$p_{T}<1$")) == "pT &lt; 1"


@pytest.mark.parametrize(
    "title",
    [
        "<script>",
        "$<script>$",
        r"$\unknown{x}$",
        r"$\lt\amp\bar{<}$",
        "a_b & c",
        r"$x_{$",
        r"$\frac{a}$",
        "$$",
        r"$\left(x\right)$",
        r"$\binom{n}{k}$",
    ],
)
def test_nothing_but_our_own_marks_gets_through(title):
    found = ElementTree.fromstring(f"<td>{as_html(title)}</td>")
    assert {each.tag for each in found.iter()} <= {"td", "i", "sub", "sup"}
    assert all(not each.attrib for each in found.iter())
    if "script" not in title and "\\" not in title:
        assert "".join(found.itertext()) == title
