"""Who prints, and who writes files: one module each, so that what holds there holds everywhere. Read from source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parent.parent / "src"
METHODS = {
    "write_text",
    "write_bytes",
    "savefig",
    "mkdir",
    "makedirs",
    "touch",
    "save_file",
    "tofile",
    "to_csv",
    "memmap",
    "copyfile",
}
BY_MODULE = {
    ("np", "save"), ("np", "savez"), ("torch", "save"), ("os", "replace"), ("os", "rename"), ("shutil", "copy"), ("shutil", "copyfile"),
    ("shutil", "move"), ("shutil", "copytree"), ("os", "open"),
}  # fmt: skip
IN_THE_STORE = "in a folder of store.build's, which is whole or not there, and turns what the system says into one line"
RENAMES = "what is whole comes into its place; callers turn what the system says into one line"
# {(file, what is called): why it may}
ALLOWED = {
    ("corpus/arrays.py", "open"): IN_THE_STORE,
    ("corpus/assembly.py", "open"): IN_THE_STORE,
    ("corpus/duplicates.py", "np.save"): IN_THE_STORE,
    ("corpus/segments.py", "open"): IN_THE_STORE,
    ("corpus/segments.py", "np.save"): IN_THE_STORE,
    ("corpus/work.py", "mkdir"): IN_THE_STORE,
    ("corpus/near_duplicates.py", "open"): IN_THE_STORE,
    ("corpus/near_duplicates.py", "mkdir"): IN_THE_STORE,
    ("corpus/example_files.py", "open"): IN_THE_STORE,
    ("corpus/example_files.py", "np.save"): IN_THE_STORE,
    ("corpus/examples.py", "rename"): IN_THE_STORE,
    ("corpus/row_building.py", "open"): IN_THE_STORE,
    ("corpus/row_building.py", "os.replace"): IN_THE_STORE,
    ("corpus/store.py", "mkdir"): "the folders themselves",
    ("corpus/store.py", "rename"): "a whole folder comes into its place",
    (
        "interop/files.py",
        "save_file",
    ): "safetensors writes by itself; what it says is turned into one line there, in files.whole_folder",
    ("explain/notebook_figure.py", "savefig"): "into memory",
    ("core/publishing.py", "mkdir"): RENAMES,
    ("core/publishing.py", "open"): RENAMES,
    ("core/publishing.py", "os.rename"): RENAMES,
    ("core/publishing.py", "os.replace"): RENAMES,
    ("runs/consolidating.py", "torch.save"): "into the stream of files.whole",
    ("training/keeping.py", "torch.save"): "into the stream of files.whole",
    ("training/wandb_export.py", "shutil.copy"): "into a temporary folder of W&B's",
    ("training/strategy/_saved.py", "torch.save"): "into memory",
    ("runs/foreign.py", "torch.save"): "into the stream of files.whole",
    ("training/saving.py", "torch.save"): "into the stream of files.whole",
    ("runs/curves.py", "savefig"): "into the stream of files.whole",
    ("explain/explanation.py", "savefig"): "into the stream of files.whole",
    ("studies/report/pictures.py", "savefig"): "into the stream of files.whole",
    (
        "runs/run_folder.py",
        "mkdir",
    ): "the folder of a run, which must be new; what the system says is turned into one line there",
    ("core/terminal.py", "os.open"): "the null device",
}


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """(file, call, what is called) of the whole package."""
    files = sorted(SRC.rglob("*.py"))
    assert len(files) > 500
    for file in files:
        name = file.relative_to(SRC).as_posix().removeprefix("components/")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf8"))):
            if isinstance(node, ast.Call):
                yield name, node, ast.unparse(node.func)


def test_one_module_prints():
    printed = [
        (file, node.lineno)
        for file, node, called in calls()
        if file != "core/terminal.py" and (called == "print" or called.endswith(("stdout.write", "stderr.write")))
    ]
    assert not printed, "components.core.terminal prints: show, tell or complain"


def mode_of(node: ast.Call, called: str) -> str:
    """Of ``open`` and ``path.open``; empty where it reads."""
    given = [k.value for k in node.keywords if k.arg == "mode"] + node.args[(0 if "." in called else 1) :][:1]
    value = given[0].value if given and isinstance(given[0], ast.Constant) else ""
    return value if isinstance(value, str) and set(value) & set("wax+") and set(value) <= set("wax+bt") else ""


def written(node: ast.Call, called: str) -> str:
    """What is called, if it writes to a file; else empty."""
    if not isinstance(node.func, ast.Attribute):
        return called if called == "save_file" or (called == "open" and mode_of(node, called)) else ""
    pair = (ast.unparse(node.func.value), node.func.attr)
    if pair[0] == "files" or (node.func.attr == "memmap" and ast.unparse(node.args[2]) == "'r'"):
        return ""
    if pair in BY_MODULE:
        return called
    if node.func.attr in METHODS or (node.func.attr == "open" and mode_of(node, called)):
        return node.func.attr
    renames = node.func.attr in ("rename", "replace") and len(node.args) == 1  # text.replace takes two
    return node.func.attr if renames and not node.keywords else ""


def test_every_write_goes_through_files():
    found = {(file, what) for file, node, called in calls() if (what := written(node, called))}
    bare = {f for f in found if f[0] != "core/files.py" and f not in ALLOWED}
    assert not bare, "components.core.files writes: whole, write_text, write_json, open_append, whole_folder, make_folder"
    assert any(f[0] == "core/files.py" for f in found)
    gone = {f for f in ALLOWED if f not in found}
    assert not gone, "no longer there: take them out of ALLOWED"


def test_a_write_is_found():
    for text in (
        "p.open('w')",
        "open(p, 'ab')",
        "open(p, mode='x')",
        "p.write_text(t)",
        "os.replace(a, b)",
        "a.rename(b)",
        "np.save(f, x)",
    ):
        node = ast.parse(text).body[0].value
        assert written(node, ast.unparse(node.func)), text
    for text in (
        "p.open()",
        "open(p, 'rb')",
        "t.replace('a', 'b')",
        "cache.open(info)",
        "p.open('r')",
        "self.residual.open(x)",
    ):
        node = ast.parse(text).body[0].value
        assert not written(node, ast.unparse(node.func)), text
