"""Extraction against the stock loop: clips and texts to unit embeddings.

Run it as ``python tests/bench/bench_extraction.py``, on a GPU with
``--device cuda --clips 4000 --batch-size 256``.

The left side is the stock loop: read and resample (by the same code), transformers'
``ClapProcessor``, then ``ClapModel``, 32 rows at a time; texts padded to the longest of
a batch, and to 77 tokens as LAION pads. The right side is ``LaionClapPairFeatures``
without a store, from the paths of 16 kHz WAV files of 10 s to embeddings. Weights are
random, of full size, scaled so that embeddings depend on their inputs. The sides
alternate; medians are printed, as wall time and as CPU time of the process, which other
work on the machine disturbs less.

The fused stock loop marks a random clip as long; here the mark is taken away. MS-CLAP's
own loop needs the authors' package and its tokenizer from the hub. In its stead stands
what our encoder would be with transformers' own forward passes: the same windows and
front end, 32 windows at a time; its texts run alone.

``--encoders`` also takes "base", the larger tower of ``larger_clap_general``.
``--threads 1`` disturbs CPU time least.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    GPT2Config,
    RobertaTokenizerFast,
)

from clapstack import LaionClapPairFeatures, MsClapPairFeatures
from clapstack.audio import read_audio
from clapstack.encoders import load_encoder
from clapstack.encoders._mel import mel_bank
from clapstack.encoders.clap._msclap import MsClapEncoder
from clapstack.encoders.clap._msclap_2023 import MsClap2023Model, to_official
from clapstack.exceptions import CollapsedTowerWarning
from clapstack.features import _embedding as _embed

STOCK_BATCH = 32
SENTENCE = (
    "a the dog barks rain falls on tin roof while thunder rolls far away birds sing "
    "then car passes by man speaks crowd cheers music plays softly water drips"
)


class Run(NamedTuple):
    wall: float
    cpu: float
    units: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32, help="of our side")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch")
    kinds = ["unfused", "fused", "msclap", "base"]
    parser.add_argument("--encoders", nargs="+", choices=kinds, default=kinds[:2])
    parser.add_argument("--compile", action="store_true", help="the audio tower, too")
    options = parser.parse_args()
    # Random weights may well look collapsed.
    warnings.simplefilter("ignore", CollapsedTowerWarning)
    if options.threads:
        torch.set_num_threads(options.threads)
    where = "cpu" if options.device == "cpu" else torch.cuda.get_device_name()
    print(
        f"{where}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{os.cpu_count()} cores, median of {options.runs}"
    )
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        clips = write_clips(Path(folder), options.clips, rng)
        texts = distinct_texts(options.texts, rng)
        for kind in options.encoders:
            checkpoint = Path(folder) / kind
            checkpoint.mkdir()
            torch.manual_seed(0)
            if kind == "msclap":
                write_msclap(checkpoint)
            else:
                write_laion(checkpoint, fused=kind == "fused", base=kind == "base")
            compare(kind, checkpoint, clips, texts, options)
            shutil.rmtree(checkpoint)


def compare(
    kind: str,
    checkpoint: Path,
    clips: list[str],
    texts: list[str],
    options: argparse.Namespace,
) -> None:
    ours_audio, ours_text = {}, {}
    for variant in variants(options):
        ours_audio[variant], ours_text[variant] = our_side(
            kind, checkpoint, clips, texts, variant, options
        )
    if options.device == "cpu" and not has_bfloat16():
        emulated = our_side(kind, checkpoint, clips[:8], texts[:8], "bfloat16", options)
        for ours, rounded in zip((ours_audio, ours_text), emulated, strict=True):
            cosines = (ours["float32"]()[:8] * rounded()).sum(axis=1)
            print(f"bfloat16 (emulated here, not timed): cosine {cosines.min():.6f}")
    if kind == "msclap":
        plain = plain_forward(checkpoint, clips, options)
        report(f"{kind} clips", plain, ours_audio, len(clips), options)
        report(f"{kind} texts", None, ours_text, len(texts), options)
        return
    stock = StockLoop(checkpoint, options.device)
    report(f"{kind} clips", lambda: stock.audio(clips), ours_audio, len(clips), options)
    for padding in ("longest", "max_length"):
        report(
            f"{kind} texts, stock padded to {padding}",
            lambda padding=padding: stock.text(texts, padding),
            ours_text,
            len(texts),
            options,
        )


def variants(options: argparse.Namespace) -> Iterator[str]:
    yield "float32"
    if options.compile:
        yield "float32 compiled"
    if options.device != "cpu":
        yield "tf32"
    if options.device != "cpu" or has_bfloat16():
        yield "bfloat16"
        if options.compile:
            yield "bfloat16 compiled"


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 (known on Linux only)."""
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


