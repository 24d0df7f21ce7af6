"""A decoder as a program that needs none of its code: of ``torch.export`` (``.pt2``), or of ONNX.

Ids (batch, length) in, logits (batch, length, vocabulary) out, for any batch and any length up to the context length.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import BinaryIO

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from components.core.errors import UserError
from components.core.extras import lacking
from components.core.sockets import Batch
from components.core.traits import provides, why_cannot_generate

SUFFIXES = (".pt2", ".onnx")
EXAMPLE = (2, 7)  # the program is traced at this batch and length, and compared at others
CLOSE = {".pt2": 1e-5, ".onnx": 1e-4}  # of the largest logit, at least of 1
MOST = 2**31 - 2**20  # bytes of an ONNX file: protobuf counts them in 31 bits
INSTEAD = "export the run as a folder: --to FOLDER"


class Logits(nn.Module):
    """ids (B, T) -> logits (B, T, V) of a model that takes a batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(Batch(ids))


def program_of(model: nn.Module, vocab_size: int, context_length: int, where: str) -> ExportedProgram:
    """The program of a decoder in eval mode, compared with it at other batches and lengths.

    Args:
        where: what errors begin with.

    Raises:
        UserError: the model is no decoder of tokens, or a part of it does something that a program for all lengths cannot hold.
    """
    if why := why_cannot_generate(model):
        raise UserError(where, f"{why}: a program takes ids and gives logits of the next tokens", INSTEAD)
    if reading := [m for m in model.modules() if provides(m, "values")]:
        raise UserError(where, f"{named(reading[0])} reads numbers, and a program takes ids", INSTEAD)
    if context_length < EXAMPLE[1]:
        raise UserError(
            where, f"model.context_length={context_length} is shorter than {EXAMPLE[1]}, at which programs are traced", INSTEAD
        )
    shapes = {"ids": {0: Dim("batch", min=1), 1: Dim("length", min=1, max=context_length)}}
    try:
        with quiet():
            made = torch.export.export(
                Logits(model), (_ids(EXAMPLE, vocab_size),), dynamic_shapes=shapes, strict=False
            )  # fmt: skip
    except Exception as e:  # whatever a part's code raises where its sizes are symbols
        raise UserError(where, f"{_part_of(e.__traceback__) or 'the model'} cannot be exported: {reason(e)}", INSTEAD) from e
    program = made.module()
    with quiet():
        compare(program, model, vocab_size, context_length, where, ".pt2")
    return made


def compare(
    program: Callable[[Tensor], Tensor], model: nn.Module, vocab_size: int, context_length: int, where: str, suffix: str
) -> None:
    """UserError unless the program gives the model's logits at batches and lengths other than the example's."""
    for shape in ((3, min(11, context_length)), (1, 1), (1, min(300, context_length))):
        ids = _ids(shape, vocab_size)
        theirs = model(Batch(ids))
        try:
            ours = program(ids)
        except Exception as e:  # what stands in for a guard of torch or a fault of a runtime
            raise UserError(where, f"its program fails at {shape[0]} x {shape[1]} ids: {reason(e)}", INSTEAD) from e
        off = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1.0))
        if ours.shape != theirs.shape or not off <= CLOSE[suffix]:
            raise UserError(where, f"its program differs from the model by {off:.1g} at {shape[0]} x {shape[1]} ids", INSTEAD)


def onnx_of(made: ExportedProgram, model: nn.Module, vocab_size: int, context_length: int, where: str) -> bytes:
    """The content of an ONNX file, run by onnxruntime and compared with the model.

    Raises:
        UserError: a package of the extra ``onnx`` is missing, an operator has no form there, or the file would be larger than protobuf can count.
    """
    runtime = needed(where)
    size = sum(t.numel() * t.element_size() for t in made.state_dict.values())
    if size > MOST:
        raise UserError(where, f"has {size:,} bytes of weights, and an ONNX file holds 2 GB", "export it with --to NAME.pt2")
    try:
        with quiet():
            written = torch.onnx.export(made, (), dynamo=True, verbose=False, input_names=["ids"], output_names=["logits"])
        assert written is not None
        content = written.model_proto.SerializeToString()
    except Exception as e:  # whatever the exporter raises for an operator without a form in ONNX
        raise UserError(where, f"cannot be said in ONNX: {reason(e)}", "export it with --to NAME.pt2") from e
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, torch.get_num_threads()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    with quiet():
        compare(
            lambda ids: torch.from_numpy(session.run(None, {"ids": ids.numpy()})[0]),
            model, vocab_size, context_length, where, ".onnx",
        )  # fmt: skip
    return content


def needed(where: str) -> ModuleType:
    """onnxruntime, once it is known that all that ONNX needs is there."""
    try:
        import onnx  # noqa: F401  the exporter takes it
        import onnxruntime
        import onnxscript  # noqa: F401  the exporter takes it
    except ImportError as e:
        raise lacking(where, "is an ONNX file", (e.name or "onnx").split(".")[0]) from None
    return onnxruntime


def write_program(made: ExportedProgram, stream: BinaryIO) -> None:
    """A ``.pt2`` file, which ``torch.export.load`` reads."""
    with quiet():
        torch.export.save(made, stream)  # type: ignore[arg-type]  # a stream that is no BytesIO serves as well


@contextmanager
def quiet() -> Iterator[None]:
    """No gradients, and none of what exporters log and warn about: what matters becomes an error here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def reason(error: BaseException) -> str:
    """The first lines of an error of torch, which may have hundreds."""
    said = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    return " ".join(said[:2]) or type(error).__name__


def named(part: nn.Module) -> str:
    """``model.layers.0.attention (GQA)``: where a part stands, and its class."""
    path = getattr(part, "part_path", "")
    return f"{path} ({type(part).__name__})" if path else type(part).__name__


def _part_of(trace: TracebackType | None) -> str:
    """The innermost module of ours whose code an error went through."""
    found = ""
    while trace is not None:
        module = trace.tb_frame.f_locals.get("self")
        if (
            isinstance(module, nn.Module)
            and trace.tb_frame.f_code.co_name == "forward"
            and not type(module).__module__.startswith("torch.")
        ):
            found = named(module)
        trace = trace.tb_next
    return "" if found.startswith("Logits") else found


def _ids(shape: tuple[int, int], vocab_size: int) -> Tensor:
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(sum(shape)))
