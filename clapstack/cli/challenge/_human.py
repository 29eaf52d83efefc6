"""Resumable comparison of encoders with human ratings: cosine and ridge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from clapstack import __version__
from clapstack._output import write_text
from clapstack.cli.challenge._report import (
    METRICS,
    WARNINGS,
    interval_of,
    markdown,
    read_record,
    warnings_of,
)
from clapstack.cli.challenge._run import (
    N_RESAMPLES,
    Echo,
    audio_keys,
    data_digest,
    refuse_overlap,
)
from clapstack.exceptions import CheckpointError
from clapstack.metrics import score_report
from clapstack.stacking import StandardizedRidge
from clapstack.systems import has_seen_ratings, list_checkpoints, make_union

_FIGURES = ["cosine_srcc", *(f"ridge_{name}" for name in METRICS)]


def present_encoders(*, bundled: bool) -> dict[str, str | None]:
    """Return the contrastive families whose weights are on this machine.

    These are the published weights, or the bundled ones. Nothing is downloaded.
    """
    table = list_checkpoints()
    here = table["bundled"].notna() if bundled else table["present"]
    of_pairs = table["transformer"].str.endswith("PairFeatures", na=False)
    return dict.fromkeys(table.loc[here & of_pairs, "name"])


def bench_human(
    splits: Mapping[str, Bunch],
    families: Mapping[str, str | None],
    checkpoints: str = "published",
    *,
    out: Path,
    allow_overlap: bool = False,
    echo: Echo = print,
    **settings: Any,
) -> pd.DataFrame:
    """Evaluate the cosine of encoders, and a ridge fitted on "train", on rated splits.

    `families` and `checkpoints` are as in :func:`~clapstack.make_clap_stack`. Finished
    results are kept in `out`, one file per encoder, and are not computed again as long
    as data and weights are the same. All encoders are loaded before anything is
    computed, and the error names all that cannot be loaded. `settings` are parameters
    of the transformers that do not affect the results.

    Returns
    -------
    results : DataFrame
        One row per split and encoder in `out` for these data, the best first.
    """
    rated = {name: data for name, data in splits.items() if data.y is not None}
    if "train" not in rated or len(rated) < 2:
        msg = (
            f"The comparison needs a rated split 'train' and at least one other rated "
            f"split; the rated splits are {list(rated)}. Use a folder with both."
        )
        raise ValueError(msg)
    loaded = _load(families, checkpoints, rated["train"].X, settings)
    keys = audio_keys(rated, settings.get("verbose", True))
    refuse_overlap(rated, keys, allow_overlap, echo)
    identity = {"version": __version__, "data": data_digest(rated, keys)}
    for family, features in loaded.items():
        checkpoint = str(features.checkpoint)
        record = {
            "identity": {**identity, "weights": features.fingerprint_},
            "encoder": family,
            "checkpoint": checkpoint,
            "bundled": checkpoint.startswith("bundled:"),
            "simulated": rated["train"].get("simulated", False),
            "n_train": len(rated["train"].X),
        }
        place = out / f"{family}-{features.fingerprint_[:12]}.record.json"
        if place.exists() and read_record(place)["identity"] == record["identity"]:
            echo(f"{family} ({checkpoint}): already finished")
            continue
        record["splits"] = _judge(features, rated)
        write_text(place, json.dumps(record, indent=2) + "\n")
        _write_tables(out, identity)
        echo(f"{family} ({checkpoint}): done")
    return _write_tables(out, identity)


def format_human(results: pd.DataFrame) -> str:
    """Return the results as a Markdown page."""
    lines = ["# Encoders against ratings\n", *warnings_of(results, "**{}**: {}\n")]
    header = ["encoder", "checkpoint", "split", "pairs"]
    header += [name.replace("_", " ") for name in _FIGURES]
    rows = [
        [
            row["encoder"],
            row["checkpoint"] + " (saw ratings)" * has_seen_ratings(row["checkpoint"]),
            row["split"] + "".join(f" ({mark})" for mark in WARNINGS if row[mark]),
            f"{row['n_train']:,} / {row['n_pairs']:,}",
            *(f"{row[name]:.4f} {interval_of(row, name)}" for name in _FIGURES),
        ]
        for _, row in results.iterrows()
    ]
    lines.append(markdown(header, rows))
    lines.append(
        "\nPairs: training / test. In brackets: 95 % bootstrap intervals. Cosine: "
        "similarity of the two embeddings, without any ratings. Ridge: regression on "
        "all pair features, fitted on the training split.\n"
    )
    return "\n".join(lines)


def _load(
    families: Mapping[str, str | None],
    checkpoints: str,
    X: pd.DataFrame,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a fitted transformer of every encoder."""
    loaded, faults = {}, []
    for family, place in families.items():
        try:
            union = make_union(checkpoints, {family: place}, **settings)
            ((_, features),) = union.transformer_list
            if not hasattr(features, "blocks"):
                msg = "it does not embed texts, so it has no cosine. Leave it out."
                raise CheckpointError(msg)
            loaded[family] = features.fit(X[:1])
        except (ImportError, ValueError) as error:
            faults.append(f"  {family}{f' = {place}' if place else ''}: {error}")
    if faults:
        lines = ["These encoders could not be loaded. Nothing was computed:", *faults]
        raise CheckpointError("\n".join(lines))
    return loaded


def _judge(features: Any, rated: Mapping[str, Bunch]) -> dict[str, dict[str, float]]:
    """Return the metrics of every split except "train"."""
    tables = {split: features.transform(data.X) for split, data in rated.items()}
    ridge = StandardizedRidge().fit(tables.pop("train"), rated["train"].y)
    outcomes: dict[str, dict[str, float]] = {}
    for split, table in tables.items():
        outcomes[split] = {"n_pairs": len(table)}
        scores = {"cosine": table[:, -1].astype(float), "ridge": ridge.predict(table)}
        for name, score in scores.items():
            report = score_report(rated[split].y, score, n_resamples=N_RESAMPLES)
            outcomes[split] |= {f"{name}_{key}": v for key, v in report.items()}
        for end in ("", "_low", "_high"):
            del outcomes[split][
                f"cosine_mse{end}"
            ]  # a cosine is not on the scale of scores
    return outcomes


def _write_tables(out: Path, identity: Mapping[str, str]) -> pd.DataFrame:
    """Write the records of these data as CSV and Markdown."""
    rows = []
    for record in map(read_record, sorted(out.glob("*.record.json"))):
        of_encoder = {**record, **record.pop("identity")}
        outcomes = of_encoder.pop("splits")
        if identity.items() <= of_encoder.items():
            rows += [{**of_encoder, "split": s, **o} for s, o in outcomes.items()]
    results = pd.DataFrame(rows)
    results = results.sort_values(
        ["split", "ridge_srcc"], ascending=False, ignore_index=True
    )
    write_text(out / "human.csv", results.to_csv(index=False))
    write_text(out / "human.md", format_human(results))
    return results
