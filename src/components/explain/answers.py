"""Why did it say that? The trace of each position in a few sentences, every number of which stands somewhere below on the page."""

from __future__ import annotations

from typing import Any

from components.explain.pack import Array
from components.explain.tokens import Words

Sentence = dict[str, Any]  # {about, text}, and {at: [mixer, head, column]} where there is a cell to look at


def answers(data: dict[str, Any], words: Words) -> list[dict[str, Any]]:
    """For each position shown: {asked, said, chance, sentences: [{about, text}]}."""
    if data["whole"] is not None:
        return [of_whole(data)]
    rows = []
    steps = {s["position"]: s for s in (data["generation"] or {"steps": ()})["steps"]}
    for t, prediction in enumerate(data["predictions"]):
        step = steps.get(t + data["first"])
        target = prediction["next"]["id"] if prediction["next"] else step["chosen"] if step else None
        given = target is not None
        target = int(prediction["top"][0][0]) if target is None else int(target)
        row: dict[str, Any] = {"said": words.text(target), "id": target, "written": step is not None, "follows": given}
        found = [
            _chance(prediction, target, words),
            _choice(data, step, words),
            _words(data, t),
            _when(data, t, target, words),
        ]
        row["sentences"] = [s for s in [*found, _branches(data, t), _look(data, t)] if s is not None]
        rows.append(row)
    return rows


def of_whole(data: dict[str, Any]) -> dict[str, Any]:
    """The answer of a head that says one thing of the whole input."""
    whole = data["whole"]
    name, best = whole["names"][whole["likeliest"]], whole["likeliest"]
    scores = ", ".join(f"{n} {s:.4g}" for n, s in zip(whole["names"], whole["scores"]))
    row: dict[str, Any] = {"said": name, "id": best, "written": False, "follows": False}
    if whole["p"] is None:
        return row | {"said": scores, "sentences": [{"about": "the amounts", "text": f"The head gives {scores}."}]}
    chances = ", ".join(f"{n} {share(p)}" for n, p in zip(whole["names"], whole["p"]))
    found = [{"about": "how sure", "text": f"The scores are {scores}; softmax makes probabilities of them: {chances}."}]
    found += [s for s in (_words(data, 0), _hidden(data, best)) if s is not None]
    return row | {"sentences": found}


def _hidden(data: dict[str, Any], best: int) -> Sentence | None:
    """Of a small network: which hidden neurons spoke for the answer."""
    if data["network"] is None or len(data["network"]["layers"]) < 2:
        return None
    last = data["network"]["layers"][-1]
    terms = [(w * x, i + 1) for i, (w, x) in enumerate(zip(last["weights"][best], last["inputs"][-1]))]
    each = ", ".join(f"neuron {i} adds {v + 0.0:+.4g}" for v, i in sorted(terms, key=lambda t: -abs(t[0]))[:4])
    return {"about": "who spoke for it", "text": f"Of the last hidden layer, {each} to its score."}


def quoted(text: str) -> str:
    shown = text.replace("\n", "⏎").replace("\t", "⇥")
    return f"‘{shown}’"


