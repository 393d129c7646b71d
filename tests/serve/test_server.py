"""The server outlives slow, broken and many clients, and ends when it has answered."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import forked
import pytest
from serving import STROKES, Serving, answering, drawing, serving

from fastsketch import Classifier
from fastsketch.serve import api, app
from fastsketch.serve.server import READ, Patient
from fastsketch.training.run.directory import Run


def head(media_type: str, length: str) -> bytes:
    """Of a question."""
    lines = ("POST /api/predict HTTP/1.1", "Host: localhost", f"Content-Type: {media_type}", length)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


BODY = json.dumps({"drawing": drawing(0)}).encode()
HEAD = head(STROKES, f"Content-Length: {len(BODY)}")


def connect(server: Serving) -> socket.socket:
    return socket.create_connection((server.host, server.port), timeout=60)


def connect_until_refused(server: Serving) -> None:
    """Raises ConnectionRefusedError, if within half a minute there is nobody who listens."""
    for _ in range(600):
        connect(server).close()
        time.sleep(0.05)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_after_what_was_asked(run: Run, number: str) -> None:
    import signal

    with serving(run.root) as server, connect(server) as connection:
        connection.sendall(HEAD + BODY[:10])
        assert server.ask("/healthz")[0] == 200  # it came later: the first one is in the server's hands
        server.process.send_signal(getattr(signal, number))
        with pytest.raises(ConnectionRefusedError):
            connect_until_refused(server)
        connection.sendall(BODY[10:])
        assert answer(connection).startswith(b"HTTP/1.1 200")
        _, said = server.process.communicate(timeout=60)
        assert server.process.returncode == 0
        assert said == ""


def test_idle_and_broken_connections_do_not_hold_up_its_end(run: Run) -> None:
    with serving(run.root) as server:
        held = [connect(server) for _ in range(len(HEAD) // 7)]
        for place, connection in enumerate(held):
            connection.sendall(HEAD[: 7 * place])
        assert server.ask("/healthz")[0] == 200
        began = time.monotonic()
        assert server.end() == (0, "")
        assert time.monotonic() - began < 10
        for connection in held:
            connection.close()


def test_a_thousand_connections(server: Serving) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this process may not have a thousand connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200) if soft != resource.RLIM_INFINITY else soft, hard))
    held = [connect(server) for _ in range(1000)]
    try:
        for place, connection in enumerate(held):
            connection.sendall([b"", HEAD[:20], HEAD, HEAD + BODY[:5]][place % 4])
        for _ in range(5):
            assert server.ask("/api/predict", BODY, STROKES)[0] == 200
        for connection in held[3::4]:
            connection.sendall(BODY[5:])
        statuses = {connection.recv(12) for connection in held[3::4]}
        assert statuses <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}, "those who sent all of it are answered"
        assert b"HTTP/1.1 200" in statuses
    finally:
        for connection in held:
            connection.close()
    assert server.predict({"drawing": drawing(0)})


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", HEAD[:20], HEAD + BODY[:5]], ids=["nothing", "half a head", "half a body"])
def test_patience_ends(server: Serving, sent: bytes) -> None:
    """A client that sends a byte a second does not hold a connection for ever either."""
    with connect(server) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        connection.settimeout(1)
        said = b""
        while time.monotonic() - began < 30:
            try:
                part = connection.recv(65536)
            except TimeoutError:
                if sent == HEAD[:20]:
                    connection.sendall(b"x")
                continue
            except ConnectionError:
                part = b""
            if not part:
                break
            said += part
        assert 8 < time.monotonic() - began < 20
        assert said.startswith(b"HTTP/1.1 408") == (sent == HEAD + BODY[:5])


def test_many_at_once_are_answered_or_sent_away(server: Serving) -> None:
    held = [connect(server) for _ in range(300)]
    for connection in held:
        connection.sendall(HEAD + BODY)
    found = [connection.recv(65536) for connection in held]
    for connection in held:
        connection.close()
    statuses = {each.split()[1] for each in found}
    assert statuses <= {b"200", b"503"}
    assert b"200" in statuses
    assert all(b"retry-after: 1" in each.lower() for each in found if b" 503 " in each[:20])


def test_large_bodies_that_do_not_come_leave_room_for_drawings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    apis: list[api.API] = []

    class Watched(api.API):
        def __init__(self, served: api.Served) -> None:
            super().__init__(served)
            apis.append(self)

    def until_it_holds(count: int) -> None:
        for _ in range(1000):
            if apis[0].held_bytes == count:
                return
            time.sleep(0.02)
        raise AssertionError(f"it holds {apis[0].held_bytes:,} bytes, not {count:,}")

    monkeypatch.setattr(app, "API", Watched)
    monkeypatch.setattr(api, "MOST_BYTES_AT_ONCE", 200_000)
    monkeypatch.setattr(api, "BODY_SECONDS", 60)
    size = 2 * api.SMALL
    large = head("image/png", f"Content-Length: {size}") + bytes(size - 1)
    with answering(api.Served(Classifier.load(run, device="cpu"), "crowded")) as server:
        held = [connect(server) for _ in range(3)]
        for connection in held:
            connection.sendall(large)
        until_it_holds(len(held) * (size - 1 - api.SMALL))
        assert server.ask("/api/predict", bytes(100_000), "image/png")[0] == 503
        assert server.ask("/api/predict", BODY, STROKES)[0] == 200
        for connection in held:
            connection.close()
        until_it_holds(0)
        assert server.ask("/api/predict", bytes(100_000), "image/png")[0] == 422


def test_a_body_of_tiny_chunks_does_not_hold_up_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces of it others have their turn; asyncio's own are of 256 KiB, which took seconds to parse."""
    sizes: list[int] = []
    receive = Patient.data_received

    def received(self: Patient, data: bytes) -> None:
        sizes.append(len(data))
        receive(self, data)

    monkeypatch.setattr(Patient, "data_received", received)
    chunks = b"1\r\n \r\n" * 20_000 + b"0\r\n\r\n"
    with answering(api.Served(Classifier.load(run, device="cpu"), "patient")) as server, connect(server) as connection:
        connection.sendall(head(STROKES, "Transfer-Encoding: chunked") + chunks)
        assert connection.recv(12) == b"HTTP/1.1 400"
    assert sum(sizes) > len(chunks)
    assert max(sizes) <= READ


