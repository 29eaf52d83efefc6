"""Resumable runs that fit systems on the training split and evaluate the others."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

from clapstack import __version__
from clapstack._compat import file_digest
from clapstack._optional import progress
from clapstack._output import write_text
from clapstack.audio import audio_key
from clapstack.cli.challenge._checkpoints import (
    broken_rules,
    checkpoints_of,
    load_weights,
)
from clapstack.cli.challenge._predictions import read_predictions, write_predictions
from clapstack.cli.challenge._report import (
    METRICS,
    format_results,
    read_record,
    read_results,
)
from clapstack.datasets import (
    find_overlaps,
    list_xacle_splits,
    load_xacle,
    probe_split,
)
from clapstack.metrics import compare_report, noise_ceiling, score_report, srcc
from clapstack.systems import describe_system, list_systems

Echo = Callable[[str], None]

N_RESAMPLES = 1000
RECORD = "record.json"

# Settings on which predictions do not depend, and the location of the weights, which
# their fingerprint represents.
_NOT_SETTINGS = {
    "batch_size",
    "cache",
    "checkpoint",
    "device",
    "encoder",
    "memory",
    "n_jobs",
    "revision",
    "verbose",
}
_SHOWN = 10


def run_systems(
    folder: Path,
    pipelines: Mapping[str, Pipeline],
    *,
    out: Path,
    probe: bool = False,
    allow_overlap: bool = False,
    random_state: int = 0,
    verbose: bool = True,
    echo: Echo = print,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fit systems on the training split and predict the others.

    Finished results are kept in `out`, by system, and are not computed again as long as
    data, weights and settings are the same. With `probe`, systems are fitted on a few
    training pairs and evaluated on a few validation pairs, as the probes of the paper.
    A held-out pair that is also in the training split is an error unless
    `allow_overlap`. If weights are missing, a MissingCheckpointsError is raised before
    anything is computed.

    Returns
    -------
    results : DataFrame
        One row per system and rated split in `out`.
    differences : DataFrame
        One row per split and system in `out` that predicted the same pairs as this run:
        metrics of the best system by SRCC minus those of this system, with intervals.
    """
    judged: dict[Any, Mapping[str, Bunch]] = {}
    for line in broken_rules(pipelines):
        echo(line)
    splits = {split: load_xacle(folder, split) for split in list_xacle_splits(folder)}
    weights = load_weights(pipelines, splits["train"].X)
    keys = audio_keys(splits, verbose)
    refuse_overlap(splits, keys, allow_overlap, echo)
    for name, pipeline in pipelines.items():
        sizes = describe_system(name).probe if name in list_systems() else (512, 128)
        train, held_out = _parts(splits, sizes, probe, random_state)
        identity = {
            "system": name,
            "version": __version__,
            "weights": weights[name],
            "settings": settings_of(pipeline),
            "data": data_digest({"train": train, **held_out}, keys),
        }
        judged[identity["data"]] = held_out
        place = out / f"{name}{'-probe' * probe}"
        if _is_finished(place, identity):
            echo(f"{name}: already finished")
            continue
        started = time.perf_counter()
        (place / RECORD).unlink(missing_ok=True)
        pipeline.fit(train.X, train.y)
        record = {
            "identity": identity,
            "checkpoints": {
                family: str(getattr(transformer, "checkpoint", transformer))
                for family, transformer in checkpoints_of(pipeline)
            },
            "simulated": train.simulated,
            "n_train": len(train.X),
            "splits": dict(_predicted(pipeline, held_out, place)),
        }
        # Written last: a system with a record is finished.
        write_text(place / RECORD, json.dumps(record, indent=2) + "\n")
        _write_tables(out)
        echo(f"{name}: done in {time.perf_counter() - started:.0f} s")
    differences = _differences(out, judged)
    write_text(out / "differences.csv", differences.to_csv(index=False))
    return _write_tables(out, differences), differences


def check_challenge(folder: Path, echo: Echo = print) -> bool:
    """Summarise a challenge folder; return whether no clip is in two splits.

    Missing tables, missing clips and wrong rows raise the errors of :func:`load_xacle`.
    """
    splits = {split: load_xacle(folder, split) for split in list_xacle_splits(folder)}
    for split, data in splits.items():
        line = f"{split}: {len(data.X):,} pairs, {data.X['text'].nunique():,} texts"
        if data.y is None:
            line += ", not rated"
        elif data.ratings is None:
            line += f", mean score {data.y.mean():.2f}"
        else:
            ceiling = noise_ceiling(data.ratings["pair"], data.ratings["score"])
            line += (
                f", {len(data.ratings):,} ratings, mean score {data.y.mean():.2f}, "
                f"noise ceiling: LCC {ceiling.lcc:.3f}, MSE {ceiling.mse:.3f}"
            )
        echo(line + ", SIMULATED" * data.simulated)
    overlaps = find_overlaps(splits)
    for row in _overlap_lines(overlaps):
        echo(row)
    return overlaps.empty


