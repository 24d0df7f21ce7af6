"""The config source ``components://`` in somebody's own Hydra app: every part is a group, and what cannot be built is refused with its path."""

from __future__ import annotations

import functools
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.object_type import ObjectType
from hydra.errors import ConfigCompositionException, InstantiationException, SearchPathException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

import components
from components import build, register
from components.compose.hydra_groups import Groups
from components.compose.hydra_node import NUMBERS, check_part, part_of, unknown
from components.core import registry
from components.core.errors import UserError

SMALL = {"vocab_size": 50, "d_model": 16, "n_layers": 2}


def made_of(model: nn.Module) -> set[str]:
    return {type(m).__name__ for m in model.modules()}


@pytest.fixture
def app(tmp_path):
    """Composes the configs that a test writes: {path below the config folder: its lines}; the first is the primary one."""

    def composed(files: dict[str, str], *overrides: str) -> Any:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
            return hydra.compose(next(iter(files)).removesuffix(".yaml"), [*overrides])

    return composed


def primary(*defaults: str, at: str = "components://", more: str = "") -> dict[str, str]:
    lines = [f"  - {d}" for d in (*defaults, "_self_")]
    return {"train.yaml": "\n".join(["defaults:", *lines, "hydra:", f"  searchpath: [{at}]", more])}


MODEL = "model: {vocab_size: 50, d_model: 16, n_layers: 2}"


LACKING = {("model", "electra"): {"head": "value"}}  # whose default, an encoder's, is no head that judges


def test_every_part_is_a_config_that_its_own_signature_accepts() -> None:
    source, seen = Groups("test", "components://"), 0
    for kind, name in registry.entries():
        assert source.is_config(f"components/{kind}/{name}")
        found = source.load_config(f"components/{kind}/{name}")
        assert found.header == {"package": kind}
        node = OmegaConf.to_container(found.config)
        for line in node.pop("defaults")[1:]:
            ((group, choice),) = line.items()
            assert source.is_group(group.split("@")[0])
            assert choice is None or source.is_config(f"{group.split('@')[0]}/{choice}"), group
        held, part = part_of(node, kind, unknown)
        assert (held, part["name"]) == (kind, name)
        check_part(kind, {**part, **LACKING.get((kind, name), {})}, kind, complete=False)
        seen += 1
    assert seen > 240
    assert source.list("components", ObjectType.GROUP) == sorted(registry.kinds())
    assert source.list("components/norm", ObjectType.CONFIG) == registry.names("norm")


def test_the_sizes_that_a_config_can_say_are_the_numbers() -> None:
    seen = set()
    of_training = {
        "task",
        "callback",
        "logger",
        "strategy",
        "trainer",
    }  # objects all of them; importing Lightning takes seconds
    for kind, name in (key for key in registry.entries() if key[0] not in of_training):
        target = registry.find(kind, name)
        function = target.__init__ if inspect.isclass(target) else target
        for parameter in inspect.signature(function).parameters.values():
            sizes = registry.entry(kind, name).signature.sizes
            if sizes.get(parameter.name):
                seen.add(parameter.name)
                assert (parameter.name in NUMBERS) == (str(parameter.annotation) in ("int", "float")), (kind, name, parameter)
    assert {"vocab_size", "d_model", "weights", "total_steps"} <= seen


def groups(source: Groups, path: str = "") -> Iterator[str]:
    for name in source.list(path, ObjectType.GROUP):
        below = f"{path}/{name}".lstrip("/")
        yield below
        yield from groups(source, below)


def test_listing_all_groups_comes_to_an_end() -> None:
    found = set(groups(Groups("test", "components://model@my/net")))
    assert {"my", "my/net", "my/net/attention", "my/net/attention/mask", "my/net/encoder"} <= found
    assert len(found) < 2000
    assert Groups("test", "components://model@my/net").is_config("my/net/attention/both_ways/attention/gqa") is False
    assert Groups("test", "components://model").is_config("model/stack/attention/mask/full"), "not listed twice, but there"


