"""Every example of the API's reference page runs: they are the examples of our own docstrings."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import patchcore_edge.models.patch_embedder
import patchcore_edge.models.patchcore
import patchcore_edge.models.torch_model

MODULES = (
    patchcore_edge.models.patchcore,
    patchcore_edge.models.torch_model,
    patchcore_edge.models.patch_embedder,
)
EXAMPLES = [test for module in MODULES for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.fixture(scope="module")
def user_folder(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's user stands: MVTec AD in ./datasets, weights in a folder of their own."""
    home = tmp_path_factory.mktemp("home")
    bottle = home / "datasets" / "MVTecAD" / "bottle"
    for kind, count in (("train/good", 2), ("test/good", 1), ("test/scratch", 1)):
        (bottle / kind).mkdir(parents=True)
        for path in sorted((tiny_data / kind).iterdir())[:count]:
            shutil.copy(path, bottle / kind)
    torch.manual_seed(0)
    network = timm.create_model("wide_resnet50_2", features_only=True, out_indices=(1, 2, 3))
    (home / "weights").mkdir()
    save_file({n: t.half() for n, t in network.state_dict().items()}, home / "weights" / "wide_resnet50_2.safetensors")
    return home


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name.removeprefix("patchcore_edge.models."))
def test_an_example_does_what_it_says(
    example: doctest.DocTest, user_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user_folder)
    monkeypatch.setenv("PATCHCORE_EDGE_WEIGHTS", str(user_folder / "weights"))
    output: list[str] = []
    result = doctest.DocTestRunner().run(example, out=output.append)
    assert result.attempted > 0
    assert not result.failed, "".join(output)


def statements(text: str) -> list[str]:
    """The code behind the prompts of a page or a docstring, without its line breaks."""
    code = re.findall(r">>> .*?(?=>>> |\n(?!\s*\.\.\. )|$)", text, flags=re.DOTALL)
    return [re.sub(r"\s+|\.\.\. |>>> ", "", re.sub(r"(?m)^\s*\.\.\. | \.\.\. ", "", one)) for one in code]


def test_no_example_of_the_page_is_missing(shared: Path) -> None:
    page = (shared / "reference" / "patchcore-api.txt").read_text(encoding="utf-8")
    page = re.sub(r"anomalib\.models\.(image\.patchcore\.\w+|components)", "patchcore_edge.models", page)
    page = page.replace("anomalib", "patchcore_edge")
    ours = "\n".join(test.docstring for test in EXAMPLES)
    known = re.sub(r"\s+|\.\.\. |>>> ", "", re.sub(r"(?m)^\s*\.\.\. ", "", ours))
    wanted = [one for one in statements(page) if not one.startswith("#")]
    assert len(wanted) > 40
    missing = [one for one in wanted if one not in known]
    assert not missing
