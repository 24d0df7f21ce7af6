"""Choices and options: what a swap keeps, drops, refuses, and says about it."""

from __future__ import annotations

import pytest

from components.core.errors import UserError


def test_defaults_are_spelled_out(run) -> None:
    net = run().config["net"]
    assert net["name"] == "stack"
    assert net["mixer"] == {
        "name": "many",
        "n_heads": 4,
        "n_kv": None,
        "place": "inherit",
        "veil": {"name": "clear"},
        "qk": {"name": "nothing"},
        "mode": "a",
        "drop": 0.0,
    }
    assert net["final_scale"] == "inherit"
    assert net["layers"] is None


@pytest.mark.parametrize("typed", ["net/mixer=latent", "net.mixer=latent", "++net.mixer=latent", "net.mixer={name: latent}"])
def test_slash_and_dot_and_mapping_choose_alike(run, typed) -> None:
    assert run(typed).config["net"]["mixer"] == {
        "name": "latent",
        "rank": 8,
        "n_heads": 4,
        "qk": {"name": "nothing"},
        "mode": "b",
        "drop": None,
    }


def test_a_swap_keeps_what_fits_and_says_what_it_dropped(run) -> None:
    composed = run("net/mixer=latent", recipe="parent")
    mixer = composed.config["net"]["mixer"]
    assert mixer["n_heads"] == 8
    assert mixer["qk"] == {"name": "root", "eps": 1e-3, "unit": False}
    assert "n_kv" not in mixer
    assert composed.notes == [
        "net.mixer: many -> latent (command line); kept n_heads=8 (recipe parent), qk={name: root, eps: 0.001} (recipe parent); "
        "dropped n_kv=2 (recipe parent): latent has no such option"
    ]


def test_the_same_part_again_keeps_its_options(run) -> None:
    composed = run("net/mixer=many", recipe="parent")
    assert composed.config["net"]["mixer"]["n_kv"] == 2
    assert composed.notes == []
    assert composed.difference == []


def test_choices_come_before_options_whatever_the_order(run) -> None:
    assert run("net.mixer.rank=3", "net/mixer=latent").config["net"]["mixer"]["rank"] == 3
    assert run("net.width=5", "net.scale.eps=0.1", "net={name: flat, scale: root}").config["net"]["scale"]["eps"] == 0.1


def test_what_was_typed_is_never_dropped(run) -> None:
    with pytest.raises(UserError, match=r"net.mixer.n_kv: mixer/latent has no option 'n_kv'"):
        run("net/mixer=latent", "net.mixer.n_kv=4", recipe="parent")


def test_a_value_that_the_new_part_does_not_allow_is_dropped(run, world) -> None:
    (world / "recipes").mkdir()
    (world / "recipes/mine.yaml").write_text("# Mine.\nnet: {mixer: {mode: a, drop: 0.5, n_kv: null}}\n")
    composed = run("net.mixer=latent", recipe="mine")
    assert composed.config["net"]["mixer"]["mode"] == "b"
    (note,) = composed.notes
    assert "dropped mode=a (recipe mine): 'a' is not one of 'b', 'c'" in note
    assert "drop=0.5 (recipe mine): latent has it as PositiveFloat | None" in note
    composed = run("net.mixer=single", recipe="mine")
    assert (
        "kept mode=a (recipe mine), drop=0.5 (recipe mine); dropped n_kv=null (recipe mine): single is about it and sets it"
        in composed.notes[0]
    )


def test_null_does_not_carry_over(run, world) -> None:
    (world / "recipes").mkdir()
    (world / "recipes/mine.yaml").write_text("# Mine.\nnet: {mixer: {n_kv: null}}\n")
    composed = run("net.mixer=windowed", recipe="mine")
    assert composed.notes == [
        "net.mixer: many -> windowed (command line); dropped n_kv=null (recipe mine): null does not carry over"
    ]