def test_the_model_is_the_one_of_its_name(app) -> None:
    config = app(primary("components/model: decoder", more=MODEL))
    made, named = instantiate(config.model, seed=3), build("model", "decoder", **SMALL, seed=3)
    assert str(made) == str(named)
    assert all((a == b).all() for a, b in zip(made.state_dict().values(), named.state_dict().values(), strict=True))
    assert str(build(config.model, seed=3)) == str(named)
    assert str(build("model", "decoder", **config.model)) == str(named), "spread out as it stands"


def test_a_part_is_chosen_by_the_word_of_its_socket_and_takes_its_options_with_it(app) -> None:
    config = app(primary("components/model: decoder", more=MODEL), "model/attention=mla", "model.attention.kv_rank=4")
    assert config.model.attention.name == "mla"
    assert config.model.attention.kv_rank == 4
    assert "n_kv_heads" not in config.model.attention, "nothing of the part that stood there"
    assert "LatentAttention" in made_of(instantiate(config.model))
    inner = app(primary("components/model: decoder"), "model/attention/mask=sliding_window", "model.attention.mask.window=3")
    assert inner.model.attention.mask == {"name": "sliding_window", "window": 3}
    inherits = app(primary("components/model: decoder"), "model/final_norm=layer", "model.final_norm.eps=0.5")
    assert (app(primary("components/model: decoder")).model.final_norm, inherits.model.final_norm.eps) == ("inherit", 0.5)


def test_a_kind_is_a_group_of_the_app_where_the_address_says_so(app) -> None:
    files = primary("model: mine", at="components://model@model/net, components://optimizer@model/optimizer")
    files["model/mine.yaml"] = (
        "defaults: [net: decoder, optimizer: adamw, _self_]\n_target_: builtins.dict\nnet: {vocab_size: 50}\n"
    )
    files["model/net/attention/narrow.yaml"] = "defaults: [mla, _self_]\nkv_rank: 4\n"
    config = app(files, "model/net/attention=narrow", "model/optimizer=lion", "model.net.d_model=16")
    assert config.model.net.attention.kv_rank == 4
    made = instantiate(config.model)
    assert type(made["net"]).__name__ == "Decoder"
    assert made["optimizer"].keywords["name"] == "lion", "a maker: it needs weights, which no config holds"
    assert "kv_rank" not in app(files, "model/net/attention=gqa").model.net.attention, (
        "what stands in a file of a group goes with it"
    )


def test_parts_of_this_process_and_presets_are_there_as_well(app) -> None:
    @register("norm", "of_an_app")
    class OfAnApp(type(build("norm", "rms", dim=4))):
        """A norm of the app's own."""

    try:
        config = app(primary("components/model: decoder", more=MODEL), "model/norm=of_an_app", "model/attention=mqa")
        assert "OfAnApp" in made_of(instantiate(config.model))
        assert config.model.attention.n_kv_heads == 1
    finally:
        registry.unregister("norm", "of_an_app")


class Scaled(nn.Module):
    """Somebody's own norm, of which the registry knows nothing."""

    def __init__(self, dim: int, *, factor: float = 1.0) -> None:
        super().__init__()
        self.dim, self.factor = dim, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def test_a_socket_takes_a_class_of_the_apps_own(app, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "of_the_app", sys.modules[__name__])
    files = primary("components/model: decoder", more=MODEL)
    files |= {"model/norm/scaled.yaml": "_target_: of_the_app.Scaled\nfactor: 0.25\n"}
    config = app(files, "model/norm=scaled")
    components.hydra.check(config)
    assert {(m.dim, m.factor) for m in instantiate(config.model).modules() if isinstance(m, Scaled)} == {(16, 0.25)}


