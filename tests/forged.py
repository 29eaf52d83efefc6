"""Damaged and forged checkpoints, from a seed."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from clapstack import encoders
from tests.checkpoints import (
    make_all_not_bundled,
    make_audiomae_tensors,
    make_eat_tensors,
    make_laion,
    make_laion_file,
    make_laion_official,
    make_msclap_2022_tensors,
    save_msclap_2022,
)

BUNDLED = Path(encoders.__file__).parents[1] / "bundled"
# Kind, by the name of the checkpoint.
KINDS = {
    "laion_larger_general": "laion",
    "wavlm": "wavlm",
    "whisper": "whisper",
    "ctc": "ctc",
    "audiomae": "audiomae",
    "eat": "eat",
    "beats": "beats-states",
    "m2d_clap": "m2d-clap",
    "mga_clap": "mga-clap",
    **({"pe_audio": "pe-audio"} if hasattr(transformers, "PeAudioModel") else {}),
    "laion_fused": "laion",
    "laion_bin": "laion",
    "laion_shards": "laion",
    "laion_pt": "laion",
    "laion_old_pt": "laion",
    "msclap_2023": "msclap",
    "msclap_2022": "msclap",
    "eat_pt": "eat",
    "audiomae_old_bin": "audiomae",
}
HOSTILE = [
    *(-1, 0, 1, 2**31, 10**6, 10**9, 10**30, 0.5, -2.5, 1e308, float("nan")),
    *("x", "", "../../etc/passwd", None, True, False, [], {}, [10**9] * 4, [-1, "x"]),
    *({"content": 1}, [[]], "\ud800", "relu", float("inf")),
]


def make_checkpoints(root):
    """Write a small checkpoint of every format; return the places, by name."""
    places = make_all_not_bundled(root)
    places["laion_fused"] = make_laion(_folder(root, "laion_fused"), fused=True)
    folder = make_laion(_folder(root, "laion_bin"), fused=False)
    tensors = _take_weights(folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    places["laion_bin"] = folder
    folder = make_laion(_folder(root, "laion_shards"), fused=False)
    save_shards(folder, _take_weights(folder))
    places["laion_shards"] = folder
    official = make_laion_official(False)
    for name in ("laion_pt", "laion_old_pt"):
        places[name] = make_laion_file(_folder(root, name) / "best.pt", official)
    torch.save(official, places["laion_old_pt"], _use_new_zipfile_serialization=False)
    places["msclap_2023"] = shutil.copytree(BUNDLED / "msclap", root / "msclap_2023")
    folder = _folder(root, "msclap_2022")
    places["msclap_2022"] = save_msclap_2022(folder, make_msclap_2022_tensors())
    places["eat_pt"] = _folder(root, "eat_pt") / "EAT.pt"
    tensors = make_eat_tensors()
    positions = "model.fixed_positional_encoder.positions"
    tensors[positions] = tensors[positions].repeat(1, 4, 1)[:, :512]
    torch.save({"model": tensors}, places["eat_pt"])
    folder = _folder(root, "audiomae_old_bin")
    shutil.copy(Path(places["audiomae"]) / "config.json", folder)
    torch.save(
        make_audiomae_tensors(fine_tuned=True),
        folder / "pytorch_model.bin",
        _use_new_zipfile_serialization=False,
    )
    places["audiomae_old_bin"] = folder
    return {name: Path(place) for name, place in places.items()}


def save_shards(folder, tensors, end="safetensors"):
    """Write tensors into two files and an index, as transformers does."""
    stem = "model" if end == "safetensors" else "pytorch_model"
    names = sorted(tensors)
    half = len(names) // 2
    places = {}
    for number, some in enumerate([names[:half], names[half:]], start=1):
        shard = f"{stem}-{number:05}-of-00002.{end}"
        part = {name: tensors[name].clone() for name in some}
        if end == "safetensors":
            save_file(part, folder / shard)
        else:
            torch.save(part, folder / shard)
        places |= dict.fromkeys(some, shard)
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{stem}.{end}.index.json").write_text(json.dumps(index))


def damage(checkpoint, rng):
    """Damage a copy of a checkpoint in one way; return the name of the way."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    weights = [file for file in files if _is_weights(file)]
    texts = [file for file in files if file.suffix == ".json"]
    ways = [(way, files) for way in BYTES]
    # What a stranger would forge is tried more often than what a disk breaks.
    ways += [(way, weights) for way in TENSORS for _ in range(2)]
    archives = [file for file in weights if zipfile.is_zipfile(file)]
    ways += [(way, archives) for way in ARCHIVES if archives for _ in range(2)]
    headed = [file for file in weights if file.suffix == ".safetensors"]
    ways += [(way, headed) for way in HEADERS if headed for _ in range(3)]
    ways += [(change_json, texts) for _ in range(10) if texts]
    way, of = ways[rng.randint(len(ways))]
    file = of[rng.randint(len(of))]
    way(file, rng)
    return way.__name__


