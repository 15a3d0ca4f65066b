"""What README, docs/ and the docstrings say is run, looked up or followed here, so that it cannot go stale.

A ```python block runs, and goes on from the blocks above it on its page; "```python notest: reason" does not.
In a ```console block lines after "$ " are commands: those of `memrl` must parse, those of `make` be targets.
"""

import doctest
import functools
import importlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from memrl.agents import bench, build, cli, compare, console, fit, fit_settings
from memrl.agents.settings import CompareSettings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted([README, *ROOT.glob("docs/**/*.md"), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))])
MODULES = sorted(
    ".".join(["memrl"] * (folder != "memrl") + list(path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for folder in ("memrl", "envs", "agents")
    for path in (ROOT / folder).rglob("*.py")
)
# Commands of others that pages may name without a check.
FOREIGN = {"git", "cd", "pip", "python", "tensorboard"}


class Block(NamedTuple):
    page: Path
    line: int  # of the first line inside, from 1
    info: str  # what stands after the opening ```
    text: str

    def __str__(self) -> str:
        return (
            f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"
            if self.page.is_relative_to(ROOT)
            else self.page.name
        )


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    info, start = None, 0
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("```") and info is None:
            info, start = line[3:].strip(), number + 1
        elif line == "```" and info is not None:
            found.append(Block(page, start, info, "\n".join(lines[start - 1 : number - 1])))
            info = None
    assert info is None, f"{page.name}: the block opened above line {start} is never closed"
    return found


def commands(page: Path) -> list[tuple[Block, str]]:
    """The lines a reader would type; a backslash at the end of a line joins it to the next."""
    typed = []
    for block in blocks(page):
        if block.info == "console":
            lines = block.text.replace("\\\n", " ").splitlines()
            typed += [(block, line[2:].split("  #")[0].strip()) for line in lines if line.startswith("$ ")]
    return typed


def memrl_commands(page: Path) -> list[tuple[Block, list[str]]]:
    """The words after `memrl` of every such command of a page."""
    typed = [(block, shlex.split(line)) for block, line in commands(page)]
    return [(block, words[1:]) for block, words in typed if words[0] == "memrl"]


def name_of(value: object) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_kind_that_is_checked(page):
    for block in blocks(page):
        kind, _, rest = block.info.partition(" ")
        assert kind in {"python", "console", "text"}, f"{block}: ```{block.info}"
        if kind == "python" and rest:
            reason = rest.removeprefix("notest:").strip()
            assert rest.startswith("notest:"), f"{block}: ```{block.info}"
            assert len(reason) > 10, f"{block}: notest without a reason"
        if kind == "console":
            assert "$ " in block.text, f"{block}: no line begins with '$ '"


def script(page: Path) -> str:
    """The ```python blocks of a page, each where it stands, so that a traceback names the right line."""
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block in blocks(page):
        if block.info == "python":
            lines[block.line - 1 : block.line - 1 + len(block.text.splitlines())] = block.text.splitlines()
    return "\n".join(lines)


@pytest.mark.parametrize("page", [page for page in PAGES if script(page).strip()], ids=name_of)
def test_python_blocks_run(page, tmp_path):
    file = tmp_path / f"page_{page.stem}.py"  # a page may be called like a library
    file.write_text(script(page), encoding="utf-8")
    command = [sys.executable, "-W", "error", file]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_readme_trains_and_uses_an_agent():
    text = "\n".join(block.text for block in blocks(README) if block.info == "python")
    for word in ("from memrl.agents import", ".learn(", ".act("):
        assert word in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_console_commands_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for block, line in commands(page):
        program, *arguments = shlex.split(line)
        if program == "make":
            for target in (word for word in arguments if "=" not in word):
                assert re.search(rf"^{re.escape(target)}:", makefile, re.M), f"{block}: make {target}"
        else:
            assert program in FOREIGN | {"memrl"}, f"{block}: {program}"


def check_training(settings):
    """Stands in for the work of `memrl train` and `memrl compare`: builds every model, trains none."""
    settings.check()
    for training in compare.pairs(settings) if isinstance(settings, CompareSettings) else [settings]:
        build.rehearse(training)
    return 0


@pytest.mark.parametrize("page", [page for page in PAGES if memrl_commands(page)], ids=name_of)
def test_memrl_commands_are_valid(page, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "train_and_report", check_training)
    monkeypatch.setattr(compare, "compare_and_report", check_training)
    monkeypatch.setattr(console, "evaluate_and_report", lambda settings: settings.check() or 0)
    monkeypatch.setattr(console, "export_and_report", lambda settings: 0)
    monkeypatch.setattr(fit, "fit_and_report", lambda settings: 0 if fit_settings.build(settings) else 1)
    for benchmark in bench.__all__:
        # Keeps the signature, from which the command line makes its options.
        idle = functools.wraps(getattr(bench, benchmark))(lambda *args, **kwargs: None)
        monkeypatch.setattr(bench, benchmark, idle)
    for block, words in memrl_commands(page):
        try:
            code = cli.main(words)
        except SystemExit as stop:  # --help
            code = stop.code
        assert not code, f"{block}: memrl {shlex.join(words)}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    report = io.StringIO()
    with redirect_stdout(report):
        failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert not failed, report.getvalue()


def test_readme_names_the_two_commands():
    typed = {line for _, line in commands(README)}
    assert {"make demo", "make test"} <= typed


def test_readme_core_table_is_the_registry():
    from memrl.registry import core_entry, list_cores

    row = re.compile(r"^\| `(\w+)` \| (.+?) \| \[`?(.+?)`?\]\((.+?)\) \|", re.M)
    table = [match.groups() for match in row.finditer(README.read_text(encoding="utf-8"))]
    registry = []
    for entry in map(core_entry, list_cores()):
        file = Path(inspect.getfile(entry.core)).relative_to(ROOT).as_posix()
        registry.append((entry.name, entry.paper, file, file))
    assert table == registry


def anchors(page: Path) -> set[str]:
    """The #names of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted({*PAGES, *ROOT.glob("*.md")}), ids=name_of)
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert file.is_relative_to(ROOT), f"{page.name}: {target} leads out of the repository"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, page.name
