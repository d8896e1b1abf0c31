"""A bundle on disk: read, and checked byte by byte before anything in it is used.

Layout: ``model.xml`` and ``model.bin`` (OpenVINO IR), ``manifest.json``, ``golden/*.png``.
A bundle is untrusted input: the sizes it may have are bounded and its paths stay inside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..errors import BundleError, cannot_read, shortened
from ..images.files import decode_bgr8
from ..images.image_format import ImageFormat, image_format
from ..images.preprocess import Image
from ..images.size_limit import PixelLimit, limit_pixels
from ..validation import first_fault, require
from .agreement import check_agreement
from .graph_operations import check_operations
from .ir import read_ir
from .manifest import SCHEMA_VERSION, FileFacts, GoldenImage, Manifest, manifest_digest, read_manifest

__all__ = [
    "MANIFEST",
    "MAX_MANIFEST_BYTES",
    "MODEL_BIN",
    "MODEL_XML",
    "Bundle",
    "file_facts",
    "parse_manifest",
    "say_if_forced",
    "write_manifest",
]

MANIFEST = "manifest.json"
MODEL_XML = "model.xml"
MODEL_BIN = "model.bin"
MAX_MANIFEST_BYTES = 4 << 20
_MAX_GOLDEN_BYTES = 64 << 20
_BLOCK = 1 << 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: where it is and what its manifest says.

    Attributes:
        digest: the manifest's own, as it stands in the file; another one after every edit.
    """

    path: Path
    manifest: Manifest
    digest: str

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle and check its schema, the size and the sha256 of every file, and what its graph is made of.

        A bundle that was written although it failed the gate is read with a warning in the log.

        Raises:
            BundleError: a file is missing, changed, malformed or not to be read by this user, the graph does what no
                export does, or thresholds contradict each other.
        """
        require("bundle", path, (str, Path), "the folder that `patchcore-edge export` wrote")
        try:
            return cls._load(Path(path))
        except OSError as error:
            # Such as a name that no file may have, or a folder that another user owns.
            raise cannot_read(error.filename or path, error, kind=BundleError) from None

    @classmethod
    def _load(cls, path: Path) -> Bundle:
        manifest, digest = _read_manifest(path)
        for name, facts in manifest.files.items():
            _check_file(path, name, facts)
        for name in (MODEL_XML, MODEL_BIN, *(golden.file for golden in manifest.golden)):
            if name not in manifest.files:
                raise BundleError(f"The manifest of {path} lists no {name}; export the bundle again.")
        graph = read_ir(path / MODEL_XML)
        check_operations(graph.operations, MODEL_XML)
        check_agreement(manifest, graph.model_info)
        say_if_forced(manifest, path)
        return cls(path, manifest, digest)

    @property
    def model_xml(self) -> Path:
        """The IR's topology; OpenVINO finds ``model.bin`` beside it."""
        return self.path / MODEL_XML

    def copy_to(self, folder: Path) -> None:
        """Copy what the manifest lists, and the manifest itself, into a folder that is there; nothing else."""
        for name in (*self.manifest.files, MANIFEST):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.path / name, folder / name)

    def golden_image(self, golden: GoldenImage) -> Image:
        """The pixels of a golden image, HxWx3 uint8 BGR of the model's input size.

        Raises:
            BundleError: the file is no PNG of that size.
        """
        height, width = self.manifest.preprocess.input_size
        data = np.frombuffer(self._content(golden.file), np.uint8)
        # The size stands in the PNG's first 24 bytes: a file that claims to be huge is refused before it is decoded.
        size = tuple(int(v) for v in np.frombuffer(data[16:24].tobytes(), ">u4")) if data.size >= 24 else ()
        is_png = image_format(data) is ImageFormat.PNG
        image = None
        if is_png and size == (width, height):
            # The model's size says nothing of the frames that a running line expects.
            with limit_pixels(PixelLimit(width * height)):
                image = decode_bgr8(data)
        if image is None or image.shape != (height, width, 3):
            raise BundleError(f"{golden.file} is not a {width}x{height} PNG; export the bundle again.")
        return image.astype(np.uint8, copy=False)

    def _content(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise cannot_read(self.path / name, error, kind=BundleError) from None


def file_facts(path: Path) -> FileFacts:
    """Size and sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return FileFacts(bytes=path.stat().st_size, sha256=digest.hexdigest())


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` with its digest into the bundle folder ``path``."""
    document = manifest.model_dump(mode="json")
    document["digest"] = manifest_digest(document)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (path / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    file = path / MANIFEST
    if not _is_file(file):
        raise BundleError(f"{shortened(path)} is no bundle (it has no {MANIFEST}); give a folder that `export` wrote.")
    if file.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{file} is larger than any manifest; export the bundle again.")
    return parse_manifest(file.read_bytes(), file)


def say_if_forced(manifest: Manifest, name: object) -> None:
    """Warn of a bundle that was exported although the parity gate had refused it."""
    if not manifest.parity.passed:
        why = "; ".join(manifest.parity.failures) or "it does not score as the fitted model does"
        _LOG.warning("%s was exported with --force after it failed the parity gate (%s).", name, why)


def parse_manifest(content: bytes, where: object) -> tuple[Manifest, str]:
    """The manifest that a file's bytes hold, and its digest.

    Args:
        content: of ``manifest.json``.
        where: it comes from, for the error.

    Raises:
        BundleError: it is of another schema, malformed, or was changed.
    """
    try:
        document: Any = json.loads(content.decode("utf-8"))
        # Also fails for NaN and infinity, which Python reads and JSON does not have.
        found = manifest_digest(document) if isinstance(document, dict) else ""
    except (ValueError, RecursionError):
        raise BundleError(f"{where} is not valid JSON; export or copy the bundle again.") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise BundleError(
            f"{where} has schema version {shortened(repr(version))} and this runtime reads 1 to {SCHEMA_VERSION}; "
            "update the runtime, or export again with the host that goes with it."
        )
    if document.pop("digest", "") != found:
        raise BundleError(f"{where} was changed after export; copy the bundle again or export it anew.")
    try:
        return read_manifest(document), found
    except ValidationError as error:
        raise BundleError(f"{where}: {first_fault(error)}; export the bundle again.") from None


def _is_file(path: Path) -> bool:
    """Whether it is there; a folder that this user may not look into is an ``OSError``, whichever Python asks."""
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _check_file(path: Path, name: str, facts: FileFacts) -> None:
    file = path / name
    # A link could lead out of the bundle although its name does not.
    if not _is_file(file) or not file.resolve().is_relative_to(path.resolve()):
        raise BundleError(f"{name} is missing in {path}; copy the bundle again.")
    size = file.stat().st_size
    too_big = name.startswith("golden/") and size > _MAX_GOLDEN_BYTES
    if size != facts.bytes or too_big or file_facts(file) != facts:
        raise BundleError(f"{name} in {path} is not the file that was exported; copy the bundle again.")
