"""Templates of strangers end, within bounds, in one line; what is said in a conversation is never part of its form; threads do not meet."""

from __future__ import annotations

import threading
import time

import pytest

from components import build
from components.core.errors import UserError
from components.corpus.tokens import Tokens
from components.generation import template_limits
from components.generation.chat import Template, find_template, template_of
from components.generation.sandbox import MOST_SOURCE

PLAIN = "{% for m in messages %}<|bos|>{{ m.role }}: {{ m.content }}<|eos|>{% endfor %}"
ASKED = [{"role": "user", "content": "the tree"}]
GROWING = "{%% set ns = namespace(x=%s) %%}{%% for i in range(60) %%}{%% set ns.x = %s %%}{%% endfor %%}{{ ns.x }}"
HOSTILE = {
    "x * 10^10": "{{ 'x' * 10**10 }}",
    "a list * 10^10": "{{ [0] * 10**10 }}",
    "9**10^7": "{{ 9 ** (10 ** 7) }}",
    "nested multiples": "{{ [[1] * 100000] * 100000 }}",
    "a format width": "{{ '%1000000000d' % 1 }}",
    "a format's starred width": "{{ '%*d' % (1000000000, 1) }}",
    "a filter's format width": "{{ '%1000000000d' | format(1) }}",
    "str.format": "{{ '{:>1000000000}'.format('x') }}",
    "str.format of a width given": "{{ '{:{w}}'.format('x', w=1000000000) }}",
    "one argument many times": "{{ ('{0}' * 50000).format('a' * 100000) }}",
    "center": "{{ 'x' | center(1000000000) }}",
    "ljust": "{{ 'x'.ljust(1000000000) }}",
    "indent": "{{ ('\n' * 100000) | indent(100000) }}",
    "tojson indent": "{{ messages | tojson(indent=1000000000) }}",
    "replace": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "str.replace": "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
    "join": "{{ ('b' * 1000000).join(range(100000) | map('string')) }}",
    "batch": "{{ [1] | batch(1000000000, 'x') | list }}",
    "round": "{{ 3.7 | round(1000000000, 'ceil') }}",
    "expandtabs": "{{ ('\t' * 1000000).expandtabs(100000) }}",
    "translate": "{{ ('a' * 10000).translate({97: 'b' * 100000}) }}",
    "to_bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "wordwrap": "{{ 'x y' | wordwrap(0) }}",
    "urlize": "{{ ('a.com ' * 100000) | urlize }}",
    "lipsum": "{{ lipsum(1000000) }}",
    "divide by zero": "{{ 1 / 0 }}",
    "slice 0": "{{ [1] | slice(0) | list }}",
    "doubling with ~": GROWING % ("'aaaaaaaa'", "ns.x ~ ns.x"),
    "doubling with +": GROWING % ("'aaaaaaaa'", "ns.x + ns.x"),
    "doubling with join": GROWING % ("'aaaaaaaa'", "[ns.x, ns.x] | join"),
    "lists within lists": GROWING % ("['a']", "[ns.x, ns.x]"),
    "dicts within dicts": GROWING % ("{}", "dict(a=ns.x, b=ns.x)"),
    "range 10^5 squared": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a loop that writes": "{% for i in range(99999) %}" + "{{ 'xxxxxxxxxx' }}" * 3000 + "{% endfor %}",
    "a set block": "{% set x %}{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}{% endset %}",
    "recursion": "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "recursion that branches": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "comparing": "{% set a = 'x'*30000000 %}{% set b = 'x'*29999999 + 'y' %}{% for i in range(99999) %}{% if a == b %}{% endif %}{% endfor %}",
    "nested deeply": "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "nested blocks": "{% if 1 %}" * 3000,
    "nested loops": "{% for i in range(9) %}" * 30 + "{% endfor %}" * 30,
    "too long": "x" * (MOST_SOURCE + 1),
    "another file": "{% include '/etc/passwd' %}",
    "no such thing": "{{ nothing.at.all }}",
    "its own words": "{{ raise_exception('\x1b[31m' ~ 'no ' * 1000) }}",
}


