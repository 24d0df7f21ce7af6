"""YAML means what it means to OmegaConf, and is read without it."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from components.compose.yaml_files import parse_yaml
from components.core.errors import UserError

WORDS = """
1 0 -1 +1 007 0o17 0x1F 0b101 1_000 1__0 1e3 1e-3 1E-3 -1e-3 +1e+3 1.e3 1. .5 -.5 .5e1 .5e-1 .5e+1 1.5e-7 1_0.5 1e 1e- e3 1e3.0
1:30 1:30.5 12:30:45 -1:30 190:20:30.15 .inf -.inf +.inf .Inf .INF .nan .NaN inf nan NaN null Null NULL ~ none None true True TRUE
false no No off on y n Y N yes YES 2026-01-01 2026-01-01T10:00:00 2001-12-14t21:59:43.10-05:00 1.2.3 v1 a-b a.b a/b a:b #x a#b = <<
${seed} ${oc.env:HOME} x${seed}y "1e-3" '1e-3' "a\\tb" "\\u00e9" 'it''s' !!str 1 !!float 1 !!int '3' !!null '' !!bool yes
[] {} [1,2e-1] {a: 1e-3} [[1],[a,b]] {a: {b: [null, ~, .5]}} | > é 日本
""".splitlines()
SCALARS = [w for line in WORDS for w in line.split(" ") if w and not w.startswith("!!")] + [
    "!!str 1",
    "!!float 1",
    "!!int '3'",
    "!!null ''",
    "!!bool yes",
    "{a: 1e-3, b: [1, .5]}",
    "two words",
    "[a, 'b, c', 1e2]",
    "&x [1, 2]",
    "|\n  lines\n  of text\n",
    ">-\n  folded\n  text\n",
    "",
]
DOCUMENTS = [
    "",
    "# only a comment\n",
    "a: 1\n---\n",
    "a: &a {x: 1, y: 1e-3}\nb: {<<: *a, y: 2}\nc: *a\n",
    "a: {x: 1}\nb:\n  - 1\n  - {c: d}\n  -\n    - e\n",
    "1: a\n2: b\n1.5: c\ntrue: d\n",
    "1: a\n1: b\n",
    "? a\n: b\n",
    "a:\n- 1\n-  2\n",
    "'a': 1\n\"b\": 2\n",
    "a: 1\na: 2\n",
    "a: {b: 1, c: 2, b: 3}\n",
    "a: [{b: 1, b: 2}]\n",
    "a: 1\n'a': 2\n",
    "a: &a {x: 1}\n<<: *a\nx: 2\n",
    "a: [1\n",
    "a: b: c\n",
    "\ta: 1\n",
    "a: *nowhere\n",
    "a: !!python/object/apply:os.system [ls]\n",
    "a: !mine 1\n",
    "a: \x01\n",
    "a: 1\n---\nb: 2\n",
]


def by_omegaconf(text: str, folder: Path) -> Any:
    """What OmegaConf reads from a file; the error's class where it refuses."""
    (folder / "x.yaml").write_text(text, encoding="utf8")
    try:
        return OmegaConf.to_container(OmegaConf.load(folder / "x.yaml"), resolve=False)
    except (yaml.YAMLError, OSError) as e:  # OSError: what it finds is no mapping, list or word
        return type(e).__name__


def by_us(text: str) -> Any:
    try:
        value = parse_yaml(text, "x.yaml")
    except UserError as e:
        return e
    return {} if value is None else value


def same(a: Any, b: Any) -> bool:
    """Equal in type and value; ``nan`` is itself."""
    return repr(a) == repr(b)


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_means_what_it_means_to_omegaconf(scalar, tmp_path):
    for text in (f"a: {scalar}\n", f"- {scalar}\n", f"a: {{b: [{scalar}]}}\n"):
        theirs, ours = by_omegaconf(text, tmp_path), by_us(text)
        assert isinstance(ours, UserError) if isinstance(theirs, str) else same(ours, theirs), (text, ours, theirs)


@pytest.mark.parametrize("text", DOCUMENTS)
def test_a_document_means_what_it_means_to_omegaconf(text, tmp_path):
    theirs, ours = by_omegaconf(text, tmp_path), by_us(text)
    assert isinstance(ours, UserError) if isinstance(theirs, str) else same(ours, theirs), (text, ours, theirs)


def test_words_that_look_like_numbers(tmp_path):
    """Every short word of the letters that numbers are written with, and a sample of longer ones."""
    letters = "01.-+e:_"
    words = ["".join(w) for n in (1, 2, 3) for w in itertools.product(letters, repeat=n)]
    draw = random.Random(0)
    words += ["".join(draw.choices("0159.-+eE:_xinfa", k=draw.randint(4, 9))) for _ in range(3000)]
    known = [w for w in words if not isinstance(by_us(f"a: {w}"), UserError)]
    assert len(known) > 2000
    text = "".join(f"k{i}: {w}\n" for i, w in enumerate(known))
    ours = {
        k: v for part in range(0, len(known), 500) for k, v in by_us("".join(text.splitlines(True)[part : part + 500])).items()
    }
    theirs = by_omegaconf(text, tmp_path)
    assert {w: (ours[f"k{i}"], theirs[f"k{i}"]) for i, w in enumerate(known) if not same(ours[f"k{i}"], theirs[f"k{i}"])} == {}


def test_every_recipe_and_config_here(tmp_path):
    root = Path(__file__).parents[2]
    files = [*root.glob("recipes/**/*.yaml"), *root.glob("conf/**/*.yaml"), *root.glob("tests/old_runs/**/*.yaml")]
    assert len(files) > 60
    for file in files:
        text = file.read_text(encoding="utf8")
        assert same(by_us(text), by_omegaconf(text, tmp_path)), file


def test_omegaconf_is_not_imported():
    code = (
        "import sys; from components.compose.yaml_files import parse_yaml; "
        "assert parse_yaml('a: 1e-3', 'x') == {'a': 0.001}; assert 'omegaconf' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
