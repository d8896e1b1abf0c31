"""Lists of files as people have them, CSV and Parquet, and both lists and shards behind URLs."""

from __future__ import annotations

import io
import re
import socket
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import fsspec
import numpy as np
import pyarrow as pa
import pytest
from conftest import part, run_cli
from pyarrow import parquet

from patchcore_edge.data import ImageList, data_path, open_data, report_data
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.listing import Why


def png(seed: int) -> bytes:
    return cv2.imencode(".png", part(np.random.default_rng(seed)))[1].tobytes()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place in range(6):
        file = tmp_path / "line3" / f"{place}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png(place))
    return tmp_path


def labels(data: Any) -> tuple[Counter[str | None], Counter[str | None]]:
    return Counter(item.label for item in data.train), Counter(item.label for item in data.test)


# As people write them.


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_is_read_as_spreadsheets_write_it(encoding: str, delimiter: str, end: str, photos: Path) -> None:
    rows = [("Path", "Label"), *((f"line3/{place}.png", "NG" if place > 3 else "i.O.") for place in range(6))]
    (photos / "parts.csv").write_bytes(end.join(delimiter.join(row) for row in rows).encode(encoding))
    assert labels(open_data(photos / "parts.csv")) == (Counter(good=4), Counter(NG=2))


def test_paths_may_be_written_as_windows_does(photos: Path) -> None:
    (photos / "parts.csv").write_text("path\nline3\\0.png\nline3\\1.png\n")
    assert len(open_data(photos / "parts.csv").train) == 2


def written(photos: Path, text: str | bytes) -> Path:
    file = photos / "parts.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


ROWS = "".join(f"line3/{place}.png,{'NG' if place > 3 else 'OK'}\n" for place in range(6))


@pytest.mark.parametrize(
    "text",
    [
        ("path,label\n" + ROWS).encode("utf-16"),
        "sep=,\npath,label\n" + ROWS,
        "sep=;\r\npath;label\r\n" + ROWS.replace(",", ";"),
        "path,label,,\n" + ROWS.replace("\n", ",,\n") + ",,,\n,,,\n",
    ],
    ids=["unicode text", "its own comma", "its own semicolon", "empty columns and rows"],
)
def test_what_spreadsheets_add_to_a_list_is_no_image_and_no_column(text: str | bytes, photos: Path) -> None:
    data = open_data(written(photos, text))
    assert labels(data) == (Counter(good=4), Counter(NG=2))
    assert (data.left_out, [note for note in data.notes if "not used" in note]) == ((), [])


@pytest.mark.parametrize("column", ["is_anomaly", "Anomaly", "defective", "label_index", "class_id", "OK/NG", "target"])
def test_a_column_that_sounds_like_labels_is_not_passed_over(column: str, photos: Path) -> None:
    file = written(photos, f"path,{column}\nline3/0.png,0\nline3/5.png,1\n")
    with pytest.raises(DataError, match="call it label"):
        open_data(file)


def test_a_column_that_sounds_like_labels_beside_labels_is_not_used_and_named(photos: Path) -> None:
    data = open_data(written(photos, "path,label,label_index\nline3/0.png,good,0\nline3/5.png,crack,1\n"))
    assert labels(data) == (Counter(good=1), Counter(crack=1))
    assert any("not used: label_index" in note for note in data.notes)


def test_images_that_a_list_gives_no_label_are_taken_as_good_and_that_is_said(photos: Path) -> None:
    assert open_data(written(photos, "path\nline3/0.png\n")).notes == (
        f"{photos / 'parts.csv'} has no column of labels: all its images are taken as good parts.",
    )
    notes = open_data(written(photos, "path,label\nline3/0.png,good\nline3/1.png,\nline3/2.png,\n")).notes
    assert any("2 images without a label are taken as good parts" in note for note in notes)


def test_an_image_that_a_list_names_twice_counts_once(photos: Path) -> None:
    data = open_data(written(photos, "path,label\nline3/0.png,good\n./line3/0.png,good\nline3/../line3/0.png,good\n"))
    assert (len(data.train), report_data(data).facts["same"]) == (1, [])
    assert any("2 rows say what an earlier one said" in note for note in data.notes)


