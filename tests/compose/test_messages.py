"""Every message about a wrong override: one line that says where, what, and what instead."""

from __future__ import annotations

import pytest

from components.core.errors import UserError

CASES = [
    # an unknown part, an unknown option (and where it would be), in a recipe's or Hydra's spelling
    ("net/mixer=latnet", "net.mixer: unknown mixer 'latnet'; did you mean 'latent'? mixer parts: latent, many, reader"),
    (
        "net.mixer.n_haeds=2",
        "net.mixer.n_haeds: mixer/many has no option 'n_haeds'; did you mean 'n_heads'? options of mixer/many: drop, mode",
    ),
    ("+net.mixer.n_haeds=2", "mixer/many has no option 'n_haeds'; did you mean 'n_heads'"),
    ("net.mixer.eps=1", "mixer/many has no option 'eps'; a part that has it: net.mixer.qk=mean, net.mixer.qk=root"),
    ("net.eps=1", "net.eps: net/stack has no option 'eps'; did you mean net.scale.eps? options of net/stack"),
    ("net.mixer.size=3", "a part that has it: net.mixer.veil=window"),
    # a wrong type, a value outside the list or the range
    ("net.width=wide", "net.width: 'wide' is not int >= 1"),
    ("net.width=0", "net.width: 0 is out of range: int >= 1"),
    ("net.width=2.5", "net.width: 2.5 is not int >= 1"),
    ("net.mixer.mode=c", "net.mixer.mode: 'c' is not one of 'a', 'b'"),
    ("net.mixer.drop=1.5", "net.mixer.drop: 1.5 is out of range: float >= 0 and <= 1"),
    ("net.width=null", "net.width: None is not int >= 1"),
    ("net.scale.unit=1", "net.scale.unit: 1 is not bool"),
    # a group that is null, misspelled, or a socket without its way
    ("net=null", "net: null is no net; net parts: flat, stack"),
    ("net/scale=null", "net.scale: null is no scale; scale parts: mean, nothing, root"),
    ("trainer=null", "trainer: null is no choice of trainer; trainer: default, fast"),
    ("nett/mixer=many", "nett.mixer: unknown group 'nett'; did you mean 'net'? groups and values: drawing, logger, net"),
    ("mixer=many", "mixer: unknown group 'mixer'; did you mean net.mixer?"),
    ("sed=1", "sed: unknown key 'sed'; did you mean 'seed'"),
    ("+extra=1", "extra: unknown key 'extra'"),
    ("hydra.run.dir=x", "'hydra.run.dir=x': Hydra's own settings steer sweeps; add --multirun"),
    ("hydra/launcher=joblib", "Hydra's own settings steer sweeps"),
    ("net=", "net: unknown net ''; net parts: flat, stack"),
    ("net@x=stack", "packages (group@package) have no meaning here"),
    # a node that is not there, or is none
    ("net.nothing.at.all=1", "net.nothing: net/stack has no option 'nothing'"),
    ("net.width.x=1", "net.width.x: net.width is int >= 1, not a part: nothing stands below it"),
    ("net.scale=inherit", "net.scale: nothing above has a scale to inherit; scale parts: mean, nothing, root"),
    ("net.mixer=5", "net.mixer: 5 is no mixer; mixer parts"),
    ("net.mixer=[many]", "net.mixer: [many] is no mixer"),
    ("seed.x=1", "seed.x: seed is a value, not a group"),
    ("~net.mixer", "'~net.mixer': a part's option is never deleted"),
    ("~trainer.nope", "trainer.nope: there is nothing to delete"),
    ("~trainer", "'~trainer': trainer cannot be deleted"),
    # the frame
    ("trainer.max_step=5", "trainer.max_step: the trainer has no argument 'max_step'; did you mean 'max_steps'"),
    ("+trainer.max_step=5", "trainer.max_step: the trainer has no argument 'max_step'"),
    ("trainer=fats", "trainer: unknown trainer 'fats'; did you mean 'fast'? trainer choices: default, fast"),
    ("paths.rnus=x", "paths.rnus: paths has no key 'rnus'; did you mean 'runs'? keys of paths: cache, runs"),
    # grammar, sweeps, interpolations, code
    ("net", "'net': is no override; write key=value"),
    ("net.width", "'net.width': is no override"),
    ("=3", "'=3': is no override"),
    ("net..width=3", "'net..width' is no path"),
    ("net.mixer={name: many", "cannot be read ('{name: many' cannot stand where it does)"),
    ("net.width=1,2", "'net.width=1,2': is a sweep; add --multirun"),
    ("seed=1,2", "'seed=1,2': is a sweep; add --multirun"),
    ("net.width=${seed}", "a part's option holds values, not interpolations"),
    ("net._target_=os.system", "names code, and a config is data; name a registered part"),
    ("net.mixer={_target_: os.system}", "_target_: 'os.system' names code, and a config is data"),
    ("net.mixer={name: many, qk: {_target_: os.system}}", "_target_: 'os.system' names code"),
    ("+trainer.callbacks={_target_: os.system}", "_target_: 'os.system' names code"),
    ("recipe=parnet", "recipe: unknown recipe 'parnet'; did you mean 'parent'? recipes: child, parent, plain, sliced"),
    ("recipe=null", "names no recipe"),
    ("recipe=./nope.yaml", "recipe: there is no file ./nope.yaml"),
    ("source=file", "source.path: source/file needs it; give source.path="),
    ("drawing.filters.3.k=1", "the list has no part '3'"),
    ("drawing.filters=[5]", "drawing.filters.0: 5 is no filter; write a name or {name: ...}; filter parts: nucleus, top"),
]


@pytest.mark.parametrize(("typed", "says"), CASES, ids=[c[0] for c in CASES])
def test_one_line_says_where_what_and_what_instead(run, typed, says) -> None:
    with pytest.raises(UserError) as e:
        run(typed)
    assert says in str(e.value)
    assert "\n" not in str(e.value)


def test_hydras_own_faults_are_not_met_here(run) -> None:
    """peers.md: a node is never replaced by a scalar, an override is never ignored, overriding one field never resets the others."""
    before = run(recipe="parent").config["net"]
    after = run("net.mixer.mode=b", recipe="parent").config["net"]
    assert {k: v for k, v in after["mixer"].items() if k != "mode"} == {k: v for k, v in before["mixer"].items() if k != "mode"}
    with pytest.raises(UserError, match="mixer/many has no option 'type'"):  # OLMo-core: accepted and ignored
        run("net.mixer.type=latent")
    with pytest.raises(
        UserError, match=r"unknown mixer 'torch\.nn\.GRU'"
    ):  # lightning-hydra-template: the node becomes a string
        run("net.mixer=torch.nn.GRU")
    with pytest.raises(UserError, match="has no option 'lr'"):  # torchtune: stale options of the replaced part
        run("net.mixer=latent", "net.mixer.lr=1")