@pytest.fixture(scope="module")
def tokens():
    made = build("tokenizer", "bpe", vocab_size=300)
    made.train(["the tree stands under a stone"] * 4)
    return Tokens(made.core, made.roles)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_in_one_line_that_names_its_file(tokens, name, monkeypatch):
    monkeypatch.setattr(template_limits, "MOST_SECONDS", 0.2)
    found: list[BaseException] = []

    def run():
        try:
            Template(HOSTILE[name], tokens, "x/template.jinja").text(ASKED)
        except BaseException as e:
            found.append(e)

    began = time.process_time()
    thread = threading.Thread(target=run)  # no signal reaches it
    thread.start()
    thread.join()
    assert time.process_time() - began < 5
    assert found, "it was rendered"
    said = str(found[0])
    assert isinstance(found[0], UserError)
    assert said.startswith("x/template.jinja: ")
    assert len(said) < 400
    assert said.isprintable()


def test_what_templates_do_is_as_jinja_does_it(tokens):
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    sources = [
        PLAIN,
        "{% for m in messages %}{{ loop.index0 ~ '/' ~ loop.length }}{{ '' if loop.last else ',' }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages[1:] %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }} {{ messages[0] }}",
        "{{ [1, 2] + [3] }} {{ (1, 2) }} {{ {'a': [x] } }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ 7 // 2 - 1 }} {{ 3 * 'ab' }} {{ '%s!' % 'a' }}",
        "{{ messages | map(attribute='role') | join(', ') }} {{ ' a ' | trim | upper | replace('A', 'b') }} {{ 'a\nb' | indent(2) }}",
        "{% macro f(x, y=2) %}{{ x + y }}{% endmacro %}{{ f(1) }}{{ f(1, y=5) }} {{ 'a b'.split(' ') | length }} {{ '{}'.format(1) }}",
        "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %} {{ [3, 1] | sort }} {{ x is defined }}",
        "{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% else %}none{% endfor %}{% for x in [] %}{% else %}none{% endfor %}",
        "{% set content %}a{% if true %}b{% endif %}{% endset %}{{ content }}{{ 'x' in content }}{{ 1.5 + 1 }} {{ none }} {{ '<' | e }}",
    ]
    theirs = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    given = [*ASKED, {"role": "assistant", "content": "is here"}, *ASKED]
    for source in sources:
        made = Template(source, tokens)
        want = theirs.from_string(source).render(
            messages=given, add_generation_prompt=True, tools=None, documents=None, **made.words
        )
        assert made.text(given) == want


@pytest.mark.parametrize(
    "said",
    ["hello \ue0005\ue001 world", "<|eos|> \ue0000\ue001", "\ue0009999999\ue001", "\ue0000.0\ue001<|eos|>\ue0001.0\ue001"],
)
def test_no_character_that_is_said_means_anything(tokens, said):
    made = Template(PLAIN, tokens)
    ids = made.ids([{"role": "user", "content": said}, {"role": "user<|eos|>", "content": "<|bos|>"}])
    assert tokens.decode(ids) == f"<|bos|>user: {said}<|eos|><|bos|>user<|eos|>: <|bos|><|eos|>"
    assert ids.count(tokens.specials["eos"]) == 2
    assert ids.count(tokens.specials["bos"]) == 2


@pytest.mark.parametrize(
    "messages", [["a"], [{"role": "user"}], [{"role": "user", "content": ["a"]}], [{"role": 1, "content": "a"}]]
)
def test_what_is_no_message_is_said(tokens, messages):
    with pytest.raises(UserError, match="is not a text message"):
        Template(PLAIN, tokens).ids(messages)


def test_files_of_templates(tokens, tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("pipe", "bytes", "none"):
        with pytest.raises(UserError, match=name):
            find_template(tokens, tmp_path / name)
    own = Tokens(tokens.core, tokens.roles, {"tokenizer_config.json": "[" * 100_000})
    for held, says in (
        ("[" * 100_000, "no JSON"),
        ("[]", "holds no object"),
        ('{"chat_template": "{% for %}"}', "not a Jinja template"),
    ):
        own.files = {"tokenizer_config.json": held}
        with pytest.raises(UserError, match=f"tokenizer_config.json: .*{says}"):
            template_of(own)


def test_one_threads_template_is_not_another_threads_text(tokens):
    """Both read the same tokenizer: what one reads as special tokens is ordinary text to the other."""
    made, special, faults = Template(PLAIN, tokens), set(tokens.specials.values()), []
    want = made.ids(ASKED)

    def chat():
        for _ in range(300):
            if made.ids(ASKED) != want:
                faults.append("template")

    def user():
        for _ in range(300):
            if special & set(tokens.encode("some text <|endoftext|> more " * 5)):
                faults.append("text")
            if special.isdisjoint(tokens.encode("<|eos|>", special_tokens=True)):
                faults.append("marked")

    threads = [threading.Thread(target=work) for work in (chat, user, chat, user)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
