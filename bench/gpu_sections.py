"""The sections of ``bench/gpu.py``, each in a process of its own: ``python gpu_sections.py NAME OUT DEVICE SMALL WORKER WORKERS``.

OUT gets a line of JSON for each thing that was measured: what, its figures by column, and the fault where it does not hold.
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components import build

Figures = dict[str, str]


class Page:
    """Where lines go. ``order`` keeps those of several workers in one order."""

    def __init__(self, out: Path, worker: int, workers: int) -> None:
        self.out, self.worker, self.workers, self.count = out, worker, workers, 0

    @contextmanager
    def line(self, what: str) -> Iterator[Figures]:
        """A line with the figures that are put into it; whatever is raised is its fault, and the next line goes on."""
        figures: Figures = {}
        self.count += 1
        fault = ""
        try:
            yield figures
        except Exception as e:  # a row that fails stands on the page with its fault, and the others still run
            traceback.print_exc()
            fault = f"{type(e).__name__}: {' '.join(str(e).split())[:300]}" if not isinstance(e, AssertionError) else str(e)
        order = str(self.count * self.workers + self.worker)
        with self.out.open("a", encoding="utf8") as f:
            f.write(json.dumps({"what": what, "fault": fault, "order": order, **figures}) + "\n")


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], device: str, rounds: int) -> float:
    """The median of ``rounds``, after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        wait(device)
        begun = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


# -- the battery -------------------------------------------------------------------------------------------------------

# FLOPs and parameters are those of the path that a CPU takes, and a graph break is one everywhere
ELSEWHERE = ("FLOPs", "parameters that show predicts", "compiles without", "lacks ")


def parts(page: Page, device: str, small: bool) -> None:
    from components.check import battery, judged
    from components.check.host import ON_PATH
    from components.core.registry import static_entries

    kinds = (*ON_PATH, "cache", "loss")
    names = ["norm/rms", "cache/static"] if small else [f"{k}/{n}" for k, n in sorted(static_entries()) if k in kinds]
    for part in names[page.worker :: page.workers]:
        with page.line(part) as figures:
            cases = [c for c in battery(part, device=device) if not any(words in c.name for words in ELSEWHERE)]
            verdicts = list(judged(cases))
            wrong = [v for v in verdicts if not v.holds]
            figures["properties"] = f"{len(verdicts) - len(wrong)} of {len(verdicts)}"
            assert not wrong, "; ".join(f"{v.name}: {v.text[:120]}" for v in wrong)


# -- kernels -----------------------------------------------------------------------------------------------------------

