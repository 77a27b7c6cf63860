"""The gated repository, played by a server on the loopback."""

import pytest

pytest.importorskip("huggingface_hub")

import played_hub

from entityseg_bench.download import hub
from entityseg_bench.download.transfer import download
from entityseg_bench.io import InputError

WEIGHTS = "CropFormer_model/Entity_Segmentation/Mask2Former_hornet_3x/Mask2Former_576d0b.pth"


@pytest.fixture
def server(monkeypatch, tmp_path):
    with played_hub.played({WEIGHTS: bytes(range(256)) * 40, "README.md": b"hello"}, {}) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", "hf_granted")
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield found


def test_files_are_listed_with_size_and_digest(server):
    found = hub.list_files()
    assert [file.path for file in found] == [WEIGHTS, "README.md"]
    assert found[0].size == 256 * 40 and len(found[0].digest) == 64
    assert [f.path for f in hub.list_files(WEIGHTS.rpartition("/")[0])] == [WEIGHTS]


def test_a_file_is_fetched_once(server, tmp_path):
    file = hub.list_files()[0]
    for _ in range(2):
        path = hub.fetch(file, tmp_path)
        assert path.read_bytes() == server.files[WEIGHTS]
    assert len(server.asked) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_a_broken_connection_goes_on_where_it_was(server, tmp_path):
    server.break_after = 3000
    path = hub.fetch(hub.list_files()[0], tmp_path)
    assert path.read_bytes() == server.files[WEIGHTS]
    assert [asked for _, asked in server.asked] == [
        None, "bytes=3000-", "bytes=6000-", "bytes=9000-",
    ]  # fmt: skip


def test_a_later_run_goes_on_where_the_earlier_was(server, tmp_path):
    file = hub.list_files()[0]
    part = tmp_path / WEIGHTS
    part.parent.mkdir(parents=True)
    part.with_name(f".{part.name}.{file.digest[:16]}.part").write_bytes(
        server.files[WEIGHTS][:5000]
    )
    assert hub.fetch(file, tmp_path).read_bytes() == server.files[WEIGHTS]
    assert [asked for _, asked in server.asked] == ["bytes=5000-"]


def test_another_content_than_listed_is_refused(server, tmp_path):
    file = hub.list_files()[0]
    server.files[WEIGHTS] = bytes(len(server.files[WEIGHTS]))
    with pytest.raises(InputError, match="another sha256"):
        hub.fetch(file, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("", "the repository is gated, and no token is here. Ask for access on .* hf auth login"),
        ("hf_waiting", "access is not granted to the account of the token .* Ask for it on"),
        ("hf_unknown", "the hub does not accept the token that is here. Make a new read token"),
    ],
)
def test_no_access_is_one_sentence(server, monkeypatch, tmp_path, token, sentence):
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match=sentence) as caught:
        hub.fetch(hub.list_files()[0], tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_or_folder_is_said(server, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        hub.list_files("CropFormer_model/None")
    with pytest.raises(InputError, match="no such file or folder"):
        hub.fetch(hub.HubFile("gone.pth", 3), tmp_path)


def test_no_network_is_said(server, monkeypatch, tmp_path):
    file = hub.list_files()[0]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="the hub cannot be reached"):
        hub.fetch(file, tmp_path)


def test_a_closed_port_is_said(tmp_path):
    with pytest.raises(InputError, match=r"cannot be reached.*Is there a network"):
        download("http://127.0.0.1:9/file", tmp_path / "file", 10)


def test_only_web_addresses_are_opened(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with pytest.raises(InputError, match="no web address"):
        download(secret.as_uri(), tmp_path / "copy", 6)


def test_the_token_stays_with_its_host(server, tmp_path, monkeypatch):
    """Where the hub sends the client on to another host, the token does not go along."""
    asked = {}
    monkeypatch.setattr(
        hub, "download", lambda url, path, size, digest, headers: asked.update(headers) or path
    )
    file = hub.list_files()[0]
    hub.fetch(file, tmp_path)
    assert asked.pop("authorization") == "Bearer hf_granted"
    monkeypatch.setattr(
        "huggingface_hub.get_hf_file_metadata",
        lambda *args, **kwargs: type("Known", (), {"location": "http://127.0.0.2/signed"}),
    )
    asked.clear()
    hub.fetch(file, tmp_path)
    assert "authorization" not in asked


@pytest.mark.parametrize("path", ["../victim", "/{folder}/victim", "a/../../victim", "C:\\victim"])
def test_a_listing_does_not_lead_out_of_the_folder(server, tmp_path, path):
    own = path.format(folder=str(tmp_path).lstrip("/"))
    (tmp_path / "victim").write_bytes(b"mine")
    server.files[own] = b"theirs"
    with pytest.raises(InputError, match="leads out of this folder"):
        hub.fetch(hub.HubFile(own, 6), tmp_path / "store")
    assert (tmp_path / "victim").read_bytes() == b"mine"


def test_a_planted_link_is_not_written_through(server, tmp_path):
    file = hub.list_files()[0]
    (tmp_path / "victim").write_bytes(b"mine")
    target = tmp_path / "store" / WEIGHTS
    target.parent.mkdir(parents=True)
    target.with_name(f".{target.name}.{file.digest[:16]}.part").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="it is a link"):
        hub.fetch(file, tmp_path / "store")
    assert (tmp_path / "victim").read_bytes() == b"mine"
