"""Tiny checkpoints in the published formats. Their weights are random: they exercise
code, and say nothing about sound."""

from __future__ import annotations

import json
import math

import numpy as np
import torch
import transformers
from safetensors.torch import load, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from clapstack.encoders._mel import mel_bank
from clapstack.encoders.clap._laion_official import to_official
from clapstack.systems import FAMILIES, describe_system, list_systems

TEXTS = [
    "a dog barks",
    "rain falls on a tin roof while thunder rolls far away",
    "birds sing, then a car passes by",
    "a dog barks!",
]
SAMPLE_RATE = 8000
MAX_TOKENS = 60
WHISPER_SECONDS = 2
CTC_TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOIN'"]
EAT_CONFIG = {"img_size": [64, 128], "num_heads": 2, "model_variant": "pretrain"}
_WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a dog barks rain falls on tin roof while thunder "
    "rolls far away ##s ! , car"
)
BERT_WORDS = _WORDS.split()
AUDIO_TOKENS = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
OMNI_TOKENS = 200
AST_FRAMES = 64


def fill(tensors, seed):
    """Fill tensors, by name, so that a model's outputs depend on its inputs."""
    rng = np.random.RandomState(seed)  # its stream is fixed for all time
    for name in sorted(tensors):
        tensor = tensors[name]
        if not tensor.is_floating_point() or name.endswith("melW"):
            continue
        noise = torch.from_numpy(rng.standard_normal(tuple(tensor.shape)))
        if name.endswith("running_var"):
            tensor.copy_(100 + 10 * noise)
        elif name.endswith("running_mean"):
            tensor.copy_(-30 + 10 * noise)
        elif tensor.ndim > 1:
            tensor.copy_(noise / math.sqrt(tensor[0].numel()))
        elif name.endswith("weight"):
            tensor.copy_(1 + 0.1 * noise)
        else:
            tensor.copy_(0.1 * noise)


def make_laion(folder, *, fused):
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS, vocab_size=320, special_tokens=specials, show_progress=False
    )
    tokenizer.save_model(str(folder))
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": MAX_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ClapFeatureExtractor(
        sampling_rate=SAMPLE_RATE,
        max_length_s=1,
        hop_length=80,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=3600,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    config = ClapConfig(
        text_config=ClapTextConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=MAX_TOKENS + 2,
            projection_dim=16,
        ).to_dict(),
        audio_config=ClapAudioConfig(
            spec_size=128,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            num_hidden_layers=2,
            projection_dim=16,
            enable_fusion=fused,
            fusion_type="aff_2d" if fused else None,
        ).to_dict(),
        projection_dim=16,
    )
    model = ClapModel(config)
    fill(model.state_dict(), seed=int(fused))
    model.save_pretrained(folder)
    return folder


def make_laion_official(fused):
    config = ClapConfig(
        text_config=ClapTextConfig(
            vocab_size=320,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=96,
            max_position_embeddings=90,
            layer_norm_eps=1e-5,
        ).to_dict(),
        audio_config=ClapAudioConfig(
            num_mel_bins=16,
            spec_size=128,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            num_hidden_layers=2,
            enable_fusion=fused,
            fusion_type="aff_2d" if fused else None,
        ).to_dict(),
        projection_dim=24,
    )
    official = to_official(ClapModel(config).state_dict())
    fill(official, seed=3 + fused)
    return official


def make_laion_file(path, official):
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS, vocab_size=320, special_tokens=specials, show_progress=False
    )
    tokenizer.save_model(str(path.parent))
    save_training_checkpoint(path, official)
    return path


def save_training_checkpoint(path, official):
    """Save what the authors' training saves, as they run it: on several devices."""
    rates = [{"lr": np.float64(1e-4), "betas": (0.9, 0.99)}]
    content = {
        "epoch": 45,
        "name": "a run",
        "state_dict": {f"module.{name}": t for name, t in official.items()},
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": rates},
    }
    torch.save(content, path)


