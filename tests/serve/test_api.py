"""The API says what `predict` says, and nothing to those who ask for what they should not."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from serving import STROKES, Serving, answering, drawing, serving
from trained import CLASSES, MODEL_SIZE, MODELS, SIZE, make_run, picture

from fastsketch import Classifier
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.inference.sketch import read_sketch
from fastsketch.preprocess import shrink
from fastsketch.serve import keep, page_files
from fastsketch.serve.api import Served
from fastsketch.serve.bodies import IMAGES, MOST_BYTES, MOST_STROKES
from fastsketch.training.run.directory import Run


@pytest.fixture(scope="module")
def classifier(run: Run) -> Classifier:
    return Classifier.load(run, device="cpu")


def pixels_of(url: str) -> np.ndarray[Any, Any]:
    head, _, content = url.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_strokes_are_seen_as_predict_sees_them(server: Serving, classifier: Classifier) -> None:
    first = set()
    for seed in range(20):
        record = {"drawing": drawing(seed)}
        found, expected = server.predict(record, "?topk=6"), classifier.predict(record, topk=6)
        assert found["labels"] == list(expected.labels)
        assert found["ids"] == list(expected.ids)
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        first.add(found["labels"][0])
    assert len(first) > 2, "they are told apart"


@pytest.mark.parametrize("media_type", IMAGES)
def test_images_are_seen_as_predict_sees_them(
    server: Serving, classifier: Classifier, tmp_path: Path, media_type: str
) -> None:
    for seed in range(3):
        path = tmp_path / f"{seed}.{media_type.partition('/')[2]}"
        image, exif = picture(seed), Image.Exif()
        exif[0x0112] = 6
        turned = {"exif": exif} if media_type in ("image/jpeg", "image/png", "image/webp") else {}
        image = image.convert("RGB") if media_type in ("image/jpeg", "image/bmp") else image
        image.save(path, format=IMAGES[media_type], **turned)
        status, found, _ = server.ask("/api/predict", path.read_bytes(), media_type)
        assert status == 200
        expected = classifier.predict(path)
        assert found["labels"] == list(expected.labels)
        assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_sight_is_what_the_model_is_shown(server: Serving, classifier: Classifier) -> None:
    record = {"drawing": drawing(0)}
    assert "sight" not in server.predict(record)
    sight = server.predict(record, "?sight=1")["sight"]
    stored = torch.from_numpy(read_sketch(record, classifier.readings[0]))[None, None]
    assert sight["size"] == MODEL_SIZE
    assert "patches" not in sight
    np.testing.assert_array_equal(pixels_of(sight["image"]), shrink(stored, MODEL_SIZE)[0, 0].numpy())


def test_patches_that_are_kept(data: DatasetMetadata, sketches: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", data, sketches.parent / "data", **MODELS["ink tokens"])
    with answering(Served(Classifier.load(run, device="cpu"), "test_vit")) as server:
        patches = server.predict({"drawing": [[[0, 1], [0, 1]]]}, "?sight=1")["sight"]["patches"]
        assert len(set(patches["kept"])) == len(patches["kept"]) == MODELS["ink tokens"]["tokens"]
        assert max(patches["kept"]) < patches["rows"] * patches["columns"]


def test_an_exported_file(run: Run) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from fastsketch.exporting.export import export_run

    path = export_run(run, out=run.root.parent / "served")[0].path
    classifier, record = Classifier.load(path), {"drawing": drawing(2)}
    with answering(Served(classifier, "exported")) as server:
        found = server.predict(record, "?sight=1")
    assert found["labels"] == list(classifier.predict(record).labels)
    np.testing.assert_array_equal(pixels_of(found["sight"]["image"]), read_sketch(record, classifier.readings[0]))


def test_what_goes_wrong_within_is_told_in_a_line(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(classifier, "probabilities", fail)
    with answering(Served(classifier, "failing")) as server:
        status, found, headers = server.ask("/api/predict", json.dumps({"drawing": drawing(0)}).encode(), STROKES)
    assert (status, found) == (500, {"error": "that went wrong"})
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert caplog.messages == ["POST /api/predict: RuntimeError: two\\nlines"]


def test_ordinary_bmps_are_read(server: Serving) -> None:
    """One with masks for its colours, and one whose pixels look like a JPEG's scans."""
    masks = struct.pack("<IiiHHIIiiIIIII", 40, 8, 8, 1, 32, 3, 256, 0, 0, 0, 0, 0xFF0000, 0xFF00, 0xFF)
    masked = b"BM" + struct.pack("<IHHI", 14 + len(masks) + 256, 0, 0, 14 + len(masks)) + masks + bytes(256)
    file = io.BytesIO()
    Image.new("RGB", (400, 400), "#87DAFF").save(file, "BMP")
    for image in (masked, file.getvalue()):
        status, found, _ = server.ask("/api/predict", image, "image/bmp")
        assert (status, "labels" in found) == (200, True), found


