"""What describes a line: the tables of ``line.toml`` and how they go together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..bundle.lower_precision import AskedPrecision
from ..errors import ConfigError
from ..images.geometry import Roi
from ..images.pixel_limit import MAX_PIXELS
from ..inspection.ignore_mask import IgnoreMask
from ..inspection.rules import LineRules
from ..serving.settings import ServerSettings, is_server
from ..sinks import SINKS, SinkSettings
from ..sinks.registry import read_table
from ..sources import LiveSettings, Trust, is_live, is_watched, misplaced_settings, source_in
from ..validation import Settings, explain_fault, first_fault
from ..verdict import Thresholds
from .debounce import DebounceRule

__all__ = ["LineConfig", "ThresholdOverrides"]


class SourceTable(LiveSettings):
    """``[source]``: ``uri`` is what ``-s`` takes; ``recursive`` is for folders, ``settle`` and ``state`` if watched.

    Larger pictures than ``max_megapixels`` are ERROR before they are decoded; unless told, what the bundle's frame
    limits let pass. The rest is for cameras and streams.

    Attributes:
        uri: a camera's number or device path, a URL, a video, an image, a folder, ``glob*.png`` or ``watch:FOLDER``.
        recursive: of a folder, its subfolders too.
        max_megapixels: the largest picture that is decoded.
        settle: seconds after which a file that does not change counts as complete, of a watched folder.
        state: file that remembers over a restart what was inspected, of a watched folder.
    """

    # A camera may be given by its number.
    uri: str = Field(min_length=1, json_schema_extra={"type": ["string", "integer"]})
    recursive: bool = True
    max_megapixels: PositiveFloat | None = Field(default=None, le=MAX_PIXELS / 1e6)
    settle: float = Field(default=3.0, ge=0, le=86_400)
    state: Path | None = None

    @field_validator("uri", mode="before")
    @classmethod
    def _camera_number(cls, uri: Any) -> Any:
        return str(uri) if isinstance(uri, int) and not isinstance(uri, bool) else uri

    @model_validator(mode="after")
    def _check(self) -> SourceTable:
        if misplaced := misplaced_settings(self.uri, self):
            raise ValueError(misplaced)
        if self.state is not None and not is_watched(self.uri):
            raise ValueError("state is for a watched folder (watch:FOLDER); leave it out")
        return self


class ThresholdOverrides(Settings):
    """``[thresholds]``: raw scores in place of the bundle's; what is left out stays.

    Attributes:
        image: above it a part is NG.
        pixel: above it a pixel is anomalous.
        warn: above it a part is WARN; below ``image``.
    """

    image: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    pixel: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    warn: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def apply(self, thresholds: Thresholds) -> Thresholds:
        """The thresholds to judge by.

        Raises:
            ConfigError: the WARN limit is not below the NG limit.
        """
        try:
            return Thresholds.model_validate({**thresholds.model_dump(), **self.model_dump(exclude_none=True)})
        except ValidationError as error:
            raise ConfigError(f"The thresholds do not go together: {first_fault(error)}.") from None


class InspectTable(Settings):
    """``[inspect]``: which part of the frame counts, and how verdicts of frames make verdicts of parts.

    Attributes:
        roi: the part of the frame that is inspected: x, y, width, height in pixels.
        ignore: polygons in which nothing counts, in fractions of the frame.
        min_defect_area: smaller regions do not count, in frame pixels.
        sanity: compare each frame with the good images before it is scored.
        debounce: so many NG frames of so many make a part NG.
    """

    roi: Roi | None = None
    ignore: tuple[tuple[tuple[float, float], ...], ...] = ()
    min_defect_area: NonNegativeFloat = Field(default=0.0, le=MAX_PIXELS)
    sanity: bool = True
    debounce: DebounceRule | None = None

    @model_validator(mode="after")
    def _check(self) -> InspectTable:
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < 1):
            raise ValueError("roi is x, y, width, height in pixels")
        try:
            IgnoreMask(self.ignore)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class TriggerTable(Settings):
    """``[trigger]``: every frame (``free``), every ``every_ms`` (``interval``) or when asked (``software``).

    Attributes:
        mode: when a frame is inspected: free (each), interval (the newest, so often), software (one for each call).
        every_ms: milliseconds from one frame to the next, of ``interval``.
    """

    mode: Literal["free", "interval", "software"] = "free"
    every_ms: PositiveFloat | None = Field(default=None, le=86_400_000)

    @model_validator(mode="after")
    def _check(self) -> TriggerTable:
        if (self.mode == "interval") != (self.every_ms is not None):
            raise ValueError("every_ms goes with mode = 'interval', and only with it")
        return self


class LineConfig(Settings):
    """A line: what is inspected, by which bundle, on which device, and where the results go.

    Attributes:
        device: as OpenVINO names it: CPU, GPU, NPU, AUTO.
        cache_dir: folder for compiled models; makes the next start faster.
        hot_swap: take another bundle while the line runs.
        source: where frames come from.
        thresholds: raw scores in place of the bundle's.
        inspect: which part of the frame counts, and what makes a part NG.
        trigger: when a frame is inspected.
        name: what people call it.
        bundle: folder that ``patchcore-edge export`` wrote; watched for a change while the line runs when ``hot_swap``.
            A model on a server, as ``server.uri`` names it, where the manifest comes from there.
        server: the model server that scores for the line; the line's own device when absent.
        inference_precision: one that the bundle was verified for; ``auto`` takes the fastest that passes the self-test.
        inference_num_threads: cores for one frame's inference, where several lines share the CPU; all when absent.
        sinks: the tables ``[sinks.<name>]``, as the settings of the sink that each names.
        folder: what relative paths are relative to: where the file lies.
    """

    name: str = Field(default="line", min_length=1, max_length=80)
    bundle: Path | str
    server: ServerSettings | None = None
    device: Annotated[str, AfterValidator(str.upper)] = Field(default="CPU", min_length=1)
    inference_precision: AskedPrecision = "auto"
    inference_num_threads: PositiveInt | None = Field(default=None, le=4096)
    cache_dir: Path | None = None
    hot_swap: bool = False
    source: SourceTable
    thresholds: ThresholdOverrides = ThresholdOverrides()
    inspect: InspectTable = InspectTable()
    trigger: TriggerTable = TriggerTable()
    sinks: dict[str, SerializeAsAny[SinkSettings]] = Field(default_factory=dict)
    folder: Path = Field(default_factory=Path, exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _by_server(cls, document: Any) -> Any:
        """A server is named as the bundle or in its table; where both are, the bundle is a folder."""
        if not isinstance(document, dict):
            return document
        bundle, server = document.get("bundle"), document.get("server")
        if is_server(bundle) and server is None:
            return {**document, "server": {"uri": bundle}}
        if bundle is None and isinstance(server, dict) and is_server(server.get("uri")):
            return {**document, "bundle": server["uri"]}
        return document

    @field_validator("bundle", mode="after")
    @classmethod
    def _folder(cls, bundle: Path | str) -> Path | str:
        return bundle if is_server(bundle) else Path(bundle)

    @field_validator("sinks", mode="before")
    @classmethod
    def _read_sinks(cls, tables: Any) -> Any:
        return _read_sinks(tables) if isinstance(tables, dict) else tables

    @model_validator(mode="after")
    def _check(self) -> LineConfig:
        if self.trigger.mode == "interval" and not is_live(self.source.uri):
            raise ValueError("trigger.mode = 'interval' needs a camera or a stream; of files every frame is inspected")
        if self.inference_num_threads is not None and self.device != "CPU":
            raise ValueError(f"inference_num_threads is for the CPU and not for {self.device}; leave it out")
        self._check_server()
        if self.source.ca_file is not None:
            try:
                Trust(self.live_settings.ca_file).context(names=True)
            except ConfigError as error:
                raise ValueError(f"source.ca_file: {error}") from None
        return self

    def _check_server(self) -> None:
        if self.bundle_folder is not None:
            return
        if self.server is None or self.server.uri != self.bundle:
            raise ValueError("bundle and server.uri name two servers; give a folder as the bundle, or leave one out")
        if self.hot_swap:
            raise ValueError("hot_swap watches a bundle's folder, and this line has its bundle from a server")

    @property
    def bundle_folder(self) -> Path | None:
        """Where the bundle lies; None where a server has it."""
        return None if isinstance(self.bundle, str) else self.folder / self.bundle

    @property
    def server_settings(self) -> ServerSettings | None:
        """The server's settings, with a path relative to ``folder`` made whole."""
        if self.server is None or self.server.ca_file is None:
            return self.server
        return self.server.model_copy(update={"ca_file": self.folder / self.server.ca_file})

    def rules(self, bundle: Thresholds) -> LineRules:
        """What the line asks for, on top of a bundle's thresholds."""
        return LineRules(
            roi=self.inspect.roi,
            ignore=IgnoreMask(self.inspect.ignore) if self.inspect.ignore else None,
            min_defect_area=self.inspect.min_defect_area,
            thresholds=self.thresholds.apply(bundle),
            check_sanity=self.inspect.sanity,
        )

    @property
    def live_settings(self) -> LiveSettings:
        """The source's settings, with a path relative to ``folder`` made whole."""
        file = self.source.ca_file
        return self.source if file is None else self.source.model_copy(update={"ca_file": self.folder / file})

    @property
    def source_uri(self) -> str:
        """The source's URI, with a path relative to ``folder`` made whole."""
        return source_in(self.folder, self.source.uri)


def _read_sinks(tables: dict[Any, Any]) -> dict[str, SinkSettings]:
    """Each table as the settings of its sink; what is wrong with any of them is said with its place."""
    settings, faults = {}, []
    for name, table in tables.items():
        try:
            settings[str(name)] = read_table(str(name), table)
        except ValidationError as error:
            kind = SINKS[table.get("kind", name)].Settings
            faults += [_fault(str(name), fault["loc"], explain_fault(fault, kind)) for fault in error.errors()]
        except ValueError as error:
            faults.append(_fault(str(name), (), str(error)))
    if faults:
        raise ValidationError.from_exception_data("sinks", faults)
    return settings


def _fault(name: str, place: tuple[int | str, ...], text: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("sink", "{text}", {"text": text}), loc=(name, *place), input=None)
