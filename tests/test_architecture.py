"""The tree is the architecture: arrows, light imports, names."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clapstack

PACKAGE = Path(clapstack.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "bundled" not in path.parts)

# Who imports whom, beside itself and the foundations.
FOUNDATIONS = {"_compat", "_numerics", "_optional", "_output", "exceptions"}
MAY_IMPORT = {
    "_fitted": set(),
    "tables": set(),
    "pairs": {"audio"},
    "audio": set(),
    "captions": set(),
    "families": set(),
    "metrics": set(),
    "calibration": set(),
    "streaming": {"features"},
    "listeners": set(),
    "store": {"audio"},
    "encoders": {"audio"},
    "features": {"audio", "captions", "families", "pairs", "store", "encoders"},
    "agreement": {"families"},
    "stacking": {"families", "pairs", "agreement", "calibration", "metrics"},
    "datasets": {"audio", "pairs", "tables"},
    # Its records name the classes of features, so that no encoder is imported.
    "systems": {"families", "agreement", "stacking"},
    "distributed": {"_fitted", "families", "features", "pairs", "store", "streaming"},
    "inspection": {"_fitted", "audio", "datasets", "features", "metrics"},
    "scoring": {
        "_fitted",
        "audio",
        "captions",
        "pairs",
        "sharing",
        "stacking",
        "systems",
        "tables",
    },
    "integrations": {"scoring"},
    # A model file names its classes: no estimator is imported for it.
    "sharing": set(),
    "cli": {
        "_fitted",
        "audio",
        "datasets",
        "inspection",
        "metrics",
        "pairs",
        "scoring",
        "sharing",
        "stacking",
        "store",
        "systems",
        "tables",
    },
    "__main__": {"cli"},
    "__init__": set(),
}


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path):
    """Yield every absolute module name that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def our_imports(path):
    """Return the modules of ours that a file imports, names of modules resolved."""
    ours = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            ours |= {a.name for a in node.names if a.name.startswith("clapstack.")}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("clapstack"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                place = PACKAGE.parent.joinpath(*inner.split("."))
                is_module = place.is_dir() or place.with_suffix(".py").exists()
                ours.add(inner if is_module else node.module)
    return ours


def test_imports_run_one_way():
    used = {part: set() for part in MAY_IMPORT}
    for path in MODULES:
        part = part_of(path)
        parts = {name.split(".")[1] for name in our_imports(path) if "." in name}
        used.setdefault(part, set()).update(parts - FOUNDATIONS - {part})
    foundations = {part: used.pop(part) for part in FOUNDATIONS}
    assert not any(foundations.values()), foundations
    assert used == MAY_IMPORT


def floors():
    """Return the parts by floor: each above all that it imports."""
    left = {part: set(others) for part, others in MAY_IMPORT.items()}
    built = [FOUNDATIONS]
    while left:
        free = {part for part, others in left.items() if not others & left.keys()}
        assert free, f"a circle among {sorted(left)}"
        built.append(free)
        left = {part: others for part, others in left.items() if part not in free}
    return built


def test_no_circle_of_parts_and_the_picture_of_them_is_true():
    page = PACKAGE.parent / "docs" / "architecture.rst"
    built = [{p for p in floor if not p.startswith("__")} for floor in floors()]
    if not page.exists():
        pytest.skip("clapstack is installed without its repository")
    text = page.read_text()
    drawn = re.findall(r"^    (\d)  (.*)", text, re.M)
    assert {int(floor): set(parts.split(" · ")) for floor, parts in drawn} == {
        floor: parts for floor, parts in enumerate(built) if parts
    }
    described = text.split("One pair's way")[0]
    assert not [p for p in set().union(*built) if f"``{p}``" not in described]


def test_private_files_are_imported_in_their_own_package_alone():
    wrong = []
    for path in MODULES:
        own = ["clapstack", *path.relative_to(PACKAGE).with_suffix("").parts[:-1]]
        for name in our_imports(path):
            places = name.split(".")
            wrong += [
                f"{path.relative_to(PACKAGE)}: {name}"
                for depth, place in enumerate(places)
                if place.startswith("_") and places[:depth] != own[:depth]
            ]
    assert not wrong


def test_torch_and_transformers_live_in_encoders_alone():
    heavy = {"torch", "transformers", "torchaudio", "torchvision"}
    for path in MODULES:
        # A metric of torchmetrics is a module of torch.
        if part_of(path) not in ("encoders", "integrations"):
            assert not heavy & {n.split(".")[0] for n in imports_of(path)}, path


def test_few_private_entries_at_the_front_door():
    private = {part_of(path) for path in MODULES if part_of(path).startswith("_")} - {
        "__init__",
        "__main__",
    }
    assert len(private) <= 5


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_import_loads_no_heavy_library():
    heavy = {"torch", "transformers", "matplotlib", "torchaudio", "dask", "distributed"}
    light = [
        part for part in sorted(MAY_IMPORT) if part not in {"encoders", "__main__"}
    ]
    statement = f"import {', '.join(f'clapstack.{part}' for part in light)}"
    assert not loaded_after(statement) & heavy


def test_top_level_import_loads_not_even_scikit_learn():
    assert not loaded_after("import clapstack") & {"sklearn", "pandas", "scipy"}


def test_the_command_line_itself_loads_no_numeric_library():
    # Help and errors in a command take 0.1 s of CPU time, with them 1.2 s.
    heavy = {"numpy", "sklearn", "pandas", "scipy", "huggingface_hub"}
    assert not loaded_after("import clapstack.cli") & heavy


def test_every_public_name_is_importable():
    for name in clapstack.__all__:
        assert getattr(clapstack, name).__name__ == name


def test_public_names_are_sorted_and_exist():
    for part in sorted(MAY_IMPORT):
        if not part.startswith("_"):
            module = importlib.import_module(f"clapstack.{part}")
            names = list(module.__all__)
            # Constants, then classes, then functions, as the linter sorts them.
            assert names == sorted(
                names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
            ), part
            assert all(hasattr(module, name) for name in names), part


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'ClapStack'"):
        clapstack.ClapStack  # noqa: B018 - the access is what is tested


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "helpers", "misc", "common"}
    assert not drawers & {path.stem.lstrip("_") for path in MODULES}


def test_top_level_of_the_repository_holds_what_it_should():
    root = PACKAGE.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("clapstack is installed without its repository")
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = {line.split("/")[0] for line in done.stdout.splitlines()}
    else:
        found = {path.name for path in root.iterdir()}
    made = {"build", "dist", "clapstack.egg-info", "clapstack-demo"}
    allowed = {"clapstack", "examples", "docs", "tests", "setup.cfg", "LICENSE"}
    allowed |= {"pyproject.toml", "README.md"}
    assert {name for name in found - made if name[0] != "."} == allowed
