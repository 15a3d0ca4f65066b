"""What gets installed, under which names, and what `import memrl` costs.

Everything runs in fresh processes and fresh environments that see the installed dependencies but neither this
checkout nor an editable install of it; each asserts where `memrl` came from.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

pytestmark = pytest.mark.xdist_group("packaging")  # one worker builds the wheel, once

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Where a folder of the repository is imported.
MAPPED = {"memrl": "memrl", "envs": "memrl.envs", "agents": "memrl.agents"}
# Folders that hold the dependencies of this interpreter. Given as plain paths, so that their .pth files, an
# editable install of this checkout among them, have no effect.
DEPENDENCIES = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]

IMPORT_ALL = """
import importlib.util, json, sys
import memrl, memrl.envs, memrl.agents
print(json.dumps({
    "files": [memrl.__file__, memrl.envs.__file__, memrl.agents.__file__],
    "bare": [name for name in ("envs", "agents", "tests", "experiments") if importlib.util.find_spec(name)],
    "cores": memrl.list_cores(),
    "environments": len(memrl.envs.list_envs()),
}))
"""


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Standard output of a command that must succeed."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_TARGET"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what a clone holds, so that a build leaves nothing behind in the real one."""
    copy = tmp_path_factory.mktemp("clone") / "memrl-clone"
    copy.mkdir()
    caches = shutil.ignore_patterns("__pycache__", "*.egg-info", "results")
    for folder in ("memrl", "envs", "agents", "tests", "experiments"):
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, copy / folder, ignore=caches)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory) -> Path:
    """A wheel built from the source distribution, as an index would get it."""
    folder = tmp_path_factory.mktemp("dist")
    source = shutil.copytree(checkout, folder / "source")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def new_environment(folder: Path, *install: object) -> Path:
    """The interpreter of a new environment that holds `install` and sees the dependencies of this one."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # The .pth file comes after pip, which must not take another install of memrl for its own.
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    run(*pip, *offline, *install, cwd=folder, PYTHONPATH=os.pathsep.join(DEPENDENCIES))
    (site,) = {
        Path(path) for path in run(python, "-c", "import site; print(*site.getsitepackages())", cwd=folder).split()
    }
    (site / "dependencies.pth").write_text("\n".join(DEPENDENCIES), encoding="utf-8")
    return python


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory) -> Path:
    return new_environment(tmp_path_factory.mktemp("installed"), wheel)


def repository_files() -> dict[str, str]:
    """Every file of the library: its place in the repository, and the place it must have in the wheel."""
    files = {}
    for folder, package in MAPPED.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT / folder).as_posix()
                files[f"{folder}/{inside}"] = f"{package.replace('.', '/')}/{inside}"
    return files


def test_wheel_holds_the_library_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert {name for name in names if name not in metadata} == set(repository_files().values())
    assert {
        "memrl/py.typed",
        "memrl/envs/__init__.py",
        "memrl/agents/__init__.py",
        "memrl/cores/__init__.py",
    } <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_installed_wheel_imports_from_any_folder(installed, tmp_path):
    found = json.loads(run(installed, "-c", IMPORT_ALL, cwd=tmp_path))
    inside = installed.parent.parent.resolve()
    assert all(Path(file).resolve().is_relative_to(inside) for file in found["files"]), found["files"]
    assert found["bare"] == []
    assert found["environments"] > 0


def test_installed_wheel_imports_from_inside_a_checkout(installed, checkout):
    # The current folder comes first on sys.path, so this loads the checkout: all of it, not a mixture.
    found = json.loads(run(installed, "-c", IMPORT_ALL, cwd=checkout))
    assert all(Path(file).is_relative_to(checkout) for file in found["files"]), found["files"]


def test_installed_command_runs(installed, tmp_path):
    printed = run(installed.parent / "memrl", "cores", cwd=tmp_path)
    assert all(name in printed for name in ("none", "lstm", "gru", "ntm", "dnc", "memformer", "memn2n"))


def test_editable_install_imports_from_any_folder(checkout, tmp_path):
    source = shutil.copytree(checkout, tmp_path / "source")
    python = new_environment(tmp_path / "environment", "--editable", source)
    (tmp_path / "elsewhere").mkdir()
    found = json.loads(run(python, "-c", IMPORT_ALL, cwd=tmp_path / "elsewhere"))
    assert all(Path(file).is_relative_to(source) for file in found["files"]), found["files"]
    assert found["bare"] == []


def test_bare_checkout_imports_without_install(checkout, tmp_path):
    path = os.pathsep.join([str(checkout), *DEPENDENCIES])
    found = json.loads(run(sys.executable, "-S", "-c", IMPORT_ALL, cwd=tmp_path, PYTHONPATH=path))
    assert all(Path(file).is_relative_to(checkout) for file in found["files"]), found["files"]


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_bare_name_in_a_checkout_is_refused_and_names_the_right_import(checkout, tmp_path, name):
    code = f"try:\n    import {name}\nexcept ImportError as error:\n    print(error)"
    path = os.pathsep.join([str(checkout), *DEPENDENCIES])
    printed = run(sys.executable, "-S", "-c", code, cwd=tmp_path, PYTHONPATH=path)
    assert f"memrl.{name}" in printed


def test_import_memrl_costs_torch_and_nothing_else(tmp_path):
    code = """
