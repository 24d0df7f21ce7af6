"""Models on the Hugging Face hub: fetched as far as they are read here, and pushed as exported folders.

Nothing that could run code is fetched. Where the hub is, who asks it and where fetched files are kept is ``huggingface_hub``'s own: ``HF_ENDPOINT``,
``HF_TOKEN`` or ``hf auth login``, ``HF_HOME``.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from components.core.errors import UserError
from components.interop.files import INDEX, SINGLE, read_json
from components.interop.peft_config import WEIGHTS as ADAPTER

SCHEME = "hf://"
NAME = re.compile(r"(?P<id>[\w][\w.-]*/[\w.-]+|[\w][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?\Z")
FETCHED = ("*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja", "*.spm")
CARD = "README.md"


def named(path: str) -> tuple[str, str | None] | None:
    """(name, revision) of ``hf://user/name@revision``, also without the scheme; None if it is no name of a model."""
    found = NAME.match(path.removeprefix(SCHEME))
    return None if found is None else (found["id"], found["revision"])


def fetch(path: str, fetched: Sequence[str] = FETCHED) -> Path:
    """The folder of a model, of which the files that match ``fetched`` and are read here are downloaded.

    Raises:
        UserError: it is no name, or the hub does not give it.
    """
    known = named(path)
    if known is None:
        raise UserError(path, "is no model on the hub", f"write {SCHEME}user/name, or {SCHEME}user/name@revision")
    name, revision = known
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    with told(path, "is not a folder here, and the hub does not give it"):
        try:
            info = HfApi().model_info(name, revision=revision)
        except OfflineModeIsEnabled:  # what was fetched before is there
            return Path(snapshot_download(name, revision=revision, allow_patterns=list(fetched), local_files_only=True))
        there = [
            f.rfilename for f in info.siblings or () if "/" not in f.rfilename and any(fnmatch(f.rfilename, p) for p in fetched)
        ]
        if INDEX in there:
            index = snapshot_download(name, revision=info.sha, allow_patterns=[INDEX])
            there = needed(there, read_json(Path(index) / INDEX).get("weight_map"))
        else:
            there = needed(there)
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=[glob.escape(f) for f in there]))


def needed(files: Collection[str], index: object = None) -> list[str]:
    """Those of a model's files that are read: of weights that are there in several forms, one. ``index``: {tensor: file} where there is one."""
    weights = {f for f in files if f.endswith(".safetensors")}
    if isinstance(index, dict):
        taken = weights & {str(f) for f in index.values()}
    else:
        taken = {SINGLE} if SINGLE in weights else set(weights)
    return sorted({f for f in files if f not in weights} | taken | ({ADAPTER} & weights))


def origin(path: str, folder: Path) -> str:
    """Where a run is from: the path as it was given, of a model on the hub with the commit that was fetched."""
    known = named(path)
    fetched = known is not None and folder.parent.name == "snapshots"
    return f"{SCHEME}{known[0]}@{folder.name}" if known is not None and fetched else path


def may_push(name: str) -> None:
    """Before the work: whether ``name`` is one, and who asks is known there.

    Raises:
        UserError: it is not, there is no token that the hub knows, or no network.
    """
    known = named(name)
    if known is None or known[1] is not None or "/" not in known[0]:
        raise UserError(name, "is no name on the hub", "write user/name; --branch says another branch than main")
    from huggingface_hub import HfApi

    with told(name, "cannot be pushed"):
        HfApi().whoami()


def push(folder: Path, name: str, *, private: bool, revision: str | None, message: str, card: bool) -> str:
    """Upload a folder in one commit, in the place of the weights that are there. Returns lines to print.

    Args:
        folder: as ``components export`` writes it.
        name: ``user/name``, which `may_push` has seen; made if it is not there.
        private: whether only its owner sees it, if it is made.
        revision: a branch, which is made if it is not there; null: main.
        message: of the commit.
        card: replace a model card that is there; else it stays.

    Raises:
        UserError: no right to write there, or no network. The model on the hub is then as it was.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    api, name = HfApi(), name.removeprefix(SCHEME)
    with told(name, "cannot be pushed"):
        disable_progress_bars()
        api.create_repo(name, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        kept = not card and CARD in api.list_repo_files(name, revision=revision)
        made = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            ignore_patterns=[CARD] if kept else None,
            delete_patterns=["*.safetensors", INDEX],
        )
    lines = [f"hub: {made.repo_url}, commit {made.oid[:12]}"]
    return "\n".join([*lines, *(["the model card there is left as it is; --card replaces it"] if kept else [])])


@contextmanager
def told(where: str, what: str) -> Iterator[None]:
    """What the hub or the network refuses is one line."""
    from huggingface_hub import errors

    try:
        yield
    except UserError:
        raise
    except Exception as e:  # the libraries that it fetches with have errors of their own, by release
        status = e.response.status_code if isinstance(e, errors.HfHubHTTPError) and e.response is not None else None
        said = next(iter(str(e).strip().splitlines()), "") or type(e).__name__
        hint = "see that the network and HF_ENDPOINT are right"
        if isinstance(e, errors.GatedRepoError):
            said, hint = "it is gated", "ask for access on its page there, then hf auth login"
        elif isinstance(e, errors.RevisionNotFoundError):
            said, hint = "it has no such revision", "name a branch, a tag or a commit after @"
        elif isinstance(e, errors.LocalTokenNotFoundError):
            said, hint = "there is no token", "hf auth login, or HF_TOKEN=..."
        elif status in (401, 403) and not isinstance(e, errors.RepositoryNotFoundError):
            said, hint = "the token is not valid, or has no right to that", "hf auth login with a token that may write"
        elif isinstance(e, errors.RepositoryNotFoundError):
            said, hint = "there is none of that name that you may see", "mend the name, or hf auth login"
        elif isinstance(e, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
            said, hint = "HF_HUB_OFFLINE is set, and it was not fetched before", "unset HF_HUB_OFFLINE, or name a folder"
        raise UserError(where, f"{what} ({said})", hint) from e