ALLOWED = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def furthest(found: Tensor, wanted: Tensor) -> float:
    return ((found.double().cpu() - wanted.double().cpu()).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()


def held_against(
    page: Page,
    what: str,
    dtype: torch.dtype,
    device: str,
    given: list[Tensor],
    kernel: Callable[..., Tensor],
    formula: Callable[..., Tensor],
    *,
    backward: bool = True,
) -> None:
    """``kernel`` of ``given`` in ``dtype`` on the device, against ``formula`` of the same rounded numbers in fp64 on the CPU."""
    with page.line(f"{what}, {str(dtype).removeprefix('torch.')}") as figures:
        figures["allowed"] = f"{ALLOWED[dtype]:.0e}"
        ours = [x.to(device, dtype).requires_grad_(backward) for x in given]
        exact = [x.to(dtype).double().requires_grad_(backward) for x in given]
        out, want = kernel(*ours), formula(*exact)
        error = furthest(out.detach(), want.detach())
        figures["output"] = f"{error:.1e}"
        if backward:
            noise = torch.randn(want.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
            found = torch.autograd.grad(out, ours, noise.to(out.device, out.dtype))
            wanted = torch.autograd.grad(want, exact, noise.to(out.dtype).double())
            worst = max(furthest(a, b) for a, b in zip(found, wanted, strict=True))
            figures["gradient"] = f"{worst:.1e}"
            error = max(error, worst)
        assert error <= ALLOWED[dtype], f"off by {error:.1e}"


def kernels(page: Page, device: str, small: bool) -> None:
    torch.set_float32_matmul_precision("highest")
    t = 128 if small else 256  # flex wants multiples of 128
    dtypes = (torch.bfloat16, torch.float16)
    for dtype in dtypes:
        for which in ("fused", "flex", "varlen"):
            attention_kernels(page, which, dtype, device, t)
    for dtype in (torch.float32, *dtypes):
        others(page, dtype, device)


def attention_kernels(page: Page, which: str, dtype: torch.dtype, device: str, t: int) -> None:
    from components.core.positions import count_positions
    from components.core.sockets import SequenceInfo
    from components.functional import attention as A
    from components.functional.attention_mask import EVERYTHING, MaskRule, MaskSpec
    from components.functional.flex import flex_attend
    from components.parts.mask.sliding_window import SlidingWindowMask

    rows, heads, groups, width = 2, 4, 2, 64
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(rows, h, t, width, generator=generator, dtype=torch.float64) for h in (heads, groups, groups)]
    ids = torch.zeros(rows, t, dtype=torch.long)
    documents = (torch.arange(t) // (t // 3)).expand(rows, -1)

    def spec(place: str, rule: MaskRule, apart: bool) -> MaskSpec:
        own = documents.to(place) if apart else None
        info = SequenceInfo(positions=count_positions(ids.to(place), own, None), documents=own)
        return MaskSpec(info, info, True, rule)

    def varlen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """All rows end to end; torch's kernel is told where each document begins."""
        from torch.nn.attention.varlen import varlen_attn

        lengths = torch.unique_consecutive(documents[0], return_counts=True)[1].repeat(rows)
        ends = torch.cat((torch.zeros(1, dtype=torch.long), lengths.cumsum(0))).to(device, torch.int32)
        k, v = (x.repeat_interleave(heads // groups, 1) for x in (k, v))
        flat = [x.transpose(1, 2).reshape(rows * t, heads, width) for x in (q, k, v)]
        known = inspect.signature(varlen_attn).parameters
        causal: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
        longest = int(lengths.max())
        out = varlen_attn(*flat, ends, ends, longest, longest, **causal)
        assert isinstance(out, Tensor)
        return out.view(rows, t, heads, width).transpose(1, 2)

    window = SlidingWindowMask(window=t // 4)
    cases = {"causal": (EVERYTHING, False, None), "window": (window, False, None), "documents": (EVERYTHING, True, None)}
    cases["soft cap"] = (EVERYTHING, False, 20.0)
    only = {"fused": ("causal", "window", "documents"), "flex": tuple(cases), "varlen": ("documents",)}[which]
    for name in only:
        rule, apart, cap = cases[name]

        def kernel(
            q: Tensor, k: Tensor, v: Tensor, rule: MaskRule = rule, apart: bool = apart, cap: float | None = cap
        ) -> Tensor:
            if which == "varlen":
                return varlen(q, k, v)
            if which == "flex":
                return flex_attend(q, k, v, spec(device, rule, apart), bias=None, scale=None, soft_cap=cap)
            return A._fused(q, k, v, spec(device, rule, apart), None, None, 0.0)

        def formula(
            q: Tensor, k: Tensor, v: Tensor, rule: MaskRule = rule, apart: bool = apart, cap: float | None = cap
        ) -> Tensor:
            return A.reference(q, k, v, spec("cpu", rule, apart).dense(torch.device("cpu")), soft_cap=cap)

        # flex has no backward pass on a CPU
        backward = not (which == "flex" and device == "cpu")
        held_against(page, f"{which}, {name}", dtype, device, given, kernel, formula, backward=backward)


def others(page: Page, dtype: torch.dtype, device: str) -> None:
    from components.core.weights import Experts
    from components.functional.cross_entropy import cross_entropy, cross_entropy_reference
    from components.functional.delta_rule import delta_rule, delta_rule_reference
    from components.functional.experts import Mixture, apply_experts, experts_reference
    from components.functional.linear_attention import linear_attention, linear_attention_reference
    from components.functional.norms import rms_norm, rms_norm_reference
    from components.functional.routing import token_choice

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def check(what: str, given: list[Tensor], kernel: Callable[..., Tensor], formula: Callable[..., Tensor]) -> None:
        held_against(page, what, dtype, device, given, kernel, formula)

    check("RMSNorm", [draw(6, 64), draw(64)], lambda x, w: rms_norm(x, w, 1e-6), lambda x, w: rms_norm_reference(x, w, 1e-6))
    targets = torch.randint(0, 300, (40,), generator=generator)
    check(
        "cross entropy",
        [draw(40, 300)],
        lambda x: cross_entropy(x, targets.to(device))[0],
        lambda x: cross_entropy_reference(x, targets)[0],
    )
    q, k, v = (nn.functional.normalize(draw(1, 2, 70, 16), dim=-1) for _ in range(3))
    decay = -draw(1, 2, 70).abs()
    check(
        "linear attention", [q, k, v, decay], lambda *x: linear_attention(*x)[0], lambda *x: linear_attention_reference(*x)[0]
    )
    beta = torch.sigmoid(draw(1, 2, 70))
    check("delta rule", [q, k, v, beta, decay], lambda *x: delta_rule(*x)[0], lambda *x: delta_rule_reference(*x)[0])
    if dtype != torch.bfloat16:
        return
    experts, choices = 4, torch.rand(24, 4, generator=generator).topk(2, -1).indices

    def run(apply: Callable[..., Tensor], place: str, x: Tensor, up: Tensor, out: Tensor) -> Tensor:
        maps = {"up": Experts(experts, 32, 64), "out": Experts(experts, 64, 32)}
        for name, weight in (("up", up), ("out", out)):
            del maps[name].weight
            maps[name].weight = weight  # type: ignore[assignment]  # no parameter: the gradient goes to what was given
        weights = torch.full((24, 2), 0.5, dtype=x.dtype, device=place)
        routing = token_choice(choices.to(place), weights, experts, None)
        return apply(x, routing, Mixture(maps, {}, lambda z, multiply: multiply("out", nn.functional.silu(multiply("up", z)))))

    given = [draw(24, 32), draw(experts, 32, 64) * 0.2, draw(experts, 64, 32) * 0.2]
    grouped = lambda *a: apply_experts(*a, way="grouped")  # noqa: E731
    check("experts, grouped", given, lambda *x: run(grouped, device, *x), lambda *x: run(experts_reference, "cpu", *x))


# -- models ------------------------------------------------------------------------------------------------------------

VOCAB, LENGTH = 96, 128  # a multiple of 128, so that masks with a structure go to flex on a GPU
GQA = {"name": "gqa", "n_heads": 4, "n_kv_heads": 2}
LLAMA = {"position": "rope", "norm": "rms", "ffn": "glu"}
MLA = {"name": "mla", "n_heads": 4, "kv_rank": 16}
MODELS: dict[str, dict[str, Any]] = {
    "GPT-2": {"position": "learned", "norm": "layer", "ffn": "mlp", "head": "tied", "attention": {**GQA, "n_kv_heads": 4}},
    "Llama": {**LLAMA, "attention": GQA},
    "Qwen 3": {**LLAMA, "attention": {**GQA, "qk_norm": "rms"}},
    "OLMo 2": {**LLAMA, "block": "output_norm", "attention": {**GQA, "qk_norm": "rms", "qk_norm_over": "full"}},
    "Mistral (window)": {**LLAMA, "attention": {**GQA, "mask": {"name": "sliding_window", "window": 16}}},
    "Gemma 2 (soft cap)": {**LLAMA, "attention": {**GQA, "soft_cap": 20.0}},
    "gpt-oss (sinks)": {**LLAMA, "attention": {**GQA, "sinks": True, "bias": ["q", "k", "v", "out"]}},
    "Mixtral (experts)": {**LLAMA, "attention": GQA, "ffn": {"name": "moe", "n_experts": 4, "d_ff": 64}},
    "DeepSeek (MLA, experts)": {**LLAMA, "attention": MLA, "ffn": {"name": "moe", "n_experts": 4, "router": "sigmoid_top_k"}},
    "Mamba 2": {**LLAMA, "position": "none", "attention": "mamba2"},
    "gated delta net": {**LLAMA, "position": "none", "attention": "gated_delta_net"},
    "T5": {"model": "encoder_decoder", "position": "t5_bias", "norm": "rms", "attention": {**GQA, "n_kv_heads": 4}},
}


def model_of(options: dict[str, Any]) -> nn.Module:
    """Its weights are the same each time."""
    from components.core.weights import initialise

    options = {"model": "decoder", **options}
    name = options.pop("model")
    model = build("model", name, vocab_size=VOCAB, d_model=64, n_layers=2, context_length=LENGTH, **options)
    initialise(model, model.init, seed=0)
    return model


def ids_of(rows: int, length: int) -> Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(0))


def losses_on(device: str, options: dict[str, Any], steps: int) -> list[float]:
    from components.core.sockets import Batch

    model, losses = model_of(options).to(device).train(), []
    loss = build("loss", "next_token", vocab_size=VOCAB)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = ids_of(4, LENGTH)
    source = Batch(ids_of(4, 16)) if options.get("model") == "encoder_decoder" else None
    batch = Batch(values, targets=values.roll(-1, 1), source=source).to(device)
    for _ in range(steps):
        terms = model(batch, loss)
        total = torch.stack([value / weight for value, weight in terms.losses.values()]).sum()
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total.item())
    return losses


def decoded_on(device: str, options: dict[str, Any], new: int) -> Tensor:
    from components.core.sockets import Batch

    model = model_of(options).to(device, torch.float64).eval()
    source = Batch(ids_of(2, 16)) if options.get("model") == "encoder_decoder" else None
    batch = Batch(ids_of(2, 8), source=source).to(device)
    decoding = build("decoding", "greedy")
    made = decoding.generate(model, batch, cache=build("cache", "growing"), max_new_tokens=new, stop_ids=())
    return made[:, -new:].cpu()


def models(page: Page, device: str, small: bool) -> None:
    torch.set_float32_matmul_precision("highest")
    steps, new = (1, 2) if small else (5, 16)
    for name, options in MODELS.items():
        with page.line(name) as figures:
            ours, theirs = (losses_on(place, options, steps) for place in (device, "cpu"))
            worst = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
            figures["losses differ by"] = f"{worst:.1e}"
            here, there = (decoded_on(place, options, new) for place in (device, "cpu"))
            figures["decoded"] = f"{int((here == there).sum())} of {there.numel()} equal"
            assert worst <= 1e-4, "losses differ"
            assert torch.equal(here, there), "texts differ"


# -- decoding with CUDA graphs -----------------------------------------------------------------------------------------


def graphs(page: Page, device: str, small: bool) -> None:
    from torch._dynamo.utils import counters

    from components.core.sockets import Batch

    new = 4 if small else 48
    for name in ("Llama",) if small else ("Llama", "GPT-2", "gated delta net"):
        with page.line(name) as figures:
            model = model_of(MODELS[name]).to(device).eval()
            torch._dynamo.reset()
            counters.clear()
            # inductor would take most of the time of a trial on a CPU
            how: dict[str, Any] = {"mode": "reduce-overhead"} if device == "cuda" else {"backend": "eager"}
            step = torch.compile(model, fullgraph=True, dynamic=False, **how)
            prompt = ids_of(1, 8).to(device)

            def write(call: Any, model: nn.Module = model, prompt: Tensor = prompt) -> tuple[Tensor, float]:
                """The text, and seconds a token after the first half, which warms up."""
                cache, found, begun = build("cache", "static", max_length=LENGTH), [prompt], 0.0
                places = torch.arange(LENGTH, device=device)[None]
                with torch.no_grad():
                    logits = model(Batch(prompt, positions=places[:, :8]), cache=cache)
                    for i in range(8, 8 + new):
                        found.append(logits[:, -1:].argmax(-1))
                        if i == 8 + new // 2:
                            wait(device)
                            begun = time.perf_counter()
                        if device == "cuda":
                            torch.compiler.cudagraph_mark_step_begin()
                        logits = call(Batch(found[-1], positions=places[:, i : i + 1]), cache=cache).clone()
                wait(device)
                return torch.cat(found, 1), (time.perf_counter() - begun) / (new - new // 2)

            text, plain = write(model)
            figures["eager"] = f"{1 / plain:.0f} tok/s"
            fast_text, fast = write(step)
            figures["compiled"] = f"{1 / fast:.0f} tok/s"
            figures["given up"] = str(counters["inductor"]["cudagraph_skips"])
            assert torch.equal(text, fast_text), "texts differ"
            assert not counters["inductor"]["cudagraph_skips"], "torch recorded no graph: its output says why"


# -- fsdp2 on one device -----------------------------------------------------------------------------------------------


def fsdp2(page: Page, device: str, small: bool) -> None:
    import components

    Path("text.txt").write_text(
        "\n\n".join(f"the {w} number {i} is here" for i in range(200) for w in ("tree", "stone", "river"))
    )
    common = [
        *("model.d_model=64", "model.n_layers=2", "model.context_length=32", "model.attention.n_heads=4"),
        *("tokenizer=byte", "data=text", "data.path=text.txt", "task.batch_size=8", "task.samples=0", "task.judged_samples=0"),
        *(f"trainer.max_steps={1 if small else 5}", "trainer.devices=1", "task.validation_batches=2"),
        f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'}",
    ]
    tried = [("32-true", 1e-5), ("bf16-mixed", 1e-2)]
    if device == "cuda" and torch.cuda.get_device_capability() >= (8, 9) and find_spec("torchao"):
        tried.append(("fp8-mixed", 2e-2))
    for precision, allowed in tried:
        if small and precision != "32-true":
            continue
        losses: dict[str, float] = {}
        for strategy in ("auto", "fsdp2"):
            with page.line(f"{strategy}, {precision}") as figures:
                words = [*common, f"trainer.strategy={strategy}", f"trainer.precision={precision}"]
                losses[strategy] = float(components.train("llama_tiny", words, quiet=True).figures["val_loss"])
                figures["loss"] = f"{losses[strategy]:.5f}"
                if strategy == "fsdp2" and "auto" in losses:
                    figures["difference"] = f"{abs(losses['fsdp2'] - losses['auto']):.1e}"
                    assert abs(losses["fsdp2"] / losses["auto"] - 1) <= allowed, (
                        "it trains otherwise than one device without it"
                    )


# -- speed -------------------------------------------------------------------------------------------------------------


def speed(page: Page, device: str, small: bool) -> None:
    import nanogpt
    import peers

    sizes = (2, 6, 48, 32, 65, 2) if small else (12, 12, 768, 1024, 50304, 8)
    peers.L, peers.H, peers.D, peers.T, peers.V, peers.B = sizes
    # as fast as each can be: TF32 where fp32 is asked for
    torch.set_float32_matmul_precision("high")
    options = peers._parts("learned", "tied", peers.ALL)
    transformers = peers.PEERS["transformers"]

    def nano() -> nn.Module:
        return nanogpt.NanoGPT(peers.V, peers.T, peers.D, peers.L, peers.H)

    known: dict[str, tuple[Any, ...]] = {
        "nanoGPT": (nano, lambda m, x, y: m(x, y), lambda m, x, n: m.generate(x, n), nanogpt.weights_for_ours),
        "transformers": (transformers.build, transformers.loss, transformers.generate, transformers.weights),
    }
    for name, (build_theirs, their_loss, their_generate, weights) in known.items():
        sides: dict[str, nn.Module] = {}
        with page.line(f"{name}: the same function") as figures:
            torch.manual_seed(0)
            theirs = build_theirs()
            ours = peers.ours(options)
            ours.load_state_dict(weights(theirs))
            x = torch.randint(0, peers.V, (peers.B, peers.T), generator=torch.Generator().manual_seed(0)).to(device)
            y = x.roll(-1, 1)
            placed = {"theirs": theirs.to(device), "ours": ours.to(device)}
            losses = {"theirs": their_loss, "ours": peers.our_loss}
            with torch.no_grad():
                found = {side: losses[side](m.eval(), x[:1], y[:1]).item() for side, m in placed.items()}
            figures.update({side: f"{value:.5f}" for side, value in found.items()})
            assert abs(found["ours"] / found["theirs"] - 1) <= 1e-3, "losses differ: nothing is timed"
            sides = placed
        if sides:
            timed(page, name, sides, losses, {"theirs": their_generate, "ours": peers.our_generate}, (x, y), device, small)


def timed(
    page: Page,
    name: str,
    sides: dict[str, nn.Module],
    losses: dict[str, Callable[..., Tensor]],
    generate: dict[str, Callable[..., Tensor]],
    xy: tuple[Tensor, Tensor],
    device: str,
    small: bool,
) -> None:
    x, y = xy
    rounds, new = (1, 2) if small else (5, 64)

    def note(figures: Figures, speeds: dict[str, float]) -> None:
        figures.update({side: f"{value:,.0f} tok/s" for side, value in speeds.items()})
        figures["ours / theirs"] = f"{speeds['ours'] / speeds['theirs']:.2f}"

    for precision in ("bf16", "fp32"):
        with page.line(f"{name}: training, {precision}") as figures:
            speeds = {}
            for side, model in sides.items():
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

                def step(
                    model: nn.Module = model,
                    side: str = side,
                    optimizer: torch.optim.Optimizer = optimizer,
                    half: bool = precision == "bf16",
                ) -> None:
                    with torch.autocast(device, torch.bfloat16, enabled=half):
                        loss = losses[side](model.train(), x, y)
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)

                speeds[side] = x.numel() / seconds(step, device, rounds)
                del optimizer
            note(figures, speeds)
    with page.line(f"{name}: greedy decoding, fp32") as figures:
        speeds = {}
        for side, model in sides.items():
            model.eval()
            prompt = x[:1, : 4 if small else 32]
            speeds[side] = new / seconds(
                lambda side=side, model=model, prompt=prompt: generate[side](model, prompt, new), device, 2
            )
        note(figures, speeds)


SECTIONS = {"parts": parts, "kernels": kernels, "models": models, "graphs": graphs, "fsdp2": fsdp2, "speed": speed}

if __name__ == "__main__":
    name, out, device, small, worker, workers = sys.argv[1:]
    SECTIONS[name](Page(Path(out), int(worker), int(workers)), device, small == "1")
