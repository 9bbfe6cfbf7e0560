"""What the configurator's doctor finds in folders as operators leave them, and at the mirrors' addresses."""

import asyncio
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from heliograph_configurator.app import apply, examination
from heliograph_configurator.domain.hosts_toml import HEADING
from heliograph_configurator.settings import Settings
from heliograph_shared.findings import Finding, decode
from heliograph_shared.settings import load
from tests.integration.registry_support import Cluster
from tests.integration.test_configurator import configurator
from tests.support.ports import free_port

MIRROR = "http://127.0.0.1:5000"
ABOUT_MIRRORS = {"mirror-unreachable", "mirror-foreign"}


def settings(root: Path, *flags: str) -> Settings:
    return load(Settings, "heliograph-configurator", ["--registry-config-path", str(root), *flags])


def examined(root: Path, *flags: str) -> Sequence[Finding]:
    return asyncio.run(examination(settings(root, *flags)).report()).findings


def findings(root: Path, *flags: str) -> dict[str, Finding]:
    """By check, without findings about the mirrors themselves."""
    found = [one for one in examined(root, *flags) if one.check not in ABOUT_MIRRORS]
    assert len({one.check for one in found}) == len(found), found
    return {str(one.check): one for one in found}


def severities(root: Path, *flags: str) -> dict[str, str]:
    return {check: finding.severity for check, finding in findings(root, *flags).items()}


def put(root: Path, folder: str, text: str) -> None:
    (root / folder).mkdir(exist_ok=True)
    (root / folder / "hosts.toml").write_text(text)


@pytest.fixture(params=[(), ("--mirrored-registries", "docker.io,reg.test:5000"), ("--prepend-existing",)])
def flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(request.param)


def test_the_files_of_apply_are_healthy(tmp_path: Path, flags: tuple[str, ...]) -> None:
    if "--prepend-existing" in flags:
        put(tmp_path, "quay.io", 'server = "https://quay.io"\n')
        put(tmp_path, "reg.test_5000_", "")
    assert apply(settings(tmp_path, *flags))
    assert severities(tmp_path, *flags) == {}


def test_a_mirror_that_the_settings_do_not_name_is_known_from_the_record(tmp_path: Path) -> None:
    """A person runs the doctor on the node, without the settings of the pod."""
    assert apply(settings(tmp_path, "--mirror-targets", "http://10.0.0.7:5000"))
    assert severities(tmp_path) == {}


def test_a_mirror_that_was_written_by_hand_counts(tmp_path: Path) -> None:
    put(tmp_path, "_default", f'[host."{MIRROR}/"]\n')
    assert severities(tmp_path) == {}
    ipv6 = '[host."http://fd00::1:5000"]\n'
    put(tmp_path, "_default", ipv6)
    assert severities(tmp_path, "--mirror-targets", "http://[fd00::1]:5000") == {"hosts-broken": "warning"}


def test_what_is_written_for_an_ipv6_mirror_is_no_finding(tmp_path: Path) -> None:
    target = ("--mirror-targets", "http://[fd00::1]:5000")
    assert apply(settings(tmp_path, *target))
    assert severities(tmp_path, *target) == {}


def test_an_absent_certs_folder_is_found(tmp_path: Path) -> None:
    found = findings(tmp_path / "absent")
    assert set(found) == {"not-mirrored"}
    assert found["not-mirrored"].seen.endswith("absent/_default/hosts.toml")
    named = examined(tmp_path, "--mirrored-registries", "docker.io,quay.io")
    assert sum(one.check == "not-mirrored" for one in named) == 2


def test_folders_that_shadow_the_default_are_found(tmp_path: Path) -> None:
    assert apply(settings(tmp_path))
    (tmp_path / "quay.io").mkdir()
    assert severities(tmp_path) == {"default-shadowed": "error"}
    assert findings(tmp_path)["default-shadowed"].remedy == f"rmdir {tmp_path}/quay.io"
    put(tmp_path, "quay.io", 'server = "https://quay.io"\n')
    assert severities(tmp_path) == {"default-shadowed": "warning"}
    assert findings(tmp_path)["default-shadowed"].remedy.endswith("apply --prepend-existing")
    assert severities(tmp_path, "--mirrored-registries", "docker.io").keys() == {"not-mirrored"}


