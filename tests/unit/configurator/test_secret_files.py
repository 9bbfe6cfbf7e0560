"""Only credentials and certificates that containerd can use are accepted."""

from pathlib import Path

import pytest

from heliograph_configurator.adapters.secret_files import MAX_FILE_BYTES, SecretFiles
from heliograph_configurator.domain.mirror import NO_TLS
from heliograph_configurator.errors import SecretUnusable
from tests.support.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def written(directory: Path, content: bytes) -> Path:
    path = directory / "file"
    path.write_bytes(content)
    return path


def test_without_files_there_are_no_secrets() -> None:
    assert (SecretFiles().authorization(), SecretFiles().tls()) == ("", NO_TLS)


def test_the_first_account_is_used(tmp_path: Path) -> None:
    accounts = written(tmp_path, b"\n x:y:z \nother:password\n")
    assert SecretFiles(accounts).authorization() == "Basic IHg6eTp6IA=="


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"secret", b":secret", b"secret:", b"x:secret\x07", b"x:\xffsecret"]
)
def test_a_file_without_an_account_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SecretUnusable) as refused:
        SecretFiles(written(tmp_path, content)).authorization()
    assert "secret" not in str(refused.value)


@pytest.mark.processes
def test_a_pair_and_its_ca_are_read(authority: Authority) -> None:
    client = authority.sign("client")
    tls = SecretFiles(None, authority.certificate, client.certificate, client.key).tls()
    assert tls.ca == authority.certificate.read_bytes()
    assert tls.client == client.certificate.read_bytes() + client.key.read_bytes()
    assert "PRIVATE" not in repr(tls)


@pytest.mark.processes
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_anything_but_a_certificate_is_refused(tmp_path: Path, authority: Authority, content: bytes) -> None:
    broken, client = written(tmp_path, content), authority.sign("client")
    with pytest.raises(SecretUnusable, match="file: "):
        SecretFiles(ca=broken).tls()
    for pair in ((broken, client.key), (client.certificate, broken)):
        with pytest.raises(SecretUnusable, match="not the key of the certificate"):
            SecretFiles(None, None, *pair).tls()


@pytest.mark.processes
def test_a_key_that_does_not_match_is_refused(authority: Authority) -> None:
    one, other = authority.sign("one"), authority.sign("other")
    with pytest.raises(SecretUnusable, match="not the key"):
        SecretFiles(None, None, one.certificate, other.key).tls()


@pytest.mark.processes
def test_an_encrypted_key_is_refused_without_asking_for_a_password(
    authority: Authority, tmp_path: Path
) -> None:
    client = authority.sign("client")
    locked = authority.locked(client.key, tmp_path / "locked.pem")
    with pytest.raises(SecretUnusable, match="not the key"):
        SecretFiles(None, None, client.certificate, locked).tls()


def test_an_absent_or_far_too_large_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match="No such file"):
        SecretFiles(tmp_path / "absent").authorization()
    with pytest.raises(SecretUnusable, match="larger than"):
        SecretFiles(ca=written(tmp_path, b"#" * (MAX_FILE_BYTES + 1))).tls()
