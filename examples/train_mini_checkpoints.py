"""Train the three bundled mini checkpoints on simulated scenes.

With these checkpoints, clapstack's real loading code runs on real signals without a
network. They know the bundled sound classes and nothing else. Each is written in a
published format and has its own recipe, because the paper's models differ, too:

================  ======================  ==========================  ==================
name              audio                   text                        objective
================  ======================  ==========================  ==================
laion-unfused     48 kHz, 10 s, 32 mel    RoBERTa-like, 128 x 1       captions, classes
                  (Slaney), 20 ms hop
laion-fused       48 kHz, 10 s, 64 mel    RoBERTa-like, 96 x 2        captions, edited
                  (HTK), 10 ms hop, some                              captions, classes
                  longer clips by fusion
msclap            44.1 kHz, 7 s, 64 mel,  GPT-2-like, 128 x 1         captions, classes,
                  7.3 ms hop                                          soft targets
================  ======================  ==========================  ==================

Training uses no ratings and no recording marked ``held_out``. It takes about half an
hour per checkpoint on one core; ``--device cuda`` is faster::

    python examples/train_mini_checkpoints.py laion-unfused --out clapstack/bundled
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from scipy.stats import spearmanr
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import RobertaProcessing
from torch.nn import functional as F
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    GPT2Config,
)

from clapstack.datasets import (
    render_simulated_scene,
    simulate_caption,
    simulate_ratings,
    simulate_scene,
    simulated_alignment,
)
from clapstack.datasets._scenes import write_caption
from clapstack.datasets._sounds import sound_classes
from clapstack.encoders._mel import LogMel, fuse, mel_bank
from clapstack.encoders.clap._msclap_2023 import SUFFIX, MsClap2023Model, to_official

N_CAPTIONS = 4  # per scene, correct ones and as many edited ones


@dataclass(frozen=True)
class Recipe:
    """Architecture and training settings of one mini checkpoint."""

    seed: int
    sample_rate: int  # Hz
    duration: float  # seconds that the model sees
    n_mels: int
    hop_length: int  # samples
    mel_scale: str
    audio: dict
    text: dict
    vocabulary: int
    n_scenes: int
    n_steps: int
    long_share: float = 0.0  # share of scenes longer than the window
    edited_weight: float = 0.0  # of edited captions as negatives
    class_weight: float = 1.0
    label_smoothing: float = 0.0
    batch_size: int = 64
    mask_bands: int = 4  # widest masked mel band
    mask_share: float = 0.1  # longest masked time, share of the clip


HTSAT = {
    "projection_dim": 64,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "patch_embeds_hidden_size": 64,
    "hidden_dropout_prob": 0.0,
}
ROBERTA = {"projection_dim": 64, "max_position_embeddings": 130}
ROBERTA |= {"hidden_dropout_prob": 0.05, "attention_probs_dropout_prob": 0.05}

RECIPES = {
    "laion-unfused": Recipe(
        seed=11,
        sample_rate=48_000,
        duration=10.0,
        n_mels=32,
        hop_length=960,
        mel_scale="slaney",
        audio=HTSAT
        | {
            "spec_size": 128,
            "num_mel_bins": 32,
            "patch_size": 8,
            "patch_stride": [8, 8],
        }
        | {"depths": [2, 1], "num_attention_heads": [4, 8], "window_size": 4},
        text=ROBERTA
        | {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4}
        | {"intermediate_size": 384},
        vocabulary=520,
        n_scenes=10_000,
        n_steps=3_000,
    ),
    "laion-fused": Recipe(
        seed=22,
        sample_rate=48_000,
        duration=10.0,
        n_mels=64,
        hop_length=480,
        mel_scale="htk",
        audio=HTSAT
        | {"spec_size": 256, "num_mel_bins": 64, "patch_size": 16}
        | {"patch_stride": [16, 16], "enable_fusion": True, "fusion_type": "aff_2d"}
        | {"depths": [1, 1], "num_attention_heads": [2, 4], "window_size": 8},
        text=ROBERTA
        | {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3}
        | {"intermediate_size": 192},
        vocabulary=400,
        n_scenes=8_000,
        n_steps=2_600,
        long_share=0.1,
        edited_weight=0.3,
        mask_bands=8,
    ),
    "msclap": Recipe(
        seed=33,
        sample_rate=44_100,
        duration=7.0,
        n_mels=64,
        hop_length=320,
        mel_scale="slaney",
        audio=HTSAT
        | {"spec_size": 256, "num_mel_bins": 64, "patch_size": 16}
        | {"patch_stride": [16, 16], "depths": [2, 1]}
        | {"num_attention_heads": [4, 4], "window_size": 8},
        text={"n_embd": 128, "n_layer": 1, "n_head": 2, "n_inner": 384}
        | {"n_positions": 77},
        vocabulary=480,
        n_scenes=8_000,
        n_steps=2_000,
        class_weight=1.5,
        label_smoothing=0.1,
        mask_bands=6,
        mask_share=0.2,
    ),
}


# Texts -------------------------------------------------------------------------------


def train_tokenizer(vocabulary, style):
    """Return a byte-level BPE tokenizer trained on captions."""
    rng = np.random.default_rng(7)
    corpus = [
        simulate_caption(simulate_scene(rng), rng, edit="right").text
        for _ in range(4000)
    ]
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if style == "roberta" else []
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    if style == "roberta":
        tokenizer.post_processor = RobertaProcessing(
            ("</s>", 2), ("<s>", 0), True, False
        )
    else:
        tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


# Scenes ------------------------------------------------------------------------------


def render_pool(recipe, n_scenes, to_mel):
    """Render scenes; return their spectrograms, captions, and sound classes."""
    names = list(sound_classes())
    window = round(recipe.duration * recipe.sample_rate)
    chunk = window // recipe.hop_length + 1
    fusion = recipe.audio.get("enable_fusion", False)
    mels = np.empty((n_scenes, chunk, recipe.n_mels), dtype=np.float16)
    fused, captions, present = {}, [], np.zeros((n_scenes, len(names)), dtype=bool)
    started = time.perf_counter()
    for i in range(n_scenes):
        rng = np.random.default_rng([recipe.seed, i])
        long = fusion and rng.random() < recipe.long_share
        duration = float(rng.uniform(12, 20)) if long else recipe.duration
        scene = simulate_scene(rng, duration=duration)
        samples = render_simulated_scene(scene, rng, duration=duration)
        samples = np.rint(samples * 32767).astype(np.int16) / np.float32(32768)
        samples = soxr.resample(samples, 16_000, recipe.sample_rate, "HQ")
        mel = to_mel(torch.from_numpy(samples[None]))[0]
        if long:
            stacked = fuse(mel, chunk)
            fused[i] = stacked.numpy().astype(np.float16)
            mel = stacked[0]
        mels[i] = mel[:chunk].numpy()
        right = [
            simulate_caption(scene, rng, edit="right").text for _ in range(N_CAPTIONS)
        ]
        add = "add" if len(scene.events) < 3 else "replace"
        edits = ("replace", add, "replace", "other")
        wrong = [simulate_caption(scene, rng, edit=edit).text for edit in edits]
        captions.append((right, wrong))
        for event in scene.events:
            present[i, names.index(event.name)] = True
        if i % 1000 == 999:
            print(f"rendered {i + 1} scenes, {time.perf_counter() - started:.0f} s")
    return mels, fused, captions, present


def augment(mels, recipe, rng):
    """Shift in time, change the level, and mask a band and a stretch of each clip."""
    n_clips, n_frames, n_mels = mels.shape
    out = np.empty((n_clips, n_frames, n_mels), dtype=np.float32)
    for row in range(n_clips):
        mel = np.roll(mels[row], int(rng.integers(-n_frames // 8, n_frames // 8)), 0)
        out[row] = np.maximum(mel + np.float32(rng.uniform(-6, 4)), -100)
        band, width = rng.integers(n_mels), rng.integers(recipe.mask_bands + 1)
        out[row, :, band : band + width] = -60
        start = rng.integers(n_frames)
        length = rng.integers(int(recipe.mask_share * n_frames) + 1)
        out[row, start : start + length] = -60
    return out


# Models ------------------------------------------------------------------------------


class Mini:
    """A small CLAP with its front end and tokenizer."""

    def __init__(self, recipe, device):
        self.recipe, self.device = recipe, device
        self.build()
        self.model.to(device)

    def train(self):
        """Switch to training mode, except for the fixed input normalisation."""
        self.model.train()
        self.model.audio_model.audio_encoder.batch_norm.eval()

    def standardise(self, mels):
        """Fix the input normalisation to the statistics of these spectrograms."""
        norm = self.model.audio_model.audio_encoder.batch_norm
        norm.running_mean.copy_(torch.from_numpy(mels.mean(axis=(0, 1))))
        norm.running_var.copy_(torch.from_numpy(mels.var(axis=(0, 1))))
        norm.requires_grad_(False)

    def pad(self, encodings, pad_id):
        """Return (ids, mask) tensors of shape (n_texts, longest)."""
        longest = max(len(ids) for ids in encodings)
        ids = torch.full((len(encodings), longest), pad_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(encodings):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids.to(self.device), mask.to(self.device)


class LaionMini(Mini):
    """A small ClapModel of transformers, saved in LAION's format."""

    def build(self):
        """Make the front end, the tokenizer and the model."""
        recipe = self.recipe
        bank = mel_bank(
            1024,
            recipe.n_mels,
            sample_rate=recipe.sample_rate,
            f_min=50,
            f_max=14_000,
            scale=recipe.mel_scale,
        )
        self.to_mel = LogMel(bank, hop_length=recipe.hop_length)
        self.tokenizer = train_tokenizer(recipe.vocabulary, "roberta")
        text = recipe.text | {"vocab_size": self.tokenizer.get_vocab_size()}
        self.model = ClapModel(
            ClapConfig(text_config=text, audio_config=recipe.audio, projection_dim=64)
        )
        self.log_scale = self.model.logit_scale_a

    def tokenize(self, texts):
        """Return the token ids of each text."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def encode_audio(self, mels, fused):
        """Embed (n, n_frames, n_mels) spectrograms; `fused` replaces some rows."""
        features = torch.from_numpy(mels).to(self.device)[:, None]
        pooled = self._pool(features, longer=False)
        if fused:
            stacked = np.stack(list(fused.values())).astype(np.float32)
            stacked = torch.from_numpy(stacked).to(self.device)
            pooled = pooled.clone()
            pooled[list(fused)] = self._pool(stacked, longer=True)
        return F.normalize(self.model.audio_projection(pooled), dim=-1)

    def _pool(self, features, *, longer):
        flags = torch.full((len(features), 1), longer, device=self.device)
        return self.model.audio_model(features, is_longer=flags).pooler_output

    def encode_text(self, encodings):
        """Embed tokenised texts."""
        ids, mask = self.pad(encodings, pad_id=1)
        pooled = self.model.text_model(ids, attention_mask=mask).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def save(self, folder):
        """Write a folder in the layout of the published Hugging Face checkpoints."""
        with torch.no_grad():
            self.model.logit_scale_t.copy_(self.model.logit_scale_a)
        self.model.save_pretrained(folder)
        ClapFeatureExtractor(
            feature_size=self.recipe.n_mels,
            sampling_rate=self.recipe.sample_rate,
            hop_length=self.recipe.hop_length,
            max_length_s=int(self.recipe.duration),
            fft_window_size=1024,
            frequency_min=50,
            frequency_max=14_000,
            truncation="fusion" if self.recipe.long_share else "rand_trunc",
        ).save_pretrained(folder)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
        special |= {"cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
        settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 77}
        settings |= special | {"mask_token": "<mask>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


class MsClapMini(Mini):
    """A small MS-CLAP 2023, saved as the authors' file of weights."""

    def build(self):
        """Make the front end, the tokenizer and the model."""
        recipe = self.recipe
        # The published bank is built for 32 kHz although the audio has 44.1 kHz.
        bank = mel_bank(1024, recipe.n_mels, sample_rate=32_000, f_min=50, f_max=14_000)
        self.to_mel = LogMel(bank, hop_length=recipe.hop_length)
        self.tokenizer = train_tokenizer(recipe.vocabulary, "gpt2")
        n_tokens = self.tokenizer.get_vocab_size()
        vocabulary = {"vocab_size": n_tokens}
        vocabulary |= dict.fromkeys(("bos_token_id", "eos_token_id"), n_tokens - 1)
        self.model = MsClap2023Model(
            ClapAudioConfig(**recipe.audio),
            GPT2Config(**recipe.text, **vocabulary, embd_pdrop=0.05, resid_pdrop=0.05),
            projection_dim=64,
            dropout=0.1,
        )
        self.model.mel_bank.copy_(torch.from_numpy(bank))
        self.log_scale = self.model.logit_scale

    def tokenize(self, texts):
        """Return the token ids of each text, the end token last."""
        texts = [text + SUFFIX for text in texts]
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def encode_audio(self, mels, fused):
        """Embed (n, n_frames, n_mels) spectrograms; `fused` must be empty."""
        features = torch.from_numpy(mels).to(self.device)[:, None]
        return F.normalize(self.model.embed_audio(features), dim=-1)

    def encode_text(self, encodings):
        """Embed tokenised texts."""
        return F.normalize(
            self.model.embed_text(*self.pad(encodings, pad_id=0)), dim=-1
        )

    def save(self, folder):
        """Write the authors' file of weights, and the tokenizer next to it."""
        folder.mkdir(parents=True, exist_ok=True)
        official = to_official(self.model.state_dict())
        torch.save({"model": official}, folder / "CLAP_weights_2023.pth")
        self.tokenizer.model.save(str(folder))
        self.tokenizer.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 77}
        settings |= dict.fromkeys(
            ("bos_token", "eos_token", "unk_token"), "<|endoftext|>"
        )
        (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


# Monitoring --------------------------------------------------------------------------


class Yardstick:
    """SRCC of the cosine and single-sound R@1, fast enough to run during training."""

    def __init__(self, mini, n_scenes, seed=900_001):
        self.mini, duration = mini, mini.recipe.duration
        clips, alignments, texts = [], [], []
        for i in range(n_scenes):
            rng = np.random.default_rng([seed, i])
            scene = simulate_scene(rng, duration=duration)
            caption = simulate_caption(scene, rng)
            samples = render_simulated_scene(scene, rng, duration=duration)
            clips.append(self.spectrogram(samples))
            alignments.append(simulated_alignment(scene, caption))
            texts.append(caption.text)
        self.scenes = np.stack(clips)
        self.texts = texts
        rng = np.random.default_rng(seed)
        self.ratings = simulate_ratings(np.array(alignments), rng)[0].mean(axis=1)
        singles = []
        for i, name in enumerate(sound_classes()):
            rng = np.random.default_rng([seed, 1, i])
            scene = simulate_scene(rng, duration=duration, names=[name])
            samples = render_simulated_scene(scene, rng, duration=duration)
            singles.append(self.spectrogram(samples))
        self.singles = np.stack(singles)
        self.words = [entry.words[0] for entry in sound_classes().values()]

    def spectrogram(self, samples):
        """Return the log-mel spectrogram of 16 kHz samples, float32."""
        rate = self.mini.recipe.sample_rate
        window = round(self.mini.recipe.duration * rate)
        samples = soxr.resample(samples, 16_000, rate, "HQ")[:window]
        return self.mini.to_mel(torch.from_numpy(samples[None]))[0].numpy()

    @torch.inference_mode()
    def score(self):
        """Return "SRCC …, R@1 …"."""
        ids = self.mini.tokenize(self.texts + self.words)
        text = self.mini.encode_text(ids).cpu().numpy()
        scenes = self.embed(self.scenes)
        cosines = (scenes * text[: len(scenes)]).sum(axis=1)
        nearest = (self.embed(self.singles) @ text[len(scenes) :].T).argmax(axis=1)
        srcc = spearmanr(self.ratings, cosines).statistic
        recall = np.mean(nearest == np.arange(len(nearest)))
        return f"SRCC {srcc:.3f}, R@1 {recall:.3f}"

    def embed(self, clips):
        """Embed spectrograms in batches."""
        batches = np.array_split(clips, max(1, len(clips) // 64))
        return np.concatenate(
            [self.mini.encode_audio(batch, {}).cpu().numpy() for batch in batches]
        )


# Training ----------------------------------------------------------------------------


def caption_loss(cosines, scale, smoothing):
    """Contrast every clip with every caption of the batch, in both directions."""
    target = torch.arange(len(cosines), device=cosines.device)
    logits = scale * cosines
    return 0.5 * (
        F.cross_entropy(logits, target, label_smoothing=smoothing)
        + F.cross_entropy(logits.T, target, label_smoothing=smoothing)
    )


def class_loss(cosines, present, scale):
    """Contrast each sound in a clip with the classes that are absent."""
    logits = scale * cosines
    absent = logits.masked_fill(present, -torch.inf).logsumexp(1, keepdim=True)
    per_sound = torch.logaddexp(logits, absent) - logits
    return (per_sound * present).sum() / present.sum()


def edited_loss(right, wrong, scale):
    """Contrast each clip's correct caption with an edited one."""
    return F.softplus(scale * (wrong - right)).mean()


def train(
    name,
    out,
    *,
    n_scenes=None,
    n_steps=None,
    n_watched=400,
    device="cpu",
    learning_rate=1.5e-3,
):
    """Train one recipe and write its folder."""
    recipe = RECIPES[name]
    n_scenes, n_steps = n_scenes or recipe.n_scenes, n_steps or recipe.n_steps
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    mini = (MsClapMini if name == "msclap" else LaionMini)(recipe, device)
    n_parameters = sum(p.numel() for p in mini.model.parameters())
    print(f"{name}: {n_parameters:,} parameters")
    yardstick = Yardstick(mini, n_scenes=n_watched)
    print(f"untrained: {yardstick.score()}")
    mels, fused, captions, present = render_pool(recipe, n_scenes, mini.to_mel)
    mini.standardise(mels[:2000].astype(np.float32))
    right = [mini.tokenize(texts) for texts, _ in captions]
    wrong = [mini.tokenize(texts) for _, texts in captions]
    class_words = [
        mini.tokenize([write_caption([c], "mixture", rng) for _ in range(8)])
        for c in sound_classes()
    ]
    decay = [p for p in mini.model.parameters() if p.ndim > 1]
    plain = [p for p in mini.model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}]
    groups += [{"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, learning_rate, n_steps, pct_start=0.06, div_factor=20
    )
    long = np.array(sorted(fused), dtype=int)
    short = np.setdiff1d(np.arange(n_scenes), long)
    mini.train()
    started, order = time.perf_counter(), np.empty(0, dtype=int)
    for step in range(1, n_steps + 1):
        if len(order) < recipe.batch_size:
            order = rng.permutation(short)
        n_long = round(recipe.long_share * recipe.batch_size)
        n_short = recipe.batch_size - n_long
        rows, order = order[:n_short], order[n_short:]
        rows = np.append(rows, rng.choice(long, n_long)) if n_long else rows
        clips = augment(mels[rows], recipe, rng)
        longer = {i: fused[row] for i, row in enumerate(rows) if row in fused}
        audio = mini.encode_audio(clips, longer)
        draw = rng.integers(N_CAPTIONS, size=len(rows))
        texts = [right[row][k] for row, k in zip(rows, draw, strict=True)]
        n_pairs = len(texts)
        if recipe.edited_weight:
            texts += [wrong[row][k] for row, k in zip(rows, draw, strict=True)]
        n_captions = len(texts)
        texts += [words[rng.integers(len(words))] for words in class_words]
        text = mini.encode_text(texts)
        scale = mini.log_scale.exp().clamp(max=50)
        cosines = audio @ text.T
        loss = caption_loss(cosines[:, :n_pairs], scale, recipe.label_smoothing)
        held = torch.from_numpy(present[rows]).to(device)
        loss = loss + recipe.class_weight * class_loss(
            cosines[:, n_captions:], held, scale
        )
        if recipe.edited_weight:
            own = cosines[:, :n_pairs].diagonal()
            edited = cosines[:, n_pairs:n_captions].diagonal()
            loss = loss + recipe.edited_weight * edited_loss(own, edited, scale)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(mini.model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == n_steps:
            mini.model.eval()
            spent = time.perf_counter() - started
            print(
                f"step {step}: loss {loss.item():.3f}, scale {scale.item():.1f}, "
                f"{spent:.0f} s, {yardstick.score()}",
                flush=True,
            )
            mini.save(Path(out) / name)
            mini.train()


def main():
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, help="default: the recipe's")
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    train(
        args.name,
        args.out,
        n_scenes=args.scenes,
        n_steps=args.steps,
        device=args.device,
    )


if __name__ == "__main__":
    main()
