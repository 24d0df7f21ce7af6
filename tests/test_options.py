"""Options that a base says for all below it: read from source and live alike, set before ``__init__``, in copies as well."""

from __future__ import annotations

import abc
import ast
import copy
import importlib
import inspect
import io
import pickle
import shutil
import sys
import types
import typing
from typing import Annotated, ClassVar, Literal, Protocol

import pytest
import torch
from torch import nn

from components import build
from components.core import index, option_types, registry
from components.core.errors import UserError
from components.core.option_types import Fraction, Path, Positive, Range, parse_type
from components.core.options import Options
from components.core.signature import Signature
from components.core.sockets import Maker, Place, make
from components.core.source import Sources
from components.functional import activations

HEAD = "from __future__ import annotations\n"
BASES = f'''{HEAD}
from typing import ClassVar, Literal

from torch import nn

from components.core.option_types import Positive as P, Probability
from components.core.options import Options

Shape = Literal["round", "square"]


class Warm(Options):
    """Warm.

    Args:
        warmup: share of the run.
        shape: of the rise.
    """

    unit: ClassVar[str] = "step"
    _private: int = 3
    needs = {{"data": ("text",)}}
    late: nn.Module
    warmup: Probability = 0.02
    shape: Shape = "round"


class Built(nn.Module):
    """Built.

    Args:
        width: of each.
        heads: how many.
    """

    def __init__(self, dim: int, depth: int = 1, *, width: P | None = None, heads: P = 2) -> None:
        super().__init__()
        self.width, self.heads = width, heads
'''
PART = f'''"""A part in another file."""
{HEAD}
from typing import Literal

from components.core import option_types
from lab import bases
from lab.bases import Built, Shape as Form, Warm as Rising


class Part(Rising, Built):
    """Part.

    Args:
        times: how often.
        heads: fewer than usual.
    """

    warmup = 0.5
    times: option_types.Positive = 3
    forms: tuple[Form, ...] | None = None


class Below(Part):
    """Below.

    Args:
        own: of this one.
        given: of the function.
    """

    own: dict[str, int] = {{"a": 1}}
    shape: bases.Shape = "square"

    def __init__(self, dim: int, *, given: Literal["x", "y"] = "x") -> None:
        super().__init__(dim, heads=5)
        self.given = given
'''


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """(name, class) -> (signature read from source, the live class), of a package of two files."""
    folder = tmp_path / "lab"
    folder.mkdir()
    for name, text in (("__init__", ""), ("bases", BASES), ("part", PART)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    sources = Sources({"lab": folder, "components": index.CORE.parent})

    def both(module: str, name: str):
        live = getattr(importlib.import_module(f"lab.{module}"), name)
        there = sources.module(f"lab.{module}")
        return Signature.of_node(there.defined[name], there), live

    yield both
    for name in [n for n in sys.modules if n.split(".")[0] == "lab"]:
        del sys.modules[name]


@pytest.mark.parametrize(("module", "name"), [("bases", "Warm"), ("bases", "Built"), ("part", "Part"), ("part", "Below")])
def test_source_and_class_agree(lab, module, name):
    written, live = lab(module, name)
    assert Signature.of_class(live) == written


def test_what_a_part_has_of_bases_in_other_files(lab):
    written, _ = lab("part", "Part")
    options = written.options
    assert list(options) == ["width", "heads", "warmup", "shape", "times", "forms"]  # the most basic class first
    assert written.sizes == {"dim": True, "depth": False}
    assert written.declared == {"needs": {"data": ["text"]}}
    assert options["warmup"].default == 0.5
    assert options["warmup"].type == parse_type("Probability")
    assert options["shape"].type.allowed == ("round", "square")
    assert options["width"].type == parse_type("Positive | None"), "a range under another name keeps its bound"
    assert (options["warmup"].doc, options["heads"].doc) == ("share of the run.", "fewer than usual.")


def test_two_levels_and_a_constructor_of_its_own(lab):
    written, live = lab("part", "Below")
    assert list(written.options) == ["warmup", "shape", "times", "forms", "own", "given"]
    assert written.sizes == {"dim": True}
    assert written.options["shape"].default == "square"
    part = live(4, times=7, given="y")
    assert (part.times, part.warmup, part.shape, part.given, part.heads) == (7, 0.5, "square", "y", 5)
    assert live(4).own is not live(4).own
    assert list(inspect.signature(live).parameters) == ["dim", "warmup", "shape", "times", "forms", "own", "given"]
    assert "given" not in inspect.signature(part.forward).parameters


def test_a_part_of_a_plugin_below_a_base_of_ours():
    from components.parts.norm.rms import RMSNorm

    class Theirs(Options, RMSNorm):
        """Theirs.

        Args:
            extra: of their own.
        """

        extra: Positive = 3

    signature = Signature.of_class(Theirs)
    assert list(signature.options) == [*Signature.of_class(RMSNorm).options, "extra"]
    assert all(o.doc for o in signature.options.values())
    norm = Theirs(8, extra=9, eps=0.5)
    assert (norm.extra, norm.eps) == (9, 0.5)


class Plain(Options):
    floor: Fraction = 0.25
    words: list[str] = []


class OfModule(Plain, nn.Module):
    norm: str = "inherit"

    def __init__(self, dim: int) -> None:
        self.seen = self.norm
        super().__init__()
        self.norm = nn.LayerNorm(dim)


class OfOptimizer(Plain, torch.optim.Optimizer):
    lr: float = 0.5

    def __init__(self, weights) -> None:
        super().__init__(weights, {"lr": self.lr})


def test_a_module_may_take_the_name_of_a_field():
    part = OfModule(4, norm="rms")
    assert part.seen == "rms"
    assert isinstance(part.norm, nn.LayerNorm)
    assert list(part.state_dict()) == ["norm.weight", "norm.bias"]


def test_copies_have_the_values():
    for part in (Plain(floor=0.5), OfModule(4, floor=0.5)):
        for other in (copy.copy(part), copy.deepcopy(part), pickle.loads(pickle.dumps(part))):
            assert (other.floor, other.words) == (0.5, [])
    held = io.BytesIO()
    torch.save(OfModule(4, words=["a"]), held)
    held.seek(0)
    assert torch.load(held, weights_only=False).words == ["a"]
    assert OfOptimizer([nn.Parameter(torch.ones(2))], lr=0.1).param_groups[0]["lr"] == 0.1


def test_lightning_modules_abstract_classes_and_protocols():
    from lightning.pytorch import LightningModule

    class Kept(Protocol):
        def go(self) -> int: ...

    class Task(Plain, LightningModule):
        pass

    class Both(Plain, Kept, abc.ABC):
        def go(self) -> int:
            return len(self.words)

    assert Task(floor=0.75).floor == 0.75
    assert Both(words=["a"]).go() == 1


def test_unknown_words_are_pythons_own_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        OfModule(4, other=1)
    with pytest.raises(TypeError):
        Plain(other=1)


def test_a_name_is_a_field_or_a_parameter_and_not_both():
    with pytest.raises(UserError, match="Twice: 'floor' is a field and a parameter of __init__; say it once"):

        class Twice(Plain):
            def __init__(self, *, floor: float = 0.0) -> None: ...

    text = "from components.core.options import Options\nclass A(Options):\n    x: int = 1\n    def __init__(self, *, x: int = 2): ..."
    module = Sources({"components": index.CORE.parent})
    module.read[index.CORE / "twice.py"] = there = type(module.module("components.core.index"))(
        "twice", ast.parse(text), module
    )
    with pytest.raises(ValueError, match="'x' is a field and a parameter of __init__; say it once"):
        Signature.of_node(there.defined["A"], there)


def test_a_field_has_a_literal_default():
    with pytest.raises(UserError, match=r"Wrong: rate: .* is not a literal.*says ClassVar"):

        class Wrong(Options):
            rate: object = object()

    with pytest.raises(UserError, match=r"floor: .* is not a literal"):

        class Hides(Plain):
            @property
            def floor(self) -> float:
                return 0.0

    class Constant(Options):
        rate: ClassVar[object] = object()

    assert Signature.of_class(Constant).options == {}


def test_ranges_are_types_that_typing_reads():
    def part(*, n: Positive = 1, file: Path | None = None) -> None: ...

    hints = typing.get_type_hints(part, include_extras=True)
    assert hints["n"].__metadata__ == (Range(1, None),)
    assert typing.get_type_hints(part)["n"] is int
    assert option_types.RANGES["Depth"] == ("int", 1, 2048)
    assert option_types.RANGES["Probability"] == ("float", 0.0, 1.0)


Few = Annotated[int, Range(2, high=4)]
Tone = Literal["high", "low"]
Quantity = Positive


def test_live_names_keep_their_bounds():
    def part(*, few: Few = 2, tone: Tone | None = None, quantity: Quantity = 1, file: Path = "a") -> None: ...

    options = Signature.of_class(part).options
    assert options["few"].type.described() == "int >= 2 and <= 4"
    assert options["tone"].type.described() == "one of 'high', 'low' or null"
    assert options["quantity"].type == parse_type("Positive")
    assert options["file"].type == parse_type("Path")
    part.__annotations__.update(few=Few, tone=Tone | None, quantity=Positive, file=Path)  # as without the future import
    assert Signature.of_class(part).options == options


def test_the_index_is_stale_when_a_base_changes(tmp_path, monkeypatch):
    """A base lies in a file that registers nothing."""
    monkeypatch.setenv("COMPONENTS_CACHE", str(tmp_path / "cache"))
    here = tmp_path / "components"
    folder = here / "parts" / "norm"
    folder.mkdir(parents=True)
    base = folder / "_base.py"
    base.write_text(f"{HEAD}from components.core.options import Options\nclass Base(Options):\n    eps: float = 0.1\n")
    (folder / "one.py").write_text(
        f"{HEAD}from components.parts.norm._base import Base\n@register('norm', 'one')\nclass One(Base):\n    '''One.'''\n"
    )
    (here / "core").mkdir()
    for name in (*index.READERS,):
        (here / "core" / f"{name}.py").write_text((index.CORE / f"{name}.py").read_text())
    monkeypatch.setattr(index, "CORE", here / "core")
    monkeypatch.setattr(index, "HOMES", (here / "parts",))
    reads = []
    monkeypatch.setattr(index, "read_sources", lambda *a, was=index.read_sources: reads.append(1) or was(*a))
    assert index.own_entries()["norm", "one"].signature.options["eps"].default == 0.1
    index.own_entries()
    assert len(reads) == 1
    base.write_text(base.read_text().replace("0.1", "0.2"))
    assert index.own_entries()["norm", "one"].signature.options["eps"].default == 0.2
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("named", "table"), [(activations.Activation, activations.ACTIVATIONS), (activations.Unit, activations.UNITS)]
)
def test_an_activation_is_a_name_and_a_function(named, table):
    assert typing.get_args(named) == tuple(table)


