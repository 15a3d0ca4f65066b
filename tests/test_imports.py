"""Who may import whom, which calls library code never makes, and that everything public says what it is.

The files are read, not imported, so an import inside a function counts like one at the top.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("memrl", "envs", "agents")

# (place, what it may import besides the standard library); first match counts, "a.b" allows all in it.
ALLOWED = [
    ("memrl/__init__.py", {"memrl.core", "memrl.registry", "memrl.testing", "memrl.encoders", "memrl.extractors"}),
    ("memrl/tree.py", {"torch"}),
    ("memrl/core.py", {"torch", "memrl.tree"}),
    ("memrl/addressing.py", {"torch"}),
    ("memrl/registry.py", {"memrl.core", "memrl.cores"}),
    ("memrl/cores/__init__.py", set()),
    # Not memrl.cores: no core knows another one.
    (
        "memrl/cores/*.py",
        {
            "torch",
            "memrl.core",
            "memrl.tree",
            "memrl.addressing",
            "memrl.controller",
            "memrl.gates",
            "memrl.linkage",
            "memrl.registry",
            "memrl.shared_linear",
        },
    ),
    ("memrl/controller.py", {"torch", "memrl.gates", "memrl.shared_linear"}),
    ("memrl/gates.py", {"torch"}),
    ("memrl/linkage.py", {"torch"}),
    ("memrl/shared_linear.py", {"torch"}),
    ("memrl/heads/*.py", {"torch", "memrl.core", "memrl.tree", "memrl.heads"}),
    ("memrl/recipe.py", {"memrl.registry"}),
    ("memrl/optimizers.py", {"torch", "memrl.recipe"}),
    ("memrl/fit.py", {"torch", "memrl.tree", "memrl.heads", "memrl.tasks", "memrl.recipe", "memrl.optimizers"}),
    ("memrl/tasks/registry.py", {"memrl.registry", "memrl.tasks"}),
    # Never a core: a task has a head for whichever core it is given. tokenizers and torchmetrics are an extra, so
    # they are imported where they are used.
    (
        "memrl/tasks/*.py",
        {
            *("torch", "numpy", "networkx", "tokenizers", "torchmetrics"),
            *("memrl.core", "memrl.heads", "memrl.recipe", "memrl.tasks", "memrl.envs.routes"),
        },
    ),
    ("memrl/testing.py", {"torch", "memrl.core", "memrl.tree"}),
    ("memrl/encoders.py", {"torch", "gymnasium", "stable_baselines3"}),
    (
        "memrl/extractors.py",
        {
            *("torch", "numpy", "gymnasium", "stable_baselines3"),
            *("memrl.core", "memrl.tree", "memrl.registry", "memrl.encoders"),
        },
    ),
    # Never torch, never a core or an agent: an environment runs without a network.
    ("envs/routes/*.py", {"gymnasium", "numpy", "networkx", "memrl.envs"}),
    ("envs/pictures.py", {"numpy", "PIL"}),
    # The one place where environments meet Stable-Baselines3; loaded when `make_vec_env` is first asked for.
    ("envs/vec_env.py", {"gymnasium", "numpy", "stable_baselines3", "memrl.envs"}),
    ("envs/vec_history.py", {"numpy", "stable_baselines3", "memrl.envs"}),
    ("envs/workers.py", {"gymnasium", "numpy", "stable_baselines3", "memrl.envs"}),
    ("envs/*.py", {"gymnasium", "numpy", "minigrid", "popgym", "memrl.envs"}),
    (
        "agents/*.py",
        {
            *("torch", "numpy", "scipy", "gymnasium", "stable_baselines3", "sb3_contrib", "safetensors"),
            *("tyro", "yaml", "rich", "tqdm", "matplotlib", "tensorboard"),
            *("onnxscript", "onnxruntime"),  # for exported steps
            "memrl.__version__",
            "dnc",  # the peer that `memrl bench cores` measures against
            *(
                "memrl.core",
                "memrl.tree",
                "memrl.registry",
                "memrl.addressing",
                "memrl.encoders",
                "memrl.agents",
                *("memrl.fit", "memrl.heads", "memrl.recipe", "memrl.tasks"),  # for `memrl fit`
            ),
            *("memrl.envs.make_env", "memrl.envs.make_vec_env", "memrl.envs.list_envs"),  # environments only by id
        },
    ),
]

# The only places where the imported name is computed: the registry finds core files, the packages load lazily.
DYNAMIC = {"memrl/__init__.py", "memrl/registry.py", "memrl/tasks/registry.py", "agents/__init__.py"}

# Each of these runs code that stands in a file or in a string.
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy"),
    *("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("torch.load", "torch.jit.load", "torch.package"),
}

# check_core unpickles what it has just pickled itself.
OWN_DATA = {"memrl/testing.py": {"pickle"}}
SWITCHES = {"allow_pickle=True", "shell=True"}


def library_files(root: Path) -> list[Path]:
    return sorted(path for folder in LIBRARY for path in (root / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """The name under which a file is imported: envs/tmaze.py is memrl.envs.tmaze."""
    parts = list(path.with_suffix("").parts)
    parts = parts if parts[0] == "memrl" else ["memrl", *parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dotted(node: ast.expr) -> str | None:
    """`a.b.c` as text; None for anything that is not a chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (value := dotted(node.value)):
        return f"{value}.{node.attr}"
    return None