def tensors_of(shapes, seed):
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    fill(tensors, seed)
    return tensors


def dense(name, n_out, n_in):
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit_block(name, width, hidden):
    """Shapes of a block under timm's names."""
    return (
        norm(f"{name}.norm1", width)
        | dense(f"{name}.attn.qkv", 3 * width, width)
        | dense(f"{name}.attn.proj", width, width)
        | norm(f"{name}.norm2", width)
        | dense(f"{name}.mlp.fc1", hidden, width)
        | dense(f"{name}.mlp.fc2", width, hidden)
    )


def make_beats_content():
    """A small file of BEATs, fine-tuned, under the authors' names."""
    width, hidden, n_heads = 64, 96, 4
    shapes = {
        "patch_embedding.weight": (32, 1, 16, 16),
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, 16),
        "encoder.pos_conv.0.weight_v": (width, width // 4, 16),
    }
    shapes |= norm("layer_norm", 32) | dense("post_extract_proj", width, 32)
    shapes |= norm("encoder.layer_norm", width) | dense("predictor", 11, width)
    for layer in ("encoder.layers.0", "encoder.layers.1"):
        attention = f"{layer}.self_attn"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= dense(f"{attention}.{part}", width, width)
        shapes |= dense(f"{attention}.grep_linear", 8, width // n_heads)
        shapes[f"{attention}.grep_a"] = (1, n_heads, 1, 1)
        shapes[f"{attention}.relative_attention_bias.weight"] = (20, n_heads)
        shapes |= norm(f"{layer}.self_attn_layer_norm", width)
        shapes |= norm(f"{layer}.final_layer_norm", width)
        shapes |= dense(f"{layer}.fc1", hidden, width)
        shapes |= dense(f"{layer}.fc2", width, hidden)
    tensors = tensors_of(shapes, seed=4)
    # All layers share one table, which the file holds under the name of each.
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    tensors[table.format(0)] = tensors[table.format(1)]
    config = {
        "conv_pos_groups": 4,
        "max_distance": 50,
        "relative_position_embedding": True,
        "gru_rel_pos": True,
        "deep_norm": True,
        "layer_norm_first": False,
        "activation_fn": "gelu",
    }
    return {"cfg": config, "model": tensors}


def make_eat_tensors():
    """Tensors of a small EAT, under the names of the hub."""
    width = 64
    shapes = {
        "model.extra_tokens": (1, 1, width),
        "model.fixed_positional_encoder.positions": (1, 20 * 8, width),
        "model.local_encoder.proj.weight": (width, 1, 16, 16),
        "model.local_encoder.proj.bias": (width,),
    }
    shapes |= norm("model.pre_norm", width)
    for block in range(2):
        shapes |= vit_block(f"model.blocks.{block}", width, 4 * width)
    return tensors_of(shapes, seed=5)


def bert(name, width, hidden):
    """Shapes of a small BERT under transformers' names."""
    shapes = norm(f"{name}.embeddings.LayerNorm", width)
    for table, n_rows in (("word", 24), ("position", 40), ("token_type", 2)):
        shapes[f"{name}.embeddings.{table}_embeddings.weight"] = (n_rows, width)
    shapes |= dense(f"{name}.pooler.dense", width, width)
    for layer in (f"{name}.encoder.layer.0", f"{name}.encoder.layer.1"):
        for part in ("query", "key", "value"):
            shapes |= dense(f"{layer}.attention.self.{part}", width, width)
        shapes |= dense(f"{layer}.attention.output.dense", width, width)
        shapes |= norm(f"{layer}.attention.output.LayerNorm", width)
        shapes |= dense(f"{layer}.intermediate.dense", hidden, width)
        shapes |= dense(f"{layer}.output.dense", width, hidden)
        shapes |= norm(f"{layer}.output.LayerNorm", width)
    return shapes


def make_msclap_2022_tensors(widths=(8, 8, 8, 8, 16, 16), *, n_mels=32, n_out=24):
    """Tensors of an MS-CLAP of 2022 of some size, under the authors' names."""
    base = "audio_encoder.base"
    moments = {f"{base}.bn0.running_mean": (n_mels,)}
    moments |= {f"{base}.bn0.running_var": (n_mels,)}
    shapes = norm(f"{base}.bn0", n_mels)
    n_before = 1
    for number, width in enumerate(widths, start=1):
        block = f"{base}.conv_block{number}"
        for layer in (1, 2):
            shapes[f"{block}.conv{layer}.weight"] = (width, n_before, 3, 3)
            shapes |= norm(f"{block}.bn{layer}", width)
            n_before = width
    shapes |= dense(f"{base}.fc1", n_before, n_before)
    shapes |= dense(f"{base}.fc_audioset", 5, n_before)
    shapes |= bert("caption_encoder.base", 64, 96)
    for tower, width in (("audio_encoder", n_before), ("caption_encoder", 64)):
        head = f"{tower}.projection"
        shapes[f"{head}.linear1.weight"] = (n_out, width)
        shapes[f"{head}.linear2.weight"] = (n_out, n_out)
        shapes |= norm(f"{head}.layer_norm", n_out)
    tensors = tensors_of(shapes | moments, seed=8)
    for name in [name for name in tensors if ".conv_block" in name and ".bn" in name]:
        stem = name.rpartition(".")[0]
        tensors[f"{stem}.running_mean"] = torch.zeros(len(tensors[name]))
        tensors[f"{stem}.running_var"] = torch.full([len(tensors[name])], 0.2)
        tensors[f"{stem}.num_batches_tracked"] = torch.tensor(7)
    bank = mel_bank(1024, n_mels, sample_rate=44_100, f_min=50, f_max=14_000)
    stft = f"{base}.spectrogram_extractor.stft.conv"
    return tensors | {
        f"{base}.logmel_extractor.melW": torch.from_numpy(bank).float(),
        f"{stft}_real.weight": torch.ones(513, 1, 1024),
        f"{stft}_imag.weight": torch.ones(513, 1, 1024),
        "caption_encoder.base.embeddings.position_ids": torch.arange(40)[None],
        "logit_scale": torch.tensor(2.7),
    }


def save_msclap_2022(folder, tensors):
    path = folder / "CLAP_weights_2022.pth"
    torch.save({"model": tensors}, path)
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    return path


def make_m2d_tensors(patch=(16, 16)):
    """Tensors of a small M2D-CLAP, under the authors' names."""
    width, hidden = 64, 96
    n_patches = (80 // patch[0]) * (1001 // patch[1])
    shapes = {
        "backbone.cls_token": (1, 1, width),
        "backbone.pos_embed": (1, 1 + n_patches, width),
        "backbone.patch_embed.proj.weight": (width, 1, *patch),
        "backbone.patch_embed.proj.bias": (width,),
        "backbone.norm_stats": (2,),
        "backbone.audio_proj.sem_token": (1, 1, width),
    }
    shapes |= norm("backbone.norm", width) | norm("backbone.audio_proj.norm", width)
    for block in range(2):
        shapes |= vit_block(f"backbone.blocks.{block}", width, hidden)
    shapes |= vit_block("backbone.audio_proj.sem_blocks.0", width, width)
    shapes |= bert("text_encoder.text_encoder", width, hidden)
    tensors = tensors_of(shapes, seed=6)
    tensors["backbone.norm_stats"] = torch.tensor([-7.26, 4.35])
    return tensors


def make_mga_tensors(*, width=8, n_codes=32, n_out=24):
    """Tensors of a small MGA-CLAP, under the authors' names: 12.8 frames a second."""
    htsat = "audio_encoder.audio_enc"
    shapes = norm(f"{htsat}.bn0", 16) | norm(f"{htsat}.norm", 2 * width)
    shapes |= {f"{htsat}.bn0.running_{moment}": (16,) for moment in ("mean", "var")}
    shapes |= {
        f"{htsat}.patch_embed.proj.weight": (width, 1, 4, 4),
        f"{htsat}.patch_embed.proj.bias": (width,),
    }
    shapes |= norm(f"{htsat}.patch_embed.norm", width)
    shapes[f"{htsat}.layers.0.downsample.reduction.weight"] = (2 * width, 4 * width)
    shapes |= norm(f"{htsat}.layers.0.downsample.norm", 4 * width)
    for stage, n_heads in enumerate((2, 4)):
        for number in (0, 1):
            block = f"{htsat}.layers.{stage}.blocks.{number}"
            shapes |= vit_block(block, width << stage, 4 * width << stage)
            shapes[f"{block}.attn.relative_position_bias_table"] = (225, n_heads)
    shapes |= bert("text_encoder.text_encoder", 64, 96)
    for head, n_in in (("frame_proj", 2 * width), ("word_proj", 64)):
        shapes |= norm(f"{head}.0", n_in) | dense(f"{head}.1", n_out, n_in)
        shapes |= norm(f"{head}.3", n_out) | dense(f"{head}.4", n_out, n_out)
    shapes |= {"codebook": (n_codes, n_out), "temp": ()}
    tensors = tensors_of(shapes, seed=9)
    # Distances are divided by the square root of the width and by 1,000.
    tensors["codebook"] *= 100
    bank = mel_bank(1024, 16, sample_rate=32_000, f_min=50, f_max=14_000)
    bank = torch.from_numpy(bank).float()
    return tensors | {
        f"{htsat}.audio_feats_extractor.log_trans.melW": bank,
        f"{htsat}.layers.0.blocks.1.attn_mask": torch.zeros(16, 64, 64),
    }


def save_mga(folder, tensors, **content):
    path = folder / "model.pt"
    torch.save({"model": tensors, **content}, path)
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    return path


def make_pe_audio(folder, *, frame_level):
    """Write a PE-A-Frame, or the clip-level model of PE-AV; return the model."""
    from transformers import (  # not in transformers 4
        PeAudioConfig,
        PeAudioFeatureExtractor,
        PeAudioFrameLevelModel,
        PeAudioModel,
    )

    specials = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS, vocab_size=320, special_tokens=specials, show_progress=False
    )
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        cls_token="[CLS]",
        pad_token="[PAD]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=MAX_TOKENS,
    ).save_pretrained(folder)
    PeAudioFeatureExtractor().save_pretrained(folder)
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "max_position_embeddings": 2000,
    }
    text = {
        "model_type": "modernbert",
        "vocab_size": 320,
        "num_hidden_layers": 4,
        "local_attention": 16,
        **dict.fromkeys(("cls_token_id", "bos_token_id"), 0),
        **dict.fromkeys(("sep_token_id", "eos_token_id"), 2),
        "pad_token_id": 1,
    }
    dac = {
        "model_type": "dac",
        "encoder_hidden_size": 4,
        "downsampling_ratios": [2, 8, 10, 12],
        "codebook_dim": 8,
    }
    audio = {"num_hidden_layers": 2, "head_dim": 16, "dac_config": dac}
    config = PeAudioConfig(text_config=sizes | text, audio_config=sizes | audio)
    model_class = PeAudioFrameLevelModel if frame_level else PeAudioModel
    return _saved(model_class(config), folder, seed=50)


