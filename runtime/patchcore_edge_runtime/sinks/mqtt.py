"""Results to an MQTT broker (extra ``mqtt``)."""

from __future__ import annotations

import json
import logging
import re
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt, field_validator, model_validator

from ..database import require_database
from ..display.record import Record
from ..errors import ConfigError
from ..monitoring.trouble import Trouble
from ..threads import keep_running
from ..validation import Seconds
from .base import Host, SinkContext, SinkSettings, missing_extra, secret
from .spool import Spool

if TYPE_CHECKING:
    from paho.mqtt.client import Client

__all__ = ["MqttSettings", "MqttSink"]

_FLUSH_SECONDS = 5.0
_TOPIC = r"^[^#+\x00/][^#+\x00]*[^#+\x00/]$"
_MAX_RECONNECT_SECONDS = 30
_POLL_SECONDS = 0.2
_BATCH = 100
_LOOK_SECONDS = 5.0
_LOG = logging.getLogger(__name__)


class MqttSettings(SinkSettings):
    """``[sinks.mqtt]``: JSON records go to ``<topic>/result`` with QoS 1; ``<topic>/state`` says online or offline.

    Attributes:
        host, port: of the broker.
        topic: prefix of the topics.
        username: for the broker.
        flush_seconds: for delivering what is left at the end.
        client_id: must differ between lines; made from the topic when absent.
        password_env: environment variable that holds the password.
        tls: encrypt; implied by ``ca_file``, and against the system's authorities without one.
        ca_file, cert_file, key_file: PEM files of the authority and of this client.
        spool: file that keeps records while the broker is away; in memory when absent.
        spool_limit: records the spool holds; beyond it the oldest is lost, which counts as failed.
        keepalive: seconds of silence after which the broker announces the last will.
    """

    host: Host = "127.0.0.1"
    port: PositiveInt = Field(default=1883, le=65535)
    topic: str = Field(default="patchcore-edge/line", json_schema_extra={"pattern": _TOPIC})
    client_id: str | None = None
    username: str | None = None
    password_env: str | None = None
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    spool: Path | None = None
    spool_limit: PositiveInt = 100_000
    keepalive: PositiveInt = Field(default=30, le=65535)
    flush_seconds: Seconds = _FLUSH_SECONDS

    def occupies(self) -> list[str]:
        """Its topic, whose state is that of one line, and its name: a broker hangs up on the first of two clients."""
        place = f"at {self.host}:{self.port}"
        return [f"topic {self.topic} {place}", f"client_id {self.name} {place}"]

    @property
    def name(self) -> str:
        """By which the broker knows this client."""
        return self.client_id or self.topic.replace("/", "-")

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, topic: str) -> str:
        if not re.match(_TOPIC, topic):
            raise ValueError("it is no topic; give one of two letters or more, without # and +, and no / at its ends")
        return topic

    @model_validator(mode="after")
    def _check(self) -> MqttSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        if self.password_env and not self.username:
            raise ValueError("password_env needs username")
        return self


