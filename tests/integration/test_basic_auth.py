"""Basic authentication on the data port: which requests it admits, and what registries send to peers."""

import json
from pathlib import Path

import httpx
import pytest

from heliograph_shared.digest import digest_of
from heliograph_shared.runtime import StartupError
from tests.integration.cli_support import heliograph
from tests.integration.registry_support import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    MANIFEST,
    MANIFEST_PATH,
    Cluster,
    Registry,
)
from tests.support.bad_peer import Exchange
from tests.support.waiting import eventually

CI, OPS = ("ci", "p:w with spaces"), ("ops", "später")


def written(directory: Path, *accounts: tuple[str, str]) -> Path:
    file = directory / "accounts"
    file.write_text("".join(f"{user}:{password}\n" for user, password in accounts))
    return file


@pytest.fixture
def accounts(tmp_path: Path) -> Path:
    return written(tmp_path, CI, OPS)


def basic(account: tuple[str, str]) -> httpx.BasicAuth:
    return httpx.BasicAuth(account[0].encode(), account[1].encode())


async def status_for(node: Registry, account: tuple[str, str], path: str = "/v2/") -> int:
    return (await node.http.get(path, auth=basic(account))).status_code


async def test_only_accounts_of_the_file_are_admitted(cluster: Cluster, accounts: Path) -> None:
    node = await cluster.registry("a", basic_auth_file=accounts)
    node.put(BLOB)
    node.put(MANIFEST)
    for path in ("/v2/", BLOB_PATH, MANIFEST_PATH):
        for _ in range(2):  # the second time, a manifest comes from the cache
            assert await status_for(node, CI, path) == 200
            assert await status_for(node, OPS, path) == 200
        for method in ("GET", "HEAD", "PUT"):
            refused = await node.http.request(method, path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"].startswith("Basic realm=")
            assert refused.headers["heliograph-reason"] == "unauthorized"
        assert (await node.http.get(path)).json()["errors"][0]["code"] == "UNAUTHORIZED"
        for wrong in [("ci", "p:w"), ("ops", CI[1]), ("", ""), ("ci", "")]:
            assert await status_for(node, wrong, path) == 401
    for header in ("Bearer x", "Basic", "Basic !", "basic " + "A" * 5000):
        assert (await node.http.get("/v2/", headers={"authorization": header})).status_code == 401


async def test_without_the_setting_no_request_is_challenged(cluster: Cluster) -> None:
    node = await cluster.registry("a")
    node.put(BLOB)
    for path in (BLOB_PATH, MANIFEST_PATH, "/v2/", "/v2/a/blobs/nonsense"):
        answer = await node.http.get(path, headers={"authorization": "Basic bm9ib2R5Om5vdGhpbmc="})
        assert answer.status_code != 401
        assert "www-authenticate" not in answer.headers


async def test_health_and_metrics_need_no_password(cluster: Cluster, accounts: Path) -> None:
    node = await cluster.registry("a", basic_auth_file=accounts)
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await node.http.get(f"{node.admin}{path}")).status_code == 200


async def test_registries_authenticate_to_peers_with_the_first_account(
    cluster: Cluster, accounts: Path, tmp_path: Path
) -> None:
    holder = await cluster.registry("holder", basic_auth_file=accounts)
    cluster.holds(holder, BLOB)
    (tmp_path / "x").mkdir()
    node = await cluster.registry("node", basic_auth_file=written(tmp_path / "x", CI))
    answer = await node.http.get(BLOB_PATH, auth=basic(CI))
    assert (answer.content, answer.headers["heliograph-source"]) == (BLOB, "peer/holder")

    stranger = await cluster.registry("stranger")
    missed = await stranger.http.get(BLOB_PATH, auth=basic(CI))  # a client's account is not passed on
    assert (missed.status_code, missed.headers["heliograph-reason"]) == (404, "peers-failed")


async def test_a_clients_account_is_not_sent_to_peers(cluster: Cluster) -> None:
    async def serves(exchange: Exchange) -> None:
        await exchange.begin(BLOB_DIGEST, len(BLOB))
        await exchange.send(BLOB)

    peer = await cluster.peer(serves, "peer")
    node = await cluster.registry("node")
    assert (await node.http.get(BLOB_PATH, auth=basic(CI))).content == BLOB
    assert all("authorization" not in request.lower() for request in peer.requests)


async def test_a_changed_file_is_reloaded_and_an_invalid_one_is_ignored(
    cluster: Cluster, accounts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = await cluster.registry("a", basic_auth_file=accounts)
    assert await status_for(node, CI) == 200
    accounts.write_text("nonsense-of-the-operator\n")  # noqa: ASYNC240

    async def failures() -> str:
        text = (await node.http.get(f"{node.admin}/metrics")).text
        return 'heliograph_file_reloads_total{file="basic-auth",outcome="failed"}' * (
            'file="basic-auth",outcome="failed"' in text
        )

    async def still_admitted() -> bool:
        assert await status_for(node, CI) == 200
        return bool(await failures())

    await eventually(still_admitted)
    written(accounts.parent, ("new", "one"))

    async def replaced() -> bool:
        return (await status_for(node, ("new", "one")), await status_for(node, CI)) == (200, 401)

    await eventually(replaced)
    logged = "".join(capfd.readouterr())
    assert CI[1] not in logged
    assert "nonsense-of-the-operator" not in logged


async def test_the_registry_does_not_start_with_an_unreadable_file(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="absent: No such file"):
        await cluster.registry("a", basic_auth_file=tmp_path / "absent")


async def test_heliograph_pull_sends_an_account(cluster: Cluster, accounts: Path) -> None:
    node = await cluster.registry("a", basic_auth_file=accounts)
    config = node.put(b"{}")
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": media_type, "config": descriptor, "layers": []}
    ).encode()
    node.put(manifest)
    arguments = ["pull", f"reg.test/app@{digest_of(manifest)}", "--mirror", f"http://{node.address}"]
    refused = await heliograph(*arguments)
    assert (refused.code, "answered 401" in refused.err) == (1, True)
    pulled = await heliograph(*arguments, "--basic-auth-file", str(accounts))
    assert (pulled.code, pulled.err) == (0, "")
    absent = await heliograph(*arguments, environment={"HELIOGRAPH_BASIC_AUTH_FILE": "/nowhere"})
    assert (absent.code, absent.err) == (1, "heliograph: /nowhere: No such file or directory\n")
