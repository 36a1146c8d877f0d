"""The Jupyter kernel: nbclient runs examples/first_steps.ipynb on it."""

import json
import os
import subprocess
import sys

import nbclient
import nbformat
import pytest

from conftest import EXAMPLES, run_boucle


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after it ran."""
    prefix = tmp_path_factory.mktemp("jupyter")
    result = run_boucle("kernel", "install", "--prefix", prefix)
    assert result.returncode == 0, result.stderr
    spec = json.loads((prefix / "share/jupyter/kernels/boucle/kernel.json").read_text())
    assert spec["display_name"] == "Python (boucle)"
    former = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(prefix / "share/jupyter")
    try:
        notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
        nbclient.NotebookClient(notebook, kernel_name="boucle", timeout=60).execute()
    finally:
        os.environ.pop("JUPYTER_PATH") if former is None else os.environ.update(JUPYTER_PATH=former)
    return notebook


def output_of(notebook, source):
    """What the only cell that contains this source printed and returned."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    returned = [output.data["text/plain"] for output in cell.outputs if output.output_type == "execute_result"]
    return printed.splitlines(), returned


def test_the_loop_is_ours(executed):
    assert output_of(executed, "get_running_loop") == ([], ["'boucle._loop.Loop'"])


def test_await_works_at_the_top_level(executed):
    printed, returned = output_of(executed, 'await pieces("run")')
    assert printed == ["run start", "run middle", "run end"]
    assert returned == ["'run in pieces'"]


def test_pieces_alternate(executed):
    printed, returned = output_of(executed, 'gather(pieces("run1")')
    assert printed == ["run1 start", "run2 start", "run1 middle", "run2 middle", "run1 end", "run2 end"]
    assert returned == ["['run1 in pieces', 'run2 in pieces']"]


def test_starvation(executed):
    printed, _ = output_of(executed, 'gather(greedy("run1")')
    assert printed == ["run1 start", "run2 start", "run1 middle", "run1 end", "run2 middle", "run2 end"]


def test_breathing(executed):
    printed, _ = output_of(executed, "asyncio.sleep(0)")
    assert printed == ["long 0", "short 0", "long 1", "short 1", "long 2", "short 2"]


def test_without_jupyter_the_command_says_what_to_install(tmp_path):
    (tmp_path / "jupyter_client.py").write_text("raise ImportError")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from boucle._cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "kernel", "install"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr == "boucle: error: Jupyter is not installed here: pip install ipykernel\n"
