"""What is loaded for what, and that functions stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

import speech2lip

SOURCE = Path(speech2lip.__file__).parents[1]


def _loaded_after(program: str) -> set[str]:
    code = f"{program}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_loads_nothing_heavy() -> None:
    loaded = _loaded_after("from speech2lip.cli import main\nassert main(['--help']) == 0")
    assert not loaded & {"torch", "numba", "scipy", "numpy", "av", "mediapipe", "tyro", "rich"}


def test_speaking_loads_neither_training_nor_judging_nor_preparing() -> None:
    loaded = _loaded_after("import speech2lip.inference.speak, speech2lip.inference.stream")
    assert not [name for name in loaded if name.startswith(("speech2lip.training", "speech2lip.evaluation"))]
    own = {name for name in loaded if name.startswith("speech2lip.decomposition.")}
    assert not own & {
        f"speech2lip.decomposition.{name}" for name in ("prepare", "fit", "photometric", "overview")
    }
    assert not loaded & {"mediapipe", "skimage"}


def test_functions_are_short() -> None:
    long = {
        f"{path.name}:{node.name}": length
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > 90
    }
    assert long == {}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = grimp.build_graph("speech2lip", "speech2lip_presenter", include_external_packages=False)
    # A package's __init__ names what is in it.
    modules = {name for name in graph.modules if not graph.find_children(name)}
    imports = {name: graph.find_modules_directly_imported_by(name) & modules for name in modules}
    assert set(TopologicalSorter(imports).static_order()) == modules
