"""Storage behind URLs: a real S3 API, an SFTP server, memory; what fails is named, tried again where that may help."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codec import places, storage
from codec.errors import ConfigError, StorageError
from codec.urls import is_url, public

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # connections that file systems keep


@pytest.mark.parametrize("name", ["a.png", "/a/b", "a:b", "C:/a", "x://y", "-", ""])
def test_paths_are_no_urls(name: str) -> None:
    assert not is_url(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://bucket/a?b.png", "s3://bucket/a?b.png"),
        ("sftp://me@host:22/a", "sftp://me@host:22/a"),
        ("sftp://me:pass@host:22/a", "sftp://me@host:22/a"),
        ("sftp://me:p@ss@host/a", "sftp://me@host/a"),
        ("https://me:pass@host/a.png", "https://host/a.png"),
        ("https://token@host/a.png", "https://host/a.png"),
        ("https://host/a.png?X-Amz-Signature=secret&b=c", "https://host/a.png"),
        ("403, url='https://host/a?sig=secret'", "403, url='https://host/a'"),
        ("two: s3://u:secret@b/k, ftp://u:secret@h/k", "two: s3://u@b/k, ftp://u@h/k"),
        ("s3://bucket/12:30@noon.png", "s3://bucket/12:30@noon.png"),
        ("a/b.png: plain text?", "a/b.png: plain text?"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert public(text) == shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("sftp://me:secret@host/a", "sftp://me@host/a: a password in a URL .* set FSSPEC_SFTP_PASSWORD"),
        ("https://me:secret@host/a.png", "https://host/a.png: a password in a URL"),
        ("https://secret@host/a.png", "https://host/a.png: a password in a URL"),
        ("s3://", "s3://: names no bucket"),
        ("s3:///", "s3:///: names no bucket"),
        ("nothing://a/b", "nothing:// is not known: write s3://"),
        ("https://host/out", "https://host/out: https:// can only be read"),
    ],
)
def test_what_cannot_be_is_refused(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        storage.checked(url, to_write=True)
    assert "secret" not in str(caught.value)


def test_a_file_system_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(scheme: str) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    with pytest.raises(ConfigError, match=r'gs://b/a: Please install gcsfs .*: pip install "\.\[cloud\]"'):
        storage.checked("gs://b/a")


def put(store: Any, key: str) -> None:
    """Put an object under a key that no path can be."""
    fs = storage._file_system_class("s3", "")(use_listings_cache=False)
    fs.call_s3("put_object", Bucket=store.bucket.removeprefix("s3://"), Key=key, Body=b"data")


def test_a_file_url_is_a_path() -> None:
    assert storage.checked("file:///a/b.png") == "/a/b.png"


def test_a_url_has_one_spelling() -> None:
    assert storage.checked("MEMORY://a/b//") == "memory://a/b"
    assert storage.checked("https://host/a/?b=c/") == "https://host/a/?b=c/"


class Answer(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"{status}, url='https://host/a?sig=secret'")
        self.status = status


@pytest.mark.parametrize(
    ("status", "text", "tries"),
    [
        (403, "access denied", 1),
        (410, "Answer ", 1),
        (429, "too busy", 4),
        (503, "too busy", 4),
        (500, "Answer .*, 4 tries: check", 4),
    ],
)
def test_what_a_web_page_answers_is_named(status: int, text: str, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def answer(fs: Any, path: str) -> bytes:
        calls.append(path)
        raise Answer(status)

    monkeypatch.setattr(storage, "PAUSES_S", (0, 0, 0))
    with pytest.raises(StorageError, match=text) as caught:
        storage._tried("memory://a", answer)
    assert len(calls) == tries and "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "deep/er/a.png", "a?b#c%20 d*[é].png", "12:30@noon.png"])
def test_a_bucket_keeps_what_is_written(store: Any, name: str) -> None:
    url = f"{store.bucket}/folder/{name}"
    assert storage.find(url) is None
    stamp = places.write(url, b"first")
    found = storage.find(url)
    assert found == storage.Found(url, 5, stamp) and stamp and stamp.startswith("5-")
    assert storage.write(url, b"other") != stamp and places.read(url) == b"other"
    assert [each.name for each in storage.walk(f"{store.bucket}/folder")] == [url]
    places.remove(url)
    places.remove(url)
    assert not places.exists(url)


def test_folders_are_walked_without_hidden_and_skipped_ones(store: Any) -> None:
    names = ("a/1.png", "a/b/2.png", "a/.hidden/3.png", "a/.4.png", "a/out/5.png", "ab/6.png")
    for name in names:
        storage.write(f"{store.bucket}/{name}", b"data")
    put(store, "a/")  # as consoles make to show an empty folder
    found = {
        each.name.removeprefix(store.bucket) for each in storage.walk(f"{store.bucket}/a", f"{store.bucket}/a/out")
    }
    assert found == {"/a/1.png", "/a/b/2.png"}
    assert len(list(storage.walk(f"{store.bucket}/a", hidden=True))) == 5
    folder = storage.find(f"{store.bucket}/a")
    assert folder and folder.is_folder
    with pytest.raises(StorageError, match="none: no such file or folder") as caught:
        list(storage.walk(f"{store.bucket}/none"))
    assert caught.value.is_missing


def test_keys_cannot_lead_out_of_a_folder(store: Any) -> None:
    for key in ("a/../../etc/x.png", "a/./x.png"):
        put(store, key)
    assert list(storage.walk(f"{store.bucket}/a", hidden=True)) == []


@pytest.mark.slow
def test_a_large_file_is_seen_whole_or_not_at_all(store: Any) -> None:
    data = bytes(101 << 20)  # in parts
    store.fault = lambda method, path: "AccessDenied" if method == "PUT" else None
    with pytest.raises(StorageError, match="access denied"):
        storage.write(f"{store.bucket}/large", data)
    store.fault = lambda method, path: None
    assert not places.exists(f"{store.bucket}/large")
    storage.write(f"{store.bucket}/large", data)
    assert storage.read(f"{store.bucket}/large") == data and store.count("POST", "large") > 1


@pytest.mark.parametrize(
    ("fault", "text", "tries"),
    [
        ("AccessDenied", r"key: access denied \((Access Denied|Forbidden)\): check the credentials", 1),
        ("NoSuchBucket", r"key: no such file or folder( \(The specified bucket does not exist\))?: check the name", 1),
        (
            "SlowDown",
            r"key: the store is too busy \((Please reduce.*|Service Unavailable|Slow Down)\), 4 tries",
            4,
        ),
    ],
)
def test_what_a_store_refuses_is_named(store: Any, fault: Any, text: str, tries: int, monkeypatch: Any) -> None:
    import s3fs

    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    store.fault = lambda method, path: fault if path.endswith("/key") else None
    for action in (lambda url: storage.read(url), lambda url: storage.write(url, b"data")):
        store.requests.clear()
        with pytest.raises(StorageError, match=text) as caught:
            action(f"{store.bucket}/key")
        assert sum(path.endswith("/key") for _, path in store.requests) == tries and "hush" not in str(caught.value)


def test_what_passes_is_tried_again(store: Any) -> None:
    left = ["SlowDown"] * 3
    storage.write(f"{store.bucket}/key", b"data")
    store.fault = lambda method, path: left.pop() if left else None
    assert storage.read(f"{store.bucket}/key") == b"data" and not left


def test_a_store_out_of_reach_is_named(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        StorageError, match=r"a: EndpointConnectionError \(.*127.0.0.1:1.*\), 4 tries: check the address"
    ):
        storage.read(f"{store.bucket}/a")
    s3fs.S3FileSystem.clear_instance_cache()


def test_no_credentials_are_named(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store.fault = lambda method, path: "AccessDenied"
    with pytest.raises(StorageError, match="access denied"):
        storage.read(f"{store.bucket}/a")
    s3fs.S3FileSystem.clear_instance_cache()


class Sftp(NamedTuple):
    """Server on loopback: its URL, and the folder that it serves."""

    url: str
    folder: Path


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sftp]:
    """SFTP server of asyncssh, known to ~/.ssh/known_hosts, that takes the key of ~/.ssh."""
    asyncssh = pytest.importorskip("asyncssh", reason="asyncssh is not installed: pip install '.[test]'")
    pytest.importorskip("sshfs", reason="sshfs is not installed: pip install '.[test]'")
    home, folder = tmp_path / "home", tmp_path / "served"
    (home / ".ssh").mkdir(parents=True)
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(storage, "PAUSES_S", (0.01,))
    own, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    own.write_private_key(str(home / ".ssh" / "id_ed25519"))
    loop, ports = asyncio.new_event_loop(), list[int]()

    async def listen() -> Any:
        allowed = asyncssh.import_authorized_keys(own.export_public_key().decode())
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=allowed,
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder).encode()),
        )  # fmt: skip
        ports.append(server.get_port())
        return server

    server = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    key = host.export_public_key().decode()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{ports[0]} {key}")
    yield Sftp(f"sftp://me@127.0.0.1:{ports[0]}", folder)
    storage._file_system_class("sftp", "").clear_instance_cache()

    async def close() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(close(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    gc.collect()


def test_sftp_keeps_what_is_written(sftp: Sftp) -> None:
    url = f"{sftp.url}/photos/deep/a b.png"
    assert storage.find(url) is None and not places.exists(url)
    storage.write(url, b"first")
    storage.write(url, b"second")
    assert (sftp.folder / "photos/deep/a b.png").read_bytes() == storage.read(url) == b"second"
    assert [p.name for p in (sftp.folder / "photos/deep").iterdir()] == ["a b.png"], "no temporary file is left"
    assert [each.name for each in storage.walk(f"{sftp.url}/photos")] == [url]
    storage.remove(url)
    assert not places.exists(url)


def test_sftp_that_fails_half_way_leaves_what_was_there(sftp: Sftp, monkeypatch: pytest.MonkeyPatch) -> None:
    url, kind = f"{sftp.url}/a.png", storage._file_system_class("sftp", "")
    storage.write(url, b"first")

    async def broken(*_: object, **__: object) -> None:
        raise ConnectionResetError("the line is dead")

    monkeypatch.setattr(kind, "_mv", broken)
    kind.clear_instance_cache()
    with pytest.raises(StorageError, match=r"a.png: ConnectionResetError \(the line is dead\), 2 tries"):
        storage.write(url, b"second")
    assert [p.read_bytes() for p in sftp.folder.iterdir()] == [b"first"]


def test_a_host_that_is_not_known_is_not_trusted(sftp: Sftp, tmp_path: Path) -> None:
    (tmp_path / "home/.ssh/known_hosts").write_text("")
    with pytest.raises(StorageError, match=r"the host is not known .*known_hosts"):
        storage.read(f"{sftp.url}/a.png")
