"""A decoder as a program of torch.export and of ONNX: the model's logits at any batch and length, or one line that names the part."""

from __future__ import annotations

import pytest
import torch
from hosts import VOCAB, parts
from torch import nn

from components.check.host import INSIDE, SOCKETS, Host
from components.check.subject import subject_of
from components.core import registry
from components.core.errors import UserError
from components.core.sockets import Batch
from components.interop.program import onnx_of, program_of

CONTEXT = 300  # beyond every block and chunk of the eager kernels
SHAPES = ((4, 23), (1, 2), (2, 271))
# parts that a decoder of tokens may have; those that belong to encoders are hosted there and left out
IN_DECODERS = [
    p
    for p in parts(*(k for k in (*SOCKETS, *INSIDE) if k not in ("init", "pooling")))
    if not registry.entry(*p.split("/")).preset_of
]
# one of each family
FAMILIES = {
    "GPT": ("position/learned", {}),
    "Llama": ("attention/gqa", {"model.ffn": "glu", "model.norm": "rms", "model.position": "rope"}),
    "windows": ("mask/sliding_window", {}),
    "ALiBi": ("position/alibi", {}),
    "MLA": ("attention/mla", {}),
    "experts": ("ffn/moe", {}),
    "matrix recurrence": ("attention/gated_delta_net", {}),
    "state space": ("attention/mamba2", {}),
    "gates": ("attention/lstm", {}),
    "matrix LSTM": ("attention/mlstm", {}),
    "scalar LSTM": ("attention/slstm", {"conv_size": 4}),
}


def small(part: str, **options: object) -> nn.Module:
    host = Host.of(subject_of(part, options))
    return host.model(
        0.1, dtype=torch.float32, length=CONTEXT, layers=1 if not part.startswith(("stack/", "sharing/", "value/")) else 2
    )


def ids(shape: tuple[int, int]) -> torch.Tensor:
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(5))


def exports(part: str) -> bool:
    """Whether the part's model became a program that gives its logits; the other outcome is a line that names a part."""
    if Host.of(subject_of(part)).wiring != "decoder":
        return False
    model = small(part)
    try:
        program = program_of(model, VOCAB, CONTEXT, part).module()
    except UserError as e:
        said = str(e)
    else:
        said = ""
    if said:  # what nobody could export; all else does
        assert "reads numbers" in said or "gives no tokens" in said, said
        return False
    with torch.no_grad():
        for shape in SHAPES:
            torch.testing.assert_close(program(ids(shape)), model(Batch(ids(shape))), rtol=1e-5, atol=1e-5)
    return True


@pytest.mark.parametrize("part", ["mask/sliding_window", "attention/gru", "attention/mlstm", "attention/slstm", "ffn/moe"])
def test_a_part_exports(part):
    assert exports(part)


@pytest.mark.slow  # every part of a decoder is traced: minutes
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", sorted({p.split("/")[0] for p in IN_DECODERS}))
def test_every_part_exports(kind):
    known = [p for p in IN_DECODERS if p.startswith(f"{kind}/")]
    left = {p for p in known if not exports(p)}
    assert left <= {
        "attention/both_ways", "head/classification", "head/regression", "router/expert_choice", "embedding/values", "embedding/patches", "head/value", "head/none",
    }  # fmt: skip


@pytest.mark.slow  # the exporter of ONNX takes five seconds for each: a minute; one that is in the common suite is walked in docs/how_to/serve.md
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_said_in_onnx(family):
    runtime = pytest.importorskip("onnxruntime")
    model = small(FAMILIES[family][0], **FAMILIES[family][1])
    session = runtime.InferenceSession(onnx_of(program_of(model, VOCAB, CONTEXT, family), model, VOCAB, CONTEXT, family))
    for shape in SHAPES:
        with torch.no_grad():
            ours = model(Batch(ids(shape)))
        (theirs,) = session.run(["logits"], {"ids": ids(shape).numpy()})
        torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=1e-4, atol=1e-4)


class Branching(nn.Module):
    """A norm that looks at its numbers."""

    identity = False

    def __init__(self, part_path: str) -> None:
        super().__init__()
        self.part_path = part_path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Counting(Branching):
    """A norm that is written down for the length of the example."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.shape[1])


@pytest.mark.parametrize("norm", [Branching, Counting])
def test_what_no_program_can_hold_is_refused_with_the_part(norm):
    model = small("attention/none")
    model.stack.final_norm = norm("stack.final_norm")
    with pytest.raises(UserError) as refused:
        program_of(model, VOCAB, CONTEXT, "run")
    assert str(refused.value).startswith("run: ")
    assert len(refused.value.line().splitlines()) == 1
    if norm is Branching:
        assert "stack.final_norm (Branching) cannot be exported" in str(refused.value)


def test_a_program_that_differs_is_refused(monkeypatch):
    model = small("attention/none")
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: False)
    ffn = model.stack.layers[0].block
    forward = ffn.forward
    monkeypatch.setattr(ffn, "forward", lambda s, info: forward(s if torch.compiler.is_compiling() else s + 1, info))
    with pytest.raises(UserError, match="differs from the model by"):
        program_of(model, VOCAB, CONTEXT, "run")


def test_what_is_no_decoder_of_tokens_is_refused():
    for part in ("head/classification", "embedding/patches"):
        host = Host.of(subject_of(part))
        with pytest.raises(UserError, match=r"gives no tokens|sees later|reads numbers"):
            program_of(host.model(dtype=torch.float32), VOCAB, CONTEXT, "run")
