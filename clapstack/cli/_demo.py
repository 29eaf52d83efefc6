"""The demo: a simulated challenge, from sound files to a table of metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile as sf
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack.datasets import (
    load_xacle,
    make_simulated_xacle,
    render_simulated_scene,
    simulate_caption,
    simulate_scene,
)
from clapstack.metrics import noise_ceiling, score_report
from clapstack.sharing import save_model
from clapstack.stacking import ClapStackingRegressor
from clapstack.systems import CLAP_FAMILIES, make_clap_stack

Echo = Callable[[str], None]

INTRODUCTION = """\
clapstack demo: how well does an audio clip satisfy a text prompt, from 0 to 10?

The clips are mixed from real recordings, but the listeners are SIMULATED: no human
rated these clips. The three CLAP models are small bundled TEST checkpoints that know
only these sounds. The table shows that the system works, not how good it is.

Four steps take about two minutes with the default sizes: writing clips and ratings
(30 s), encoding them (70 s), fitting eight systems (10 s), and scoring new pairs.
"""

NEXT_STEPS = """\
Done in {seconds:.0f} s. {folder} takes {size:,.0f} MB; you can delete it.

Try next:
  clapstack score {model} {clip} "a church bell rings"
  clapstack report {model}     (needs matplotlib: pip install matplotlib)
  clapstack score --unsupervised clips.csv --checkpoints bundled

The last line needs a table of your own clips, with the columns audio and text. Without
--checkpoints bundled, it downloads the published checkpoints. With a third column,
score, clapstack fit fits a model on your ratings.