@pytest.mark.slow
def test_a_client_that_never_reads_is_given_up(server: Serving) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((server.host, server.port))
        connection.settimeout(30)
        request = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with pytest.raises(ConnectionError):  # the server gives up; if it did not, there would be a TimeoutError
            connection.sendall(100_000 * request)


def refusal(*arguments: object) -> tuple[int, list[str]]:
    done = forked.run("serve", *arguments)
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def test_what_is_wrong_is_told(run: Run, tmp_path: Path) -> None:
    code, said = refusal(tmp_path)
    assert (code, said) == (2, [f"error: {tmp_path} is not a run directory (it has no config.yaml)"])
    code, said = refusal(run.root, "--token", "two words")
    assert (code, said) == (2, ["error: --token is of ASCII letters and digits"])
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, said = refusal(run.root, "--port", other.getsockname()[1])
        assert code == 1
        assert said[0].startswith("error: cannot listen at 127.0.0.1")
    code, said = refusal(run.root, "--allow-origin", "*")
    assert (code, said[0]) == (2, "error: --allow-origin *: no origin")
    code, said = refusal(run.root, "--host", "no such host", "--port", 0)
    assert code == 2
    (tmp_path / "file").write_text("")
    code, said = refusal(run.root, "--keep", tmp_path / "file")
    assert code == 2


def test_whoever_lets_others_in_is_told(run: Run) -> None:
    with serving(run.root, "--host", "0.0.0.0") as server:
        assert server.ask("/healthz")[0] == 200
        assert server.end() == (0, "whoever reaches 0.0.0.0 can ask\n")
