"""Properties of building and running a part: saving, loading, meta, seeds, swaps, compile, recomputation, and what it must not
change."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from components.check.cases import Violation, holds
from components.check.host import ON_PATH, Host, ids, objective, scramble, total_loss
from components.check.values import tensors
from components.core.recompute import Checkpointing
from components.core.sockets import Layer, Terms
from components.core.traits import has_after_step
from components.core.weights import initialise

ALL_NAMES_STAY = tuple(
    k for k in ON_PATH if k not in ("init", "model")
)  # an init changes every weight, a model is all there is


def equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


def first_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> str | None:
    if a.keys() != b.keys():
        return f"only one of them has {sorted(a.keys() ^ b.keys())[0]}"
    return next((name for name in a if not equal(a[name], b[name])), None)


def step(host: Host, model: nn.Module) -> Terms:
    """A forward and backward pass in training, and what parts do after it."""
    torch.manual_seed(0)
    terms = model.train()(host.batch(ids()), objective)
    total_loss(terms).backward()
    with torch.no_grad():
        for module in model.modules():
            if has_after_step(module):
                module.after_step(terms.stats)
    return terms


@holds("comes back from its state dict")
def round_trip(host: Host) -> None:
    model = host.model(dtype=torch.float32)
    step(host, model)
    other = scramble(host.build(), 0.2, seed=9)
    other.load_state_dict({name: x.clone() for name, x in model.state_dict().items()})
    a, b = tensors(host.run(model.eval(), ids())), tensors(host.run(other.eval(), ids()))
    for x, y in zip(a, b, strict=True):
        if not equal(x, y):
            raise Violation(f"loaded into another model, outputs differ by {(x - y).abs().max():.2g}: something is not in it")


def spoil(model: nn.Module) -> None:
    """Fill a model's tensors with what no part would set. New memory may hold, by chance, the very values that were just freed there."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(
                7.25 if tensor.is_floating_point() or tensor.is_complex() else True if tensor.dtype == torch.bool else -1
            )


@holds("built on meta equals built directly")
def meta_equals_direct(host: Host) -> None:
    direct = host.build()
    initialise(direct, direct.init, seed=5)
    with torch.device("meta"):
        model = host.build()
    if real := [n for n, p in model.named_parameters() if not p.is_meta]:
        raise Violation(f"{real[0]} was made on another device than the default one")
    model = model.to_empty(device=host.device)
    spoil(model)
    initialise(model, model.init, seed=5)
    if name := first_difference(direct.state_dict(), model.state_dict()):
        raise Violation(f"{name} differs: reset_parameters does not set it, or draws it")
    for x, y in zip(tensors(host.run(direct, ids())), tensors(host.run(model, ids())), strict=True):
        if not equal(x, y):
            raise Violation(f"outputs differ by {(x - y).abs().max():.2g}: something that is no parameter was lost on meta")


@holds("is the same each time")
def deterministic(host: Host) -> None:
    built = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        built.append(host.build())
    if name := first_difference(*(m.state_dict() for m in built)):
        raise Violation(
            f"{name} depends on the global random state: constants belong to reset_parameters, matrices to the init"
        )
    for training in (False, True):
        outputs = []
        for _ in range(2):
            torch.manual_seed(3)
            outputs.append(tensors(host.run(built[0].train(training), ids())))
            if not training:
                torch.randn(3)
        for x, y in zip(*outputs, strict=True):
            if not equal(x, y):
                raise Violation(f"two passes over the same input differ by {(x - y).abs().max():.2g}")
    torch.manual_seed(4)
    for x, y in zip(tensors(host.run(built[0].eval(), ids())), tensors(host.run(built[1].eval(), ids())), strict=True):
        if not equal(x, y):
            raise Violation(
                f"two builds differ by {(x - y).abs().max():.2g}: something that is no parameter is drawn at random"
            )


@holds("a swap leaves other weights as they were", *ALL_NAMES_STAY)
def swap_leaves_others(host: Host) -> None:
    models = [host.build(plain=True), host.build()]
    for model in models:
        initialise(model, model.init, seed=5)
    a, b = (dict(m.named_parameters()) for m in models)
    common = [n for n in a if n in b and a[n].shape == b[n].shape]
    if not common:
        raise Violation("no parameter has the name that it has without the part")
    own = {id(p) for part in host.parts(models[1]) for p in part.parameters()}
    for name in common:
        if id(b[name]) not in own and not torch.equal(a[name], b[name]):
            raise Violation(f"{name}, which is not the part's, starts otherwise")