def imports(source: str, path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, what is imported in full, the name it gets here) of every import in a file, nested ones too."""
    package = module_name(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, alias.asname or alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name]), alias.asname or alias.name
        elif isinstance(node, ast.Call) and str(dotted(node.func)).endswith(("import_module", "__import__")):
            literal = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value
            yield node.lineno, literal if isinstance(literal, str) else "<computed>", ""


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def import_faults(root: Path) -> list[str]:
    """Every import that the table does not allow, as "file:line: what"."""
    faults = []
    for file in library_files(root):
        path = file.relative_to(root)
        allowed = next((may for place, may in ALLOWED if fnmatchcase(path.as_posix(), place)), None)
        if allowed is None:
            faults.append(f"{path.as_posix()}: no rule in ALLOWED says what this file may import")
            continue
        for line, name, _ in imports(file.read_text(encoding="utf-8"), path):
            computed = name == "<computed>" and path.as_posix() in DYNAMIC
            if not (computed or name.split(".")[0] in sys.stdlib_module_names or within(name, allowed)):
                faults.append(f"{path.as_posix()}:{line}: {name}")
    return faults


def call_faults(root: Path) -> list[str]:
    """Every use of a name in FORBIDDEN, whatever it is called locally, as "file:line: what"."""
    faults = []
    for file in library_files(root):
        path = file.relative_to(root)
        source = file.read_text(encoding="utf-8")
        forbidden = FORBIDDEN - OWN_DATA.get(path.as_posix(), set())
        real = {}
        for line, name, local in imports(source, path):
            if within(name, forbidden):
                faults.append(f"{path.as_posix()}:{line}: {name}")
            # `import a.b` binds a, `import a.b as c` binds c to a.b
            real[local] = local if name.startswith(local + ".") else name
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node)):
                head, _, rest = name.partition(".")
                name = f"{real.get(head, head)}.{rest}" if rest else real.get(head, head)
                if name in forbidden:
                    faults.append(f"{path.as_posix()}:{node.lineno}: {name}")
            elif isinstance(node, ast.keyword) and (switch := ast.unparse(node)) in SWITCHES:
                faults.append(f"{path.as_posix()}:{node.lineno}: {switch}")
    return faults


def docstring_faults(root: Path) -> list[str]:
    """Every module, public class, function and method without a docstring, as "file:line: name"."""

    def missing(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[int, str]]:
        for child in node.body:
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            # A setter or an overload shares the docstring of what it completes.
            decorators = {str(dotted(item)).split(".")[-1] for item in child.decorator_list}
            if child.name.startswith("_") or decorators & {"setter", "deleter", "overload"}:
                continue
            if not ast.get_docstring(child):
                yield child.lineno, prefix + child.name
            if isinstance(child, ast.ClassDef):
                yield from missing(child, f"{prefix}{child.name}.")

    faults = []
    for file in library_files(root):
        path = file.relative_to(root).as_posix()
        module = ast.parse(file.read_text(encoding="utf-8"))
        faults += [] if ast.get_docstring(module) else [f"{path}:1: module"]
        faults += [f"{path}:{line}: {name}" for line, name in missing(module, "")]
    return faults


def test_library_imports_only_what_the_table_allows():
    assert {path.relative_to(ROOT).parts[0] for path in library_files(ROOT)} == set(LIBRARY)
    assert import_faults(ROOT) == []


def test_library_never_runs_code_from_data():
    assert call_faults(ROOT) == []


def test_everything_public_has_a_docstring():
    assert docstring_faults(ROOT) == []


def write(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(source, encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("memrl/tree.py", "import numpy as np", "numpy"),
        ("memrl/core.py", "from memrl import registry", "memrl.registry"),
        ("memrl/core.py", "import memrl", "memrl"),
        ("memrl/addressing.py", "from memrl.core import MemoryCore", "memrl.core.MemoryCore"),
        ("memrl/cores/dnc.py", "from memrl.cores.lstm import LSTM", "memrl.cores.lstm.LSTM"),
        ("memrl/cores/dnc.py", "from .lstm import LSTM", "memrl.cores.lstm.LSTM"),
        ("memrl/cores/dnc.py", "from . import lstm", "memrl.cores.lstm"),
        ("memrl/cores/dnc.py", "def f():\n    from ..extractors import X", "memrl.extractors.X"),
        ("memrl/__init__.py", "def f():\n    import stable_baselines3", "stable_baselines3"),
        ("memrl/testing.py", "import importlib\nimportlib.import_module('gymnasium')", "gymnasium"),
        ("memrl/testing.py", "from importlib import import_module\nimport_module(name)", "<computed>"),
        ("envs/tmaze.py", "try:\n    import torch\nexcept ImportError:\n    pass", "torch"),
        (
            "envs/tmaze.py",
            "import stable_baselines3.common.env_checker",
            "stable_baselines3.common.env_checker",
        ),
        ("envs/tmaze.py", "from memrl.agents import MemoryPPO", "memrl.agents.MemoryPPO"),
        ("envs/__init__.py", "from ..agents import MemoryPPO", "memrl.agents.MemoryPPO"),
        ("envs/tmaze.py", "import networkx", "networkx"),
        ("agents/ppo.py", "from memrl.envs import TMaze", "memrl.envs.TMaze"),
        ("agents/ppo.py", "from ..envs.tmaze import TMaze", "memrl.envs.tmaze.TMaze"),
        ("agents/ppo.py", "import memrl.envs", "memrl.envs"),
        ("agents/ppo.py", "import experiments", "experiments"),
        ("agents/ppo.py", "from envs import make_env", "envs.make_env"),
    ],
)
def test_checker_finds_a_forbidden_import(tmp_path, path, source, found):
    write(tmp_path, path, source)
    assert [fault.split(": ")[-1] for fault in import_faults(tmp_path)] == [found]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "memrl/cores/dnc.py",
            "import math\nfrom torch.nn import functional as F\nfrom memrl import tree, addressing",
        ),
        ("memrl/cores/dnc.py", "from memrl.core import MemoryCore\nfrom memrl.registry import register_core"),
        ("memrl/registry.py", "import importlib\nimportlib.import_module(f'memrl.cores.{name}')"),
        ("envs/routes/grid.py", "import networkx as nx\nfrom ..tmaze import TMaze\nfrom . import maps"),
        ("envs/tmaze.py", "from . import cards\nfrom .cards import Card\nimport numpy as np"),
        (
            "agents/cli.py",
            "from memrl.envs import list_envs, make_env\nfrom .ppo import MemoryPPO\nimport yaml",
        ),
    ],
)
def test_checker_lets_an_allowed_import_pass(tmp_path, path, source):
    write(tmp_path, path, source)
    assert import_faults(tmp_path) == []


def test_checker_finds_a_file_without_a_rule(tmp_path):
    write(tmp_path, "memrl/new/file.py", "")
    assert import_faults(tmp_path) == ["memrl/new/file.py: no rule in ALLOWED says what this file may import"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from cloudpickle import loads as read", ["cloudpickle.loads"]),
        ("import torch as th\nth.load(path)", ["torch.load"]),
        ("from torch import load\nload(path)", ["torch.load", "torch.load"]),
        ("import torch.jit\ntorch.load(path)", ["torch.load"]),
        ("import yaml\nread = yaml.load", ["yaml.load"]),
        ("import yaml\nyaml.unsafe_load(text)", ["yaml.unsafe_load"]),
        ("value = eval(text)", ["eval"]),
        ("def f(text):\n    exec(text)", ["exec"]),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", ["allow_pickle=True"]),
        ("import subprocess\nsubprocess.run(line, shell=True)", ["shell=True"]),
        # What looks alike and is harmless.
        ("import re\nre.compile(x)\nmodel.eval()\nmodel.load(path)", []),
        ("import yaml\nyaml.safe_load(text)", []),
        ("import torch\ntorch.load_state_dict\ntorch.compile(f)", []),
    ],
)
def test_checker_finds_code_from_data(tmp_path, source, found):
    write(tmp_path, "agents/ppo.py", source)
    assert [fault.split(": ")[-1] for fault in call_faults(tmp_path)] == found


def test_checker_finds_a_missing_docstring(tmp_path):
    write(
        tmp_path,
        "memrl/tree.py",
        "def _private(): ...\n"
        "def public(): ...\n"
        "class Shape:\n"
        "    'A shape.'\n"
        "    def __init__(self): ...\n"
        "    def area(self): ...\n",
    )
    assert docstring_faults(tmp_path) == [
        "memrl/tree.py:1: module",
        "memrl/tree.py:2: public",
        "memrl/tree.py:6: Shape.area",
    ]
