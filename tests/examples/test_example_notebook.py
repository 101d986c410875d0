"""The notebook, run from top to bottom in a kernel of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chromium import load

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def test_notebook_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []


@pytest.mark.browser
def test_notebook_runs(tmp_path: Path) -> None:
    """A run without a browser stores the bar of the cell that awaits, not those in the background."""
    load("nbclient")
    load("ipykernel")
    copy = tmp_path / "notebook.ipynb"
    copy.write_bytes(NOTEBOOK.read_bytes())
    code = "import sys; from nbclient.cli import NbClientApp; NbClientApp.launch_instance(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, "--inplace", str(copy)], check=True, timeout=120, cwd=tmp_path)
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    bars = [output for output in outputs if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]
    assert len(bars) == 1
    assert "".join(outputs[-1]["text"]).count("Succeeded") == 3