@pytest.mark.parametrize("other", ["crack,test,", "good,test,", "good,train,line3/5.png"])
def test_an_image_that_a_list_names_twice_with_other_words_is_refused_with_both_lines(other: str, photos: Path) -> None:
    file = written(
        photos, f"path,label,split,mask\nline3/0.png,good,train,\n\nline3/1.png,good,,\nline3/0.png,{other}\n"
    )
    with pytest.raises(DataError, match=r"line 5: 0\.png is named in line 2 already"):
        open_data(file)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("path,label\n", "names no images; give it a row for each"),
        ("path,label\n,\n", "names no images; give it a row for each"),
        ("path,label\nline3/0.png,good\nline3/a,b.png,good\n", r"line 3 has 3 cells and the header 2; .*into quotes"),
        ('path,label\nline3/0.png,good\n"line3/1.png,good\n', r"line 3: .* a quote is not closed"),
        ("path\nelsewhere/0.png\nelsewhere/1.png\n", r"line 2: there is no file .*relative to the list's folder"),
    ],
)
def test_a_list_that_says_nothing_that_can_be_used_is_refused_with_what_to_do(
    text: str, what: str, photos: Path
) -> None:
    with pytest.raises(DataError, match=what):
        open_data(written(photos, text))


def table(file: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), file)
    return file


PATHS = [f"line3/{place}.png" for place in range(4)]


@pytest.mark.parametrize(
    "column",
    [
        ["good", "good", "crack", "crack"],
        pa.array(["good", None, "crack", "crack"]).dictionary_encode(),
        pa.array(["good", "", "crack", "crack"], pa.large_string()),
    ],
)
def test_parquet_is_read_as_csv_is(column: Any, photos: Path) -> None:
    data = open_data(table(photos / "parts.parquet", image=PATHS, label=column, exposure=[1.5, 2.0, 3.0, 4.0]))
    assert labels(data) == (Counter(good=2), Counter(crack=2))
    assert any("columns that are not used: exposure." in note for note in data.notes)


@pytest.mark.parametrize("column", [[0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0], pa.array([0, 0, 1, 1], pa.uint8())])
def test_labels_in_parquet_may_be_numbers(column: Any, photos: Path) -> None:
    assert labels(open_data(table(photos / "a.parquet", path=PATHS, label=column))) == (
        Counter(good=2),
        Counter({"1": 2}),
    )


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ([b"x"] * 4, "bytes, which names no files"),
        ([{"bytes": b"x", "path": "a"}] * 4, "have to be text or whole numbers"),
        ([1.5] * 4, "have to be text or whole numbers"),
    ],
)
def test_parquet_without_names_of_files_is_refused(column: list[Any], what: str, photos: Path) -> None:
    with pytest.raises(DataError, match=what):
        open_data(table(photos / "a.parquet", image=column))


def test_a_parquet_file_that_is_none_is_refused(photos: Path) -> None:
    (photos / "a.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_data(photos / "a.parquet")
    with pytest.raises(DataError, match="it needs path"):
        open_data(table(photos / "b.parquet", label=["good"]))


def test_parquet_without_its_package_says_what_to_install(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"patchcore-edge\[parquet\]"):
        open_data(table(photos / "a.parquet", path=PATHS))


def test_files_that_a_list_names_and_that_are_not_there_are_named_counted_and_left_out(photos: Path) -> None:
    rows = ["path,mask,label", "line3/0.png,,", "line3/gone.png,,", "line3/1.png,lost.png,crack"]
    (photos / "parts.csv").write_text("\n".join(rows))
    data = open_data(photos / "parts.csv")
    assert labels(data) == (Counter(good=1), Counter(crack=1))
    assert {one.path.name: one.why for one in data.left_out} == {"gone.png": Why.MISSING, "lost.png": Why.MISSING}
    report = report_data(data)
    assert any("2 files that the list names and that are not there" in doubt for doubt in report.doubts)
    with pytest.raises(DataError, match="--strict stops"):
        report.require_clear()


def test_labels_that_sound_good_where_good_names_others_are_left_out(photos: Path) -> None:
    (photos / "parts.csv").write_text("path,label\nline3/0.png,OK\nline3/1.png,good\nline3/2.png,crack\n")
    data = open_data(photos / "parts.csv", good=["OK"])
    assert labels(data) == (Counter(good=1), Counter(crack=1))
    assert [one.why for one in data.left_out] == [Why.UNCLEAR]


# Behind URLs.


class Server:
    """Files over HTTP on a free port of the loopback."""

    def __init__(self, folder: Path, *, ranges: bool = True) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                file = folder / self.path.partition("?")[0].lstrip("/")
                if not file.is_file():
                    self.send_error(404)
                    return
                data, code, span = (
                    file.read_bytes(),
                    200,
                    re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")),
                )
                whole = len(data)
                if span and ranges:
                    last = min(int(span[2] or whole - 1), whole - 1)
                    data, code = data[int(span[1]) : last + 1], 206
                self.send_response(code)
                if code == 206 and span:
                    self.send_header("Content-Range", f"bytes {span[1]}-{int(span[1]) + len(data) - 1}/{whole}")
                if ranges:
                    self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(photos: Path) -> Iterator[Server]:
    served = Server(photos)
    yield served
    served.close()


@pytest.fixture
def whole_files_only(photos: Path) -> Iterator[Server]:
    served = Server(photos, ranges=False)
    yield served
    served.close()


def write_shard(path: Path, places: Sequence[int]) -> Path:
    with tarfile.open(path, "w") as archive:
        for place in places:
            info = tarfile.TarInfo(f"{place}.png")
            info.size = len(png(place))
            archive.addfile(info, io.BytesIO(png(place)))
    return path


def pixels(seed: int) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png(seed), np.uint8), cv2.IMREAD_COLOR)


