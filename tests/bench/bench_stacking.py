"""The training stage against scikit-learn, at the size of the challenge.

Run it as ``python tests/bench/bench_stacking.py``; ``--scale 0.2`` for a quick look.

Embeddings are simulated: power-law spectra, anisotropic means, a match between audio
and text that the scores follow. Families are LAION unfused and fused (2,561 columns),
MS-CLAP (5,121), each joined by 527 auxiliary columns, and ``cross``. Each side fits
two targets in three folds, with boosted trees on a 128-component SVD of everything, and
predicts the test pairs by the mean of the fold members. The sides are written out as a
user would:

naive
    A pipeline of scaler and ridge per family, target and fold; scaler, TruncatedSVD and
    trees per target and fold. float64.
careful64, careful32
    Scaled once per fold and family, one ridge for both targets, one SVD for both.
ours
    ``ClapStackingRegressor``.
ours10
    The same, choosing among ten penalties.

Every run is a fresh process on one thread; the sides take turns, and medians of CPU
seconds are printed, with the peak of resident memory (on Linux only), and with
the largest difference of the ridge predictions from those of the naive side in standard
deviations; for ``ours10``, from those of scikit-learn at the penalties chosen.

``--stream N`` fits tables of N pairs that are never held whole instead, stage by stage:
see ``bench_streaming.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench_streaming
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from clapstack import ClapStackingRegressor, CrossAgreement
from clapstack.families import families_of
from clapstack.stacking import rank_target
from clapstack.stacking._trees import make_trees

SIDES = ("naive", "careful64", "careful32", "ours", "ours10")
DIMS = {"laion_fused": 512, "laion_unfused": 512, "msclap": 1024}
ALPHA = 1.5
FOLDS = KFold(3, shuffle=True, random_state=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="of rows and columns")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=int, metavar="N", help="pairs of a lazy table")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=bench_streaming.STAGES,
        default=list(bench_streaming.STAGES),
        help="of --stream",
    )
    options = parser.parse_args()
    if options.stream:
        bench_streaming.run(options.stream, options.stages)
        return
    if options.side:
        run_side(options.side, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder, options.scale)
        runs = {side: [] for side in options.sides}
        for _ in range(options.runs):
            for side in options.sides:
                command = [sys.executable, __file__, "--side", side]
                command += ["--folder", str(folder)]
                done = subprocess.run(command, check=True, capture_output=True)
                runs[side].append(json.loads(done.stdout))
        report(runs, folder)


def write_table(folder: Path, scale: float) -> None:
    """Write simulated features, their agreement included, and scores."""
    rng = np.random.default_rng(0)
    n_train, n_test = int(7500 * scale), int(3000 * scale)
    n_pairs = n_train + n_test
    scene = rng.standard_normal((n_pairs, 256))
    match = rng.uniform(0, 1, (n_pairs, 1))
    text = match * scene + np.sqrt(1 - match**2) * rng.standard_normal(scene.shape)
    columns = {}
    for family, dim in DIMS.items():
        dim = int(dim * scale)
        mix = power_law(rng, dim)
        a, b = (embed(rng, latent, mix) for latent in (scene, text))
        blocks = {"audio": a, "text": b, "product": a * b, "absdiff": np.abs(a - b)}
        blocks |= {"sqdiff": (a - b) ** 2}
        for role, block in blocks.items():
            columns |= {f"{family}__{role}{i}": block[:, i] for i in range(dim)}
        columns[f"{family}__cosine"] = (a * b).sum(axis=1)
    events = scene @ power_law(rng, int(527 * scale)) - 4
    events += 0.5 * rng.standard_normal(events.shape)
    columns |= {f"beats__logit{i}": row for i, row in enumerate(events.T)}
    names = list(columns)
    table = np.column_stack([columns.pop(name).astype(np.float32) for name in names])
    agreement = CrossAgreement().set_output(transform="pandas")
    agreement.fit(pd.DataFrame(table[:n_train], columns=names))
    out = agreement.transform(pd.DataFrame(table, columns=names))
    noise = 0.8 * rng.standard_normal(n_pairs)
    y = np.round(40 / (1 + np.exp(-3 * (match[:, 0] - 0.5) - noise))) / 4
    np.save(folder / "X.npy", np.ascontiguousarray(out.to_numpy()))
    np.save(folder / "y.npy", y)
    (folder / "names.json").write_text(json.dumps([list(out.columns), n_train]))


def power_law(rng, dim):
    return rng.standard_normal((256, dim)) * np.arange(1, 257)[:, np.newaxis] ** -0.7


def embed(rng, latent, mix):
    out = (latent + 0.3 * rng.standard_normal(latent.shape)) @ mix
    out += out.std() * 0.3 * rng.standard_normal(out.shape)
    out += out.std() * 0.7 * rng.standard_normal(out.shape[1])
    return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)


def run_side(side: str, folder: Path) -> None:
    names, n_train = json.loads((folder / "names.json").read_text())
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    columns = families_of(names)
    beats = columns.pop("beats")
    families = {
        name: where if name == "cross" else np.concatenate([where, beats])
        for name, where in columns.items()
    }
    train, test, y = X[:n_train], X[n_train:], y[:n_train]
    del X
    reset_peak()
    with threadpool_limits(limits=1):
        start = time.process_time()
        if side == "naive":
            out = naive(train, test, y, families)
        elif side.startswith("careful"):
            dtype = np.float64 if side == "careful64" else np.float32
            out = careful(train, test, y, families, dtype)
        else:
            alphas = np.geomspace(0.15, 15, 10) if side == "ours10" else ALPHA
            out, penalties = ours(train, test, y, names, alphas)
        seconds = time.process_time() - start
    peak = read_peak()
    np.save(folder / f"{side}.npy", out)
    if side == "ours10" and not (folder / "exact10.npy").exists():
        exact = ridges(train, test, y, families, penalties)
        np.save(folder / "exact10.npy", exact)
    print(json.dumps({"seconds": seconds, "peak": peak}))


def reset_peak() -> None:
    """Start the count of peak memory anew.

    Linux hands the peak of the process that starts another on to it, and the one that
    starts the sides has made the table.
    """
    Path("/proc/self/clear_refs").write_text("5")


def read_peak() -> float:
    """Return the peak of resident memory since then, in MB."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def naive(train, test, y, families):
    """Return mean predictions of the test pairs, two targets a family, then trees."""
    train, test = train.astype(np.float64), test.astype(np.float64)
    boosted = make_pipeline(
        StandardScaler(), TruncatedSVD(128, random_state=0), make_trees()
    )
    first_level = []
    held_out = []
    for name in [*families, "boosting"]:
        where = families.get(name, slice(None))
        for target in ("score", "rank"):
            oof, mean = np.empty(len(y)), np.zeros(len(test))
            for rows, others in FOLDS.split(train):
                model = clone(boosted)
                if name != "boosting":
                    model = make_pipeline(StandardScaler(), Ridge(ALPHA * len(where)))
                goal = y[rows] if target == "score" else rank_target(y[rows])
                model.fit(train[rows][:, where], goal)
                oof[others] = model.predict(train[others][:, where])
                mean += model.predict(test[:, where]) / 3
            held_out.append(oof)
            first_level.append(mean)
    return final(held_out, first_level, y)