def save_beats(content, folder):
    torch.save(content, folder / "BEATs.pt")
    return folder / "BEATs.pt"


def save_eat(folder, tensors, **config):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(EAT_CONFIG | config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def save_m2d(folder, tensors, **content):
    path = folder / "checkpoint-30.pth"
    torch.save({"model": tensors, **content}, path)
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    return path


def save_audiomae(folder, tensors):
    (folder / "config.json").write_text('{"architecture": "vit_base_patch16_224"}')
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def make_audiomae_tensors(*, fine_tuned):
    width = 128
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 32, width),
        "patch_embed.proj.weight": (width, 1, 16, 16),
        "patch_embed.proj.bias": (width,),
    }
    for block in (0, 1):
        shapes |= vit_block(f"blocks.{block}", width, 4 * width)
    if fine_tuned:
        shapes |= norm("fc_norm", width) | dense("head", 5, width)
    else:
        shapes |= norm("norm", width)
    return tensors_of(shapes, seed=10 + fine_tuned)


def make_wavlm(folder, *, large):
    """Write a model that is built as WavLM Large is, or as the base is; return it."""
    config = WavLMConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[16] * 7,
        conv_bias=large,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=large,
        feat_extract_norm="layer" if large else "group",
    )
    Wav2Vec2FeatureExtractor(do_normalize=large).save_pretrained(folder)
    return _saved(WavLMModel(config), folder, seed=20 + large)


