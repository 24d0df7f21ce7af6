"""The battery has teeth: every deliberately faulty part is caught by the property that names its fault, and by no other than follows from it."""

from __future__ import annotations

import inspect

import faulty_parts as f
import pytest

from components.check import assert_part, battery, judged
from components.core.errors import UserError

SOUND = [
    ("attention", f.Attention),
    ("attention", f.Leaky),
    ("attention", f.Bidirectional),
    ("ffn", f.FeedForward),
    ("ffn", f.WithReference),
    ("norm", f.Norm),
]
STEPS, CHUNKS, PADDED, PACKED, BACK, BEYOND = CACHED = (
    "cached token by token equals the full pass",
    "cached in chunks equals the full pass",
    "cached with left padding equals the full pass",
    "cached with documents equals the full pass",
    "cache goes back and changes rows",
    "cached beyond the context equals the full pass",
)
FUTURE, DOCUMENTS, LEFT, RIGHT = (
    "sees no future",
    "keeps documents apart",
    "ignores padding on the left",
    "ignores padding on the right",
)
NEIGHBOURS, WRITES, SAME = "ignores batch neighbours", "writes nothing in forward", "is the same each time"
META, SAVED, RECOMPUTED = (
    "built on meta equals built directly",
    "comes back from its state dict",
    "recomputed in the backward pass is exact",
)
FINITE, AUTOCAST = "is finite in fp32 and bf16", "trains under bf16 autocast"
# kind, part, the property that names its fault, and which others fail with it
FAULTY = [
    ("ffn", f.SeesOneAhead, FUTURE, (DOCUMENTS, RIGHT, *CACHED)),
    ("attention", f.IgnoresDocuments, DOCUMENTS, (PACKED,)),
    ("attention", f.IgnoresPadding, LEFT, (PADDED,)),
    ("attention", f.IgnoresPaddingOfTheMemory, "ignores padding of the source, as cross attention", ()),
    ("attention", f.StateRunsThroughPadding, LEFT, ()),
    ("mask", f.OffByOneAtTheEdge, STEPS, CACHED),
    ("mask", f.MiscountsCells, "counts the cells that it shows", ()),
    ("attention", f.RotatesValues, "goes by distance", ()),
    ("ffn", f.WidensBf16, "keeps shape and dtype", (FINITE,)),
    ("ffn", f.Overflows, FINITE, (AUTOCAST,)),
    ("ffn", f.DeadParameter, "every parameter has a gradient", ()),
    ("attention", f.ReportsHalf, "executes the FLOPs that it reports", ()),
    ("ffn", f.CallsTwiceReportsOnce, "executes the FLOPs that it reports", ()),
    ("attention", f.PromisesTooMuch, "FLOPs of the algorithm are at most those executed", ()),
    ("norm", f.NormsOverRows, NEIGHBOURS, (PADDED, BACK)),
    ("norm", f.NormsOverRowsInTraining, NEIGHBOURS, ()),
    ("ffn", f.CountsInForward, WRITES, (RECOMPUTED,)),
    ("ffn", f.CountsInBf16, "adds up in fp32 when cast to bf16", ()),
    ("ffn", f.GrowsWithCalls, RECOMPUTED, (WRITES, SAME, SAVED)),
    ("norm", f.DrawsInConstructor, SAME, (META,)),
    ("ffn", f.DrawsOutsideTorch, SAME, (RECOMPUTED,)),
    ("ffn", f.AsksAFigure, "compiles without a graph break", ()),
    ("ffn", f.KeepsATensorAside, SAVED, ()),
    ("ffn", f.LosesItsTableOnMeta, META, ()),
    ("ffn", f.MakesParametersLate, "has the parameters that show predicts", (SAVED, WRITES)),
    ("ffn", f.ChangesItsInput, WRITES, ()),
    ("attention", f.WritesOverItsState, BACK, ()),
    ("attention", f.ForgetsItsState, STEPS, CACHED),
    ("position", f.CountsFromZero, DOCUMENTS, (LEFT, *CACHED)),
    ("norm", f.ClaimsToNeedTheBatch, "lacks batch_independent, as declared", ()),
    ("attention", f.ClaimsNoCache, "lacks cacheable, as declared", ()),
    ("norm", f.ClaimsNonsense, "lacks patience, as declared", ()),
    ("ffn", f.AnotherFormula, "equals its reference", ()),
    ("sampler", f.RefusesEverything, "leaves a token to draw", ()),
    ("sampler", f.ComparesRows, NEIGHBOURS, ("counts no padding",)),
    ("sampler", f.ReadsPadding, "counts no padding", ()),
    ("schedule", f.DrawsBelowZero, "is finite and never negative", ()),
    ("schedule", f.CountsItsCalls, "is a function of the step", ()),
    ("optimizer", f.Climbs, "goes down a quadratic bowl", ()),
    ("optimizer", f.ForgetsItsMomentum, SAVED, ()),
    ("init", f.DrawsFromTheWorld, "draws from its generator alone", (META, SAME)),
    ("init", f.LeavesTheHead, "gives every matrix a value of full shape in fp32", (META, SAME)),
    ("cache", f.KeepsTheOrderOfRows, BACK, ()),
    ("adapter", f.StartsAwake, "starts as the model without it", ("trains only its own weights", "merges exactly")),
    ("tokenizer", f.SwallowsSpaces, "gives text back", ()),
    ("tokenizer", f.ForgetsNothing, "lacks round_trip, as declared", ()),
    ("loss", f.CountsPadding, "counts only what is asked for", ()),
    ("evaluation", f.LooksAtTheAnswer, "is at chance for a model that knows nothing", ()),
    ("evaluation", f.DrawsUnseeded, "gives the same figures under the same seed", ()),
    ("evaluation", f.AsksInSecret, "asks for what it declares", ()),
    (
        "evaluation",
        f.PrefersTheWrong,
        "is right for a model that knows everything",
        ("declares its figures, and which way each is better",),
    ),
    ("evaluation", f.SaysTheOtherWay, "declares its figures, and which way each is better", ()),
    ("evaluation", f.HidesAFigure, "declares its figures, and which way each is better", ()),
    ("evaluation", f.PromisesAFigure, "declares its figures, and which way each is better", ()),
    ("evaluation", f.DeclaresNoFigure, "declares its figures, and which way each is better", ()),
    ("evaluation", f.SaysNoError, "says how sure its figures are", ()),
]
SLOW = "compiles without a graph break"