def settings_of(pipeline: Pipeline) -> dict[str, str]:
    """Return the settings on which a pipeline's predictions depend."""
    settings = {}
    for name, value in sorted(pipeline.get_params().items()):
        nested = hasattr(value, "get_params") or isinstance(value, list)
        if nested or name.split("__")[-1] in _NOT_SETTINGS:
            continue
        settings[name] = value.__qualname__ if callable(value) else repr(value)
    return settings


def data_digest(splits: Mapping[str, Bunch], keys: Mapping[str, str]) -> str:
    """Return a digest of the names, texts, scores and clips of all splits."""
    digest = hashlib.sha256()
    for split, data in splits.items():
        scores = [None] * len(data.X) if data.y is None else data.y.tolist()
        audio = [keys[path] for path in data.X["audio"]]
        rows = [split, *zip(data.ids, data.X["text"], scores, audio, strict=True)]
        digest.update(json.dumps(rows).encode())
    return digest.hexdigest()


def audio_keys(splits: Mapping[str, Bunch], verbose: bool) -> dict[str, str]:
    """Return the content key of every clip by path, reading each file once."""
    paths = [path for data in splits.values() for path in data.X["audio"]]
    bar = progress(paths, desc="reading clips", unit="clip", verbose=verbose)
    return {path: audio_key(path) for path in bar}


def refuse_overlap(
    splits: Mapping[str, Bunch], keys: Mapping[str, str], allowed: bool, echo: Echo
) -> None:
    overlaps = find_overlaps(splits, keys)
    same = overlaps[overlaps["same_text"] & (overlaps["other_split"] == "train")]
    lines = _overlap_lines(same)
    if lines and not allowed:
        msg = (
            "Held-out pairs are also training pairs:\n"
            + "\n".join(lines)
            + "\nRemove them from one split, or pass --allow-overlap and report it."
        )
        raise ValueError(msg)
    for line in lines:
        echo(line)


def _overlap_lines(overlaps: pd.DataFrame) -> list[str]:
    lines = [
        f"  {row.split} {row.id} is {row.other_split} {row.other_id}"
        + (", with the same text" if row.same_text else ", with another text")
        for row in overlaps.head(_SHOWN).itertuples()
    ]
    more = len(overlaps) - _SHOWN
    return lines + [f"  … and {more} more"] * (more > 0)


def _parts(
    splits: Mapping[str, Bunch], sizes: tuple[int, int], probe: bool, random_state: int
) -> tuple[Bunch, dict[str, Bunch]]:
    """Return the training pairs and, by split, the pairs to predict."""
    train = splits["train"]
    if not probe:
        return train, {name: data for name, data in splits.items() if name != "train"}
    train, held_out = probe_split(
        train,
        splits.get("validation"),
        n_train=sizes[0],
        n_validation=sizes[1],
        random_state=random_state,
    )
    return train, {"probe": held_out}


def _predicted(
    pipeline: Pipeline, held_out: Mapping[str, Bunch], place: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Predict and write every split; yield its entry in the record."""
    for split, data in held_out.items():
        scores = np.asarray(pipeline.predict(data.X), dtype=np.float64)
        file = place / f"{split}.csv"
        write_predictions(file, data.ids, scores)
        report = None
        if data.y is not None:
            report = score_report(data.y, scores, n_resamples=N_RESAMPLES)
        yield (
            split,
            {"n_pairs": len(data.X), "sha256": file_digest(file), "report": report},
        )


def _is_finished(place: Path, identity: Mapping[str, Any]) -> bool:
    """Return whether complete predictions with this identity exist."""
    # A custom encoder without a fingerprint may have changed.
    if not (place / RECORD).exists() or None in identity["weights"].values():
        return False
    record = read_record(place / RECORD)
    return record["identity"] == identity and all(
        (place / f"{split}.csv").exists()
        and file_digest(place / f"{split}.csv") == outcome["sha256"]
        for split, outcome in record["splits"].items()
    )


def _differences(out: Path, judged: Mapping[str, Mapping[str, Bunch]]) -> pd.DataFrame:
    """Compare the systems in `out` that predicted the same pairs with the best one.

    `judged` has the pairs by digest of all data and by split.
    """
    records = {
        path.parent: read_record(path) for path in sorted(out.glob(f"*/{RECORD}"))
    }
    rows = []
    for digest, held_out in judged.items():
        for split, data in held_out.items():
            scores = {
                record["identity"]["system"]: read_predictions(
                    place / f"{split}.csv", data.ids
                )
                for place, record in records.items()
                if record["identity"]["data"] == digest and data.y is not None
            }
            if len(scores) < 2:
                continue
            best = max(scores, key=lambda name: srcc(data.y, scores[name]))
            for name in [name for name in scores if name != best]:
                report = compare_report(
                    data.y, scores[best], scores[name], n_resamples=N_RESAMPLES
                )
                rows.append((split, best, name, *chain(*report.values())))
    figures = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["split", "best", "system", *figures])


def _write_tables(out: Path, differences: pd.DataFrame | None = None) -> pd.DataFrame:
    results = read_results(out)
    write_text(out / "results.csv", results.to_csv(index=False))
    write_text(out / "results.md", format_results(results, differences))
    return results
