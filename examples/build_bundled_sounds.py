"""Build the bundled recordings from Debian packages.

Run once by maintainers; users never need it. The sounds come from the packages
``sonic-pi-samples`` (CC0) and ``openttd-opensfx`` (CC0 and CC BY 3.0), unpacked with
``dpkg -x PACKAGE.deb ROOT``, and from ``espeak-ng`` (two synthetic voices). Each file
is mixed to mono, resampled to 16 kHz, trimmed, cut to four seconds, normalised, and
written as FLAC. ``sounds.csv`` in the same folder lists the origin of each file, its
class, its words in captions, and whether training of the mini checkpoints excludes it
(``held_out``); author, licence, and source are filled in from the packages::

    python examples/build_bundled_sounds.py ROOT/usr/share clapstack/bundled/sounds
"""

import argparse
import io
import re
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf
import soxr

SAMPLE_RATE = 16_000  # Hz, the rate of the XACLE challenge
LONGEST = 4.0  # seconds


def opensfx_entries(path):
    """Yield (number, label, RIFF bytes) of an OpenTTD sound catalogue."""
    data = path.read_bytes()
    count = (struct.unpack_from("<I", data, 0)[0] & 0x7FFFFFFF) // 8
    for number in range(count):
        offset = struct.unpack_from("<I", data, number * 8)[0] & 0x7FFFFFFF
        length = data[offset]
        label = data[offset + 1 : offset + 1 + length].rstrip(b"\0").decode()
        start = data.find(b"RIFF", offset)
        size = struct.unpack_from("<I", data, start + 4)[0] + 8
        yield number, label, data[start : start + size]


def sonic_pi_sources(readme):
    """Return the freesound address of each sample listed in the samples' README."""
    found = re.findall(r"`:([\w]+)`\s*-\s*(http\S+)", readme.read_text())
    return {name.replace("_", ""): address for name, address in found}


def author_of(address):
    """Return the author in a freesound address."""
    return re.search(r"/people/([^/]+)/", address).group(1).replace("%20", " ")


def speak(voice, sentence):
    """Return (samples, rate) of one sentence spoken by espeak-ng."""
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["espeak-ng", "-v", voice, "-w", file.name, sentence]
        subprocess.run(command, check=True)
        return sf.read(file.name, dtype="float32")


def prepare(samples, rate):
    """Return mono 16 kHz float32: trimmed, at most four seconds, peak at -1 dB."""
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    samples = soxr.resample(samples.astype(np.float32), rate, SAMPLE_RATE, "HQ")
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1][: int(LONGEST * SAMPLE_RATE)]
    fade = min(len(samples) // 4, SAMPLE_RATE // 50)
    samples = samples.copy()
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    return samples * (10 ** (-1 / 20) / np.abs(samples).max())


def collect(origin, samples_dir, addresses, opensfx):
    """Return (samples, rate, author, licence, source) of one origin."""
    package, _, code = origin.partition(":")
    if package == "sonic-pi":
        samples, rate = sf.read(samples_dir / f"{code}.flac", dtype="float32")
        address = addresses[code.replace("_", "")]
        return samples, rate, author_of(address), "CC0-1.0", address
    if package == "opensfx":
        label, riff = opensfx[int(code)]
        samples, rate = sf.read(io.BytesIO(riff), dtype="float32")
        description, _, licence = label.partition(" License: ")
        if "Share" in licence:
            msg = f"{origin} is under {licence!r}, which must not ship"
            raise ValueError(msg)
        licence = "CC-BY-3.0" if "Attribution" in licence else "CC0-1.0"
        title, _, author = description.partition('". ')
        return samples, rate, author.rstrip(". "), licence, title.strip('"')
    voice, _, sentence = code.partition(":")
    samples, rate = speak(voice, sentence)
    return samples, rate, "synthetic voice", "CC0-1.0", f"espeak-ng -v {voice}"


def main():
    """Read the table and the packages; write the FLAC files and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("share", type=Path, help="unpacked usr/share folder")
    parser.add_argument("out", type=Path, help="folder of the bundled sounds")
    args = parser.parse_args()
    samples_dir = args.share / "sonic-pi" / "samples"
    addresses = sonic_pi_sources(samples_dir / "README.md")
    catalogue = args.share / "games/openttd/baseset/opensfx/opensfx.cat"
    opensfx = {number: rest for number, *rest in opensfx_entries(catalogue)}
    table = pd.read_csv(args.out / "sounds.csv", keep_default_na=False)
    for row, origin in zip(table.index, table["origin"], strict=True):
        samples, rate, *credit = collect(origin, samples_dir, addresses, opensfx)
        file = args.out / table.loc[row, "file"]
        sf.write(file, prepare(samples, rate), SAMPLE_RATE, "PCM_16")
        table.loc[row, ["author", "licence", "source"]] = credit
    table.to_csv(args.out / "sounds.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