class MqttSink:
    """Each record goes to the spool first and leaves it when the broker has acknowledged it: at least once, in order.

    Attributes:
        pending: records that the broker has not acknowledged yet.
        trouble: why the broker does not take them.
    """

    Settings: ClassVar[type[SinkSettings]] = MqttSettings
    pictures: ClassVar[bool] = False

    def __init__(self, settings: MqttSettings, folder: Path = Path()) -> None:
        try:
            from paho.mqtt.client import Client
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise missing_extra("mqtt") from None
        self._settings = settings
        self.trouble = Trouble(f"{settings.host}:{settings.port} has not answered yet.")
        self._changed = threading.Condition()
        self._connected = self._closing = self._closed = False
        self._delivered = -1
        self._client = Client(CallbackAPIVersion.VERSION2, settings.name)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        _set_up(self._client, settings, folder)
        self._spool = Spool(None if settings.spool is None else folder / settings.spool, settings.spool_limit)
        self._client.connect_async(settings.host, settings.port, settings.keepalive)
        before = threading.enumerate()
        self._client.loop_start()
        self._network = _newest_thread(before)
        self._pump = keep_running("mqtt-pump", self._run, ended=lambda: self._closing, failed=self.trouble.say)

    @classmethod
    def from_settings(cls, settings: MqttSettings, context: SinkContext) -> MqttSink:
        """Start talking to the broker; a broker that is away now is tried again for good."""
        return cls(settings, context.folder)

    @classmethod
    def check(cls, _: MqttSettings, places: Mapping[str, Path]) -> list[str]:
        """Nothing to note; raises ``ConfigError`` where its spool is a file of something else."""
        for path in places.values():
            require_database(path)
        return []

    @property
    def pending(self) -> int:
        """Records that wait for the broker."""
        return len(self._spool)

    def write(self, record: Record) -> None:
        """Spool one record; the broker gets it as soon as it is there."""
        lost = self._spool.append(json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False))
        with self._changed:
            self._changed.notify_all()
        if lost:
            raise ConfigError(
                f"{self._settings.host} has been away so long that the oldest of {self._settings.spool_limit} spooled "
                "records was lost; bring the broker back or raise spool_limit."
            )

    def close(self) -> None:
        """Deliver what is spooled while the broker takes it, for ``flush_seconds`` at most, and say goodbye."""
        if self._closed:
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._connected or not len(self._spool), self._settings.flush_seconds)
            self._closing = self._closed = True
            self._changed.notify_all()
        self._pump.join()
        if self._connected:
            # A client that leaves in peace does not trigger its will.
            self._client.publish(self._state_topic, "offline", qos=1, retain=True)
        self._client.disconnect()
        self._client.loop_stop()
        left = len(self._spool)
        self._spool.close()
        if left and self._settings.spool is None:
            raise ConfigError(f"{left} records were not delivered; name a spool file, and they wait for the next run.")

    @property
    def _state_topic(self) -> str:
        return f"{self._settings.topic}/state"

    def _run(self) -> None:
        while self._has_work():
            try:
                for number, text in self._spool.oldest(_BATCH):
                    # On a full disk one that was delivered may not be taken out, and is not to be sent over and over.
                    if number != self._delivered and not self._deliver(text):
                        break
                    self._delivered = number
                    self._spool.remove(number)
                    self.trouble.clear()
            except ConfigError as error:
                self.trouble.say(str(error))
                time.sleep(_POLL_SECONDS)
            with self._changed:
                self._changed.notify_all()

    def _has_work(self) -> bool:
        with self._changed:
            while not self._changed.wait_for(
                lambda: self._closing or (self._connected and len(self._spool) > 0), _LOOK_SECONDS
            ):
                self._require_network()
            return not self._closing

    def _require_network(self) -> None:
        """The client's own thread is begun again when something ended it: it would not connect any more."""
        if self._network is not None and not self._network.is_alive() and not self._closing:
            self._connected = False
            self.trouble.say("The client's thread ended by itself; it is begun again.")
            _LOG.error(self.trouble.text)
            self._client.loop_stop()
            before = threading.enumerate()
            self._client.loop_start()
            self._network = _newest_thread(before)

    def _deliver(self, text: str) -> bool:
        try:
            message = self._client.publish(f"{self._settings.topic}/result", text, qos=1)
            # For as long as it takes: after a reconnect paho sends again what was not acknowledged.
            while not self._closing and not message.is_published():
                message.wait_for_publish(_POLL_SECONDS)
                self._require_network()
            return message.is_published()
        except (RuntimeError, ValueError):
            # The connection broke just now; the spool still has it.
            return False

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected = not reason.is_failure
            self.trouble.say(f"{self._settings.host} refuses: {reason}." if reason.is_failure else "")
            self._changed.notify_all()
        if self._connected:
            client.publish(self._state_topic, "online", qos=1, retain=True)

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        # Called while the exception is handled that says why, which paho keeps to itself.
        error = sys.exception()
        place, why = f"{self._settings.host}:{self._settings.port}", getattr(error, "strerror", None) or error
        if isinstance(error, ssl.SSLCertVerificationError):
            self.trouble.say(f"{place} shows a certificate that nothing vouches for ({error.verify_message}).")
        else:
            self.trouble.say(f"{place} cannot be reached ({why}).")

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected = False
            self.trouble.say(self.trouble.text or f"{self._settings.host} is away: {reason}.")
            self._changed.notify_all()


def _newest_thread(before: Sequence[threading.Thread]) -> threading.Thread | None:
    """The one that was started since; paho keeps its own to itself."""
    return next((thread for thread in threading.enumerate() if thread not in before and "paho" in thread.name), None)


def _set_up(client: Client, settings: MqttSettings, folder: Path) -> None:
    client.will_set(f"{settings.topic}/state", "offline", qos=1, retain=True)
    client.reconnect_delay_set(1, _MAX_RECONNECT_SECONDS)
    if settings.username is not None:
        client.username_pw_set(settings.username, secret(settings.password_env))
    if settings.tls or settings.ca_file is not None:
        named = (settings.ca_file, settings.cert_file, settings.key_file)
        authority, cert, key = (None if file is None else str(folder / file) for file in named)
        try:
            # With a password, and be it none: OpenSSL would ask for one at the terminal, and wait for it.
            client.tls_set(authority, cert, key, keyfile_password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The TLS files of the mqtt sink cannot be used ({error}); check ca_file, cert_file and key_file, "
                "which may have no password."
            ) from None