The same stack in Python, with published checkpoints and the real challenge folder:

    from clapstack import make_clap_stack
    from clapstack.datasets import load_xacle
    train, test = (load_xacle("XACLE_dataset", split) for split in ("train", "test"))
    scores = make_clap_stack("published").fit(train.X, train.y).predict(test.X)"""

FOOTNOTE = """\
{n_train} training pairs and {n_test} test pairs, SIMULATED listeners. In brackets: 95 %
intervals. The controls use only captions or only audio, so they should fail. The noise
ceiling is the best possible result given the disagreement of four listeners: the
simulated alignment itself for SRCC and KTAU, an estimate from the ratings for LCC and
MSE.
"""

METRICS = ("srcc", "lcc", "ktau", "mse")
N_RESAMPLES = 1000


def run_demo(
    folder: Path,
    *,
    n_train: int = 800,
    n_test: int = 500,
    random_state: int = 0,
    cache: Any = "auto",
    verbose: bool = True,
    echo: Echo = print,
) -> pd.DataFrame:
    """Run the whole system on a simulated challenge and show its metrics.

    The simulated challenge and the fitted model are written to `folder`. An existing
    simulated challenge is reused.

    Returns
    -------
    table : DataFrame
        One row per system: each metric and the bounds of its 95 % interval.
    """
    started = time.perf_counter()
    echo(INTRODUCTION)
    data = simulate_challenge(folder, n_train, n_test, random_state, verbose, echo)
    train, test = load_xacle(data, "train"), load_xacle(data, "test")

    echo("2. Encoding every clip and caption once with three frozen CLAP models …")
    make = _bundled_stack(cache)
    encode = clone(make()["features"])
    if verbose:
        for _, transformer in encode.transformer_list:
            transformer.set_params(verbose=True)
    both = pd.concat([train.X, test.X])
    for name, transformer in encode.transformer_list:
        echo(f"   {name}")
        transformer.fit(train.X).transform(both)

    echo("3. Fitting every system on the training pairs and scoring the test pairs …")
    rows, fitted = {}, {}
    for name, pipeline in demo_systems(make).items():
        echo(f"   {name}")
        fitted[name] = pipeline.fit(train.X, train.y)
        y_score = pipeline.predict(test.X)
        rows[name] = score_report(test.y, y_score, n_resamples=N_RESAMPLES)
    rows["noise ceiling"] = ceiling_row(data, test.y, test.ratings)
    table = pd.DataFrame(rows).T
    echo(f"\n{format_table(table)}\n")
    echo(FOOTNOTE.format(n_test=len(test.y), n_train=len(train.y)))

    echo("4. Saving the 3-CLAP stack, then scoring two new pairs in new processes …")
    pipeline = fitted["3-CLAP stack"]
    card = {
        "data": "A simulated challenge with SIMULATED listeners: no human ratings.",
        "metrics": table.loc["3-CLAP stack"],
    }
    model = save_model(pipeline, folder / "clap_stack.clapstack", card=card)
    environment = dict(os.environ)
    if cache not in ("auto", None):  # a model file does not store the folder
        environment["CLAPSTACK_CACHE"] = str(cache)
    size = model.stat().st_size / 1e6
    echo(f"   {model} takes {size:.1f} MB and contains no network weights.")
    for edit in ("right", "other"):
        clip, text = _new_pair(folder, edit, random_state)
        here = pipeline.predict(pd.DataFrame({"audio": [clip], "text": [text]}))[0]
        arguments = ["score", str(model), clip, text, "--json"]
        command = [sys.executable, "-m", "clapstack", *arguments]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment
        )
        there = json.loads(done.stdout)["score"]
        same = "same score as in this process" if there == here else "NOT THE SAME"
        kind = "its own caption" if edit == "right" else "another clip's caption"
        echo(f"   {there:5.2f}  “{text}” ({kind}; {same})")
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    words = NEXT_STEPS.format(
        seconds=time.perf_counter() - started,
        folder=folder,
        size=n_bytes / 1e6,
        model=model,
        clip=clip,
    )
    echo(f"\n{words}")
    return table


def simulate_challenge(
    folder: Path,
    n_train: int,
    n_test: int,
    random_state: int,
    verbose: bool,
    echo: Echo,
) -> Path:
    """Return a simulated challenge of this size and seed, writing it if necessary."""
    data = folder / f"simulated_xacle_{n_train}_{n_test}_{random_state}"
    if (data / "simulated_truth.csv").exists():
        echo(f"1. Using the simulated challenge in {data}.")
        return data
    echo(f"1. Simulating scenes, captions and listeners in {data} …")
    return make_simulated_xacle(
        data,
        n_train=n_train,
        n_validation=n_test // 5,
        n_test=n_test,
        random_state=random_state,
        verbose=verbose,
    )


def demo_systems(make: Callable[..., Pipeline]) -> dict[str, Pipeline]:
    """Return the systems of the demo by name; `make` builds a stack of families."""
    systems: dict[str, Pipeline] = {}
    single = ClapStackingRegressor(targets=("score",), boosting=False)
    for family in CLAP_FAMILIES:
        pipeline = make(families=(family,))
        systems[f"{family} alone"] = _replace_stack(pipeline, single)
    ensemble = ClapStackingRegressor(
        targets=("rank",), boosting=False, final_estimator="mean", final_target="rank"
    )
    systems["CLAP rank ensemble"] = _replace_stack(make(), ensemble)
    systems["2-CLAP stack"] = make(families=("laion_unfused", "msclap"))
    systems["3-CLAP stack"] = make()
    for name, block in (("caption only", "text"), ("audio only", "audio")):
        pipeline = _replace_stack(make(), single)
        for _, transformer in pipeline["features"].transformer_list:
            transformer.set_params(blocks=(block,))
        systems[f"control: {name}"] = pipeline
    return systems


def ceiling_row(data: Path, y: np.ndarray, ratings: pd.DataFrame) -> dict[str, float]:
    """Return the best possible metrics given the disagreement of the listeners."""
    truth = pd.read_csv(data / "simulated_truth.csv")
    alignment = truth.loc[truth["split"] == "test", "alignment"]
    row = score_report(y, alignment, n_resamples=N_RESAMPLES)
    ceiling = noise_ceiling(ratings["pair"], ratings["score"])
    of_ratings = {"lcc": ceiling.lcc, "mse": ceiling.mse}
    nan = dict.fromkeys(("lcc_low", "lcc_high", "mse_low", "mse_high"), np.nan)
    return row | of_ratings | nan


def format_table(table: pd.DataFrame) -> str:
    """Format the table as fixed-width text."""
    header = f"{'system':<21}" + "".join(f"  {m.upper():<17}" for m in METRICS)
    lines = [header.rstrip()]
    for name, row in table.iterrows():
        line = f"{name:<21}"
        for metric in METRICS:
            low, high = row[f"{metric}_low"], row[f"{metric}_high"]
            cell = f"{_short(row[metric], 3):>5}"
            if not np.isnan(low):
                cell += f" [{_short(low, 2):>4}, {_short(high, 2):>3}]"
            line += f"  {cell:<17}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _short(number: float, decimals: int) -> str:
    """Format a number without the zero before its point."""
    return f"{number:.{decimals}f}".replace("0.", ".", 1 if abs(number) < 1 else 0)


def _bundled_stack(cache: Any) -> Callable[..., Pipeline]:
    def make(**settings: Any) -> Pipeline:
        return make_clap_stack("bundled", cache=cache, **settings)

    return make


def _replace_stack(pipeline: Pipeline, stack: ClapStackingRegressor) -> Pipeline:
    """Return a pipeline with the same features, another regressor, no agreement."""
    union: FeatureUnion = pipeline["features"]
    steps = [("features", union), ("stack", clone(stack))]
    return Pipeline(steps).set_output(transform="pandas")


def _new_pair(folder: Path, edit: str, random_state: int) -> tuple[str, str]:
    rng = np.random.default_rng([random_state, 10])
    scene = simulate_scene(rng, names=["steam_train", "church_bell"])
    path = folder / "new_clip.wav"
    sf.write(path, render_simulated_scene(scene, rng), 16_000, "PCM_16")
    return str(path), simulate_caption(scene, rng, edit=edit).text