def test_a_list_behind_a_url_names_images_beside_it(photos: Path, server: Server) -> None:
    table(photos / "parts.parquet", path=PATHS, label=["good", "good", "crack", "crack"])
    data = open_data(f"{server.url}/parts.parquet")
    assert labels(data) == (Counter(good=2), Counter(crack=2))
    assert (read_image(data.train[1].path) == pixels(1)).all()
    report = report_data(data)
    assert report.facts["unreadable"] == []
    assert any("simplecache:: before the URL keeps copies" in note for note in report.notes)


def test_with_simplecache_an_image_is_fetched_once(photos: Path, server: Server) -> None:
    (photos / "parts.csv").write_text("path\nline3/0.png\nline3/1.png\n")
    data = open_data(f"simplecache::{server.url}/parts.csv")
    assert (read_image(data.train[0].path) == pixels(0)).all()
    asked = len(server.asked)
    with ThreadPoolExecutor(4) as threads:
        assert all((image == pixels(0)).all() for image in threads.map(read_image, [data.train[0].path] * 8))
    assert len(server.asked) == asked
    assert not any("simplecache" in note for note in report_data(data).notes)


def test_shards_behind_urls_are_read_by_ranges(photos: Path, server: Server) -> None:
    write_shard(photos / "a-0.tar", range(3))
    write_shard(photos / "a-1.tar", range(3, 6))
    data = open_data(f"{server.url}/a-{{0..1}}.tar")
    assert [item.path.name for item in data.train] == [f"{place}.png" for place in range(6)]
    assert (read_image(data.train[4].path) == pixels(4)).all()


def test_a_server_without_ranges_gives_no_wrong_pixels(photos: Path, whole_files_only: Server) -> None:
    write_shard(photos / "a.tar", range(3))
    url = f"{whole_files_only.url}/a.tar"
    with pytest.raises(DataError, match=r"bytes came where .* were asked for; give simplecache::"):
        read_image(open_data(url).train[1].path)
    data = open_data(f"simplecache::{url}")
    assert (read_image(data.train[2].path) == pixels(2)).all()