def careful(train, test, y, families, dtype):
    """Do the same with work shared between targets."""
    train, test = train.astype(dtype), test.astype(dtype)
    names = [*families, "boosting"]
    held_out = np.empty((2 * len(names), len(y)))
    first_level = np.zeros((2 * len(names), len(test)))
    for rows, others in FOLDS.split(train):
        goals = np.column_stack([y[rows], rank_target(y[rows])]).astype(dtype)
        for number, name in enumerate(names):
            where = families.get(name, slice(None))
            scaler = StandardScaler(copy=False)
            inputs = scaler.fit_transform(np.array(train[rows][:, where]))
            outputs = [
                scaler.transform(np.array(table[:, where]))
                for table in (train[others], test)
            ]
            part = slice(2 * number, 2 * number + 2)
            if name != "boosting":
                model = Ridge(ALPHA * len(where)).fit(inputs, goals)
                predicted = [model.predict(table).T for table in outputs]
            else:
                svd = TruncatedSVD(128, random_state=0)
                inputs = svd.fit_transform(inputs)
                outputs = [svd.transform(table) for table in outputs]
                models = [make_trees().fit(inputs, goal) for goal in goals.T]
                predicted = [
                    [model.predict(table) for model in models] for table in outputs
                ]
            held_out[part, others] = predicted[0]
            first_level[part] += np.asarray(predicted[1]) / 3
    return final(held_out, first_level, y)


def final(held_out, first_level, y):
    scaler = StandardScaler().fit(np.transpose(held_out))
    ridge = Ridge(ALPHA * len(held_out)).fit(
        scaler.transform(np.transpose(held_out)), y
    )
    score = ridge.predict(scaler.transform(np.transpose(first_level)))
    return np.column_stack([*first_level, score])


def ours(train, test, y, names, alphas):
    stack = ClapStackingRegressor(alphas=alphas, cv=FOLDS, final_target="score")
    stack.fit(pd.DataFrame(train, columns=names, copy=False), y)
    frame = pd.DataFrame(test, columns=names, copy=False)
    first_level = stack.transform(frame)
    score = stack._final_level.predict(first_level)
    return np.column_stack([first_level, score]), stack.alphas_


def ridges(train, test, y, families, penalties):
    """Return what scikit-learn's ridges predict, in float64, at penalties per fold."""
    means = []
    for name, where in families.items():
        inputs, outputs = (table[:, where].astype(float) for table in (train, test))
        for target in ("score", "rank"):
            mean = np.zeros(len(test))
            for number, (rows, _) in enumerate(FOLDS.split(train)):
                model = make_pipeline(
                    StandardScaler(), Ridge(penalties[name][target][number])
                )
                goal = y[rows] if target == "score" else rank_target(y[rows])
                mean += model.fit(inputs[rows], goal).predict(outputs) / 3
            means.append(mean)
    return np.column_stack(means)


def report(runs: dict, folder: Path) -> None:
    seconds = {
        side: statistics.median(run["seconds"] for run in of_side)
        for side, of_side in runs.items()
    }
    for side, of_side in runs.items():
        peak = max(run["peak"] for run in of_side)
        line = f"{side:10} {seconds[side]:7.1f} CPU s {peak:6.0f} MB"
        if "ours" in seconds:
            line += f"  {seconds[side] / seconds['ours']:5.2f} x ours"
        right = folder / ("exact10.npy" if side == "ours10" else "naive.npy")
        if side != "naive" and right.exists():
            exact = np.load(right)[:, :8]
            wrong = np.abs(np.load(folder / f"{side}.npy")[:, :8] - exact)
            line += f"  ridges differ by {np.max(wrong / exact.std(axis=0)):.0e}"
        print(line)


if __name__ == "__main__":
    main()