@holds("writes nothing in forward")
def writes_nothing(host: Host) -> None:
    model = host.model(dtype=torch.float32).train()
    before = {path: state_of(m) for path, m in model.named_modules()}
    given: list[str] = []

    def keep(module: nn.Module, arguments: tuple[object, ...]) -> None:
        module.given = [(x, x.detach().clone()) for x in arguments if isinstance(x, Tensor)]  # type: ignore[assignment]

    def compare(module: nn.Module, arguments: tuple[object, ...], out: object) -> None:  # noqa: ARG001  the hook's arguments
        given.extend("its input is changed in place" for x, was in module.given if not equal(x, was))  # type: ignore[union-attr]
        del module.given

    for part in host.parts(model):
        part.register_forward_pre_hook(keep)
        part.register_forward_hook(compare)
    host.run(model, ids())
    for path, module in model.named_modules():
        after = state_of(module)
        if changed := [n for n in {**before[path], **after} if not alike(before[path].get(n), after.get(n))]:
            raise Violation(f"{path}.{changed[0]} is written: under checkpointing it would be written twice")
    if given:
        raise Violation(given[0])


def state_of(module: nn.Module) -> dict[str, object]:
    """Tensors, plain values and sizes of containers that the module itself holds."""
    own = {
        n: v
        for n, v in vars(module).items()
        if not n.startswith(("_forward", "_backward", "_parameters", "_modules", "_buffers"))
    }
    own |= dict(module.named_buffers(recurse=False)) | dict(module.named_parameters(recurse=False))
    return {
        n: v.detach().clone() if isinstance(v, Tensor) else len(v) if isinstance(v, (dict, list, set)) else v
        for n, v in own.items()
    }


def alike(a: object, b: object) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return equal(a, b)
    return a is b or (type(a) is type(b) and isinstance(a, (int, float, str, tuple, bool)) and a == b)


@holds("compiles without a graph break")
def compiles(host: Host) -> None:
    layers = 2 if host.subject.kind in ("stack", "sharing", "value", "model") or host.subject.declared("carries_in") else 1
    model = host.model(0.1, dtype=torch.float32, layers=layers)
    torch._dynamo.reset()
    batch = host.batch(ids())
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    try:
        assert isinstance(compiled, nn.Module)
        out = host.run(compiled, batch)
    except TorchDynamoException as e:
        raise Violation(" ".join(str(e).split("\n\n")[0].split())[:300]) from e
    for x, y in zip(tensors(out), tensors(host.run(model, batch)), strict=True):
        error = (x - y).abs().max().item()
        if not error <= 1e-4:
            raise Violation(f"compiled, outputs differ by {error:.2g}")


@holds("recomputed in the backward pass is exact")
def checkpointing_is_exact(host: Host) -> None:
    results: list[dict[str, Tensor]] = []
    ways: tuple[Checkpointing, ...] = (False, True, "selective")
    for checkpointing in ways:
        model = host.model(0.1, dtype=torch.float32)
        for module in model.modules():
            if isinstance(module, Layer):
                module.checkpointing = checkpointing
        terms = step(host, model)
        figures = {f"the gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
        figures |= {f"the buffer {n}": b for n, b in model.named_buffers()}
        results.append(figures | {f"the figure {n}": torch.as_tensor(x) for n, x in terms.stats.items()})
    for way, result in zip(ways[1:], results[1:], strict=True):
        if name := first_difference(results[0], result):
            how = ", products apart," if way == "selective" else ""
            raise Violation(f"recomputed{how} {name} differs from a pass that keeps its activations")


def counts(host: Host) -> bool:
    return has_after_step(host.subject.target)


@holds("adds up in fp32 when cast to bf16", applies=counts)
def sums_stay_wide(host: Host) -> None:
    """Values that ``after_step`` moves a little at each step must not be bf16: there they would not move at all."""
    for part in host.parts(host.build().to(torch.bfloat16)):
        for name, buffer in part.named_buffers():
            if buffer.dtype in (torch.bfloat16, torch.float16):
                raise Violation(f"{name} became {buffer.dtype}: make it with weights.Accumulating".replace("torch.", ""))