def test_width(server: Serving) -> None:
    record = {"drawing": drawing(1)}
    usual, same, wide = (
        pixels_of(server.predict({**record, **width}, "?sight=1")["sight"]["image"])
        for width in ({}, {"width": 1}, {"width": 4})
    )
    np.testing.assert_array_equal(usual, same)
    assert wide.mean() < usual.mean() - 5


def test_neighbours_are_training_sketches_by_features(
    server: Serving, classifier: Classifier, sketches: Path, data: DatasetMetadata
) -> None:
    """A training sketch is nearest to itself."""
    from fastsketch.formats.pack import PackSplit

    split = PackSplit(sketches.parent / "data", data, "train")
    for row in (0, 7, 20):
        own = split.ids()[row]
        path = sketches / own
        media_type = "image/jpeg" if path.suffix == ".jpg" else "image/png"
        status, found, _ = server.ask("/api/neighbours?topk=6", path.read_bytes(), media_type)
        assert status == 200
        assert len(found["neighbours"]) == 3 * len(CLASSES)
        best = max(found["neighbours"], key=lambda each: each["similarity"])
        assert best["id"] == own
        assert best["similarity"] == pytest.approx(1, abs=1e-5)
        assert best["label"] == CLASSES[split.labels[row]]
        np.testing.assert_array_equal(pixels_of(best["image"]), split.images[row][0])
        labels = [each["label"] for each in found["neighbours"]][::3]
        assert labels == list(classifier.predict(path, topk=6).labels)


def test_model_health_and_openapi(server: Serving) -> None:
    """The answers are of the types that the document says."""
    status, document, _ = server.ask("/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")

    def check(name: str, answer: object) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.validate(answer, schema)

    _, about, _ = server.ask("/api/model")
    check("ModelInfo", about)
    assert (about["model"], about["classes"], about["size"]) == ("test_resnet", CLASSES, SIZE)
    assert (about["gallery"], about["keeps"]) == (True, False)
    _, health, _ = server.ask("/healthz")
    check("Health", health)
    assert health == {"status": "ok", "waiting": 0}
    check("Answer", server.predict({"drawing": drawing(0)}, "?sight=1"))
    status, problem, _ = server.ask("/api/predict", b"{", STROKES)
    check("Problem", problem)
    assert str(status) in document["paths"]["/api/predict"]["post"]["responses"]
    with pytest.raises(jsonschema.ValidationError):
        check("Answer", health)


