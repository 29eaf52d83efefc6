"""A report as one page that holds all it shows."""

from __future__ import annotations

from typing import Any

from clapstack.cli.report._html import Markup, joined, tag
from clapstack.cli.report._model import Data, Judged, ModelFile, held_out, judge
from clapstack.cli.report._pairs import pairs_section
from clapstack.cli.report._provenance import card_section, fingerprints_section
from clapstack.cli.report._sections import (
    anchor,
    family_pictures,
    metrics_table,
    ranking_picture,
    score_pictures,
    section,
    tiles,
)
from clapstack.cli.report._style import CSS

# Whatever a text smuggled in, the browser fetches nothing and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def make_report(
    file: ModelFile,
    data: Data | None = None,
    *,
    title: str | None = None,
    coverage: float = 0.9,
    n_resamples: int = 1000,
    n_pairs: int = 3,
    is_xacle_test: bool = False,
) -> str:
    """Return the report of a fitted model as one HTML page.

    Parameters
    ----------
    file : ModelFile
        The model.
    data : Data, default=None
        Rated pairs that it has not seen.
    title : str, default=None
        Title of the page; None takes the name of the file.
    coverage : float, default=0.9
        Share of pairs that prediction intervals are to hold.
    n_resamples : int, default=1000
        Bootstrap resamples of the metrics; 0 leaves intervals out.
    n_pairs : int, default=3
        Pairs of `data` that are shown by themselves.
    is_xacle_test : bool, default=False
        Whether `data` is the official test split of XACLE 2026, so that the result has
        a place in its ranking.

    Returns
    -------
    page : str
        It fetches nothing. The same model and data give the same page.

    Raises
    ------
    ValueError
        If `data` holds the pairs of the fit, or a place in the ranking is asked for
        without data.
    """
    if is_xacle_test and data is None:
        msg = "A place in the ranking takes the test split; give it as data."
        raise ValueError(msg)
    title = title or file.name
    own = held_out(file.model, n_resamples)
    new = None if data is None else judge(file.model, data, coverage, n_resamples)
    sections = _sections(
        file, data, own, new, title, coverage, n_resamples, n_pairs, is_xacle_test
    )
    links = [
        tag("li", tag("a", heading, href=f"#{anchor(heading)}")) for heading in sections
    ]
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", f"Report of {title}"),
            tag(
                "p",
                "A model that predicts how well an audio clip satisfies a text prompt.",
                class_="soft",
            ),
            tag("nav", tag("ul", *links), aria_label="Contents"),
        ),
        tag("main", *(section(name, part) for name, part in sections.items())),
    )
    return f"<!DOCTYPE html>\n{tag('html', _head(title), body, lang='en')}"


def _head(title: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Report of {title}"),
        tag("style", Markup(CSS)),
    )


def _sections(
    file: ModelFile,
    data: Data | None,
    own: Judged | None,
    new: Judged | None,
    title: str,
    coverage: float,
    n_resamples: int,
    n_pairs: int,
    is_xacle_test: bool,
) -> dict[str, Any]:
    """Return the content of each section by its heading, in order."""
    judged = [one for one in (own, new) if one is not None]
    said = file.manifest.get("card", {}).get("metrics", {})
    sections: dict[str, Any] = {}
    if judged:
        best = judged[-1]
        sections["Metrics"] = joined(
            [
                tag("p", f"{best.label}: {len(best.y_true):,} pairs."),
                tiles(best),
                metrics_table(judged, said, n_resamples),
                _about(own, new),
            ]
        )
    else:
        sections["Metrics"] = tag(
            "p",
            "The last step of this model keeps no out-of-fold predictions, and no "
            "rated pairs were given: there is nothing to judge it by.",
        )
    if new is not None:
        pictures = score_pictures(new, coverage)
        if is_xacle_test:
            pictures.append(ranking_picture(new, title))
        sections["New pairs"] = tag("div", *pictures, class_="pictures")
    if own is not None:
        pictures = score_pictures(own, coverage)
        pictures += family_pictures(file.model, n_resamples)
        sections["Out of fold"] = joined(
            [
                tag(
                    "p",
                    "What the model said of its training pairs while they were held "
                    "out of it.",
                ),
                tag("div", *pictures, class_="pictures"),
            ]
        )
    if data is not None and new is not None and n_pairs:
        sections["Pairs"] = pairs_section(file.model, data, new, n_pairs)
    sections["Model card"] = card_section(file)
    sections["Fingerprints and versions"] = fingerprints_section(file, data)
    return sections


def _about(own: Judged | None, new: Judged | None) -> Markup:
    told = []
    if own is not None:
        told.append(
            "Out of fold: each training pair is predicted by regressors that were "
            "fitted on others."
        )
    if new is not None:
        told.append(f"{new.label}: given as pairs that the model has not seen.")
    told.append("Pairs that share a clip or a text make the intervals too narrow.")
    return tag("p", " ".join(told), class_="soft")
