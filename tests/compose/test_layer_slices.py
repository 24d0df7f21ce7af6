"""Layers that differ: what a slice starts from, who wins, what is refused, and the canonical form that composes again alone."""

from __future__ import annotations

import pytest

from components.core.errors import UserError

WINDOWED = {"name": "window", "size": 128}


def test_a_slice_starts_from_what_its_layers_have(run) -> None:
    composed = run("net.layers.every2.mixer=windowed", recipe="parent")
    (which,) = composed.config["net"]["layers"]
    assert which == "every2"
    node = composed.config["net"]["layers"]["every2"]["mixer"]
    assert (node["name"], node["preset"], node["veil"], node["n_heads"], node["n_kv"]) == ("many", "windowed", WINDOWED, 8, 2)
    assert "net.layers.every2.mixer: many -> windowed (command line); kept n_heads=8 (recipe parent)" in composed.notes[0]
    assert composed.difference == [
        "net.layers.every2.mixer: many -> windowed",
        "net.layers.every2.mixer.veil: clear -> window",
        "net.layers.every2.mixer.veil.size: 128",
    ]


def test_an_option_of_a_slice_edits_and_the_swap_is_not_lost(run) -> None:
    """Through Hydra's own merge the second of these loses the first."""
    layers = run("++net.layers.from2.mixer=latent", "++net.layers.from2.mixer.rank=3").config["net"]["layers"]
    assert list(layers) == ["2_3"]
    assert layers["2_3"]["mixer"]["name"] == "latent"
    assert layers["2_3"]["mixer"]["rank"] == 3


def test_written_order_decides_among_slices(run) -> None:
    layers = run("net.layers.all.scale=mean", "net.layers.last.scale=nothing", "net.layers.0.scale=root").config["net"][
        "layers"
    ]
    assert layers == {"1_2": {"scale": {"name": "mean", "eps": 1e-5, "bias": True}}, "3": {"scale": {"name": "nothing"}}}
    later = run("net.layers.last.scale=nothing", "net.layers.all.scale=mean").config["net"]["layers"]
    assert list(later) == ["all"]


def test_only_what_differs_is_kept(run) -> None:
    composed = run("net.layers.last.scale=root", "net.layers.first.scale.eps=1e-6")
    assert composed.config["net"]["layers"] is None
    assert composed.difference == []


def test_names_of_the_pattern(run) -> None:
    layers = run("net.pattern=[near, near, far]", "net.layers.far.place=nowhere").config["net"]["layers"]
    assert list(layers) == ["2"]
    with pytest.raises(UserError, match=r"net.layers.fra: 'fra' is no slice.*did you mean 'far'"):
        run("net.pattern=[near, far]", "net.layers.fra.place=nowhere")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("net.layers.from9.scale=mean", "net.layers.from9: 'from9' means none of the 4 layers"),
        ("net.layers.lats.scale=mean", "'lats' is no slice of layers; slices: all, first"),
        (
            "net.layers.last.final_scale=mean",
            "a layer has no socket 'final_scale'; did you mean 'scale'? sockets of a layer: mixer, place, scale",
        ),
        (
            "net.layers.last.mixer.n_haeds=2",
            "net.layers.last.mixer.n_haeds: mixer/many has no option 'n_haeds'; did you mean 'n_heads'",
        ),
        ("net.layers.last.mixer=latnet", "net.layers.last.mixer: unknown mixer 'latnet'; did you mean 'latent'"),
        ("net.layers.last=mean", "net.layers.last: mean does not say which socket of which layers"),
        (
            "net.layers.last.scale=inherit",
            "net.layers.last.scale: a layer's socket has the model's part unless it is given another",
        ),
        ("net.layers.last.scale=null", "net.layers.last.scale: null is no scale"),
    ],
)
def test_what_is_refused(run, typed, says) -> None:
    with pytest.raises(UserError) as e:
        run(typed)
    assert says in str(e.value)


def test_an_edit_before_the_swap_that_cannot_keep_it_is_refused(run) -> None:
    with pytest.raises(
        UserError, match=r"n_kv=1 was said before the part became latent: latent has no such option; say latent first"
    ):
        run("net.layers.last.mixer.n_kv=1", "net.layers.last.mixer=latent")


def test_the_model_swapped_under_a_recipes_slice(run) -> None:
    """What the recipe says about a slice is carried as far as it fits, and said."""
    composed = run("net.mixer=latent", recipe="sliced")
    layers = composed.config["net"]["layers"]
    assert layers["every2"]["mixer"]["preset"] == "windowed", "the recipe's own choice for these layers stands"
    assert composed.config["net"]["mixer"]["name"] == "latent"


def test_a_recipes_edit_of_a_part_that_has_changed_since_is_dropped_with_a_note(run, world) -> None:
    (world / "recipes").mkdir()
    (world / "recipes/mine.yaml").write_text("# Mine.\nnet: {layers: {last: {mixer: {n_kv: 1, n_heads: 2}}}}\n")
    composed = run("net.mixer=latent", recipe="mine")
    assert list(composed.config["net"]["layers"]) == ["3"]
    assert composed.config["net"]["layers"]["3"]["mixer"]["n_heads"] == 2
    assert any(
        "net.layers.last.mixer.n_kv: dropped what recipe mine says: mixer/latent has no option 'n_kv'" in n
        for n in composed.notes
    )


def test_a_swap_of_the_whole_net_drops_slices_with_a_note(run) -> None:
    composed = run("net=flat", recipe="sliced")
    assert "dropped layers.every2.mixer (recipe sliced): flat has no layers to slice" in composed.notes[0]


def test_the_canonical_form_composes_again_alone(run) -> None:
    composed = run(
        "net.pattern=[a, b]",
        "net.layers.b.mixer=windowed",
        "net.layers.b.mixer.n_heads=2",
        "net.layers.0.scale=mean",
        "net.n_layers=5",
    )
    again = run(base=composed.config)
    assert again.config == composed.config
    assert again.difference == []
    deeper = run("net.layers.last.scale=nothing", base=composed.config)
    assert deeper.config["net"]["layers"]["4"] == {"scale": {"name": "nothing"}}
    assert deeper.difference == ["net.layers.4.scale: root -> nothing"]


def test_the_differences_of_a_slice_name_its_options(run) -> None:
    composed = run("net.layers.every2.mixer.veil={name: window, size: 8}", "net.layers.last.place=nowhere")
    assert composed.difference == [
        "net.layers.every2.mixer.veil: clear -> window",
        "net.layers.every2.mixer.veil.size: 8",
        "net.layers.3.place: turn -> nowhere",
    ]