def test_several_models_and_exported_files(run: Run, data: DatasetMetadata, sketches: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "vit", data, sketches.parent / "data", **MODELS["vit"])
    both = Classifier.load([run, other], device="cpu")
    with answering(Served(both, "two")) as server:
        record = {"drawing": drawing(3)}
        expected = both.predict(record)
        assert server.ask("/api/neighbours", json.dumps(record).encode(), STROKES)[0] == 404
        assert server.predict(record)["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


# ------------------------------------------------------------------------------------------------------- the page


def test_every_file_of_the_page_is_served(server: Serving) -> None:
    for name, content in {**page_files.served(), "": page_files.served()["index.html"]}.items():
        status, found, headers = server.ask(f"/{name}")
        assert (status, found) == (200, content)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("name", ["index.html", "api.html"])
def test_the_page_has_nothing_inline_and_fetches_nothing_from_elsewhere(name: str) -> None:
    text = page_files.served()[name].decode()
    assert "style=" not in text
    assert "<style" not in text
    assert not re.search(r"<[^>]*\son\w+=", text)
    for content in page_files.served().values():
        assert b"://" not in content.replace(b"http://www.w3.org/2000/svg", b"")


# --------------------------------------------------------------------------------------------------------- bounds


TOO_LONG = b'{"drawing": [[[' + b"1," * 50_000 + b"1],[1]]]}"
REFUSED = {
    "no JSON": (b"{", STROKES, 400),
    "no object": (b"[]", STROKES, 422),
    "no drawing": (b"{}", STROKES, 422),
    "no strokes": (b'{"drawing": []}', STROKES, 422),
    "not a number": (b'{"drawing": [[[NaN], [0]]]}', STROKES, 422),
    "too large a number": (b'{"drawing": [[[1e300, 0], [0, 1]]]}', STROKES, 422),
    "a large number": (b'{"drawing": [[[' + b"9" * 400 + b"], [0]]]}", STROKES, 422),
    "uneven": (b'{"drawing": [[[0, 1], [0]]]}', STROKES, 422),
    "text": (b'{"drawing": [[["a"], ["b"]]]}', STROKES, 422),
    "deep": (b'{"drawing": ' + b"[" * 11_000 + b"]" * 11_000 + b"}", STROKES, 400),
    "too many strokes": (b'{"drawing": [' + b"[[0],[0]]," * (MOST_STROKES + 1) + b"[[0],[0]]]}", STROKES, 413),
    "too many numbers": (TOO_LONG, STROKES, 413),
    "too large a body": (b" " * (MOST_BYTES + 1), STROKES, 413),
    "too wide": (b'{"drawing": [[[0], [0]]], "width": 1e9}', STROKES, 422),
    "width is no number": (b'{"drawing": [[[0], [0]]], "width": true}', STROKES, 422),
    "of no type": (b"{}", None, 415),
    "of another type": (b"{}", "text/plain", 415),
    "SVG": (b"<svg/>", "image/svg+xml", 415),
    "no image": (b"{}", "image/png", 422),
    "another image": (b"GIF89a", "image/png", 422),
    "nothing": (b"", "image/png", 422),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(server: Serving, case: str) -> None:
    body, media_type, expected = REFUSED[case]
    for path in ("/api/predict", "/api/neighbours"):
        status, found, _ = server.ask(path, body, media_type)
        assert (status, set(found) - {"hint"}) == (expected, {"error"})
        assert "\n" not in found["error"]
        assert len(found["error"]) < 300


def test_the_most_strokes(server: Serving) -> None:
    assert server.predict({"drawing": [[[place, place + 1], [0, 1]] for place in range(MOST_STROKES)]})["labels"]


def test_the_content_decides_what_an_image_is(server: Serving, classifier: Classifier, tmp_path: Path) -> None:
    picture(0).save(tmp_path / "named.png", format="BMP")
    status, found, _ = server.ask("/api/predict", (tmp_path / "named.png").read_bytes(), "image/png")
    assert status == 200
    assert found["labels"] == list(classifier.predict(tmp_path / "named.png").labels)


def many_scans() -> bytes:
    """A progressive JPEG with its last scan many times over: each costs as much as the first."""
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + 200 * content[last:-2] + content[-2:]


def packed() -> bytes:
    """A BMP of run lengths, which Pillow unpacks in Python."""
    header = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 4, 0, 0, 256, 0)
    offset = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", offset + 4, 0, 0, offset) + header + bytes(1024) + b"\0\0\0\1"


@pytest.mark.parametrize("image", [many_scans(), packed()], ids=["JPEG", "BMP"])
def test_what_would_take_long_to_decode_is_refused(server: Serving, image: bytes) -> None:
    status, found, _ = server.ask("/api/predict", image, "image/png")
    assert (status, found["error"]) == (422, "an image that is packed in an unusual way")


def test_an_image_of_many_pixels_is_refused_by_its_header(server: Serving) -> None:
    file = io.BytesIO()
    Image.new("1", (6000, 6000)).save(file, "PNG")
    assert len(file.getvalue()) < 10_000
    assert server.ask("/api/predict", file.getvalue(), "image/png")[0] == 413


@pytest.mark.parametrize("topk", ["0", "-1", "x", "1e3", "99999999", "²"])
def test_topk(server: Serving, topk: str) -> None:
    from urllib.parse import quote

    body = json.dumps({"drawing": drawing(0)}).encode()
    assert server.ask(f"/api/predict?topk={quote(topk)}", body, STROKES)[0] == 422


@pytest.mark.parametrize(
    "path",
    [
        "/../app.py",
        "/..%2fapp.py",
        "/%2e%2e/app.py",
        "//etc/passwd",
        "/page/index.html",
        "/ask_server.js",
        "/x%00.js",
        "/api/",
    ],
)
def test_there_are_no_other_files(server: Serving, path: str) -> None:
    status, found, _ = server.ask(path)
    assert status == 404
    assert "error" in found


def test_other_methods(server: Serving) -> None:
    assert server.ask("/api/predict")[0] == 405
    assert server.ask("/api/model", b"", method="DELETE")[0] == 405


def test_another_sites_page_may_not_ask(server: Serving, classifier: Classifier) -> None:
    body = json.dumps({"drawing": drawing(0)}).encode()
    own = {"Origin": f"http://{server.host}:{server.port}"}
    assert server.ask("/api/predict", body, STROKES, own)[0] == 200
    assert server.ask("/api/predict", body, STROKES, {"Origin": "http://elsewhere.example"})[0] == 403
    led_here = {"Host": "elsewhere.example:7860", "Origin": "http://elsewhere.example:7860"}
    assert server.ask("/api/predict", body, STROKES, led_here)[0] == 403
    for host in ("localhost", "LOCALHOST:80", "[::1]:7860", "a.localhost"):
        assert server.ask("/healthz", headers={"Host": host})[0] == 200
    with answering(Served(classifier, "friendly", origins=["http://friend.example"])) as other:
        assert other.ask("/api/predict", body, STROKES, {"Host": "friend.example"})[0] == 200, "by way of its proxy"
        status, _, headers = other.ask("/api/predict", body, STROKES, {"Origin": "http://friend.example"})
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "http://friend.example")
        status, _, headers = other.ask("/api/predict", body, STROKES, {"Origin": "http://elsewhere.example"})
        assert (status, headers["Access-Control-Allow-Origin"]) == (403, None)
        status, _, headers = other.ask("/api/nothing", headers={"Origin": "http://friend.example"})
        assert (status, headers["Access-Control-Allow-Origin"]) == (404, "http://friend.example")
        asked = {"Origin": "http://friend.example", "Access-Control-Request-Method": "POST"}
        assert other.ask("/api/predict", headers=asked, method="OPTIONS")[0] == 200