def make_whisper(folder):
    config = WhisperConfig(
        vocab_size=50,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=50 * WHISPER_SECONDS,
        num_mel_bins=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WHISPER_SECONDS)
    extractor.save_pretrained(folder)
    return _saved(WhisperForConditionalGeneration(config), folder, seed=30)


def make_ctc(folder):
    config = Wav2Vec2Config(
        vocab_size=len(CTC_TOKENS),
        pad_token_id=0,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    vocabulary = {token: i for i, token in enumerate(CTC_TOKENS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return _saved(Wav2Vec2ForCTC(config), folder, seed=40)


def _saved(model, folder, seed):
    fill(model.state_dict(), seed)
    model.eval().save_pretrained(folder)
    return model


def make_all_not_bundled(root):
    """Write a checkpoint for each family of a system that has no bundled one."""
    wanted = {f for name in list_systems() for f in describe_system(name).needs}
    wanted.add(FAMILIES["pe_audio"])
    places = {f.name: root / f.name for f in wanted if f.bundled is None}
    for place in places.values():
        place.mkdir()
    make_laion(places["laion_larger_general"], fused=False)
    make_wavlm(places["wavlm"], large=True)
    make_whisper(places["whisper"])
    make_ctc(places["ctc"])
    save_audiomae(places["audiomae"], make_audiomae_tensors(fine_tuned=False))
    save_eat(places["eat"], make_eat_tensors())
    files = {
        "beats": save_beats(make_beats_content(), places["beats"]),
        "m2d_clap": save_m2d(places["m2d_clap"], make_m2d_tensors()),
        "mga_clap": save_mga(places["mga_clap"], make_mga_tensors()),
    }
    if hasattr(transformers, "PeAudioModel"):  # transformers 4 has none
        make_pe_audio(places["pe_audio"], frame_level=True)
    else:
        del places["pe_audio"]
    return {name: str(place) for name, place in (places | files).items()}


def make_omni(folder):
    """Write a small Qwen2-Audio with pooling, in the format of sentence-transformers.

    It embeds audio, text and both together.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2AudioConfig,
        Qwen2AudioModel,
        Qwen2AudioProcessor,
    )

    words = ["<pad>", "<eos>", "<bos>", "<unk>", *AUDIO_TOKENS, *BERT_WORDS[5:]]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(words),
        **{f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")},
        additional_special_tokens=AUDIO_TOKENS,
        model_max_length=OMNI_TOKENS,
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=WHISPER_SECONDS)
    audio = {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "d_model": 16,
        "max_source_positions": 50 * WHISPER_SECONDS,
    }
    text = {
        "model_type": "qwen2",
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "pad_token_id": 0,
    }
    config = Qwen2AudioConfig(
        audio_config=audio,
        text_config=text,
        audio_token_index=words.index("<|AUDIO|>"),
    )
    inner = folder / "inner"
    _saved(Qwen2AudioModel(config), inner, seed=50)
    Qwen2AudioProcessor(extractor, tokenizer).save_pretrained(inner)
    parts = [modules.Transformer(str(inner)), modules.Pooling(32), modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(folder / "omni")
    return folder / "omni"


def make_routed(folder):
    """Write a BERT for texts and an AST for clips behind a router, with one space."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import (
        ASTConfig,
        ASTFeatureExtractor,
        ASTModel,
        BertConfig,
        BertModel,
        BertTokenizerFast,
    )

    bert, ast = folder / "bert", folder / "ast"
    config = BertConfig(
        vocab_size=len(BERT_WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    _saved(BertModel(config), bert, seed=51)
    (bert / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    BertTokenizerFast(str(bert / "vocab.txt")).save_pretrained(bert)
    shape = {"num_mel_bins": 16, "max_length": AST_FRAMES}
    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        patch_size=8,
        **shape,
    )
    _saved(ASTModel(config), ast, seed=52)
    ASTFeatureExtractor(**shape).save_pretrained(ast)
    routes = {}
    for seed, (name, place) in enumerate({"text": bert, "audio": ast}.items()):
        dense = modules.Dense(32, 24)
        fill(dense.state_dict(), seed=53 + seed)
        routes[name] = [modules.Transformer(str(place)), modules.Pooling(32), dense]
    model = SentenceTransformer(modules=[modules.Router(routes)], device="cpu")
    model.save_pretrained(folder / "routed")
    return folder / "routed"


def make_gemma(folder):
    """Write a small EmbeddingGemma 2 without eyes; its processor needs torchvision."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import (
        EmbeddingGemma2Config,
        EmbeddingGemma2Model,
        EmbeddingGemma2Processor,
        EmbeddingGemma2VideoProcessor,
        Gemma4AudioFeatureExtractor,
        Gemma4ImageProcessor,
        PreTrainedTokenizerFast,
    )

    roles = ["image", "boi", "eoi", "audio", "boa", "eoa"]
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *roles, "<|video|>", *BERT_WORDS[5:]]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(words),
        **{f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")},
        extra_special_tokens={f"{role}_token": role for role in roles},
        model_max_length=1000,
    )
    config = EmbeddingGemma2Config(
        text_config={
            "vocab_size": len(words),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 8,
            "embedding_dim": 24,
        },
        audio_config={
            "model_type": "gemma4_audio",
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "subsampling_conv_channels": [128, 4],
            "output_proj_dims": 32,
        },
        vision_config=None,
        eoa_token_index=words.index("eoa"),
        video_token_id=words.index("<|video|>"),
        **{f"{role}_token_id": words.index(role) for role in roles if role != "eoa"},
    )
    inner = folder / "inner"
    _saved(EmbeddingGemma2Model(config), inner, seed=54)
    EmbeddingGemma2Processor(
        Gemma4AudioFeatureExtractor(),
        Gemma4ImageProcessor(),
        tokenizer,
        EmbeddingGemma2VideoProcessor(),
        chat_template="{% for message in messages %}{% for part in message.content %}"
        "{% if part.type == 'audio' %}audio{% else %} {{ part.text }}{% endif %}"
        "{% endfor %}{% endfor %}",
    ).save_pretrained(inner)
    parts = [modules.Transformer(str(inner)), modules.Pooling(24), modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save_pretrained(folder / "gemma")
    return folder / "gemma"


def word_tokenizer(words):
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def read_tensors(folder):
    """Return the tensors of a folder, in memory: a mapped file cannot be rewritten."""
    return load((folder / "model.safetensors").read_bytes())


def write_tensors(folder, tensors):
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit_tensors(folder, edit):
    tensors = read_tensors(folder)
    edit(tensors)
    write_tensors(folder, tensors)


def edit_json(path, edit):
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
