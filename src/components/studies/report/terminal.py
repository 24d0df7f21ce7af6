"""The answer in the terminal: a table, a sentence for each variant, and what did not run."""

from __future__ import annotations

from components.core import layout
from components.core.errors import printable
from components.studies.answer import Answer
from components.studies.report.tables import costs, difference, level, method, p_value, pairing, trials
from components.studies.study import Study


def terminal(study: Study, answer: Answer) -> str:
    """The table with the recipe first, then each variant's sentence, as a person reads it after the last run."""
    head = ("variant", answer.metric, "difference", "p", "params", "FLOPs/token", "tokens/s", "memory")
    rows = []
    for row in answer.rows:
        effect = row.effect
        told = (difference(effect), p_value(effect.p_holm)) if effect else ("recipe", "")
        rows.append((printable(row.variant), level(row)[0], *told, *costs(row)))
    lines = [*layout.table(rows, head=head), ""]
    for row in answer.rows:
        if row.effect is not None:
            lines += layout.paragraph(f"{printable(row.variant)}: {printable(row.effect.sentence)}", indent=2)
    for effect in answer.secondary:
        lines += layout.paragraph(
            f"{printable(effect.metric)}, {printable(effect.variant)}: {printable(effect.sentence)}", indent=2
        )
    lines += ["", *layout.paragraph(pairing(answer), indent=2), *layout.paragraph(method(answer), indent=2)]
    for variant in study.variants:
        for trial in trials(study, variant.name):
            if trial.edge:
                told = f"{printable(variant.name)}: the best {' and '.join(trial.edge)} is at the edge of what was tried"
                lines += layout.paragraph(told, indent=2)
    for refused in study.refused:
        lines += layout.paragraph(printable(f"refused: {' '.join(refused.overrides)}: {refused.reason}"), indent=2)
    return "\n".join(lines)
