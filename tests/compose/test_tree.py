"""The resolved tree: where each part stands, what is in its sockets, and what the recipe alone has there."""

from __future__ import annotations

from components.compose.difference import difference
from components.compose.reading import every_part, layer_by_layer, read_tree


def test_a_part_knows_where_it_stands(run) -> None:
    tree = run("net.layers.last.mixer=latent", recipe="parent").tree
    net = tree.sockets["net"]
    assert net.sockets["mixer"].sockets["qk"].path == "net.mixer.qk"
    assert [scope.path for scope in net.sockets["mixer"].sockets["qk"].scopes()] == ["net.mixer", "net", ""]
    assert net.sockets["mixer"].inherited("place") is net.sockets["place"]
    assert net.layers["3"]["mixer"].path == "net.layers.3.mixer"
    assert {p.path for p in every_part(tree)} >= {"net", "net.place", "net.mixer.veil", "net.layers.3.mixer.qk", "drawing"}


def test_a_part_remembers_what_the_recipe_has(run) -> None:
    net = run("net.mixer=latent", "net.mixer.n_heads=2", recipe="parent").tree.sockets["net"]
    assert (net.sockets["mixer"].name, net.sockets["mixer"].was.name) == ("latent", "many")
    assert (net.sockets["mixer"].value("n_heads"), net.sockets["mixer"].was.value("n_heads")) == (2, 8)
    assert net.sockets["mixer"].given["n_heads"].source.label == "command line"
    assert net.was.sockets["mixer"].given["n_heads"].source.label == "recipe parent"


def test_what_the_recipe_has_is_not_touched_by_the_command_line(run) -> None:
    changes = ["net.mixer=latent", "net.layers.last.scale=mean", "net.final_scale.eps=0.1", "drawing.filters=[top]"]
    alone, changed = run(recipe="parent"), run(*changes, recipe="parent")
    assert changed.tree.was.spelled() == alone.tree.spelled()
    assert changed.difference == difference(alone.config, changed.config)


def test_the_tree_of_a_spelled_out_config_is_the_one_that_it_was_spelled_from(run) -> None:
    composed = run("net.layers.every2.mixer=windowed", "net.final_scale.eps=0.1", recipe="child")
    read = read_tree(composed.config)
    assert read.spelled() == composed.tree.spelled()
    assert [(p.path, p.label, p.layer) for p in layer_by_layer(read)] == [
        (p.path, p.label, p.layer) for p in layer_by_layer(composed.tree)
    ]


def test_layers_that_are_alike_are_walked_once(run) -> None:
    tree = run("net.layers.last.mixer=latent").tree
    assert [(p.layer, p.path) for p in layer_by_layer(tree) if p.kind == "mixer"] == [
        (0, "net.mixer"),
        (3, "net.layers.3.mixer"),
    ]
    places = [p for p in layer_by_layer(tree) if p.kind == "place"]
    assert [p.above.sockets["mixer"].name for p in places] == ["many", "latent"]


def test_a_part_in_a_list_knows_its_place(run) -> None:
    tree = run("drawing.filters=[top, {name: nucleus, p: 0.5}]").tree
    assert [p.path for p in every_part(tree) if p.kind == "filter"] == ["drawing.filters.0", "drawing.filters.1"]