def our_side(
    kind: str,
    checkpoint: Path,
    clips: list[str],
    texts: list[str],
    variant: str,
    options: argparse.Namespace,
) -> tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]:
    features = MsClapPairFeatures if kind == "msclap" else LaionClapPairFeatures
    dtype = "bfloat16" if "bfloat16" in variant else "float32"
    pairs = pd.DataFrame({"audio": clips, "text": "a dog barks"})
    transformer = features(
        str(checkpoint),
        blocks=("audio",),
        device=options.device,
        dtype=dtype,
        batch_size=options.batch_size,
        cache=None,
    ).fit(pairs)
    family = "msclap" if kind == "msclap" else "laion"
    encoder: Any = load_encoder(
        family, str(checkpoint), device=options.device, dtype=dtype
    )
    plain = encoder._embed_audio
    compiled = torch.compile(plain) if "compiled" in variant else plain
    precision = "high" if variant == "tf32" else "highest"

    def audio() -> np.ndarray:
        _embed._CLIPS.keep_only(())  # or the second run would read nothing
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = variant == "tf32"
        encoder._embed_audio = compiled
        try:
            return transformer.transform(pairs)
        finally:
            encoder._embed_audio = plain

    def text() -> np.ndarray:
        torch.set_float32_matmul_precision(precision)
        return encoder.encode_text(texts, batch_size=options.batch_size)

    return audio, text


def plain_forward(
    checkpoint: Path, clips: list[str], options: argparse.Namespace
) -> Callable[[], np.ndarray]:
    """Return what our side of MS-CLAP would be with transformers' forward pass."""
    encoder: Any = MsClapEncoder.load(
        str(checkpoint), revision=None, device=options.device, dtype="float32"
    )
    encoder._embed_audio = lambda mels, longer: encoder._model.embed_audio(mels)
    encoder._at_once = STOCK_BATCH
    rate = encoder.sample_rate

    def audio() -> np.ndarray:
        torch.set_float32_matmul_precision("highest")
        units = []
        with ThreadPoolExecutor() as pool:
            for batch in batches(clips):
                waveforms = list(pool.map(lambda clip: read_audio(clip, rate), batch))
                units.append(encoder.encode_audio(waveforms))
        return np.concatenate(units)

    return audio


class StockLoop:
    """What the model card's example does, in batches, with reading in threads."""

    def __init__(self, checkpoint: Path, device: str):
        self.device = device
        self.model: Any = ClapModel.from_pretrained(checkpoint).eval().to(device)
        extractor = ClapFeatureExtractor.from_pretrained(checkpoint)
        tokenizer = RobertaTokenizerFast.from_pretrained(checkpoint)
        self.processor: Any = ClapProcessor(extractor, tokenizer)

    def audio(self, clips: list[str]) -> np.ndarray:
        units = []
        with ThreadPoolExecutor() as pool:
            for batch in batches(clips):
                waveforms = list(pool.map(lambda clip: read_audio(clip, 48_000), batch))
                inputs = self.processor.feature_extractor(
                    waveforms, sampling_rate=48_000, return_tensors="pt"
                )
                inputs["is_longer"] = torch.zeros(len(batch), 1, dtype=torch.bool)
                units.append(self._unit(self.model.get_audio_features, inputs))
        return np.concatenate(units)

    def text(self, texts: list[str], padding: str) -> np.ndarray:
        units = []
        for batch in batches(texts):
            inputs = self.processor.tokenizer(
                batch,
                padding=padding,
                max_length=77,
                truncation=True,
                return_tensors="pt",
            )
            units.append(self._unit(self.model.get_text_features, inputs))
        return np.concatenate(units)

    def _unit(self, embed: Callable[..., Any], inputs: Any) -> np.ndarray:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        with torch.inference_mode():
            embedded = embed(**inputs.to(self.device))
        # transformers 5 returns an object, 4 a tensor.
        embedded = getattr(embedded, "pooler_output", embedded)
        return torch.nn.functional.normalize(embedded, dim=-1).cpu().numpy()


