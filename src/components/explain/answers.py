"""Why did it say that? The trace of each position in a few sentences. Every number in them stands somewhere below on the page."""

from __future__ import annotations

from components.explain.tokens import Words
from components.explain.trace import Answer, Prediction, Sentence, Step, Token, Trace


def answers(data: Trace, words: Words) -> list[Answer]:
    """One answer for each position shown; one alone where the head speaks of the whole input."""
    if data.whole is not None:
        return [answer_of_whole(data)]
    rows = []
    steps = {s.position: s for s in data.steps}
    for t, prediction in enumerate(data.predictions):
        step = steps.get(t + data.first)
        target = prediction.next.id if prediction.next else step.chosen if step else None
        follows = target is not None
        target = prediction.top[0].id if target is None else target
        found = [
            _probability(prediction, target, words),
            _choice(data, step, words),
            _words(data, t),
            _when(data, t, target, words),
            _branches(data, t),
            _look(data, t),
        ]
        sentences = [s for s in found if s is not None]
        rows.append(Answer(words.text(target), target, step is not None, follows, sentences))
    return rows


def answer_of_whole(data: Trace) -> Answer:
    """The answer of a head that speaks of the whole input."""
    whole = data.whole
    assert whole is not None
    name, best = whole.names[whole.likeliest], whole.likeliest
    scores = ", ".join(f"{n} {s:.4g}" for n, s in zip(whole.names, whole.scores))
    if whole.p is None:
        sentences = [Sentence("the amounts", f"The head gives {scores}.")]
        return Answer(scores, best, written=False, follows=False, sentences=sentences)
    chances = ", ".join(f"{n} {share(p)}" for n, p in zip(whole.names, whole.p))
    found = [Sentence("how sure", f"The scores are {scores}; softmax makes probabilities of them: {chances}.")]
    found += [s for s in (_words(data, 0), _hidden(data, best)) if s is not None]
    return Answer(name, best, written=False, follows=False, sentences=found)


def _hidden(data: Trace, best: int) -> Sentence | None:
    """Of a small network: which hidden neurons spoke for the answer."""
    if data.network is None or len(data.network.layers) < 2:
        return None
    last = data.network.layers[-1]
    terms = [(w * x, i) for i, (w, x) in enumerate(zip(last.weights[best], last.inputs[-1]))]
    each = ", ".join(f"neuron {i} adds {v + 0.0:+.4g}" for v, i in sorted(terms, key=lambda t: -abs(t[0]))[:4])
    return Sentence("who spoke for it", f"Of the last hidden layer, {each} to its score.")


def quoted(text: str) -> str:
    shown = text.replace("\n", "⏎").replace("\t", "⇥")
    return f"‘{shown}’"