def test_a_folder_of_shards_is_listed_where_the_protocol_can(photos: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/discs/a-0.tar", write_shard(photos / "a.tar", range(2)).read_bytes())
    memory.pipe("/discs/a-1.tar", write_shard(photos / "a.tar", range(2, 5)).read_bytes())
    for url in ("memory://discs", "memory://discs/", "memory://discs/a-*.tar"):
        assert len(open_data(url).train) == 5
    assert str(open_data("memory://discs").train[0].path) == "memory:/discs/a-0.tar/0.png"
    memory.rm("/discs", recursive=True)


def test_an_image_that_a_server_has_not_is_named_and_skipped(photos: Path, server: Server) -> None:
    (photos / "parts.csv").write_text("path\nline3/0.png\nline3/gone.png\n")
    report = report_data(open_data(f"{server.url}/parts.csv"))
    assert any("cannot be read and will be skipped (line3/gone.png)" in doubt for doubt in report.doubts)


def test_an_error_on_the_way_is_tried_again(photos: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchcore_edge.data.lists.remote._PAUSE_SECONDS", 0)
    (photos / "parts.csv").write_text("path\nline3/0.png\n")
    path = open_data(f"{server.url}/parts.csv").train[0].path
    fails = iter([ConnectionResetError("gone"), TimeoutError()])
    system, _ = fsspec.url_to_fs(f"{server.url}/line3/0.png")
    opened = type(system).open

    def sometimes(self: object, *words: Any, **more: Any) -> Any:
        for error in fails:
            raise error
        return opened(self, *words, **more)

    monkeypatch.setattr(type(system), "open", sometimes)
    assert (read_image(path) == pixels(0)).all()


def test_secrets_of_a_url_are_in_no_name_and_no_error(photos: Path, server: Server) -> None:
    (photos / "parts.csv").write_text("path\nline3/0.png\n")
    url = server.url.replace("//", "//user:hunter2@") + "/parts.csv?token=abcdef"
    data = open_data(url)
    said = [str(data), str(data.train[0].path), str(report_data(data)), str(data_path(url))]
    with pytest.raises(DataError) as caught:
        open_data(url.replace("parts", "gone"))
    assert not re.search("hunter2|abcdef", " ".join([*said, str(caught.value)]))


@pytest.mark.parametrize(
    "row",
    ["http://127.0.0.1:1/0.png", "s3://bucket/0.png", "../0.png", "a/../../0.png", "/0.png", "..\\0.png"],
)
def test_a_list_behind_a_url_names_nothing_elsewhere(row: str, photos: Path, server: Server) -> None:
    (photos / "parts.csv").write_text(f"path\n{row}\n")
    with pytest.raises(DataError, match=r"line 2: .*(another machine|leads out)"):
        open_data(f"{server.url}/parts.csv")


def test_a_list_that_lies_here_reaches_no_network(
    photos: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "parts.csv").write_text(f"path\n{server.url}/line3/0.png\n")
    with pytest.raises(DataError, match="names no URLs"):
        open_data(photos / "parts.csv")
    assert not server.asked


def test_without_a_url_no_socket_is_opened(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket was opened"))
    write_shard(photos / "a.tar", range(3))
    table(photos / "parts.parquet", path=PATHS)
    for data in ("a.tar", "parts.parquet"):
        report_data(open_data(photos / data))


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("nosuch://host/parts.csv", "cannot be read .*give a path, or a URL of fsspec"),
        ("s3://bucket/parts.csv", r"needs a package that is not installed.*patchcore-edge\[remote\]"),
    ],
)
def test_an_unknown_protocol_and_one_without_its_package_are_said(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        open_data(url)


def test_the_commands_take_urls(photos: Path, server: Server, tiny_options: TrainOptions, tmp_path: Path) -> None:
    write_shard(photos / "a.tar", range(6))
    found = run_cli("data", f"{server.url}/a.tar")
    assert found.returncode == 0, found.stderr
    assert "train        6 images: good 6" in found.stdout
    missing = run_cli("data", f"{server.url}/gone.csv")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: ")


def test_a_fit_from_a_url_is_the_fit_from_its_files(
    photos: Path, server: Server, tiny_options: TrainOptions, tmp_path: Path
) -> None:
    (photos / "parts.csv").write_text("\n".join(["path", *(f"line3/{place}.png" for place in range(6))]))
    banks = []
    for data, run in ((f"{server.url}/parts.csv", "far"), (str(photos / "parts.csv"), "near")):
        train_run(data_path(data), tmp_path / "runs" / run, tiny_options)
        banks.append(load_run(tmp_path / "runs" / run)[0].model.memory_bank)
    assert (banks[0] == banks[1]).all()


def test_a_list_is_no_module_of_another_kind(photos: Path) -> None:
    (photos / "parts.csv").write_text("path\nline3/0.png\n")
    assert isinstance(open_data(str(photos / "parts.csv")), ImageList)
