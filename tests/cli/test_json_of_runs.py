"""``components runs --json`` has what the table tells."""

from __future__ import annotations

import json

from components.cli import main


def test_what_one_run_has_of_its_own_is_told(tmp_path, capsys):
    for name, lines, figures in (
        ("a/1", ["seed: 0 -> 1", "model.n_layers: 4 -> 2"], {"state": "finished"}),
        ("a/2", ["seed: 0 -> 1"], None),
    ):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"began": float(name[-1]), "difference": lines}))
        if figures is not None:
            (folder / "summary.json").write_text(json.dumps(figures))
    assert main(["runs", "--runs", str(tmp_path), "--json"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert [(r["state"], r["not_as_all_others"]) for r in held] == [
        ("finished", "model.n_layers: 4 -> 2"),
        ("running or killed", ""),
    ]
    assert main(["runs", "--runs", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(text in out for r in held for text in (r["state"], r["not_as_all_others"]))