def share(p: float) -> str:
    """A probability in three digits, or as a power of ten where it is small."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"


def _probability(prediction: Prediction, target: int, words: Words) -> Sentence:
    known, top = prediction.next, prediction.top
    p = known.p if known else next((c.p for c in top if c.id == target), None)
    others = [f"{quoted(words.text(c.id))} {share(c.p)}" for c in top if c.id != target][:3]
    rank = f", its choice number {known.rank:,}" if known else ""
    mine = f"gave {quoted(words.text(target))} a probability of {share(p)}{rank}" if p is not None else "did not favour it"
    return Sentence("how sure", f"The model itself {mine}. It also thought of {', '.join(others)}.")


def _choice(data: Trace, step: Step | None, words: Words) -> Sentence | None:
    """What the samplers left, and where the drawn number fell."""
    if step is None or data.generation is None:
        return None
    name, last = data.generation.decoding, step.stages[-1]
    if step.drawn is not None:
        assert step.fell_on is not None
        shaped = ", ".join(s.name for s in step.stages[1:])
        kept = (
            f"After {shaped}, {last.kept:,} of {last.of:,} tokens were left" if shaped else f"All {last.of:,} tokens were left"
        )
        text = (
            f"{kept}. The number drawn was {step.drawn:.4f}; in order of ids the running sum of probabilities passes it at "
            f"{quoted(words.text(step.fell_on))}, whose part runs from {step.from_:.4f} to {step.to:.4f}."
        )
    else:
        text = f"decoding/{name} chose it: nothing was drawn."
        if step.chosen == last.top[0].id:
            text = f"decoding/{name} took the likeliest token: nothing was drawn."
    return Sentence("the choice", text)


def _words(data: Trace, t: int) -> Sentence | None:
    """The tokens that add most to the logit of the answer, or take most from it."""
    if data.influence is None:
        return None
    row = data.influence.tensor[t].tolist()
    tokens = data.tokens if data.source is None else data.source
    if len(tokens) < 2:
        return None
    order = sorted(range(min(len(row), len(tokens))), key=lambda s: -abs(row[s]))[:3]
    first = data.first if data.source is None else 0
    each = [f"{quoted(tokens[s].text)} at {s + 1 + first} ({row[s]:+.2f})" for s in order if row[s]]
    if not each:
        return None
    return Sentence("which words", f"To first order, what the tokens add to its logit: most {', '.join(each)}.")


def _when(data: Trace, t: int, target: int, words: Words) -> Sentence | None:
    """From which layer on the head would have given the answer."""
    if not data.lens:
        return None
    firsts = [row.top[t][0].id for row in data.lens]
    start = f"Before the first layer it would have said {quoted(words.text(firsts[0]))}"
    settled = next((n for n in range(len(firsts)) if all(i == target for i in firsts[n:])), None)
    if settled is None:
        text = f"{start}; after the last one its first choice is {quoted(words.text(firsts[-1]))}."
    elif settled == 0:
        text = f"{start} already, and no layer changed its mind."
    else:
        text = f"{start}; from layer {settled - 1} on its first choice is {quoted(words.text(target))}."
    return Sentence("when", text)


def _branches(data: Trace, t: int) -> Sentence | None:
    """The branch without which the answer would be least likely."""
    rows = [(p, row.path) for row in data.without if (p := row.p[t]) is not None]
    known = data.predictions[t].next
    p = known.p if known else data.predictions[t].top[0].p
    if not rows:
        return None
    least, path = min(rows, key=lambda r: r[0])
    if least >= p:
        text = "No single branch carries it: without any one of them it would be as likely or likelier."
        return Sentence("who wrote it", text)
    text = f"Without what {readable_path(path)} wrote into the stream, and all else as it is, its probability would be {share(least)} instead of {share(p)}."
    return Sentence("who wrote it", text)


def _look(data: Trace, t: int) -> Sentence | None:
    """The sharpest reading of another position."""
    best: tuple[float, int, int, int] | None = None
    for n, m in enumerate(data.mixers):
        if data.source is not None and m.side != len(data.sides) - 1:
            continue
        rows = m.weights.tensor[:, t].abs()
        total = rows.sum(-1, keepdim=True).clamp(min=1e-30)
        rows = rows / total
        if not m.crossed and t < rows.shape[-1]:
            rows[:, t] = 0
        value, at = rows.flatten().max(0)
        head, s = divmod(int(at), rows.shape[-1])
        if best is None or float(value) > best[0]:
            best = (float(value), n, head, s)
    if best is None or best[0] <= 0:
        return None
    value, n, head, s = best
    m = data.mixers[n]
    tokens: list[Token] = data.tokens
    place = s + 1 + data.first
    if m.reads == 0 and data.source is not None:
        tokens, place = data.source, s + 1
    text = f"Its sharpest look is in {readable_path(m.path)}, head {head}: {value:.0%} of what is read there is of {quoted(tokens[s].text)} at {place}."
    return Sentence("where it looked", text, (n, head, s))


def readable_path(path: str) -> str:
    """``stack.layers.2.block.attention`` -> the attention of layer 2."""
    words = path.split(".")
    if "layers" not in words[:-1]:
        return f"the {words[-1]}"
    at = words.index("layers")
    number, rest = words[at + 1], [w for w in words[at + 2 :] if w != "block"]
    side = "" if at == 0 or words[at - 1] == "stack" else f" of the {words[at - 1]}"
    return f"the {' '.join(rest) or 'block'} of layer {number}{side}"


def layer_name(path: str) -> str:
    """``stack.layers.2.block.attention`` -> layer 2; a path without layers as it is."""
    words = path.split(".")
    at = words.index("layers") if "layers" in words else -1
    return f"layer {words[at + 1]}" if at >= 0 and at + 1 < len(words) else path
