"""A bundle's manifest and golden images through KServe v2 itself: as the one output of a second, constant model.

KServe v2 has no place for a file, and its servers have none in common either. What they all carry is a tensor. So
beside ``line3`` stands ``line3-bundle``, an OpenVINO graph that answers with the bytes of a ZIP archive; any server
that can run the one can run the other.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Self

import numpy as np

from ..bundle.bundle import MANIFEST, MODEL_BIN, MODEL_XML, Bundle, parse_manifest, say_if_forced
from ..errors import BundleError, DeviceError
from .connect import connect
from .errors import ServerError
from .settings import ServerSettings

__all__ = ["ServedBundle", "archive_name", "fetch_bundle", "manifest_files", "pack", "write_archive_model"]

_ASK = "ask"
_ARCHIVE = "archive"
_SUFFIX = "-bundle"
_MAX_BYTES = 64 << 20
_MAX_MEMBERS = 1_100
_EPOCH = (1980, 1, 1, 0, 0, 0)


def archive_name(model: str) -> str:
    """The name of the model that carries the manifest of ``model``."""
    return model + _SUFFIX


@dataclass(frozen=True)
class ServedBundle(Bundle):
    """A bundle whose graph is on a server: its manifest and golden images, in memory.

    Attributes:
        path: what it is called; nothing lies there.
        contents: of the files that came along, by their names in the bundle.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def unpack(cls, archive: bytes, name: str) -> Self:
        """Read what ``pack`` wrote, and check it as a bundle is checked.

        Args:
            archive: the ZIP archive.
            name: of the model, for errors.

        Raises:
            BundleError: it is none, or something in it is missing or was changed.
        """
        contents = _members(archive, name)
        manifest, digest = parse_manifest(contents.get(MANIFEST, b""), f"{MANIFEST} of {name}")
        for golden in manifest.golden:
            facts, content = manifest.files.get(golden.file), contents.get(golden.file)
            if facts is None or content is None or hashlib.sha256(content).hexdigest() != facts.sha256:
                raise BundleError(f"{golden.file} of {name} is not the file that was exported; write the server anew.")
        say_if_forced(manifest, name)
        return cls(Path(name), manifest, digest, contents)

    def _content(self, name: str) -> bytes:
        return self.contents[name]


def manifest_files(bundle: Bundle) -> list[str]:
    """Names of the manifest and of what vouches for it beside it, such as a signature."""
    return sorted(file.name for file in bundle.path.glob("manifest.*") if file.is_file())


def pack(bundle: Bundle) -> bytes:
    """A ZIP archive of all that a line needs of a bundle besides its graph; the same bundle gives the same bytes."""
    golden = sorted(name for name in bundle.manifest.files if PurePosixPath(name).parts[0] == "golden")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name in (*manifest_files(bundle), *golden):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), (bundle.path / name).read_bytes())
    return data.getvalue()


def write_archive_model(archive: bytes, folder: Path) -> None:
    """Write a graph that answers with these bytes as ``archive``, uint8 ``[L]``; ``ask``, uint8 ``[1]``, is a zero."""
    import openvino
    from openvino import opset13

    ask = opset13.parameter([1], np.uint8, name=_ASK)
    ask.output(0).set_names({_ASK})
    # An addition, because servers want an input and some leave out one that nothing depends on.
    answer = opset13.add(opset13.constant(np.frombuffer(archive, np.uint8), name="bytes"), ask, name="answer")
    answer.output(0).set_names({_ARCHIVE})
    model = openvino.Model([opset13.result(answer, name=_ARCHIVE)], [ask], _ARCHIVE)
    openvino.save_model(model, folder / MODEL_XML, compress_to_fp16=False)
    assert (folder / MODEL_BIN).is_file()


def fetch_bundle(settings: ServerSettings) -> ServedBundle:
    """The bundle that goes with a model, from the server that has both.

    Raises:
        DeviceError: the server does not give it.
        BundleError: what it gives is no bundle, or was changed.
    """
    address = settings.address
    beside = settings.model_at(archive_name(address.model))
    try:
        connection = connect(beside)
        try:
            answer = connection.infer(_ASK, np.zeros(1, np.uint8), [_ARCHIVE], settings.timeout, _MAX_BYTES)
        finally:
            connection.close()
    except ServerError as error:
        raise DeviceError(
            f"{beside.address.shown} does not give the manifest of {address.model} ({error}); serve what "
            "`patchcore-edge-runtime repository` writes, or give the bundle's folder and --server."
        ) from None
    archive = answer.outputs.get(_ARCHIVE)
    if archive is None or archive.dtype != np.uint8 or archive.ndim != 1:
        raise BundleError(f"{beside.address.shown} answers with no archive; write the server's repository anew.")
    return ServedBundle.unpack(archive.tobytes(), address.shown)


def _members(archive: bytes, name: str) -> dict[str, bytes]:
    """Of an archive that may be hostile: stored and not compressed, so that nothing in it is larger than it looks."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            members = opened.infolist()
            plain = all(one.compress_type == zipfile.ZIP_STORED and not one.flag_bits & 1 for one in members)
            if len(members) > _MAX_MEMBERS or not plain or sum(one.file_size for one in members) > len(archive):
                raise BundleError(f"The archive of {name} is not as `repository` writes it; write it anew.")
            return {one.filename: opened.read(one) for one in members}
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError):
        raise BundleError(f"The archive of {name} is damaged; write the server's repository anew.") from None