def cut_off(file, rng):
    content = file.read_bytes()
    file.write_bytes(content[: rng.randint(len(content) + 1)])


def flip_bits(file, rng):
    content = bytearray(file.read_bytes())
    for _ in range(1 + rng.randint(8)):
        if content:
            # Near the ends, where formats keep their tables, as often as anywhere.
            near = min(len(content), 3000)
            place = rng.choice([rng.randint(near), -rng.randint(near) - 1])
            if rng.randint(2):
                place = rng.randint(len(content))
            content[place] ^= 1 << rng.randint(8)
    file.write_bytes(content)


def zero_a_block(file, rng):
    content = bytearray(file.read_bytes())
    first = rng.randint(len(content) + 1)
    stop = min(len(content), first + 1 + rng.randint(4096))
    content[first:stop] = bytes(stop - first)
    file.write_bytes(content)


def insert_noise(file, rng):
    content = file.read_bytes()
    place = rng.randint(len(content) + 1)
    file.write_bytes(content[:place] + rng.bytes(1 + rng.randint(64)) + content[place:])


def repeat_it(file, rng):
    file.write_bytes(file.read_bytes() * 2)


def replace_by_noise(file, rng):
    file.write_bytes(rng.bytes(rng.randint(5000)))


BYTES = (cut_off, flip_bits, zero_a_block, insert_noise, repeat_it, replace_by_noise)


