"""Encoders one by one against people's ratings: bare cosine and ridge, resumably."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from huggingface_hub import try_to_load_from_cache
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from clapstack import __version__
from clapstack._output import write_text
from clapstack.cli.challenge._report import METRICS, WARNINGS, interval_of, markdown
from clapstack.cli.challenge._run import (
    N_RESAMPLES,
    Echo,
    audio_keys,
    data_digest,
    refuse_overlap,
    settings_of,
)
from clapstack.exceptions import CheckpointError
from clapstack.metrics import score_report
from clapstack.stacking import StandardizedRidge
from clapstack.systems import FAMILIES

# A cosine has no scale of scores, so that its squared error means nothing.
_OF_COSINE = METRICS[:3]
# Of a model in the hub's cache, one of these is there.
_CONFIGS = ("config.json", "CLAP_weights_2023.pth")


def present_encoders() -> list[tuple[str, str]]:
    """Return the CLAP families whose published weights are on this machine.

    Each with its checkpoint: a file in the working folder, or what the hub's cache has.
    Nothing is fetched.
    """
    return [
        (name, family.published)
        for name, family in FAMILIES.items()
        if _is_present(family.published) and _compares(name, family.published)
    ]


def bench_human(
    splits: Mapping[str, Bunch],
    encoders: Sequence[tuple[str, str]],
    *,
    out: Path,
    allow_overlap: bool = False,
    device: str | None = None,
    batch_size: int = 32,
    cache: Any = "auto",
    verbose: bool = True,
    echo: Echo = print,
) -> pd.DataFrame:
    """Judge encoders on rated splits: the cosine, and a ridge fitted on "train".

    What is finished stays in `out`, a file for each encoder, and is not computed again
    as long as the data and the weights are the same. All encoders are loaded before
    anything is computed; those that cannot be are named together.

    Returns
    -------
    results : DataFrame
        A row per split and encoder that `out` has for these data, the best first.
    """
    rated = {name: data for name, data in splits.items() if data.y is not None}
    if "train" not in rated or len(rated) < 2:
        msg = (
            f"A ridge is fitted on the ratings of 'train' and judged on those of other "
            f"splits; rated are {list(rated)}. Bring a folder with both."
        )
        raise ValueError(msg)
    settings = {"device": device, "batch_size": batch_size, "cache": cache}
    pipelines = _loaded(encoders, rated["train"].X, {**settings, "verbose": verbose})
    keys = audio_keys(rated, verbose)
    refuse_overlap(rated, keys, allow_overlap, echo)
    data = data_digest(rated, keys)
    for (family, checkpoint), pipeline in pipelines.items():
        identity = {
            "version": __version__,
            "weights": pipeline["features"].fingerprint_,
            "settings": settings_of(pipeline),
            "data": data,
        }
        place = out / f"{family}-{identity['weights'][:12]}.json"
        if place.exists() and _read(place)["identity"] == identity:
            echo(f"{family} ({checkpoint}): finished before, kept")
            continue
        started = time.perf_counter()
        record = {
            "identity": identity,
            "encoder": family,
            "checkpoint": checkpoint,
            "bundled": checkpoint.startswith("bundled:"),
            "simulated": bool(rated["train"].get("simulated", False)),
            "n_train": len(rated["train"].X),
            "splits": _judged(pipeline, rated),
        }
        write_text(place, json.dumps(record, indent=2) + "\n")
        _write_tables(out, data)
        seconds = time.perf_counter() - started
        echo(f"{family} ({checkpoint}): done in {seconds:.0f} s")
    return _write_tables(out, data)


def format_human(results: pd.DataFrame) -> str:
    """Return the results as a Markdown page."""
    lines = ["# Encoders against ratings\n"]
    for mark, (title, warning) in WARNINGS.items():
        if results[mark].any():
            lines.append(f"**{title}**: {warning}\n")
    header = ["encoder", "checkpoint", "split", "pairs", "cosine SRCC"]
    header += [f"ridge {name.upper()}" for name in METRICS]
    rows = []
    for _, row in results.iterrows():
        marks = "".join(f" ({mark})" for mark in WARNINGS if row[mark])
        rows.append(
            [
                row["encoder"],
                row["checkpoint"],
                row["split"] + marks,
                f"{row['n_train']:,} / {row['n_pairs']:,}",
                *(
                    f"{row[name]:.4f} {interval_of(row, name)}"
                    for name in ("cosine_srcc", *(f"ridge_{name}" for name in METRICS))
                ),
            ]
        )
    lines.append(markdown(header, rows))
    lines.append(
        "\nPairs: fitted on / judged on. In brackets: bootstrap intervals of 95 %. "
        "Cosine: of the two embeddings, without any rating. Ridge: on all pair "
        "features, fitted on the training split.\n"
    )
    return "\n".join(lines)


def _is_present(checkpoint: str) -> bool:
    if Path(checkpoint).exists():
        return True
    cached = [
        try_to_load_from_cache(checkpoint, name)
        for name in _CONFIGS
        if checkpoint.count("/") == 1 and not Path(checkpoint).suffix
    ]
    return any(isinstance(path, str) for path in cached)


def _compares(family: str, checkpoint: str) -> bool:
    """Return whether a family has a cosine; others do not read the text."""
    return "blocks" in FAMILIES[family].make(checkpoint).get_params(deep=False)


def _loaded(
    encoders: Sequence[tuple[str, str]], X: pd.DataFrame, settings: Mapping[str, Any]
) -> dict[tuple[str, str], Pipeline]:
    """Load every encoder; return a pipeline each, of which the features are fitted."""
    strange = [name for name, _ in encoders if name not in FAMILIES]
    if strange:
        msg = f"unknown encoders {strange}; there are {list(FAMILIES)}."
        raise ValueError(msg)
    deaf = [name for name, checkpoint in encoders if not _compares(name, checkpoint)]
    if deaf:
        msg = f"{deaf} do not read texts: there is no cosine to judge. Leave them out."
        raise ValueError(msg)
    pipelines, faults = {}, []
    for family, checkpoint in dict.fromkeys(encoders):
        transformer = FAMILIES[family].make(checkpoint, **settings)
        try:
            transformer.fit(X[:1])
        except (CheckpointError, ImportError) as error:
            faults.append(f"  {family} = {checkpoint}: {error}")
            continue
        steps = [("features", transformer), ("ridge", StandardizedRidge())]
        pipelines[family, checkpoint] = Pipeline(steps)
    if faults:
        lines = ["These encoders could not be loaded; nothing was computed:", *faults]
        raise CheckpointError("\n".join(lines))
    return pipelines


def _judged(pipeline: Pipeline, rated: Mapping[str, Bunch]) -> dict[str, Any]:
    """Return the figures of every split but "train"."""
    features = {
        split: pipeline["features"].transform(data.X) for split, data in rated.items()
    }
    ridge = pipeline["ridge"].fit(features.pop("train"), rated["train"].y)
    outcomes = {}
    for split, table in features.items():
        figures: dict[str, float] = {}
        scores = {"cosine": table[:, -1], "ridge": ridge.predict(table)}
        for name, score in scores.items():
            y_score = np.asarray(score, dtype=np.float64)
            report = score_report(rated[split].y, y_score, n_resamples=N_RESAMPLES)
            figures |= {f"{name}_{key}": value for key, value in report.items()}
        outcomes[split] = {"n_pairs": len(table), "report": figures}
    return outcomes


def _write_tables(out: Path, data: str) -> pd.DataFrame:
    records = [_read(path) for path in sorted(out.glob("*.json"))]
    reports = [
        f"{name}_{metric}{end}"
        for name, metrics in (("cosine", _OF_COSINE), ("ridge", METRICS))
        for metric in metrics
        for end in ("", "_low", "_high")
    ]
    said = ["encoder", "checkpoint", "n_train"]
    rows = [
        {
            **record,
            **outcome["report"],
            "split": split,
            "n_pairs": outcome["n_pairs"],
            "weights": record["identity"]["weights"],
        }
        for record in records
        if record["identity"]["data"] == data
        for split, outcome in record["splits"].items()
    ]
    columns = [*said, "split", "n_pairs", *reports, "simulated", "bundled", "weights"]
    results = pd.DataFrame(rows, columns=columns)
    results = results.sort_values(
        ["split", "ridge_srcc"], ascending=[False, False], ignore_index=True
    )
    write_text(out / "human.csv", results.to_csv(index=False))
    write_text(out / "human.md", format_human(results))
    return results


def _read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
