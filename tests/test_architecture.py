"""The tree is the architecture: arrows, light imports, names."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import clapstack

PACKAGE = Path(clapstack.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "bundled" not in path.parts)

# Who may import whom; a part may always import itself and the foundations.
FOUNDATIONS = {
    "_batched",
    "_checks",
    "_collapse",
    "_frames",
    "_optional",
    "_output",
    "_pair",
    "_ranks",
    "_sklearn",
    "_tables",
    "_threads",
    "_usable",
    "_terminal",
    "_told",
    "exceptions",
}
MAY_IMPORT = {
    "tables": set(),
    "pairs": {"audio"},
    "audio": set(),
    "families": set(),
    "metrics": set(),
    "_linalg": set(),
    "calibration": set(),
    "streaming": set(),
    "listeners": set(),
    "store": {"audio", "pairs"},
    "encoders": {"audio", "pairs"},
    "features": {"audio", "pairs", "store", "encoders"},
    "agreement": {"families", "_linalg"},
    "stacking": {
        "families",
        "pairs",
        "_linalg",
        "agreement",
        "calibration",
        "metrics",
    },
    "ranking": {"families", "_linalg", "calibration", "stacking"},
    "tuning": {"families", "_linalg", "stacking"},
    "datasets": {"audio", "metrics", "pairs", "tables"},
    "systems": {"families", "features", "agreement", "stacking"},
    "distributed": {"families", "pairs", "store", "streaming"},
    "inspection": {"audio", "datasets", "metrics"},
    # A model file names its classes: no estimator is imported for it.
    "sharing": set(),
    "_demo": {"datasets", "metrics", "sharing", "stacking", "systems"},
    "_cache_command": {"store"},
    "_challenge": {"audio", "datasets", "metrics", "systems", "tables"},
    "_xacle_command": {
        "_challenge",
        "_commands",
        "_tabular",
        "datasets",
        "metrics",
        "systems",
        "tables",
    },
    "_tabular": {"audio", "metrics", "pairs", "sharing", "systems", "tables"},
    "_report": {"_tabular", "audio", "inspection", "metrics", "sharing"},
    "_commands": {"_report", "_tabular", "sharing", "systems", "tables"},
    "cli": {
        "_cache_command",
        "_commands",
        "_demo",
        "_xacle_command",
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


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    part = part_of(path)
    allowed = MAY_IMPORT.get(part, set()) | FOUNDATIONS | {part}
    assert part in MAY_IMPORT or part in FOUNDATIONS
    ours = {
        name.split(".")[1] for name in imports_of(path) if name.startswith("clapstack.")
    }
    assert ours <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_torch_and_transformers_live_in_encoders_alone(path):
    if part_of(path) != "encoders":
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert not roots & {"torch", "transformers", "torchaudio", "torchvision"}


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import clapstack",
        "import clapstack.features, clapstack.agreement, clapstack.stacking",
        "import clapstack.metrics, clapstack.datasets, clapstack.systems",
        "import clapstack.distributed",
        "import clapstack.inspection",
        "import clapstack.sharing",
        "import clapstack.cli",
    ],
)
def test_import_loads_no_heavy_library(statement):
    heavy = {"torch", "transformers", "matplotlib", "torchaudio", "dask", "distributed"}
    assert not loaded_after(statement) & heavy


def test_top_level_import_loads_not_even_scikit_learn():
    assert not loaded_after("import clapstack") & {"sklearn", "pandas", "scipy"}


@pytest.mark.parametrize("name", clapstack.__all__)
def test_every_public_name_is_importable(name):
    assert getattr(clapstack, name).__name__ == name


@pytest.mark.parametrize(
    "module",
    [
        "clapstack",
        "clapstack.agreement",
        "clapstack.datasets",
        "clapstack.distributed",
        "clapstack.encoders",
        "clapstack.exceptions",
        "clapstack.features",
        "clapstack.inspection",
        "clapstack.metrics",
        "clapstack.ranking",
        "clapstack.sharing",
        "clapstack.stacking",
        "clapstack.streaming",
        "clapstack.systems",
        "clapstack.tuning",
    ],
)
def test_public_names_are_sorted_and_exist(module):
    module = importlib.import_module(module)
    names = module.__all__
    # Constants, then classes, then functions, as the linter sorts them.
    assert list(names) == sorted(
        names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
    )
    assert all(hasattr(module, name) for name in names)


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