def share(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _chance(prediction: dict[str, Any], target: int, words: Words) -> Sentence:
    known, top = prediction["next"], prediction["top"]
    p = known["p"] if known else next((p for i, _, p in top if i == target), None)
    others = [f"{quoted(words.text(int(i)))} {share(q)}" for i, _, q in top if i != target][:3]
    rank = f", its choice number {known['rank']:,}" if known else ""
    mine = f"gave {quoted(words.text(target))} a probability of {share(p)}{rank}" if p is not None else "did not favour it"
    return {"about": "how sure", "text": f"The model itself {mine}. It also thought of {', '.join(others)}."}


def _choice(data: dict[str, Any], step: dict[str, Any] | None, words: Words) -> Sentence | None:
    if step is None:
        return None
    name, last = data["generation"]["decoding"], step["stages"][-1]
    if "drawn" in step:
        shaped = ", ".join(s["name"] for s in step["stages"][1:])
        kept = (
            f"After {shaped}, {last['kept']:,} of {last['of']:,} tokens were left"
            if shaped
            else f"All {last['of']:,} tokens were left"
        )
        text = (
            f"{kept}. The number drawn was {step['drawn']:.4f}; in order of ids the running sum of probabilities passes it at "
            f"{quoted(words.text(step['fell_on']))}, whose part runs from {step['from']:.4f} to {step['to']:.4f}."
        )
    else:
        text = f"decoding/{name} chose it: nothing was drawn."
        if step["chosen"] == int(last["top"][0][0]):
            text = f"decoding/{name} took the likeliest token: nothing was drawn."
    return {"about": "the choice", "text": text}


def _words(data: dict[str, Any], t: int) -> Sentence | None:
    influence = data["influence"]
    if influence is None:
        return None
    row = influence.tensor[t].tolist()
    tokens = data["source"] if data["source"] is not None else data["tokens"]
    if len(tokens) < 2:
        return None
    order = sorted(range(min(len(row), len(tokens))), key=lambda s: -abs(row[s]))[:3]
    first = 0 if data["source"] is not None else data["first"]
    each = [f"{quoted(tokens[s]['text'])} at {s + 1 + first} ({row[s]:+.2f})" for s in order if row[s]]
    if not each:
        return None
    return {"about": "which words", "text": f"To first order, what the tokens add to its logit: most {', '.join(each)}."}


def _when(data: dict[str, Any], t: int, target: int, words: Words) -> Sentence | None:
    rows = data["lens"]
    if not rows:
        return None
    firsts = [int(r["top"][t][0][0]) for r in rows]
    start = f"Before the first layer it would have said {quoted(words.text(firsts[0]))}"
    settled = next((n for n in range(len(firsts)) if all(i == target for i in firsts[n:])), None)
    if settled is None:
        text = f"{start}; after the last one its first choice is {quoted(words.text(firsts[-1]))}."
    elif settled == 0:
        text = f"{start} already, and no layer changed its mind."
    else:
        text = f"{start}; from layer {settled - 1} on its first choice is {quoted(words.text(target))}."
    return {"about": "when", "text": text}


def _branches(data: dict[str, Any], t: int) -> Sentence | None:
    rows = [(r["path"], r["p"][t]) for r in data["without"] if r["p"][t] is not None]
    known = data["predictions"][t]["next"]
    p = known["p"] if known else data["predictions"][t]["top"][0][2]
    if not rows:
        return None
    path, least = min(rows, key=lambda r: r[1])
    if least >= p:
        return {
            "about": "who wrote it",
            "text": "No single branch carries it: without any one of them it would be as likely or likelier.",
        }
    return {
        "about": "who wrote it",
        "text": f"Without what {spoken(path)} wrote into the stream, and all else as it is, its probability would be {share(least)} instead of {share(p)}.",
    }


def _look(data: dict[str, Any], t: int) -> Sentence | None:
    """The sharpest reading of another position."""
    best: tuple[float, int, int, int] | None = None
    for n, m in enumerate(data["mixers"]):
        weights = m["weights"]
        if not isinstance(weights, Array) or (data["source"] is not None and m["side"] != len(data["sides"]) - 1):
            continue
        rows = weights.tensor[:, t].abs()
        total = rows.sum(-1, keepdim=True).clamp(min=1e-30)
        rows = rows / total
        if not m["crossed"] and t < rows.shape[-1]:
            rows[:, t] = 0
        value, at = rows.flatten().max(0)
        head, s = divmod(int(at), rows.shape[-1])
        if best is None or float(value) > best[0]:
            best = (float(value), n, head, s)
    if best is None or best[0] <= 0:
        return None
    value, n, head, s = best
    m = data["mixers"][n]
    of_source = m["reads"] == 0 and data["source"] is not None
    tokens, place = (data["source"], s + 1) if of_source else (data["tokens"], s + 1 + data["first"])
    return {
        "about": "where it looked",
        "text": f"Its sharpest look is in {spoken(m['path'])}, head {head + 1}: {value:.0%} of what is read there is of {quoted(tokens[s]['text'])} at {place}.",
        "at": [n, head, s],
    }


def spoken(path: str) -> str:
    """``stack.layers.2.block.attention`` -> the attention of layer 2."""
    words = path.split(".")
    if "layers" not in words[:-1]:
        return f"the {words[-1]}"
    at = words.index("layers")
    number, rest = words[at + 1], [w for w in words[at + 2 :] if w != "block"]
    side = "" if at == 0 or words[at - 1] == "stack" else f" of the {words[at - 1]}"
    return f"the {' '.join(rest) or 'block'} of layer {number}{side}"