def report(
    what: str,
    stock: Callable[[], np.ndarray] | None,
    ours: dict[str, Callable[[], np.ndarray]],
    n_rows: int,
    options: argparse.Namespace,
) -> None:
    sides = ({"stock": stock} if stock else {}) | ours
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for side in sides.values():
        side()  # kernels are chosen and memory is taken the first time
    for _ in range(options.runs):
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            units = side()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            runs[name].append(Run(wall, cpu, units))
    base = next(iter(sides))
    expected = runs[base][0].units
    print(f"\n{what} ({n_rows})")
    for name, some in runs.items():
        wall = statistics.median(run.wall for run in some)
        cpu = statistics.median(run.cpu for run in some)
        line = f"  {name:18} {n_rows / wall:9.1f}/s {1e3 * cpu / n_rows:8.1f} CPU ms"
        if name != base:
            wall_ratio = median_ratio(runs[base], some, "wall")
            cpu_ratio = median_ratio(runs[base], some, "cpu")
            units = some[0].units
            line += (
                f" | {wall_ratio:.2f}x wall, {cpu_ratio:.2f}x CPU | "
                f"max difference {abs(units - expected).max():.1e}, "
                f"lowest cosine {(units * expected).sum(axis=1).min():.6f}"
            )
        print(line, flush=True)
    total = expected.sum(axis=0)
    n = len(expected)
    if n > 1:
        cosine = (total @ total - n) / (n * (n - 1))
        print(f"  mean cosine of two different rows: {cosine:.3f}")


def median_ratio(base: list[Run], other: list[Run], field: str) -> float:
    pairs = zip(base, other, strict=True)
    return statistics.median(getattr(b, field) / getattr(o, field) for b, o in pairs)


def batches(rows: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(rows), STOCK_BATCH):
        yield rows[first : first + STOCK_BATCH]


def write_clips(folder: Path, n_clips: int, rng: np.random.Generator) -> list[str]:
    """Write distinct noisy tones: 16 kHz, 10 s, 16 bits."""
    seconds = np.arange(160_000) / 16_000
    paths = []
    for i in range(n_clips):
        tone = np.sin(2 * np.pi * rng.uniform(80, 6_000) * seconds)
        noise = rng.uniform(0.01, 0.3) * rng.standard_normal(len(seconds))
        path = folder / f"{i}.wav"
        soundfile.write(path, np.clip(0.3 * tone + noise, -1, 1), 16_000)
        paths.append(str(path))
    return paths


def distinct_texts(n_texts: int, rng: np.random.Generator) -> list[str]:
    """Draw distinct captions of 4 to 14 words."""
    texts: dict[str, None] = {}
    while len(texts) < n_texts:
        texts[" ".join(rng.choice(SENTENCE.split(), rng.integers(4, 15)))] = None
    return list(texts)


def write_laion(folder: Path, *, fused: bool, base: bool) -> None:
    """Write a full-size ClapModel of random weights, in transformers' format."""
    write_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = ClapConfig()
    config.audio_config.enable_fusion = fused
    config.audio_config.fusion_type = "aff_2d" if fused else None
    if base:
        config.audio_config.patch_embeds_hidden_size = 128
        config.audio_config.hidden_size = 1024
        config.audio_config.depths = [2, 2, 12, 2]
    model = ClapModel(config)
    scale_weights(model)
    model.save_pretrained(folder)
    ClapFeatureExtractor(
        frequency_min=50, truncation="fusion" if fused else "rand_trunc"
    ).save_pretrained(folder)


def write_msclap(folder: Path) -> None:
    """Write a full-size MS-CLAP 2023 of random weights, in the authors' format."""
    write_tokenizer(folder, [])
    vocab = json.loads((folder / "vocab.json").read_text())
    vocab["<|endoftext|>"] = len(vocab)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    model = MsClap2023Model(ClapAudioConfig(), GPT2Config(), projection_dim=1024)
    scale_weights(model)
    bank = mel_bank(1024, 64, sample_rate=32_000, f_min=50, f_max=14_000)
    model.mel_bank.copy_(torch.from_numpy(bank))
    torch.save({"model": to_official(model.state_dict())}, folder / "CLAP_weights.pth")


def write_tokenizer(folder: Path, specials: list[str]) -> None:
    """Write a tokenizer that has nearly every word of the captions as one token."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        [SENTENCE] * 2, vocab_size=400, special_tokens=specials, show_progress=False
    )
    tokenizer.save_model(str(folder))


def scale_weights(model: torch.nn.Module) -> None:
    """Draw weights under which embeddings tell inputs apart."""
    for name, tensor in model.state_dict().items():
        if name.endswith("batch_norm.running_mean"):
            tensor.fill_(-30)
        elif name.endswith("batch_norm.running_var"):
            tensor.fill_(200)
        elif tensor.is_floating_point() and tensor.ndim > 1:
            tensor.normal_(std=1 / math.sqrt(tensor[0].numel()))


if __name__ == "__main__":
    main()
