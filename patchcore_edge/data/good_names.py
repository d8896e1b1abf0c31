"""Which of several folders, or labels, is that of good parts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.path_text import encodable, path_text

__all__ = ["GOOD", "good_among", "is_chosen", "sounds_bad", "sounds_good"]

GOOD = "good"
"""The label of good parts, whatever their folder is called."""

_ENGLISH = """good goods ok okay normal normals nominal pass passed io accept accepted correct intact healthy clean
perfect flawless faultless undamaged conforming nodefect nodefects nofault defectfree nondefective
notdefective withoutdefect"""
_GERMAN = "gut gute gutteil gutteile fehlerfrei inordnung"
_ROMANCE = (
    """bon bonne bons bonnes conforme conformes bueno buena buenos buenas buono buona buoni buone bom boa bons boas"""
)
_SLAVIC = "dobry dobre dobra dobrá dobré dobrý"
_EAST_ASIAN = "良品 正常 合格 合格品 正品 정상 양품"
_SOUND_GOOD = frozenset(" ".join((_ENGLISH, _GERMAN, _ROMANCE, _SLAVIC, _EAST_ASIAN)).split())
_SOUND_BAD = re.compile(r"(ng|nok|nio|bad|test|masks?|ground_?truth|(defect|anomal|abnormal|fail|reject|scrap).*)")
_NUMBERED = re.compile(r"\d+[\s._-]+(?=\D)")
_NOUNS = re.compile(r"[\s._-]+(images?|imgs?|pictures?|photos?|parts?|samples?|pieces?|teile?|bilder)$")
_SEPARATORS = re.compile(r"[\s._-]+")
_SHOWN = 6


def sounds_good(name: str, *, number: bool = True) -> bool:
    """Whether a name is one that people give to good parts: ``Good``, ``OK``, ``0.normal``, ``i.O.``, ``Gutteile`` …

    Args:
        name: of a folder, or a label.
        number: ``0`` is such a name, as among classes; of a batch it is not.
    """
    plain = _SEPARATORS.sub("", _NOUNS.sub("", _NUMBERED.sub("", _folded(name), count=1)))
    return plain in _SOUND_GOOD or (number and plain.strip("0") == "" != plain)


def sounds_bad(name: str) -> bool:
    """Whether a name says that what is in the folder are no good parts."""
    return _SOUND_BAD.fullmatch(_folded(name)) is not None


def is_chosen(name: str, chosen: Collection[str]) -> bool:
    """Whether ``--good`` says this name, in small or capital letters."""
    return _folded(name) in {_folded(one) for one in chosen}


def good_among(names: Sequence[str], chosen: Collection[str], where: str, remedy: str) -> list[str]:
    """The names of good parts: those that are chosen, else the one that sounds so.

    Args:
        names: of folders or labels that have images.
        chosen: what ``--good`` says; where none of them is among the names, the names decide.
        where: they are, for errors.
        remedy: what else to do where no name is one, for errors.

    Raises:
        DataError: none of the names sounds good, or more than one does.
    """
    named = [name for name in names if name in chosen] or [name for name in names if is_chosen(name, chosen)]
    if named:
        return named
    good = [name for name in names if sounds_good(name)]
    if len(good) == 1:
        return good
    listed = [path_text(name) for name in good or names]
    shown = ", ".join([*listed[:_SHOWN], *([f"{len(listed) - _SHOWN} more"] if len(listed) > _SHOWN else [])])
    if good:
        raise DataError(f"{where} has {shown}, and each may be the good parts; say which with --good NAME.")
    raise DataError(
        f"{where} has {shown}, and none is known as the good parts; say which with --good NAME, or {remedy}."
    )


def _folded(name: str) -> str:
    """Without what people do not see as a difference; macOS writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", encodable(name)).casefold().strip()
