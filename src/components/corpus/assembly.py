"""The segments of all shards become the text of a corpus: duplicates left out, each split one file, in the order of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from components.corpus.arrays import Array
from components.corpus.clean import EXAMPLES, GLIMPSE, Report, glimpse
from components.corpus.duplicates import Repeated
from components.corpus.segments import Segment
from components.corpus.sources import FILE, RunWriter
from components.corpus.store import Meta
from components.corpus.texts import SPLITS, Cleaning


class Assembly:
    """Puts segments together.

    Args:
        read: (folder, meta) of each shard, as ``read_shard`` left them.
        repeated: the duplicates between segments.
        alike: the near-duplicates; None: they were not sought.
        cleaning: the settings.
    """

    def __init__(
        self, read: Sequence[tuple[Path, Meta]], repeated: Repeated, cleaning: Cleaning, alike: Repeated | None = None
    ) -> None:
        self.read, self.repeated, self.cleaning, self.alike = read, repeated, cleaning, alike

    def write(self, folder: Path) -> tuple[Report, Meta]:
        """The report, and what to remember: hash of all text, bytes and documents by split. A few documents still hold one out."""
        report, meta = self._write(folder, None)
        if self.cleaning.validation > 0 and not report.documents["validation"] and report.documents["train"] > 1:
            nearest = min((m["nearest"][0], bytes.fromhex(m["nearest"][1])) for _, m in self.read)
            report, meta = self._write(folder, nearest[1])
            report.notes.append(f"only {report.kept} documents: one was held out for validation, more than its share")
        if self.cleaning.test > 0 and not report.documents["test"]:
            report.notes.append("no document fell into the test split")
        return report, meta

    def _write(self, folder: Path, held_out: bytes | None) -> tuple[Report, Meta]:
        report = Report()
        whole = hashlib.blake2b(digest_size=16)
        sources: dict[str, int] = {}
        at = dict.fromkeys(SPLITS, 0)
        with ExitStack() as stack:
            ends = [Array(stack, folder / f"{split}.ends.npy", np.dtype("<i8")) for split in SPLITS]
            files = [stack.enter_context((folder / f"{split}.txt").open("wb")) for split in SPLITS]
            runs = RunWriter(stack, folder)
            number = 0
            for place, meta in self.read:
                _add(report, meta)
                renumbered = np.array([sources.setdefault(name, len(sources)) for name in meta["sources"]], np.int64)
                for i in range(len(meta["segments"])):
                    segment = Segment(place, i)
                    kept = self._count(segment, number, report)
                    whole.update(np.stack([segment.records[f][kept] for f in ("high", "low")], 1).astype(">u8").tobytes())
                    for split, pieces, text, of in _pieces(segment, kept, held_out):
                        files[split].writelines(text)
                        ends[split].add(at[SPLITS[split]] + np.cumsum(pieces))
                        at[SPLITS[split]] += int(pieces.sum())
                        if SPLITS[split] == "train":
                            runs.add(renumbered[of])
                    number += 1
            report.documents = {split: array.size for split, array in zip(SPLITS, ends)}
        meta = {"text_hash": whole.hexdigest(), "n_bytes": at, "n_documents": report.documents}
        if any(sources):
            return report, {**meta, "sources": list(sources)}
        (folder / FILE).unlink()  # no source has a name
        return report, meta

    def _count(self, segment: Segment, number: int, report: Report) -> np.ndarray:
        """Which documents are kept, and what the report says of the others."""
        dropped = segment.records["repeated"].copy()
        dropped[self.repeated.of(number)] = True
        near = np.zeros(len(dropped), bool)
        if self.alike is not None:
            near[self.alike.of(number)] = True
            near &= ~dropped
        kept = ~(dropped | near)
        characters = segment.records["characters"]
        report.kept += int(segment.records["pieces"][kept].sum())
        report.characters += int(characters[kept].sum())
        for reason, which in (("duplicates", dropped), ("near_duplicates", near)):
            for i in _counted(report, reason, np.flatnonzero(which)):
                report.examples[reason].append(f"{segment.where(i)} {glimpse(segment.beginning(i, 2 * GLIMPSE))}")
        for i in _counted(report, "over_long", np.flatnonzero(kept & (characters > self.cleaning.max_chars))):
            report.examples["over_long"].append(f"{segment.where(i)} ({characters[i]} characters)")
        return kept


def _add(report: Report, meta: Meta) -> None:
    """What a shard's own report says."""
    report.read += meta["read"]
    report.notes += meta["notes"]
    for reason, count in meta["counts"].items():
        report.counts[reason] += count
        room = EXAMPLES - len(report.examples[reason])
        report.examples[reason] += meta["examples"][reason][:room]


def _counted(report: Report, reason: str, documents: np.ndarray) -> list[int]:
    """Count them, and give those that become examples."""
    report.counts[reason] += len(documents)
    return documents[: EXAMPLES - len(report.examples[reason])].tolist()


def _pieces(
    segment: Segment, kept: np.ndarray, held_out: bytes | None
) -> Iterable[tuple[int, np.ndarray, list[memoryview], np.ndarray]]:
    """(split, bytes of each piece, their text in stretches, the number of each piece's source) of the documents that are kept."""
    records = segment.records
    for split, members in enumerate(segment.members):
        text, lengths = segment.text(split), segment.lengths[split]
        mine = kept[members]
        held = np.zeros(len(members), bool)
        if held_out is not None and SPLITS[split] == "train":
            high, low = np.frombuffer(held_out, ">u8")
            held = mine & (records["high"][members] == high) & (records["low"][members] == low)
        for to, chosen in ((split, mine & ~held), (SPLITS.index("validation"), held)):
            if chosen.any():
                pieces = np.repeat(chosen, records["pieces"][members])
                at = np.flatnonzero(np.diff(pieces, prepend=False, append=False))  # where a stretch begins, where it ends
                ends = np.r_[0, np.cumsum(lengths)][at]
                of = np.repeat(records["source"][members], records["pieces"][members])
                yield to, lengths[pieces], [text.data[a:b] for a, b in ends.reshape(-1, 2).tolist()], of[pieces]
