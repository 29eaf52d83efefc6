"""Load damaged and forged checkpoints of every format, and count what comes of it.

Run it as ``python tests/bench/fuzz_checkpoints.py``, from the root of the repository. A
process loads them one after the other, with room for 1 GB of memory above the start; if
it dies, another goes on. Each checkpoint must load and embed, or raise CheckpointError,
within 20 s. The seed is fixed.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

SEED = 20261128
N = 800
MOST_S = 20
MOST_BYTES = 1 << 30
GOOD = ("loads", "CheckpointError")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=N)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--worker", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(Path(arguments.worker), arguments)
        return 0
    with tempfile.TemporaryDirectory() as root:
        sys.stdout.reconfigure(line_buffering=True)
        log = Path(root) / "log.jsonl"
        log.touch()
        while (done := len(log.read_text().splitlines())) < arguments.n:
            command = [sys.executable, __file__, "--worker", root]
            numbers = (arguments.first + done, arguments.n - done, arguments.seed)
            options = [*zip(("--from", "--n", "--seed"), numbers, strict=True)]
            command += [str(part) for option in options for part in option]
            code = subprocess.run(command, check=False).returncode
            if code and not (Path(root) / "warm").exists():
                return code
            if code:
                with log.open("a") as file:
                    number = len(log.read_text().splitlines()) + arguments.first
                    row = {"number": number, "way": "?", "outcome": f"crash {code}"}
                    file.write(json.dumps(row | {"seconds": 0, "bytes": 0}) + "\n")
        rows = [json.loads(line) for line in log.read_text().splitlines()]
    return report(rows)


def report(rows: list[dict]) -> int:
    """Print counts; return 1 if any checkpoint did what none may."""
    for (way, outcome), count in sorted(
        Counter((row["way"], row["outcome"]) for row in rows).items()
    ):
        print(f"{count:5}  {way:22} {outcome}")
    slowest = max(rows, key=lambda row: row["seconds"])
    print(f"{len(rows)} checkpoints; {dict(Counter(row['outcome'] for row in rows))}")
    print(f"longest {slowest['seconds']:.1f} s ({slowest['way']})")
    print(f"peak {max(row['bytes'] for row in rows) / 2**20:.0f} MB above the start")
    bad = [row for row in rows if row["outcome"] not in GOOD]
    for row in bad:
        print(row)
    return int(bool(bad))


def work(root: Path, arguments: argparse.Namespace) -> None:
    """Load one checkpoint after the other; note each in a line."""
    from clapstack.encoders import clear_encoders
    from tests.forged import KINDS, damage, make_checkpoints

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _stop)
    originals = root / "originals"
    if not originals.exists():
        originals.mkdir()
        make_checkpoints(originals)
    for name in KINDS:  # so that what is loaded once does not count
        load_and_embed(name, _place(originals, name))
    clear_encoders()
    (root / "warm").touch()
    start = _peak()
    room = _virtual() + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    for number in range(arguments.first, arguments.first + arguments.n):
        rng = np.random.RandomState([arguments.seed, number])
        name = sorted(KINDS)[rng.randint(len(KINDS))]
        copy = root / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(originals / name, copy)
        place = copy / _place(originals, name).relative_to(originals / name)
        way = damage(place, rng)
        began = time.monotonic()
        outcome = try_to_load(name, place)
        row = {
            "number": number,
            "way": way,
            "name": name,
            "outcome": outcome,
            "seconds": time.monotonic() - began,
            "bytes": _peak() - start,
        }
        clear_encoders()
        with (root / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")


def try_to_load(name: str, place: Path) -> str:
    signal.alarm(MOST_S)
    try:
        load_and_embed(name, place)
        return "loads"
    except BaseException as error:
        if type(error).__name__ == "CheckpointError":
            return "CheckpointError"
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)


def load_and_embed(name: str, place: Path) -> None:
    """Load an encoder and embed a little."""
    from clapstack.encoders import load_encoder
    from tests.forged import KINDS

    encoder = load_encoder(KINDS[name], place, device="cpu")
    noise = np.random.RandomState(0).standard_normal(encoder.sample_rate)
    encoder.encode_audio([noise.astype(np.float32) * 0.1])
    if hasattr(encoder, "encode_text"):
        encoder.encode_text(["a dog barks", "rain falls on a tin roof!" * 9])


def _place(originals: Path, name: str) -> Path:
    files = [*(originals / name).glob("*.pt"), *(originals / name).glob("*.pth")]
    return files[0] if files else originals / name


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _virtual() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def _stop(*_: object) -> None:
    msg = f"over {MOST_S} s"
    raise TimeoutError(msg)


if __name__ == "__main__":
    sys.exit(main())