BENT = {
    ("ffn", "mlp"),
    ("ffn", "glu"),
    ("ffn", "multiplied_glu"),
    ("ffn", "sparse_glu"),
    ("ffn", "low_rank"),
    ("ffn", "moe"),
    ("ffn", "per_layer_input"),
    ("model", "mlp"),
}


def test_a_new_activation_is_an_edit_of_one_file(tmp_path, monkeypatch):
    """With one more name in activations.py, every part that takes one lists it, from source and live, and computes with it."""
    ours = index.CORE.parent
    registry.static_entries()  # of ours, while they are where CORE is
    copied = tmp_path / "components"
    for folder in ("core", "functional", "parts"):
        shutil.copytree(ours / folder, copied / folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = copied / "functional" / "activations.py"
    text = file.read_text().replace('    "relu",\n', '    "relu",\n    "cube",\n', 1)
    file.write_text(text.replace('    "relu": F.relu,\n', '    "relu": F.relu,\n    "cube": lambda x: x**3,\n', 1))
    sources = Sources({"components": copied})
    monkeypatch.setattr(index, "CORE", copied / "core")
    files = [copied / "parts" / kind / f"{name}.py" for kind, name in sorted(BENT)]
    entries = {(e.kind, e.name): e for e in index.read_sources(files, sources)}
    assert {key for key, e in entries.items() if "cube" in e.signature.options["activation"].type.allowed} == BENT
    assert "'cube'" in entries["ffn", "mlp"].signature.options["activation"].type.described()
    held = types.ModuleType("held")
    exec(compile(file.read_text(), str(file), "exec"), held.__dict__)
    for module in {registry.find(*key).__module__ for key in BENT}:
        for name in {"ACTIVATIONS", "Activation", "UNITS", "Unit"} & set(vars(sys.modules[module])):
            monkeypatch.setattr(sys.modules[module], name, getattr(held, name))
    for key in BENT:
        live = Signature.of_class(registry.find(*key))
        assert live.options["activation"].type == entries[key].signature.options["activation"].type
    for name, held_as in {
        "mlp": "activation",
        "glu": "bend",
        "multiplied_glu": "bend",
        "sparse_glu": "bend",
        "low_rank": "activation",
        "per_layer_input": "activation",
    }.items():
        assert getattr(registry.find("ffn", name)(8, activation="cube"), held_as)(torch.tensor(2.0)) == 8


def test_the_maker_of_a_socket_is_gone_once_the_part_is_made():
    """What a maker inherits holds half a model: no copy of a part takes it along."""

    class Around(Options, nn.Module):
        inner: Maker["norm"] = "rms"
        outer: Maker["norm"] = "rms"

        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim
            self.inner = make(self.inner, "norm", dim=dim)

    part = Around(4, outer=lambda dim: nn.LayerNorm(dim))
    assert isinstance(part.inner, nn.Module)
    assert not hasattr(part, "outer")
    sockets = {
        "attention": "none",
        "ffn": "mlp",
        "norm": "layer",
        "cross_norm": lambda dim: nn.LayerNorm(dim),
        "residual": "add",
    }
    assert pickle.dumps(build("block", "pre_norm", d_model=8, context_length=4, place=Place(0, 1), **sockets))


def test_a_class_below_hands_fields_to_its_base_as_anywhere():
    class Gentle(Options):
        rate: Fraction = 0.5

        def __init__(self, size: int) -> None:
            self.seen = (size, self.rate)

    class Gentler(Gentle):
        def __init__(self, size: int) -> None:
            super().__init__(size, rate=0.1)

    assert Gentler(3).seen == (3, 0.1)
    assert Gentle(3).seen == (3, 0.5)
    assert list(inspect.signature(Gentler).parameters) == ["size", "rate"]