def test_a_preset_is_spelled_out_and_composes_again(run) -> None:
    composed = run("net/mixer=windowed", "net.mixer.veil.size=32", recipe="parent")
    mixer = composed.config["net"]["mixer"]
    assert (mixer["name"], mixer["preset"]) == ("many", "windowed")
    assert mixer["veil"] == {"name": "window", "size": 32}
    assert mixer["n_heads"] == 8
    again = run(base=composed.config)
    assert again.config["net"] == composed.config["net"]
    plain = run("net/mixer=many", base=composed.config)
    assert plain.config["net"]["mixer"]["veil"] == {"name": "clear"}, "leaving a preset leaves what it is about"
    assert "preset" not in plain.config["net"]["mixer"]


def test_a_mapping_without_a_name_edits(run) -> None:
    mixer = run("net.mixer={n_heads: 2}", recipe="parent").config["net"]["mixer"]
    assert (mixer["n_heads"], mixer["n_kv"]) == (2, 2)


def test_a_nested_choice_does_not_keep_the_old_parts_options(run) -> None:
    """Hydra's own merge keeps rms's options under ``qk_norm={name: layer}``."""
    composed = run("net.mixer.qk={name: mean}", recipe="parent")
    assert composed.config["net"]["mixer"]["qk"] == {"name": "mean", "eps": 1e-3, "bias": True}
    assert composed.notes == ["net.mixer.qk: root -> mean (command line); kept eps=0.001 (recipe parent)"]


def test_an_inheriting_socket_starts_from_what_it_inherits(run) -> None:
    config = run("net.scale=mean", "net.scale.bias=false", "net.final_scale.eps=0.5").config
    assert config["net"]["final_scale"] == {"name": "mean", "eps": 0.5, "bias": False}
    assert run("net.final_scale=nothing").config["net"]["final_scale"] == {"name": "nothing"}
    assert run("net.final_scale=inherit").config["net"]["final_scale"] == "inherit"


def test_lists_of_parts(run) -> None:
    composed = run("drawing.filters=[top, {name: nucleus, p: 0.5}]", "drawing.filters.top.k=3")
    assert composed.config["drawing"]["filters"] == [{"name": "top", "k": 3}, {"name": "nucleus", "p": 0.5}]
    assert composed.difference == ["drawing.filters: [] -> [{name: top, k: 3}, {name: nucleus, p: 0.5}]"]
    assert run("drawing.filters=top").config["drawing"]["filters"] == [{"name": "top", "k": 5}]
    with pytest.raises(UserError, match=r"drawing\.filters\.1: unknown filter 'nucleos'; did you mean 'nucleus'"):
        run("drawing.filters=[top, nucleos]")
    with pytest.raises(UserError, match="filter/top has no option 'p'"):
        run("drawing.filters=[{name: top, p: 0.1}]")


def test_a_child_recipe_over_its_parent(run) -> None:
    composed = run("net.mixer=latent", recipe="child")
    assert composed.config["net"]["mixer"]["n_heads"] == 2
    assert composed.config["net"]["scale"]["name"] == "mean"
    assert composed.notes[0].startswith("net.mixer: many -> latent (command line); kept n_heads=2 (recipe child), qk=")
    assert composed.notes[0].endswith("dropped n_kv=2 (recipe parent): latent has no such option")


def test_every_value_knows_where_it_was_said(run) -> None:
    composed = run("net.mixer.mode=b", "trainer.max_steps=9", recipe="child")
    assert composed.origin("net.mixer.mode") == "command line"
    assert composed.origin("net.mixer.n_heads") == "recipe child"
    assert composed.origin("net.mixer.n_kv") == "recipe parent"
    assert composed.origin("net.scale") == "recipe child"
    assert composed.origin("net.mixer.drop") == "default"
    assert composed.origin("trainer.max_steps") == "command line"
    assert composed.origin("seed") == "recipe child"


def test_numbers_are_cast_where_nothing_is_lost(run) -> None:
    assert run("net.scale.eps=1").config["net"]["scale"]["eps"] == 1.0
    assert run("net.scale.eps=1e-3").config["net"]["scale"]["eps"] == 1e-3


def test_an_optional_socket_takes_null(run) -> None:
    assert run("net=flat", "net.mixer=latent").config["net"]["mixer"]["name"] == "latent"
    assert run("net=flat", "net.mixer=null").config["net"]["mixer"] is None
