"""Display of the response of scores to edits of captions and clips."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clapstack.inspection._canvas import BLUE, COLUMN, GREY, VERMILION, Display

_COLUMNS = ("edit", "kind", "n_pairs", "change", "low", "high", "falls")
# Colour and hatch, so that no two kinds differ only in colour.
_LOOKS = {
    "meaning": (VERMILION, ""),
    "wording": (BLUE, "///"),
    "clip": (GREY, "..."),
}


class ProbeDisplay(Display):
    """Response of scores to edits: mean changes with 95 % intervals.

    Read more in the :ref:`User Guide <probe>`.

    Parameters
    ----------
    probed : DataFrame
        Result of :func:`clapstack.scoring.probe` for one axis. Edits that apply to no
        pair are left out.

    Attributes
    ----------
    bars_ : BarContainer
        One bar per edit.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    clapstack.scoring.probe : Measure the response of scores to edits.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.inspection import ProbeDisplay
    >>> probed = pd.DataFrame(
    ...     [["swap", "meaning", 40, -0.1, -0.3, 0.1, 0.55]],
    ...     columns=["edit", "kind", "n_pairs", "change", "low", "high", "falls"],
    ... )
    >>> ProbeDisplay(probed=probed).describe()
    'Mean change of the score: swap -0.10 (falls for 55 % of 40 pairs).'
    """

    def __init__(self, *, probed: pd.DataFrame):
        missing = [name for name in _COLUMNS if name not in probed]
        if missing:
            msg = (
                f"probed must have the columns {list(_COLUMNS)}; missing {missing}. "
                "Pass the result of clapstack.scoring.probe."
            )
            raise ValueError(msg)
        if probed["edit"].duplicated().any():
            msg = (
                "probed has an edit more than once. Pass the rows of one axis, such as "
                "probed[probed['axis'] == 'relevance']."
            )
            raise ValueError(msg)
        self.probed = probed[probed["n_pairs"] > 0]

    def _size(self) -> tuple[float, float]:
        return COLUMN, 0.85 + 0.2 * len(self.probed)

    def _describe(self) -> str:
        parts = [
            f"{row['edit']} {row['change']:+.2f} (falls for {100 * row['falls']:.0f} % "
            f"of {row['n_pairs']} pairs)"
            for row in self.probed.to_dict("records")
        ]
        listed = ", ".join(parts) or "no edit applies"
        return f"Mean change of the score: {listed}."

    def _draw(self, ax: Any) -> None:
        rows = self.probed
        places = range(len(rows))
        self.bars_ = ax.barh(places, rows["change"], height=0.62, edgecolor="white")
        for bar, kind in zip(self.bars_, rows["kind"], strict=True):
            color, hatch = _LOOKS[kind]
            bar.set(facecolor=color, hatch=hatch, linewidth=0)
        ax.hlines(places, rows["low"], rows["high"], color="black", linewidth=0.8)
        ax.axvline(0, color="black", linewidth=0.6)
        labels = [
            f"{e} ({n})" for e, n in zip(rows["edit"], rows["n_pairs"], strict=True)
        ]
        ax.set_yticks(places, labels, parse_math=False)
        ax.tick_params(axis="y", length=0)
        for place, share in zip(places, rows["falls"], strict=True):
            ax.text(
                1.01,
                place,
                f"{100 * share:.0f} %",
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize="small",
            )
        ax.set(
            ylim=(len(rows) - 0.4, -0.6),
            xlabel="mean change of the score, with 95 % interval\n"
            "left: number of pairs; right: share that falls",
        )
        handles = dict(zip(rows["kind"], self.bars_, strict=True))
        ax.legend(
            handles.values(),
            [f"{kind} changed" for kind in handles],
            loc="lower center",
            bbox_to_anchor=(0.4, 1),
            ncols=3,
            columnspacing=1,
            handlelength=1,
            handletextpad=0.4,
        )
