"""Forged and damaged model files: what loading them does, how long, in what memory.

Run it as ``python tests/bench/fuzz_models.py``; 1,500 files by default, from one seed.
Every file is loaded and asked to predict in a process of its own, with 2 GB of address
space more than it began with. Right is a `ModelFileError`, a model that predicts finite
numbers, or an exception of Python when it predicts; within 20 s and 1 GB. The exit code
is 1 if anything else was seen.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import os
import resource
import signal
import sys
import time
import warnings
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from clapstack import load_model
from clapstack.exceptions import ModelFileError
from clapstack.sharing._names import CLASSES

MODELS = Path(__file__).parents[1] / "sharing" / "files" / "written_by_0.1.0.zip"
NAMES = ("paper", "best", "rank_ensemble", "mean")
LONGEST_S = 20
MOST_BYTES = 1 << 30
GIVEN_BYTES = 2 << 30
N_PREDICTED = 7
RIGHT = ("refused", "predicts", "raises")
BLOCKS = ("audio", "text", "product", "absdiff", "sqdiff")

HOSTILE = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    10**9,
    2**63,
    10**39,
    -(10**9),
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\x00",
    "\ud800",
    "../../etc/passwd",
    "//host/share",
    [],
    [[]],
    {},
    {"object": 0},
    {"object": 10**9},
    {"array": 0},
    {"array": -1},
    {"float": "nan"},
    {"float": "inf"},
    {"tuple": []},
    {"dict": []},
    {"dict": [[{"array": 0}, 1]]},
    {"empty": "<f8", "shape": [0, 10**9]},
    {"empty": "<U500000000", "shape": [0]},
    {"scalar": "V", "of": 10**9},
    {"scalar": "<f8", "of": 1.5},
    {"items": [None], "shape": [1]},
    {"labels": ["a"], "name": None},
    {"path": "/dev/zero"},
    {"random": "RandomState", "state": {"dict": []}},
)


class File(NamedTuple):
    """The members of a model file, in the order of the archive."""

    members: dict[str, bytes]

    def state(self):
        return json.loads(self.members["state.json"])

    def arrays(self):
        return [name for name in self.members if name.startswith("arrays/")]


def table():
    """Return rows of features that the models were fitted on the like of."""
    columns = [
        f"{family}__{name}"
        for family in ("laion_unfused", "laion_fused", "msclap")
        for name in [*(f"{block}{i}" for block in BLOCKS for i in range(2)), "cosine"]
    ]
    rows = np.random.default_rng(1).normal(size=(N_PREDICTED, len(columns)))
    return pd.DataFrame(rows, columns=columns)


def archive(members, **changed):
    """Return an archive whose checksums fit, as a forger would write it."""
    members = {**members, **changed}
    manifest = json.loads(members["manifest.json"])
    manifest["sha256"] = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in members.items()
        if name != "manifest.json"
    }
    return raw({**members, "manifest.json": json.dumps(manifest).encode()}.items())


def raw(entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice
        with zipfile.ZipFile(buffer, "w", compression) as file:
            for name, data in entries:
                file.writestr(zipfile.ZipInfo(name), data, compression)
    return buffer.getvalue()


def with_state(file, state):
    return archive(file.members, **{"state.json": json.dumps(state).encode()})


def places(value, where=()):
    """Yield the place of every value in JSON."""
    yield where
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from places(item, (*where, key))


def replaced(state, rng, wanted, new):
    """Return a state with a value that is `wanted` replaced by what `new` makes."""
    state = copy.deepcopy(state)
    found = []
    for where in places(state):
        inner = state
        for key in where[:-1]:
            inner = inner[key]
        if where and wanted(where, inner[where[-1]]):
            found.append((inner, where[-1]))
    inner, key = found[rng.integers(len(found))]
    inner[key] = new(inner[key])
    return state


def flip_bits(file, rng):
    data = bytearray(raw(file.members.items()))
    for _ in range(rng.integers(1, 20)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def cut_off(file, rng):
    data = raw(file.members.items())
    return data[: rng.integers(len(data))]


def zip_headers(file, rng):
    data = bytearray(raw(file.members.items()))
    start = data.index(b"PK\x01\x02")
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(start, len(data))] = rng.integers(256)
    return bytes(data)


def zip_members(file, rng):
    entries = list(file.members.items())
    name = str(
        rng.choice(["README.md", "/etc/x", "../x", "arrays/1e9.npy", "C:\\x", "a\x00b"])
    )
    entries.insert(rng.integers(len(entries)), (name, b"x" * 100))
    compression = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[rng.integers(2)]
    return raw(entries, compression)


def zip_bomb(file, rng):
    entries = {**file.members, "arrays/0.npy": bytes(10**7)}
    return raw(entries.items(), zipfile.ZIP_DEFLATED)


def hostile_value(file, rng):
    value = HOSTILE[rng.integers(len(HOSTILE))]
    state = replaced(file.state(), rng, lambda w, v: True, lambda v: value)
    return with_state(file, state)


def hostile_attribute(file, rng):
    """Replace a whole attribute of an instance."""
    value = HOSTILE[rng.integers(len(HOSTILE))]
    wanted = lambda where, v: len(where) == 4 and where[2] == "state"  # noqa: E731
    return with_state(file, replaced(file.state(), rng, wanted, lambda v: value))


def other_number(file, rng):
    def is_number(where, value):
        return type(value) in (int, float)

    factors = (-1, 0, 3, 1000, 10**6, 10**12)
    factor = factors[rng.integers(len(factors))]
    state = replaced(file.state(), rng, is_number, lambda v: v * factor)
    return with_state(file, state)


def other_reference(file, rng):
    kind = ("object", "array")[rng.integers(2)]
    state = file.state()
    most = len(state["objects"]) + 3
    wanted = lambda where, v: where[-1] == kind  # noqa: E731
    for _ in range(rng.integers(1, 4)):
        state = replaced(state, rng, wanted, lambda v: int(rng.integers(most)))
    return with_state(file, state)


def other_class(file, rng):
    state = file.state()
    names = [*CLASSES, "os.system", "builtins.eval", "clapstack.No", "..", "\x1b[2J"]
    state["objects"][rng.integers(len(state["objects"]))]["class"] = str(
        rng.choice(names)
    )
    return with_state(file, state)


def lost_attribute(file, rng):
    state = file.state()
    entry = state["objects"][rng.integers(len(state["objects"]))]
    held = entry.get("state") or {"": 0}
    key = list(held)[rng.integers(len(held))]
    held[str(rng.choice(["x", "predict", "__class__", "n_features_in_"]))] = held.pop(
        key
    )
    return with_state(file, state)


def other_root(file, rng):
    state = file.state()
    roots = [*HOSTILE, *({"object": n} for n in range(len(state["objects"])))]
    state["root"] = roots[rng.integers(len(roots))]
    return with_state(file, state)


def other_manifest(file, rng):
    manifest = json.loads(file.members["manifest.json"])
    value = HOSTILE[rng.integers(len(HOSTILE))]
    manifest = replaced(manifest, rng, lambda w, v: w[0] != "sha256", lambda v: value)
    data = json.dumps(manifest).encode()
    return archive(file.members, **{"manifest.json": data})


def array_bytes(file, rng):
    name = str(rng.choice(file.arrays()))
    data = bytearray(file.members[name])
    for _ in range(rng.integers(1, 30)):
        data[rng.integers(len(data))] = rng.integers(256)
    return archive(file.members, **{name: bytes(data)})


def other_array(file, rng):
    shape = tuple(int(n) for n in rng.integers(0, 9, size=rng.integers(0, 5)))
    dtype = str(rng.choice(["f8", ">f8", "f4", "i8", "u1", "?", "c16", "U3", "f2"]))
    with np.errstate(all="ignore"):
        array = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 300)
        array = np.asarray(array).astype(dtype)
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(array) if rng.integers(2) else array)
    names = file.arrays()
    return archive(file.members, **{str(rng.choice(names)): buffer.getvalue()})


def array_header(file, rng):
    name = str(rng.choice(file.arrays()))
    dtypes = ["<f8", "|O", "<U400000000", "|V1000000000", "<m8[s]", "<f16"]
    dtypes += [[("a", "<f8", (10**6,))], [("a", "|O")], "<f8,<i4"]
    shapes = [(1 << 60,), (0, 1 << 60), (-1,), (1,) * 70, (1 << 31, 1 << 33), ()]
    header = {
        "descr": dtypes[rng.integers(len(dtypes))],
        "fortran_order": bool(rng.integers(2)),
        "shape": shapes[rng.integers(len(shapes))],
    }
    buffer = io.BytesIO()
    np.lib.format.write_array_header_2_0(buffer, header)
    return archive(file.members, **{name: buffer.getvalue() + bytes(800)})


def tree_nodes(file, rng):
    names = [n for n in file.arrays() if b"feature_idx" in file.members[n][:1000]]
    if not names:
        return array_bytes(file, rng)
    name = str(rng.choice(names))
    nodes = np.load(io.BytesIO(file.members[name]))
    if rng.integers(3):
        field = str(rng.choice(nodes.dtype.names))
        value = rng.choice([-1, 0, 1, 255, 2**31 - 1, 2**40])
        nodes[field][rng.integers(len(nodes))] = np.array(value).astype(
            nodes[field].dtype
        )
    else:  # fields that bear one another's names
        nodes.dtype.names = [str(name) for name in rng.permutation(nodes.dtype.names)]
    buffer = io.BytesIO()
    np.save(buffer, nodes)
    return archive(file.members, **{name: buffer.getvalue()})


def random_position(file, rng):
    positions = [-(2**31), -1, 625, 2**31 - 1, 10**12, 1.5, None, "0"]
    position = positions[rng.integers(len(positions))]
    key = {"items": list(range(624)), "shape": [624]}
    inner = [["key", key], ["pos", position]]
    code = [["bit_generator", "MT19937"], ["state", {"dict": inner}]]
    code += [["has_gauss", 0], ["gauss", 0.0]]
    if rng.integers(2):
        numbers = {"items": [1, 2, 3, 4], "shape": [4]}
        inner = [["counter", numbers], ["key", numbers]]
        code = [["bit_generator", "Philox"], ["state", {"dict": inner}]]
        code += [["buffer", numbers], ["buffer_pos", position]]
        code += [["has_uint32", 0], ["uinteger", 0]]
    kind = ("RandomState", "Generator")[rng.integers(2)]
    state = file.state()
    entry = next(e for e in reversed(state["objects"]) if "state" in e)
    entry["state"]["random_state"] = {"random": kind, "state": {"dict": code}}
    return with_state(file, state)


def pipeline(steps):
    tuples = [{"tuple": [f"s{i}", {"object": n}]} for i, n in enumerate(steps)]
    state = {"steps": tuples, "memory": None, "verbose": False, "transform_input": None}
    return {"class": "sklearn.pipeline.Pipeline", "state": state}


def nested(file, rng):
    state = file.state()
    depth, width = ((60, 2), (30, 8), (3000, 1), (4, 3000))[rng.integers(4)]
    for _ in range(depth):
        last = len(state["objects"]) - 1
        state["objects"].append(pipeline([last] * width))
    state["root"] = {"object": len(state["objects"]) - 1}
    return with_state(file, state)


def deep(file, rng):
    opening, closing = ((b"[", b"]"), (b'{"tuple":[', b"]}"))[rng.integers(2)]
    times = (900, 100_000)[rng.integers(2)]
    text = json.dumps({**file.state(), "root": "DEEP"}).encode()
    text = text.replace(b'"DEEP"', opening * times + closing * times)
    return archive(file.members, **{"state.json": text})


def much_json(file, rng):
    parts = (b"[],", b'{"a":0},', b"1,", b"9" * 100_000 + b",", b"NaN,", b"1e999,")
    part = parts[rng.integers(len(parts))]
    text = json.dumps({**file.state(), "root": "MUCH"}).encode()
    text = text.replace(b'"MUCH"', b"[" + part * (20_000_000 // len(part)) + b"0]")
    return archive(file.members, **{"state.json": text})


def wide(file, rng):
    name = str(rng.choice(["n_features_in_", "n_components_", "n_outputs_"]))
    value = int(rng.choice([10**6, 10**7, 10**9, 2**62]))
    state = file.state()
    for entry in state["objects"]:
        if name in entry.get("state", {}):
            entry["state"][name] = value
    if rng.integers(2):
        dummy = {
            "strategy": "mean",
            "constant": None,
            "quantile": None,
            "constant_": {"items": [1.0], "shape": [1, 1]},
            "n_outputs_": 1,
            "n_features_in_": 3,
        }
        dummy[name] = value
        state["objects"].append({"class": "sklearn.dummy.DummyRegressor"})
        state["objects"][-1]["state"] = dummy
        state["root"] = {"object": len(state["objects"]) - 1}
    return with_state(file, state)


def broadcast(file, rng):
    """Shapes that multiply to more than the file has."""
    state = file.state()
    buffer, column = io.BytesIO(), io.BytesIO()
    np.save(buffer, np.ones((100_000, 1, 1)))
    np.save(column, np.ones((100_000, 1)))
    new = {"arrays/9000.npy": buffer.getvalue(), "arrays/9001.npy": column.getvalue()}
    number = (9000, 9001)[rng.integers(2)]
    names = ["intercept_", "mean_", "x_knots_", "y_knots_", "coef_", "scale_", "offset"]
    name = str(rng.choice(names))
    for entry in state["objects"]:
        if name in entry.get("state", {}):
            entry["state"][name] = {"array": number}
    members = {**file.members, **new, "state.json": json.dumps(state).encode()}
    return archive(members)


KINDS = (
    flip_bits,
    cut_off,
    zip_headers,
    zip_members,
    zip_bomb,
    hostile_value,
    hostile_attribute,
    other_number,
    other_reference,
    other_class,
    lost_attribute,
    other_root,
    other_manifest,
    array_bytes,
    other_array,
    array_header,
    tree_nodes,
    random_position,
    nested,
    deep,
    much_json,
    wide,
    broadcast,
)


class Result(NamedTuple):
    """What one file did."""

    outcome: str
    words: str
    seconds: float
    n_bytes: int


def try_file(path, X):
    """Load a file and predict in a process of its own."""
    out, into = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(out)
        _load_and_predict(path, X, into)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        said = file.read().decode(errors="replace")
    _, status, _ = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        outcome = "hangs" if number == signal.SIGALRM else "crashes"
        return Result(outcome, signal.Signals(number).name, seconds, 0)
    n_bytes, _, rest = said.partition(" ")
    outcome, _, words = rest.partition(" ")
    if int(n_bytes) > MOST_BYTES or "MemoryError" in words:
        outcome = "takes-memory"
    return Result(outcome, words, seconds, int(n_bytes))


def _load_and_predict(path, X, into):
    signal.alarm(LONGEST_S)  # not caught: it ends the process
    before = _memory("VmSize")
    started = _memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (before + GIVEN_BYTES,) * 2)
    warnings.simplefilter("ignore")
    try:
        outcome, words = _outcome(path, X)
    except BaseException as error:  # what no caller of load_model is to see
        outcome, words = "leaks", f"{type(error).__name__}: {error}"
    peak = _memory("VmHWM") - started
    os.write(into, f"{peak} {outcome} {words!r:.300}".encode())
    os._exit(0)


def _outcome(path, X):
    try:
        model = load_model(path)
    except ModelFileError as error:
        return "refused", str(error)
    try:
        names = getattr(model, "feature_names_in_", X.columns)
        scores = np.asarray(model.predict(X[list(names)]), dtype=float)
    except Exception as error:
        return "raises", type(error).__name__
    return ("predicts" if np.isfinite(scores).all() else "is-not-finite"), ""


def _memory(name):
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return int(lines[name].split()[0]) * 1024


def run(n_files, seed, folder):
    """Return the results of every kind."""
    with zipfile.ZipFile(MODELS) as whole:
        files = []
        for name in NAMES:
            with zipfile.ZipFile(whole.open(f"{name}.clapstack")) as file:
                files.append(File({n: file.read(n) for n in file.namelist()}))
    X = table()
    with contextlib.suppress(ModelFileError):
        load_model(MODELS)  # imports, before the first fork, what files need
    path = Path(folder) / "forged.clapstack"
    results = defaultdict(list)
    for number in range(n_files):
        rng = np.random.default_rng([seed, number])
        kind = KINDS[number % len(KINDS)]
        path.write_bytes(kind(files[rng.integers(len(files))], rng))
        result = try_file(path, X)
        results[kind.__name__].append(result)
        if result.outcome not in RIGHT:
            print(f"{number} {kind.__name__}: {result}", file=sys.stderr)
    return results


def faults(results):
    return [r for listed in results.values() for r in listed if r.outcome not in RIGHT]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("."))
    given = parser.parse_args()
    results = run(given.files, given.seed, given.folder)
    print(f"{'kind':<18} {'files':>5} {'longest':>8} {'memory':>8}  outcomes")
    for kind, listed in results.items():
        count = Counter(result.outcome for result in listed)
        said = ", ".join(f"{n} {outcome}" for outcome, n in count.most_common())
        longest = max(result.seconds for result in listed)
        most = max(result.n_bytes for result in listed) / 1e6
        print(f"{kind:<18} {len(listed):>5} {longest:>6.1f} s {most:>5.0f} MB  {said}")
    sys.exit(bool(faults(results)))


if __name__ == "__main__":
    main()