import sys
def roots(): return {name.split(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
import torch
before = roots()
import memrl
memrl.make_core("dnc", input_size=3)
print(*sorted(roots() - before), sep="\\n")
"""
    path = os.pathsep.join([str(ROOT), *DEPENDENCIES])
    loaded = run(sys.executable, "-S", "-c", code, cwd=tmp_path, PYTHONPATH=path).split()
    assert loaded == ["memrl"]


def test_heavy_names_load_on_first_use(tmp_path):
    code = """
import sys, memrl
for name in memrl._LAZY:
    assert getattr(memrl, name).__module__ == memrl._LAZY[name], name
assert memrl.envs.make_env and memrl.agents.MemoryPPO
try:
    memrl.no_such_name
except AttributeError as error:
    print(error)
"""
    path = os.pathsep.join([str(ROOT), *DEPENDENCIES])
    printed = run(sys.executable, "-S", "-c", code, cwd=tmp_path, PYTHONPATH=path)
    assert "no_such_name" in printed


def test_every_package_folder_is_listed():
    folders = {(ROOT / path).parent for path in repository_files() if path.endswith(".py")}
    names = set()
    for folder in folders:
        assert (folder / "__init__.py").is_file(), f"{folder} holds modules and no __init__.py"
        top, *inner = folder.relative_to(ROOT).parts
        names.add(".".join([MAPPED[top], *inner]))
    setuptools = PROJECT["tool"]["setuptools"]
    assert set(setuptools["packages"]) == names
    assert setuptools["package-dir"] == {package: folder for folder, package in MAPPED.items()}


def test_dependencies_are_those_of_the_design():
    bounds = {
        "torch": ">=2.10,<3",
        "gymnasium": ">=1.0,<2",
        "stable-baselines3": ">=2.9,<3",
        "sb3-contrib": ">=2.9,<3",
    }
    unbounded = {"minigrid", "tensorboard", "numpy", "tyro", "pyyaml", "safetensors", "rich", "tqdm"}
    unbounded |= {"matplotlib", "networkx", "scipy", "pillow"}
    required = {item.name: item for item in map(Requirement, PROJECT["project"]["dependencies"])}
    assert set(required) == set(bounds) | unbounded
    assert all(required[name].specifier == SpecifierSet(bound) for name, bound in bounds.items())
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_constraints_pin_a_set_that_the_project_allows():
    project = PROJECT["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {pin.name: pin for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))}
    assert str(pins["torch"].specifier) == "==2.13.0"
    extras = [
        item
        for name in ("popgym", "nlp", "bench", "sweep", "video", "dev")
        for item in project["optional-dependencies"][name]
    ]
    for item in map(Requirement, [*project["dependencies"], *extras]):
        if item.name == "memrl":
            continue
        assert item.name in pins, f"{item.name} is not pinned"
        (pin,) = pins[item.name].specifier
        assert pin.operator == "=="
        assert item.specifier.contains(pin.version), f"{pins[item.name]} is outside {item}"
