"""The Jupyter kernel and the magic %%chronology: nbclient runs examples/first_steps.ipynb, and cells of these tests."""

import base64
import json
import os
import re
import subprocess
import sys

import nbclient
import nbformat
import pytest

import boucle
from conftest import EXAMPLES, run_boucle


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Adds the kernel where clients find it."""
    prefix = tmp_path_factory.mktemp("jupyter")
    result = run_boucle("kernel", "install", "--prefix", prefix)
    assert result.returncode == 0, result.stderr
    spec = json.loads((prefix / "share/jupyter/kernels/boucle/kernel.json").read_text())
    assert spec["display_name"] == "Python (boucle)"
    former = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = str(prefix / "share/jupyter")
    yield
    os.environ.pop("JUPYTER_PATH") if former is None else os.environ.update(JUPYTER_PATH=former)


@pytest.fixture(scope="module")
def executed(kernels):
    """The notebook after it ran."""
    notebook = nbformat.read(EXAMPLES / "first_steps.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, kernel_name="boucle", timeout=60).execute()
    return notebook


def run_cells(*sources, kernel="boucle"):
    """The outputs of each cell of a notebook of these, which may raise."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, kernel_name=kernel, timeout=60, allow_errors=True).execute()
    return [cell.outputs for cell in notebook.cells]


def pictures(outputs):
    """What is shown, by MIME type, of outputs that are pictures."""
    return [output.data for output in outputs if output.output_type == "display_data"]


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


def test_the_notebook_ends_with_the_two_chronologies(executed):
    shown = [pictures(cell.outputs) for cell in executed.cells if cell.source.startswith("%%chronology")]
    ((alternating,), (starving,)) = shown
    assert "no starvation" in alternating["text/plain"]
    assert "IOPub" not in alternating["text/plain"], "the kernel's own thread"
    assert re.search(r"held the processor for 1\.[01]\d s", starving["text/plain"])
    assert re.search(r"two was ready and waited 1\.[012] s for one", starving["text/plain"])


def test_the_picture_needs_no_trust(kernels):
    """HTML in a notebook that is not trusted keeps an <img>, and loses scripts, styles and inline SVG."""
    (outputs,) = run_cells("%%chronology\nimport asyncio\nawait asyncio.sleep(0.01)")
    (shown,) = pictures(outputs)
    assert set(shown) == {"text/html", "image/svg+xml", "text/plain"}
    source = re.fullmatch(r'<img src="data:image/svg\+xml;base64,([\w+/=]+)" alt="[^"]*">', shown["text/html"])
    assert base64.b64decode(source[1]).decode() == shown["image/svg+xml"]
    assert "<script" not in shown["image/svg+xml"]


def test_a_cell_with_the_magic_is_an_ordinary_cell(kernels):
    _, first, second, failing, after = run_cells(
        "import asyncio, time",
        "%%chronology --threshold 10ms\nvalue = 42\ntime.sleep(0.05)\nawait asyncio.sleep(0)\nvalue",
        "print(value)",
        "%%chronology\nawait asyncio.sleep(0.01)\nraise KeyError(value)",
        "value",
    )
    # The value, then the picture, in which the cell itself blocks.
    assert [output.output_type for output in first] == ["execute_result", "display_data"]
    assert "held the processor" in first[1].data["text/plain"]
    assert second[0].text == "42\n"
    assert {output.output_type for output in failing} == {"error", "display_data"}
    assert [output.output_type for output in after] == ["execute_result"], "the recording has ended"


def test_the_chronology_can_be_saved(kernels, tmp_path):
    path = tmp_path / "a cell.boucle"
    run_cells(f"%%chronology -o '{path}'\nimport asyncio\nawait asyncio.sleep(0.01)")
    assert boucle.load(path).program == "cell 1"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--threshold soon", "argument --threshold: 'soon' is no time: write 50ms, 0.05s or 0.05"),
        ("-o run.gif", "run.gif"),
        ("'", "No closing quotation"),
    ],
)
def test_wrong_options_run_nothing(kernels, options, complaint):
    first, second = run_cells(f"%%chronology {options}\nvalue = 1", "value")
    assert first[0].ename == "ValueError"
    assert first[0].evalue.startswith("%%chronology: ")
    assert complaint in first[0].evalue
    assert second[0].ename == "NameError"


def test_on_another_kernel_it_says_what_to_do(kernels):
    loaded, outputs = run_cells("%load_ext boucle", "%%chronology\n6 * 7", kernel="python3")
    assert loaded == []
    assert [output.output_type for output in outputs] == ["execute_result", "stream"]
    assert "`boucle kernel install`" in outputs[1].text


def test_without_jupyter_the_command_says_what_to_install(tmp_path):
    (tmp_path / "jupyter_client.py").write_text("raise ImportError")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from boucle._cli import main; sys.exit(main())"
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), "kernel", "install"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr == "boucle: error: Jupyter is not installed here: pip install ipykernel\n"
