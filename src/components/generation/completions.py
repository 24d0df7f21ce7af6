"""What a model writes for many prompts, in a file that data parts read: the texts of a teacher, for a student.

Kim & Rush 2016 (sequence-level knowledge distillation), arXiv:1606.07947
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from components.core import files
from components.core.errors import UserError
from components.core.terminal import require_text
from components.corpus.special_ids import first_ids, stop_ids
from components.generation.chat import Template, template_of
from components.generation.generating import continue_ids
from components.generation.loaded import Loaded
from components.generation.streaming import text_of

TOGETHER = 16  # prompts that are continued at once; what each becomes does not depend on the others
LINE = 'a line is {"prompt": "What is 2 doubled?"}'


def write_completions(
    loaded: Loaded,
    prompts: Path,
    to: Path,
    *,
    count: int = 1,
    max_new_tokens: int = 200,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> int:
    """Write ``{"prompt": ..., "completion": ...}``, a line for each completion. Returns their number.

    A model whose tokenizer has a chat template is asked as an assistant, an encoder-decoder reads the prompt as its source, and any other model
    continues it. ``data=conversations`` reads what is written, and so does ``data=text_pairs data.source=prompt data.target=completion``.

    Args:
        loaded: the model.
        prompts: jsonl with a text ``prompt`` in each line; other fields are left out.
        to: the file to write, a new one: whole, or not at all.
        count: completions of each prompt.
        max_new_tokens: at most, of each.
        seed: of what is drawn; a prompt's completions do not depend on other prompts.
        stop: strings; a completion also ends before the first of them.

    Raises:
        UserError: a line is no prompt, ``to`` is there already or cannot be written, or the model refuses a prompt.
    """
    asked = prompts_in(prompts)
    if to.exists() or to.is_symlink():
        raise UserError(str(to), "is there already", "name another file with --to")
    template = None if loaded.reads_source else _template(loaded)
    with files.whole(to) as stream:
        for i in range(0, len(asked), TOGETHER):
            some = [prompt for prompt in asked[i : i + TOGETHER] for _ in range(count)]
            seeds = [(seed, j % count) for j in range(len(some))]
            if loaded.reads_source:
                given = asked[i : i + TOGETHER]
                made = loaded.generate(given, count=count, max_new_tokens=max_new_tokens, seed=seed, stop=list(stop))
                texts = [text for each in made for text in ([each] if isinstance(each, str) else each)]
            else:
                texts = _answers(loaded, some, template, seeds, max_new_tokens, stop)
            for prompt, text in zip(some, texts, strict=True):
                stream.write((json.dumps({"prompt": prompt, "completion": text}, ensure_ascii=False) + "\n").encode())
    return len(asked) * count


def prompts_in(file: Path) -> list[str]:
    """The prompts of a jsonl. UserError, with the line, where one is none."""
    found = []
    for number, line in enumerate(files.read_text(file).split("\n"), 1):
        if line.strip():
            row = files.parse_json(line, where := f"{file}:{number}")
            prompt = row.get("prompt") if isinstance(row, dict) else None
            if not isinstance(prompt, str) or not prompt:
                raise UserError(where, "has no text in a field 'prompt'", LINE)
            require_text(where, prompt)
            found.append(prompt)
    if not found:
        raise UserError(str(file), "has no prompt", LINE)
    return found


def _template(loaded: Loaded) -> Template | None:
    """The chat template of its tokenizer, if it has one."""
    try:
        return template_of(loaded.tokenizer)
    except UserError as e:
        if e.where != "chat":  # there is one, and it is no template
            raise
        return None


def _answers(
    loaded: Loaded,
    prompts: list[str],
    template: Template | None,
    seeds: list[tuple[int, int]],
    max_new_tokens: int,
    stop: Sequence[str],
) -> list[str]:
    """What comes after each prompt."""
    tokenizer = loaded.tokenizer
    if template is None:
        rows, ends = [[*first_ids(tokenizer), *tokenizer.encode(p)] for p in prompts], stop_ids(tokenizer)
    else:
        rows, ends = [template.ids([{"role": "user", "content": p}]) for p in prompts], template.ends()
    for prompt, row in zip(prompts, rows):
        tokenizer.need_rows(row, f"prompt: {prompt!r:.60}")
    model, config = loaded.model, loaded.config
    made = continue_ids(model, tokenizer, config, rows, seeds=seeds, ends=ends, max_new_tokens=max_new_tokens, stop=stop)
    return [text_of(tokenizer, [], new, stop) for new in made]
