"""Rules that hold for the whole package: who imports whom, other systems, start-up time, sizes."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "reenactor"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_LINES_PER_FILE = 600
MAX_FILES = 288
MAX_LINES = 49_200


def python(code):
    """Run code in a new process; its output."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# Who imports whom


def parts(folder):
    return {path.parent.name for path in folder.glob("*/__init__.py")}


def contracts():
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["tool"]["importlinter"]["contracts"]


def allowed_by_contracts():
    """For each room what it may import: rooms, or parts of a room where the contracts forbid its other parts."""
    layers = next(c["layers"] for c in contracts() if c.get("containers") == ["reenactor"])
    levels = [[name.strip() for name in layer.split("|")] for layer in layers]
    allowed = {}
    for i, level in enumerate(levels):
        below = {name for lower in levels[i + 1 :] for name in lower}
        for room in level:
            forbidden = {
                module.removeprefix("reenactor.")
                for contract in contracts()
                if contract["type"] == "forbidden" and contract["source_modules"] == [f"reenactor.{room}"]
                for module in contract["forbidden_modules"]
            }
            allowed[room] = set()
            for name in below - forbidden:
                inside = {f"{name}.{part}" for part in parts(PACKAGE / name)}
                allowed[room] |= inside - forbidden if inside & forbidden else {name}
    return allowed


def allowed_by_table():
    """The same from the table of docs/architecture.md: room, what it holds, what it may import."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", text, re.MULTILINE)
    return {room: set(re.findall(r"`([\w.]+)`", imports)) for room, imports in rows}


def test_the_table_of_rooms_says_what_the_contracts_check():
    assert allowed_by_table() == allowed_by_contracts()


def test_the_contracts_know_every_model_folder():
    independent = next(c["modules"] for c in contracts() if c["type"] == "independence")
    folders = {path.parent.name for path in (PACKAGE / "models").glob("*/model.py")}
    assert {name.rpartition(".")[2] for name in independent} == folders


# Other systems

ELSEWHERE_MISSING = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "curses"}
"""Modules of the standard library that Windows lacks."""
MISSING_NAMES = {
    "os": {"sched_getaffinity", "fork", "getuid", "geteuid", "getpgid", "killpg", "setsid", "mkfifo", "uname", "nice"},
    "signal": {"SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGSTOP", "SIGCONT", "alarm", "pthread_kill"},
    "time": {"tzset"},
}
"""Names that Windows or macOS lack."""

IMPORT_ALL = f"""
import builtins, importlib, importlib.util, os, pkgutil, signal, sys, time

modules, names = {ELSEWHERE_MISSING!r}, {MISSING_NAMES!r}
real = builtins.__import__

def without(name, globals=None, *rest, **named):
    if name.partition(".")[0] in modules and (globals or {{}}).get("__name__", "").startswith("reenactor"):
        raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
    return real(name, globals, *rest, **named)

import multiprocessing, subprocess, threading, torch, mediapipe  # they ask for these names themselves
builtins.__import__ = without
for module, gone in names.items():
    for name in gone:
        if hasattr(sys.modules[module], name) and not name.startswith("get"):  # getpass, which Gradio uses, needs it
            delattr(sys.modules[module], name)
import reenactor

count = 0
for found in pkgutil.walk_packages(reenactor.__path__, "reenactor."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        count += 1
print(count)
"""


def test_every_module_imports_without_what_other_systems_lack():
    assert int(python(IMPORT_ALL)) == len(MODULES) - 2  # less the package itself and __main__


def unguarded(path):
    """Uses of names that other systems lack, in functions that neither ask for the system nor catch the error."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used = {alias.name for alias in node.names} & ELSEWHERE_MISSING
        elif isinstance(node, ast.ImportFrom):
            used = {node.module} & ELSEWHERE_MISSING
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = {node.attr} & MISSING_NAMES.get(node.value.id, set())
        else:
            continue
        if not used:
            continue
        above = node
        while not isinstance(above, ast.FunctionDef | ast.Module):
            above = parents[above]
        guard = re.search(r"sys\.platform|os\.name|hasattr\(|suppress\(|except ", ast.unparse(above))
        if isinstance(above, ast.Module) or not guard:
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {', '.join(used)}"


def test_what_other_systems_lack_is_used_behind_a_branch():
    assert [use for path in MODULES for use in unguarded(path)] == []


@pytest.mark.parametrize("path", ["/dev/shm", "/tmp/", "/proc/"])
def test_no_path_of_one_system_is_written_in_the_code(path):
    assert [str(p) for p in MODULES if f'"{path}' in p.read_text(encoding="utf-8")] == []


# Start-up


@pytest.mark.parametrize("statement", ["import reenactor", "from reenactor.cli.main import parser; parser()"])
def test_starting_does_not_load_the_large_libraries(statement):
    loaded = python(f"{statement}\nimport sys; print(' '.join(sys.modules))").split()
    assert not {"torch", "mediapipe", "cv2", "scipy", "av", "fastapi", "gradio"} & set(loaded)


def test_the_public_names_exist():
    import reenactor

    for name in reenactor.__all__:
        assert getattr(reenactor, name) is not None
        assert name in dir(reenactor)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reenactor.nothing


def test_tools_import_what_exists():
    tools = sorted(str(path) for path in (ROOT / "tools").glob("*.py"))
    python(f"import runpy\nfor path in {tools!r}: runpy.run_path(path, run_name='tool')")


# Sizes


def test_files_stay_readable():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    print(f"\n{len(lines)} files, {sum(lines.values())} lines")
    assert {str(path.relative_to(ROOT)): n for path, n in lines.items() if n > MAX_LINES_PER_FILE} == {}
    assert len(lines) <= MAX_FILES
    assert sum(lines.values()) <= MAX_LINES


def test_weights_that_ship_are_small():
    assert sum(path.stat().st_size for path in (PACKAGE / "weights").rglob("*.safetensors")) < 32 * 2**20