def test_a_part_in_an_apps_own_module(app) -> None:
    more = "model: {_target_: builtins.dict, attention: {d_model: 16, position: none}}"
    files = primary("components/attention@model.attention: gqa", "components/norm@model.norm: rms", more=more)
    config = app(files)
    with pytest.raises((InstantiationException, UserError), match="norm/rms needs the size dim") as told:
        instantiate(config.model)
    assert "full_key: model.norm" in str(told.value) + "".join(vars(told.value).get("__notes__", ()))
    config = app(files, "+model.norm._partial_=true")
    made = instantiate(config.model)
    assert type(made["attention"]).__name__ == "GroupedQueryAttention"
    assert made["norm"](dim=4).weight.shape == (4,)


def test_interpolations_and_missing_values(app) -> None:
    more = "width: 16\nmodel: {d_model: '${width}', n_layers: 2}"
    config = app(primary("components/model: decoder", more=more), "+model.attention.head_dim=${model.d_model}")
    assert OmegaConf.is_missing(config.model, "vocab_size")
    components.hydra.check(config)
    made = instantiate(config.model, vocab_size=50)
    assert made.d_model == 16
    assert {m.head_dim for m in made.modules() if type(m).__name__ == "GroupedQueryAttention"} == {16}
    with pytest.raises(UserError, match=r"data\.path: data/text needs it"):
        build(app(primary("components/data: text")).data)


def test_dictconfigs_are_plain_nodes() -> None:
    held = OmegaConf.create({"eps": 0.1, "of": {"name": "rms", "eps": "${eps}"}, "bias": ["q", "k"]})
    made = build("attention", "gqa", d_model=16, position="none", qk_norm=held.of, bias=held.bias)
    assert made.q_norm.eps == 0.1
    assert made.q.bias is not None
    assert made.out.bias is None


# {what: (overrides, what is said; AT is the node's path)}
MISTAKES = {
    "an option it does not have": (
        ["+model.attention.n_headz=2"],
        r"AT\.attention\.n_headz: attention/gqa has no option .*n_heads",
    ),
    "one of the part that was there": (
        ["model/attention=mla", "+model.attention.n_kv_heads=2"],
        r"AT\.attention\.n_kv_heads: attention/mla has no option 'n_kv_heads'; an option of .*add ~AT\.attention\.n_kv_heads",
    ),
    "a type": (["model.attention.n_heads=many"], r"AT\.attention\.n_heads: 'many' is not int >= 1"),
    "a range": (["model.attention.dropout=3"], r"AT\.attention\.dropout: 3 is out of range"),
    "a choice": (["model.attention.qk_norm_at=never"], r"AT\.attention\.qk_norm_at: 'never' is not one of 'before', 'after'"),
    "a size": (["model.vocab_size=many"], r"AT\.vocab_size: 'many' is no number above 0"),
    "a part by a wrong name": (["model.attention=gqaa"], r"AT\.attention: unknown attention 'gqaa'; did you mean 'gqa'"),
    "no part": (["model.attention=7"], r"AT\.attention: 7 is no attention"),
    "parts that do not go together": (
        ["model/head=tied", "model/embedding=factorised"],
        r"AT\.head: head/tied needs table of its embedding, and embedding/factorised at AT\.embedding",
    ),
    "in layers": (["++model.layers.last.attention={name: mla, n_headz: 2}"], r"AT\.layers\.last\.attention\.n_headz: "),
}


