"""A kind's page in Markdown: its contract, and for each part the sentence, papers, options, what it works with, and its size."""

from __future__ import annotations

import inspect
import json
import re

from components.catalogue.formulas import Formulas, formulas_of
from components.check.host import ON_PATH
from components.core import registry
from components.core.registry import Entry
from components.core.signature import REQUIRED, Option

SOURCE = re.compile(r"arXiv|doi|https?://|\b[A-Z][\w'-]+ (et al\.?|& [A-Z][\w'-]+)?,? ?\(?(19|20)\d\d\b", re.I)
SIZES = (
    "Parameters and FLOPs are those of one instance with its default options and with what stands in its sockets, in a model of two layers: d is `d_model`, "
    "T the number of positions, V the vocabulary. FLOPs are those of the algorithm: cells that a mask hides are left out."
)
LACKS = {
    "causal": "sees later positions",
    "batch_independent": "what one row gives depends on its neighbours",
    "cacheable": "cannot be decoded token by token",
    "exact_cache_beyond_context": "beyond the trained length a cached pass differs from a full one",
    "documents": "does not keep packed documents apart",
    "round_trip": "decoding what was encoded may not give the same text",
}


def index_page() -> str:
    """Every kind with its sentence and its parts."""
    lines = ["# Catalogue", "", "Written by `components catalogue --to docs/catalogue`; a test compares it with the code.", ""]
    lines += ["| kind | parts | what it does |", "|---|---|---|"]
    total = 0
    for name, kind in registry.kinds().items():
        own = [e for e in registry.entries(name).values() if not e.preset_of]
        total += len(own)
        lines.append(f"| [{name}]({name}.md) | {len(own)} | {_cell(kind.sentence)} |")
    return (
        "\n".join([*lines, "", f"{total} parts; presets, which are other parts with options of their own, are not counted."])
        + "\n"
    )


def kind_page(kind: str) -> str:
    """One page: all parts of the kind, presets after what they spell out."""
    declared = registry.kinds()[kind]
    entries = sorted(registry.entries(kind).values(), key=lambda e: e.name)
    lines = [f"# {kind}", "", f"{_sentence(declared.sentence)}"]
    if declared.sizes:
        lines += ["", f"Sizes that a parent offers by name: {', '.join(f'`{o}`' for o in declared.sizes)}."]
    if kind in ON_PATH:
        lines += ["", SIZES]
    lines += ["", "| part | what it is |", "|---|---|"]
    lines += [f"| [{e.name}](#{e.name}) | {_cell(e.signature.sentence)} |" for e in entries]
    for entry in entries:
        lines += _part(entry)
    return "\n".join(lines) + "\n"


def _part(entry: Entry) -> list[str]:
    s = entry.signature
    lines = ["", f"## {entry.name}", "", _sentence(s.sentence)]
    if papers := _papers(s.doc):
        lines += ["", *(f"{p}  " for p in papers[:-1]), papers[-1]]
    if entry.preset_of:
        base = registry.entry(entry.kind, entry.preset_of).signature.options
        own = {n: o.default for n, o in s.options.items() if n in base and o.default != base[n].default}
        said = ", ".join(f"`{n}={_value(v)}`" for n, v in own.items())
        return [*lines, "", f"A preset: [{entry.preset_of}](#{entry.preset_of}) with {said or 'its defaults'}."]
    if s.options:
        lines += ["", "| option | allowed | default | what it does |", "|---|---|---|---|"]
        lines += [f"| {o.name} | {_cell(_allowed(o))} | {_default(o)} | {_cell(o.doc)} |" for o in s.options.values()]
    facts = [*_works_with(entry), *_size(formulas_of(entry))]
    facts.append(f"`{entry.module}`" + ("" if entry.origin.split(".")[0] == "components" else f", from {entry.origin}"))
    return [*lines, "", *(f"- {f}" for f in facts)]


def _works_with(entry: Entry) -> list[str]:
    """What it needs and which parts provide it, what others need from it, and what it declares to lack."""
    declared = entry.signature.declared
    facts = []
    for kind, words in (declared.get("needs") or {}).items():
        words = [words] if isinstance(words, str) else list(words)
        if "." in kind:
            facts.append(f"needs of what stands in `{kind}`: {', '.join(words)}")
            continue
        able = [
            n
            for (_, n), e in registry.entries(kind).items()
            if not e.preset_of and set(words) <= set(e.signature.declared.get("provides", ()))
        ]
        facts.append(f"needs {' and '.join(words)} of its {kind}: {', '.join(f'[{n}]({kind}.md#{n})' for n in able) or 'none'}")
    if provides := declared.get("provides"):
        facts.append(f"provides {', '.join(provides)}")
    for socket, words in (declared.get("passes_on") or {}).items():
        facts.append(f"provides what one of its `{socket}` provides of {', '.join(words)}")
    for kind, words in (declared.get("refuses") or {}).items():
        facts.append(f"refuses a {kind} that is not {' and '.join([words] if isinstance(words, str) else words)}")
    if asks := declared.get("asks"):
        facts.append(f"asks a run for {', '.join(asks)}")
    for what, text in (("carries_in", "reads of other parts"), ("carries_out", "writes for other parts")):
        if words := declared.get(what):
            facts.append(f"{text}: {', '.join(words)}")
    for word in declared.get("lacks") or ():
        facts.append(f"lacks {word}: {LACKS.get(word, '')}")
    return facts


def _size(found: Formulas | None) -> list[str]:
    if found is None:
        return []
    return [f"parameters: {found.parameters}"] * bool(found.parameters) + [f"FLOPs per token, forward: {found.flops}"] * bool(
        found.flops
    )


def _papers(doc: str) -> list[str]:
    return list(dict.fromkeys(line.strip() for line in inspect.cleandoc(doc).splitlines() if SOURCE.search(line)))


def _allowed(option: Option) -> str:
    kind = option.type.kind
    if kind is None:
        return option.type.described() or option.type.text
    return f"{'list of ' if option.type.many else ''}[{kind}]({kind}.md){' or null' if option.type.optional else ''}"


def _default(option: Option) -> str:
    return "required" if option.default == REQUIRED else f"`{_value(option.default)}`"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