def test_the_folder_name_that_containerd_tries_first_shadows_ours(tmp_path: Path) -> None:
    named = ("--mirrored-registries", "reg.test:5000")
    assert apply(settings(tmp_path, *named))
    (tmp_path / "reg.test_5000_").mkdir()
    assert "reg.test_5000_/hosts.toml" in findings(tmp_path, *named)["not-mirrored"].seen


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("server = ", "error"),
        ('[host."http://a"]\n  dial_timeout = 3\n', "error"),
        ('[host."http://a"]\n  capabilities = ["pull", "reslove"]\n', "error"),
        ('server = "https://a:port"\n[host."http://a"]\n', "error"),
        ('[host."http://a"]\n  capabilities = ["pull", "referrers"]\n', "warning"),
        ("host = 3\n", "error"),
        ('[host."http://[fd00::1]:5000"]\n', "warning"),
        ('[host."http://fd00::1:5000"]\n', "warning"),
        ('[host."http://a"]\n  skip_verify = true\n', "warning"),
    ],
)
def test_a_file_that_containerd_misreads_is_found(tmp_path: Path, text: str, severity: str) -> None:
    assert apply(settings(tmp_path))
    put(tmp_path, "quay.io", text)
    found = findings(tmp_path)
    assert found["hosts-broken"].severity == severity
    assert found.keys() <= {"hosts-broken", "default-shadowed"}
    assert str(tmp_path / "quay.io/hosts.toml") in found["hosts-broken"].seen


def test_a_folder_of_a_later_root_that_ours_hides_is_found(tmp_path: Path) -> None:
    first, later = tmp_path / "first", tmp_path / "later"
    later.mkdir()
    assert apply(settings(first))
    put(later, "reg.test:5000", 'server = "https://reg.test:5000"\n')
    assert severities(first) == {}, "it does not know the other"
    both = Path(f"{first}:{later}")
    assert severities(both) == {"later-root-hidden": "error"}
    assert apply(settings(both))
    assert severities(both) == {}


def test_a_default_with_a_server_is_found(tmp_path: Path) -> None:
    put(tmp_path, "_default", f'server = "https://quay.io"\n[host."{MIRROR}"]\n')
    assert severities(tmp_path) == {"default-server": "warning"}


def test_an_edited_file_of_ours_is_found_with_its_fix(tmp_path: Path) -> None:
    assert apply(settings(tmp_path))
    put(tmp_path, "_default", f'{HEADING}[host."http://other"]\n')
    found = findings(tmp_path)["not-mirrored"]
    assert "changed by hand" in found.seen
    assert found.remedy == f"rm {tmp_path}/_default/hosts.toml, then `heliograph-configurator apply`"


def test_unreadable_folders_and_records_are_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert severities(tmp_path / "file") == {"certs-unreadable": "error"}
    certs = tmp_path / "certs.d"
    certs.mkdir()
    assert apply(settings(certs))
    (certs / "quay.io").symlink_to(tmp_path)
    assert severities(certs) == {"certs-unreadable": "warning"}
    (certs / ".heliograph" / "record.json").write_text("{")
    assert severities(certs) == {"certs-unreadable": "error"}


async def about_mirror(root: Path, url: str) -> dict[str, Finding]:
    report = await examination(settings(root, "--mirror-targets", url)).report()
    return {str(one.check): one for one in report.findings if one.check in ABOUT_MIRRORS}


async def test_a_heliograph_registry_is_recognized(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        registry = await Cluster(tmp_path, stack).registry("node-1")
        assert await about_mirror(tmp_path, f"http://{registry.address}") == {}


async def test_a_mirror_that_does_not_answer_is_found(tmp_path: Path) -> None:
    found = await about_mirror(tmp_path, f"http://127.0.0.1:{free_port()}")
    assert "Connection refused" in found["mirror-unreachable"].seen


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def foreign(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Some other program's web server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_another_program_at_the_mirrors_port_is_found(tmp_path: Path) -> None:
    with foreign() as port:
        found = await about_mirror(tmp_path, f"http://127.0.0.1:{port}")
        assert "SimpleHTTP" in found["mirror-foreign"].seen
        over_tls = await about_mirror(tmp_path, f"https://127.0.0.1:{port}")
        assert over_tls == {}, "a failed TLS handshake proves nothing: the server may want a certificate"


async def test_another_program_that_speaks_tls_is_found(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    made = [*command.split(), "-keyout", str(key), "-out", str(certificate)]
    await asyncio.to_thread(subprocess.run, made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with foreign(context) as port:
        assert (await about_mirror(tmp_path, f"https://127.0.0.1:{port}")).keys() == {"mirror-foreign"}
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with foreign(context) as port:
        assert await about_mirror(tmp_path, f"https://127.0.0.1:{port}") == {}, "it is unknown who answers"


def test_the_command_prints_text_or_json_and_exits_with_1_for_an_error(tmp_path: Path) -> None:
    mirror = f"http://127.0.0.1:{free_port()}"
    as_text = configurator("doctor", registry_config_path=tmp_path, mirror_targets=mirror)
    assert as_text.returncode == 1
    assert as_text.stdout.startswith("error    mirror-unreachable")
    assert as_text.stdout.endswith("\n2 errors, 0 warnings\n")
    as_json = configurator("doctor", "--json", registry_config_path=tmp_path, mirror_targets=mirror)
    assert as_json.returncode == 1
    assert {one.check for one in decode(as_json.stdout.encode()).findings} == {
        "mirror-unreachable",
        "not-mirrored",
    }
    assert list(tmp_path.iterdir()) == []
    refused = configurator("doctor", "--no-such-flag")
    assert refused.returncode == 2