def broken(part: type, kind: str, *, compiled: bool = False) -> dict[str, str]:
    """{property: what it says} of those that do not hold."""
    cases = [c for c in battery(part, kind=kind) if compiled or c.name != SLOW]
    return {v.name: v.text for v in judged(cases) if not v.holds}


@pytest.mark.parametrize(("kind", "part"), SOUND, ids=lambda x: getattr(x, "__name__", x))
def test_sound_parts_hold(kind, part):
    assert broken(part, kind, compiled=True) == {}


@pytest.mark.parametrize(("kind", "part", "name", "also"), FAULTY, ids=[case[1].__name__ for case in FAULTY])
def test_each_fault_is_caught_by_name(kind, part, name, also):
    found = broken(part, kind, compiled=name == SLOW)
    assert name in found
    assert found[name], "it says what it measured"
    assert set(found) <= {name, *also}, found


def test_every_faulty_part_is_among_them():
    parts = {c for c in vars(f).values() if inspect.isclass(c) and c.__module__ == f.__name__}
    assert parts == {case[1] for case in (*SOUND, *FAULTY)} | {f.UndeclaredParameter, f.DeafToThePaddingOfTheMemory}
    assert len(FAULTY) >= 15


def test_what_nobody_declares_is_said_before_anything_else():
    """Nothing can be built with it, so that every property says the same."""
    found = broken(f.UndeclaredParameter, "norm")
    assert "attention_norm.weight: no part declares its axes" in found["every parameter has a role"]
    assert len(set(found.values())) == 1


def test_a_measured_figure_says_how_much():
    assert broken(f.SeesOneAhead, "ffn")[FUTURE].startswith("position 6 changes by 0.")


def test_a_lack_is_proved_where_the_property_is_needed():
    cases = {c.name: c for c in battery(f.Bidirectional, kind="attention")}
    assert "lacks causal, as declared" in cases
    assert FUTURE not in cases
    assert not set(CACHED) & set(cases)
    assert cases["lacks causal, as declared"]().startswith("sees no future: position 6 changes by ")


def test_assert_part_names_all_that_is_wrong():
    assert_part("norm/rms")
    with pytest.raises(AssertionError, match="the buffer") as e:
        assert_part(f.CountsInForward, kind="ffn")
    assert {WRITES, RECOMPUTED} == {line.strip().split(":")[0] for line in str(e.value).splitlines()[1:]}


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("norm/rsm", (), "did you mean 'rms'"),
        ("norm", (), "KIND/NAME or package.module:Class"),
        ("norm/rms", ("esp=1",), "did you mean 'eps'"),
        ("norm/rms", ("eps=-1",), "out of range"),
        ("norm/rms", ("eps",), "give option=value"),
        ("faulty_parts:Nrom", (), "did you mean 'Norm'"),
        ("no_such_module:Norm", (), "there is no module 'no_such_module'"),
        ("faulty_parts:Norm", (), '@register("KIND", "NAME")'),
        ("decoding/greedy", (), "there is no battery for a decoding"),
    ],
)
def test_a_users_mistake_says_what_instead(what, options, said):
    with pytest.raises(UserError) as e:
        battery(what, options)
    assert said in str(e.value)
