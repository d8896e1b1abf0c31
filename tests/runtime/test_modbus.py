"""Against a Modbus server of pymodbus in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from line_records import free_port, make_record, wait_for

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks import ModbusSink, SinkWorker
from patchcore_edge_runtime.sinks.modbus import ModbusSettings
from patchcore_edge_runtime.verdict import Verdict

client = pytest.importorskip("pymodbus.client", reason="needs the package pymodbus")

SERVER = """
import sys
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import StartTcpServer
coils = ModbusSequentialDataBlock(1, [False] * 64)
StartTcpServer(ModbusServerContext(ModbusDeviceContext(co=coils), single=True), address=("127.0.0.1", int(sys.argv[1])))
"""


@contextmanager
def plc(port: int) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: read_coils(port) is not None)
        yield server
    finally:
        server.kill()
        server.wait()


def read_coils(port: int, address: int = 10) -> list[bool] | None:
    reader = client.ModbusTcpClient("127.0.0.1", port=port, timeout=1, retries=0)
    try:
        return reader.read_coils(address, count=5).bits[:5] if reader.connect() else None
    finally:
        reader.close()


def test_each_verdict_turns_one_coil_on_and_toggles_the_last() -> None:
    port = free_port()
    with plc(port):
        sink = ModbusSink(ModbusSettings(host="127.0.0.1", port=port, address=10))
        assert read_coils(port) == [False, False, False, True, False], "ERROR until the first verdict"
        for index, verdict in enumerate(Verdict):
            sink.write(make_record(verdict))
            assert read_coils(port) == [*(verdict is coil for coil in Verdict), index % 2 == 0]
        sink.write(make_record(Verdict.OK))
        sink.close()
        assert read_coils(port)[:4] == [False, False, False, True], "no OK is left behind"


def test_a_verdict_that_is_late_is_not_written_for_the_next_part() -> None:
    port = free_port()
    with plc(port):
        sink = ModbusSink(ModbusSettings(host="127.0.0.1", port=port, address=10))
        with pytest.raises(ConfigError, match="old when its turn came"):
            sink.write(make_record(Verdict.OK, age=60))
        assert read_coils(port) == [False, False, False, True, False]
        sink.close()


def test_a_plc_that_is_away_is_reported_and_found_again() -> None:
    port = free_port()
    settings = ModbusSettings(host="127.0.0.1", port=port, address=10, timeout=0.5)
    worker = SinkWorker("modbus", ModbusSink(settings), settings, pictures=False)
    assert "cannot be reached" in worker.counts().error
    assert worker.counts().required, "a line whose PLC gets no verdicts is not healthy, unless it is told otherwise"
    assert worker.counts().failing_since
    worker.write(make_record(Verdict.NG))
    wait_for(lambda: worker.counts().failed == 1)
    with plc(port) as server:
        worker.write(make_record(Verdict.NG))
        wait_for(lambda: worker.counts().written == 1)
        assert read_coils(port)[2]
        assert (worker.counts().error, worker.counts().failing_since) == ("", "")
        server.kill()
        server.wait()
        worker.write(make_record(Verdict.OK))
        wait_for(lambda: worker.counts().failed == 2)
    with plc(port):
        worker.write(make_record(Verdict.OK))
        wait_for(lambda: worker.counts().written == 2)
        assert read_coils(port)[0]
        worker.close()


def test_a_refused_address_is_an_error() -> None:
    port = free_port()
    with plc(port):
        sink = ModbusSink(ModbusSettings(host="127.0.0.1", port=port, address=1000))
        with pytest.raises(ConfigError, match="refuses coil 1000"):
            sink.write(make_record())
        sink.close()