def change_json(file, rng):
    """Put a hostile value in the place of another, or nest without end."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return
    if rng.randint(15) == 0:
        file.write_text("[" * 200_000)
        return
    spot = content
    while isinstance(spot, dict | list) and len(spot):
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        key = keys[rng.randint(len(keys))]
        if not isinstance(spot[key], dict | list) or rng.randint(4) == 0:
            action = rng.randint(8)
            if action == 0:
                del spot[key]
            elif action == 1 and isinstance(spot, dict):
                unwanted = ["num_labels", "num_hidden_layers", "auto_map", "is_decoder"]
                spot[unwanted[rng.randint(4)]] = HOSTILE[rng.randint(len(HOSTILE))]
            else:
                spot[key] = HOSTILE[rng.randint(len(HOSTILE))]
            break
        spot = spot[key]
    file.write_text(json.dumps(content), encoding="utf-8")


def rename_a_tensor(file, rng):
    def edit(tensors, name):
        number = str(rng.choice([7, 999_999_999, 10**30]))
        digits = [part for part in name.split(".") if part.isdigit()]
        new = name.replace(f".{digits[0]}.", f".{number}.") if digits else f"x.{name}"
        tensors[new] = tensors.pop(name)

    _edit_tensors(file, rng, edit)


def drop_tensors(file, rng):
    def edit(tensors, name):
        prefix = name[: 1 + rng.randint(len(name))]
        for other in [other for other in tensors if other.startswith(prefix)]:
            del tensors[other]

    _edit_tensors(file, rng, edit)


def reshape_a_tensor(file, rng):
    def edit(tensors, name):
        tensor = tensors[name]
        shapes = [(), (0,), (1,), (3, 0, 2), (2,) * 7, (tensor.numel(),), (1, 1)]
        shape = shapes[rng.randint(len(shapes))]
        numel = int(torch.tensor(shape).prod()) if shape else 1
        tensors[name] = tensor.flatten().repeat(numel)[:numel].reshape(shape)

    _edit_tensors(file, rng, edit)


def grow_an_axis(file, rng):
    def edit(tensors, name):
        tensor = tensors[name]
        axis = rng.randint(max(1, tensor.ndim))
        tensors[name] = torch.cat([tensor] * 2, dim=axis) if tensor.ndim else tensor

    _edit_tensors(file, rng, edit)


def change_a_type(file, rng):
    types = [torch.int8, torch.bool, torch.int64, torch.float64, torch.bfloat16]

    def edit(tensors, name):
        tensors[name] = tensors[name].to(types[rng.randint(len(types))])

    _edit_tensors(file, rng, edit)


def fill_with(file, rng):
    def edit(tensors, name):
        value = [float("nan"), float("inf"), 0, 1e30][rng.randint(4)]
        tensors[name] = torch.full_like(tensors[name], value if value < 100 else 100)

    _edit_tensors(file, rng, edit)


def expand_a_tensor(file, rng):
    """Let one number stand for many, as only torch.save can."""
    size = int(10 ** (3 + rng.randint(7)))

    def edit(tensors, name):
        if file.suffix == ".safetensors":
            tensors.pop(name)
        else:
            tensors[name] = torch.zeros(1).half().expand(size, 1 + rng.randint(9))

    _edit_tensors(file, rng, edit)


def odd_tensors(file, rng):
    """Sparse, quantized or without values."""

    def edit(tensors, name):
        if file.suffix == ".safetensors":
            tensors[f"{name}.lora_A.weight"] = torch.ones(1)
            return
        odd = [
            torch.empty(10**6, 10**6, device="meta"),
            torch.zeros(10**5, 10**5, layout=torch.sparse_coo),
            torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        ]
        tensors[name] = odd[rng.randint(len(odd))]

    _edit_tensors(file, rng, edit)


def wrong_content(file, rng):
    """Hold something else than named tensors."""
    if file.suffix == ".safetensors":
        save_file({"x": torch.ones(1)}, file)
        return
    nested: dict = {}
    nested["model"] = nested
    contents = [[1, 2], {1: torch.ones(1)}, torch.ones(3), {"model": {"a": 1}}, nested]
    torch.save(contents[rng.randint(len(contents))], file)


TENSORS = (
    rename_a_tensor,
    drop_tensors,
    reshape_a_tensor,
    grow_an_axis,
    change_a_type,
    fill_with,
    expand_a_tensor,
    odd_tensors,
    wrong_content,
)


def change_pickle_bytes(file, rng):
    def edit(pickle):
        pickle = bytearray(pickle)
        for _ in range(1 + rng.randint(4)):
            pickle[rng.randint(len(pickle))] = rng.randint(256)
        return bytes(pickle)

    _edit_archive(file, edit)


def cut_pickle(file, rng):
    _edit_archive(file, lambda pickle: pickle[: rng.randint(len(pickle))])


def bomb(file, rng):
    """Take the machine by a few instructions."""
    bombs = pickle_bombs()
    name = sorted(bombs)[rng.randint(len(bombs))]
    _edit_archive(file, lambda _: bombs[name])


def compress_entries(file, rng):
    _edit_archive(file, lambda pickle: pickle, compression=zipfile.ZIP_DEFLATED)


def double_an_entry(file, rng):
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(names[rng.randint(len(names))], rng.bytes(100))


def drop_an_entry(file, rng):
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    _edit_archive(file, lambda pickle: pickle, without=names[rng.randint(len(names))])


ARCHIVES = (
    change_pickle_bytes,
    cut_pickle,
    bomb,
    compress_entries,
    double_an_entry,
    drop_an_entry,
)


def pickle_bombs():
    """Pickles of a few kilobytes that would take gigabytes, for ever, or a crash."""
    start = b"\x80\x02"
    recall = b"h\x00"
    million = b"]q\x00(" + b"K\x01" * 100_000 + b"e0"
    string = b"X" + struct.pack("<I", 500_000) + b"a" * 500_000 + b"q\x000"
    encode = b"c_codecs\nencode\nq\x010"
    latin = b"X\x06\x00\x00\x00latin1q\x020"
    made_by = {
        "bytearray": b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R",
        "copied_sets": million
        + b"c__builtin__\nset\nq\x010("
        + b"h\x01h\x00\x85R" * 20_000
        + b"l",
        "copied_text": string
        + encode
        + latin
        + b"("
        + b"h\x01h\x00h\x02\x86R" * 9000
        + b"l",
        "laughs": b"]q\x00"
        + b"".join(b"](" + recall * 9 + b"eq\x00" for _ in range(60)),
        "recursive": b"}q\x00X\x05\x00\x00\x00model" + recall + b"s",
        "nested_keys": b"})" + b"\x85" * 300_000 + b"Ns",
        "nested_lists": b"]" * 90_000 + b"a" * 89_999,
        "many_lists": b"](" + b"]" * 100_000 + b"e",
        "huge_text": b"X\xff\xff\xff\xffmodel",
        "huge_number": b"\x8a\xff" + b"\xff" * 255,
        "huge_tensor": b"ctorch\nFloatTensor\n" + b"J\xff\xff\xff\x7f" * 2 + b"\x86R",
        "no_stack": b"0" * 20 + b"e",
        "unknown_memo": b"j\xff\xff\xff\x7f",
        "harm": b"cposix\nmkdir\nX\x04\x00\x00\x00harm\x85R",
    }
    return {name: start + body + b"." for name, body in made_by.items()}


def change_header_length(file, rng):
    content = file.read_bytes()
    size = int(rng.choice([0, 1, 2**20, 2**40, 2**63 - 1, len(content)]))
    file.write_bytes(struct.pack("<Q", size) + content[8:])


def change_header(file, rng):
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    entry = header[names[rng.randint(len(names))]]
    hostile = [
        -1,
        2**40,
        2**64,
        [],
        [2**32, 2**32],
        [-1],
        "F99",
        "F4",
        "x",
        None,
        10**30,
    ]
    entry[["dtype", "shape", "data_offsets"][rng.randint(3)]] = hostile[
        rng.randint(len(hostile))
    ]
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


HEADERS = (change_header_length, change_header)


def _folder(root, name):
    (root / name).mkdir()
    return root / name


def _take_weights(folder):
    file = folder / "model.safetensors"
    tensors = {name: t.clone() for name, t in load_file(file).items()}
    file.unlink()
    return tensors


def _is_weights(file):
    return file.suffix in (".safetensors", ".bin", ".pt", ".pth")


def _edit_tensors(file, rng, edit):
    """Let `edit` change a mapping of tensors, given the name of one of them."""
    if file.suffix == ".safetensors":
        tensors = {name: t.clone() for name, t in load_file(file).items()}
        edit(tensors, sorted(tensors)[rng.randint(len(tensors))])
        save_file({n: t.contiguous() for n, t in tensors.items()}, file)
        return
    old = not zipfile.is_zipfile(file)
    content = torch.load(io.BytesIO(file.read_bytes()), weights_only=False)
    tensors = content.get("model", content.get("state_dict", content))
    edit(tensors, sorted(tensors)[rng.randint(len(tensors))])
    if isinstance(tensors, OrderedDict):
        tensors.pop("_metadata", None)
    try:
        torch.save(content, file, _use_new_zipfile_serialization=not old)
    except NotImplementedError:  # the old format has no tensors without values
        torch.save(content, file)


def _edit_archive(file, edit, *, compression=zipfile.ZIP_STORED, without=""):
    """Write an archive again, with another pickle."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", compression=compression) as archive:
        for name, content in entries.items():
            if name != without:
                edited = edit(content) if name.endswith("data.pkl") else content
                archive.writestr(name, edited)