def test_token_and_keep(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    body = json.dumps({"drawing": drawing(0)}).encode()
    with serving(run.root, "--token", "abc123", "--keep", kept) as server:
        assert server.address.endswith("/#abc123"), "the page takes it from its address"
        assert server.ask("/api/predict", body, STROKES)[0] == 401
        assert server.ask("/api/model", headers={"Authorization": "Bearer abc124"})[0] == 401
        assert server.ask("/api/model", headers={"Authorization": "abc123"})[0] == 401
        assert server.ask("/api/model", headers={"Authorization": "bearer abc123"})[0] == 200
        assert server.ask("/")[0] == server.ask("/healthz")[0] == 200
        token = {"Authorization": "Bearer abc123"}
        for _ in range(3):
            assert server.ask("/api/predict", body, STROKES, token)[0] == 200
        draft = json.dumps({"drawing": drawing(1)}).encode()
        assert server.ask("/api/predict?draft=1", draft, STROKES, token)[0] == 200
        assert server.ask("/api/predict", b"{", STROKES, token)[0] == 400
    [file] = [path for path in kept.iterdir() if not path.name.startswith(".")]
    assert file.suffix == ".json"
    assert file.read_bytes() == body


def test_nothing_is_kept_beyond_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, value in (("MOST_FILES", 3), ("MOST_BYTES", 3)):
        folder = tmp_path / most
        with monkeypatch.context() as patch:
            patch.setattr(keep, most, value)
            keeper = keep.Keeper(folder)
            for number in range(9):
                keeper.keep(bytes([number]), "image/png")
            assert len(list(folder.glob("*.png"))) == 3
            keep.Keeper(folder).keep(b"m", "image/png")
            assert len(list(folder.glob("*.png"))) == 3


def test_the_same_is_kept_once_whoever_brings_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = keep.Keeper(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: keeper.keep(bytes([number % 4]) * 1000, "image/png"), range(64)))
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [bytes([number]) * 1000 for number in range(4)]
    assert caplog.messages == []
