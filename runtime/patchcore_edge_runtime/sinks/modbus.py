"""Verdicts as coils of a PLC, by Modbus TCP (extra ``modbus``)."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ..display.record import Record
from ..errors import ConfigError
from ..monitoring.trouble import Trouble
from ..validation import Seconds
from ..verdict import Verdict
from .base import Host, SinkContext, SinkSettings, missing_extra

__all__ = ["COILS", "ModbusSettings", "ModbusSink"]

COILS = (Verdict.OK, Verdict.WARN, Verdict.NG, Verdict.ERROR)
"""Coil ``address`` + 0 to + 3: exactly one is on. Coil + 4 changes with every verdict."""


class ModbusSettings(SinkSettings):
    """``[sinks.modbus]``: five coils from ``address`` on, written in one request.

    Attributes:
        host, port: of the PLC.
        address: of the first coil.
        unit: the device behind a gateway.
        required: unless told otherwise: a line whose PLC gets no verdicts is not healthy.
        timeout: seconds until a request is given up.
        max_age: seconds after its capture that a verdict may still be written; a late one would meet the next part.
    """

    host: Host
    port: PositiveInt = Field(default=502, le=65535)
    unit: NonNegativeInt = Field(default=1, le=255)
    address: NonNegativeInt = Field(default=0, le=65531)
    required: bool = True
    timeout: Seconds = 1.0
    max_age: PositiveFloat = Field(default=2.0, le=3600)

    def occupies(self) -> list[str]:
        """Each coil."""
        place = f"of unit {self.unit} at {self.host}:{self.port}"
        return [f"coil {self.address + number} {place}" for number in range(len(COILS) + 1)]


class ModbusSink:
    """One coil per verdict and one that changes with each.

    Before the first verdict and after the last one ERROR is on, so that a PLC never reads an old OK. When this program
    dies the coils stay as they are and the changing coil stops: the PLC has to watch it.

    Attributes:
        trouble: why the PLC did not take the last coils.
    """

    Settings: ClassVar[type[SinkSettings]] = ModbusSettings
    pictures: ClassVar[bool] = False

    def __init__(self, settings: ModbusSettings) -> None:
        try:
            from pymodbus import ModbusException
            from pymodbus.client import ModbusTcpClient
        except ImportError:
            raise missing_extra("modbus") from None
        self._settings = settings
        self._error = ModbusException
        # Any: parts of pymodbus are without annotations.
        self._client: Any = ModbusTcpClient(settings.host, port=settings.port, timeout=settings.timeout, retries=0)
        self._toggle = False
        self._closed = False
        self.trouble = Trouble(self._send(Verdict.ERROR))

    @classmethod
    def from_settings(cls, settings: ModbusSettings, context: SinkContext) -> ModbusSink:
        """Set ERROR until the first verdict; a PLC that is away now is tried again with every verdict."""
        return cls(settings)

    def write(self, record: Record) -> None:
        """Write one verdict.

        Raises:
            ConfigError: the PLC did not take it, or it is too old to be taken for the part in front of the camera.
        """
        age = time.monotonic() - record.frame.moment
        if age > self._settings.max_age:
            raise ConfigError(f"A verdict was {age:.1f} s old when its turn came; it was not written.")
        self._toggle = not self._toggle
        self.trouble.say(self._send(record.result.verdict))
        if self.trouble.text:
            raise ConfigError(self.trouble.text)

    def close(self) -> None:
        """Set ERROR and hang up."""
        if not self._closed:
            self._closed = True
            self._send(Verdict.ERROR)
            self._client.close()

    def _send(self, verdict: Verdict) -> str:
        """Write all coils; returns why that failed, or nothing."""
        place = f"The PLC at {self._settings.host}:{self._settings.port}"
        coils = [verdict is coil for coil in COILS] + [self._toggle]
        try:
            if not self._client.connected and not self._client.connect():
                return f"{place} cannot be reached; check its address and the cable."
            answer = self._client.write_coils(self._settings.address, coils, device_id=self._settings.unit)
        except (self._error, OSError) as error:
            # A half-read answer must not be taken for the next one.
            self._client.close()
            return f"{place} does not answer ({error}); check it."
        if answer.isError():
            return f"{place} refuses coil {self._settings.address} ({answer}); check address and unit."
        return ""