@pytest.mark.parametrize(("overrides", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_with_its_path(app, overrides, said) -> None:
    """``check`` refuses it before anything is built, and so does ``instantiate``, whose message has the key of the node on a line of its own."""
    composed = app(primary("components/model: decoder", more=MODEL), *overrides)
    config = OmegaConf.create({"a": {"net": composed.model}})
    with pytest.raises(UserError, match="^" + said.replace("AT", r"a\.net")) as told:
        components.hydra.check(config)
    assert "\n" not in told.value.line()
    with pytest.raises((InstantiationException, UserError)) as told:
        instantiate(config.a.net)
    error = told.value if isinstance(told.value, UserError) else told.value.__cause__
    assert re.match(said.replace("AT", "model"), str(error)), "the kind, and the path below it"
    assert "full_key: a.net" in str(told.value) + "".join(vars(told.value).get("__notes__", ()))


def test_the_parts_of_an_app_go_together(app) -> None:
    more = f"{MODEL}\naim: {{vocab_size: 50}}"
    files = primary("components/model: decoder", "components/loss@aim: next_token", more=more)
    components.hydra.check(app(files))
    with pytest.raises(UserError, match=r"^aim: loss/next_token cannot work with model/encoder at model: it is not causal"):
        components.hydra.check(app(files, "components/model=encoder"))


def test_a_task_takes_the_config_of_the_app(app) -> None:  # some seconds: a task is Lightning's
    kinds = {"model": "decoder", "loss": "next_token", "optimizer": "adamw", "schedule": "cosine", "decoding": "sample"}
    kinds |= {"tokenizer": "byte", "task": "language_modeling"}
    more = "seed: 0\nmodel: {d_model: 16, n_layers: 1}\ntrainer: {_target_: builtins.dict}"
    lines = [*(f"components/{kind}: {name}" for kind, name in kinds.items()), "components/strategy@trainer.strategy: ddp"]
    config = app(primary(*lines, more=more))
    components.hydra.check(config)
    task = instantiate(config.task)(config=config, tokenizer=instantiate(config.tokenizer))
    assert type(task).__name__ == "LanguageModeling"
    assert task.new_model().vocab_size == 261, "that of the tokenizer"
    assert instantiate(config.trainer) == {"strategy": "ddp"}, "for a trainer of the app's own"


def test_an_app_that_checks_itself_says_where(app) -> None:
    config = app(primary("components/model@net: decoder", more="net" + MODEL.removeprefix("model")))

    @components.hydra.checked
    def main(config: Any) -> Any:
        return instantiate(config.net, **config.get("more", {}))

    assert type(main(config)).__name__ == "Decoder"
    config.net.attention.n_heads = 5
    with pytest.raises(Exception, match=r"^net\.attention: n_heads=5 does not divide d_model=16"):
        main(config)
    config.net.attention.n_heads, config.net.vocab_size = 2, "???"
    with pytest.raises(Exception, match=r"^net\.vocab_size: has no value, and none was given"):
        main(config)


def test_what_hydra_itself_refuses(app) -> None:
    files = primary("components/model: decoder", more=MODEL)
    with pytest.raises(ConfigCompositionException, match=r"Could not find 'model/attention/mlaa'"):
        app(files, "model/attention=mlaa")
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'model.attention.kv_rank'"):
        app(files, "model.attention.kv_rank=4")
    with pytest.raises(ConfigCompositionException, match=r"Multiple values for model/attention"):
        app(primary("components/model: decoder", "model/attention: mla"))
    with pytest.raises(SearchPathException, match=r"components://modell: .* did you mean 'model'\?"):
        app(primary("components/model: decoder", at="components://modell"))


def test_an_app_that_does_not_name_us_sees_nothing_and_imports_nothing(tmp_path) -> None:
    (tmp_path / "app.py").write_text(
        "import sys, hydra\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(config):\n"
        "    from hydra.core.hydra_config import HydraConfig\n"
        "    print([s.provider for s in HydraConfig.get().runtime.config_sources])\n"
        "    print([m for m in ('torch', 'yaml.nodes', 'components.core.registry', 'components.compose.hydra_paths') if m in sys.modules][1:])\n"
        "main()\n"
    )
    command = functools.partial(subprocess.run, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    done = command([sys.executable, "app.py", "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none"])
    assert done.stdout.splitlines() == ["['hydra', 'schema']", "[]"], done.stderr
    shown = command([sys.executable, "app.py", "--help"]).stdout
    assert "Configuration groups" in shown
    assert "attention" not in shown


def test_the_check_imports_no_torch(tmp_path) -> None:
    code = (
        "import sys, hydra, components\n"
        "with hydra.initialize_config_dir(sys.argv[1], version_base='1.3'):\n"
        "    components.hydra.check(hydra.compose('train'))\n"
        "print('torch' in sys.modules)\n"
    )
    for name, text in primary("components/model: decoder", "components/task: language_modeling").items():
        Path(tmp_path / name).write_text(text)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
