"""Who may ask for what: names, origins, tokens, logins, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import bcrypt
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from structlog.testing import capture_logs

from monitor.core.action import Note
from monitor.core.config import Config, WebConfig
from monitor.web.guard import is_our_name
from monitor.web.server import serve
from monitor.web.toolkit import OverloadedError, Toolkit, WebFileError, load
from tests.web import portal
from tests.web.conftest import TOKEN, Site

LOOPBACK = ip_address("127.0.0.1")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def hashed(password: str, rounds: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds)).decode()


@asynccontextmanager
async def served(
    folder: Path, web_file: str = "", *, host: str = "127.0.0.1", verify: ssl.SSLContext | bool = False
) -> AsyncIterator[tuple[portal.Source, httpx.AsyncClient]]:
    path = folder / "web.yml"
    path.write_text(web_file)
    source = portal.Source()
    async with (
        serve(source, WebConfig(host=host, port=0), SecretStr(TOKEN), web_config_file=path) as found,
        httpx.AsyncClient(base_url=found.url, trust_env=False, verify=verify) as client,
    ):
        yield source, client


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host, ours",
    [
        ("127.0.0.1:9877", True),
        ("localhost:9877", True),
        ("LOCALHOST", True),
        ("localhost.:9877", True),
        ("[::1]:9877", True),
        ("10.1.2.3", True),  # no site can make a browser send an address it does not mean
        ("monitor.example.com", True),  # external_url
        (socket.gethostname(), True),
        ("", True),
        ("evil.example.com:9877", False),
        ("localhost.evil.example.com", False),
        ("127.0.0.1.evil.example.com", False),
        ("[::1", False),
        ("user@", False),
    ],
)
def test_names_we_go_by(host: str, ours: bool) -> None:
    assert is_our_name(host, WebConfig(external_url="https://monitor.example.com/here")) is ours


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/status", "/-/healthy"])
async def test_a_name_that_is_not_ours_is_refused_everywhere(site: Site, path: str) -> None:
    answer = await site.client.get(path, headers={"Host": "rebound.example.com"})
    assert answer.status_code == 421
    assert "web.external_url" in answer.json()["error"]


async def test_a_new_external_url_counts_from_the_next_request(site: Site) -> None:
    asked = {"Host": "monitor.example.com"}
    assert (await site.client.get("/-/healthy", headers=asked)).status_code == 421
    config = Config(portal.CONFIGS, "", "", web=WebConfig(external_url="https://monitor.example.com"))
    site.source.show(portal.snapshot(config=config))
    assert (await site.client.get("/-/healthy", headers=asked)).status_code == 200


# --- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer é",
    ],
)
async def test_a_change_needs_the_token(site: Site, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1")} if authorization else {}
    answer = await site.client.post("/-/reload", headers=[(key.encode(), value) for key, value in headers.items()])
    assert (answer.status_code, site.source.reloads) == (401, 0)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_site_changes_nothing_even_with_the_token(site: Site, headers: dict[str, str]) -> None:
    answer = await site.client.post("/-/reload", headers=site.change | headers)
    assert (answer.status_code, site.source.reloads) == (403, 0)


async def test_our_own_page_may_change_with_the_token(site: Site) -> None:
    origin = {"Origin": site.served.url, "Sec-Fetch-Site": "same-origin"}
    assert (await site.client.post("/-/reload", headers=site.change | origin)).status_code == 200


async def test_a_page_behind_the_proxy_of_external_url_may_change(site: Site) -> None:
    config = Config(portal.CONFIGS, "", "", web=WebConfig(external_url="https://monitor.example.com"))
    site.source.show(portal.snapshot(config=config))
    origin = {"Origin": "https://monitor.example.com"}
    assert (await site.client.post("/-/reload", headers=site.change | origin)).status_code == 200


def address_of_this_machine() -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; asks the routing table only
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if address.startswith("127.") else address


async def test_from_another_host_no_token_is_enough_while_no_login_is_configured(tmp_path: Path) -> None:
    address = address_of_this_machine()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    async with served(tmp_path, host="0.0.0.0") as (source, client):
        port = client.base_url.port
        assert (await client.get(f"http://{address}:{port}/-/healthy")).status_code == 200
        refused = await client.post(f"http://{address}:{port}/-/reload", headers=BEARER)
        assert (refused.status_code, source.reloads) == (403, 0)
        assert "basic_auth_users" in refused.json()["error"]
        assert (await client.post("/-/reload", headers=BEARER)).status_code == 200
    async with served(tmp_path, f"basic_auth_users: {{ann: {hashed('pw')}}}", host="0.0.0.0") as (_, client):
        remote = f"http://{address}:{client.base_url.port}/-/reload"
        assert (await client.post(remote, auth=("ann", "pw"))).status_code == 200
        assert (await client.post(remote, headers=BEARER)).status_code == 200
        assert (await client.post(remote, auth=("ann", "no"))).status_code == 401


@pytest.mark.parametrize(
    ("by", "login", "name"),
    [
        ({}, True, "ann"),
        ({"by": "ann"}, True, "ann"),
        ({"by": "bob"}, True, "bob (as ann)"),  # whoever logged in cannot pass for another
        ({"by": " bob\n\x1b[1m "}, False, "bob [1m"),
    ],
)
async def test_a_change_is_by_whoever_says_so_and_whoever_logged_in(
    tmp_path: Path, by: dict[str, str], login: bool, name: str
) -> None:
    key = portal.REDIS_DOWN.key
    async with served(tmp_path, f"basic_auth_users: {{ann: {hashed('pw')}}}") as (source, client):
        who = {"auth": ("ann", "pw")} if login else {"headers": BEARER}
        answer = await client.post(f"/api/v1/incidents/{key}/note", json={"text": "Seen", **by}, **who)
    assert answer.status_code == 200
    assert source.acted == [(key, Note("Seen"), name)]


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/static/app.js", "/probes/redis", "/api/v1/status"])
async def test_every_answer_has_the_headers_that_keep_browsers_strict(site: Site, path: str) -> None:
    headers = (await site.client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "date" in headers
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


# --- the web configuration file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/events", "/static/app.css"])
async def test_with_users_nothing_is_read_without_a_login(tmp_path: Path, path: str) -> None:
    async with served(tmp_path, f"basic_auth_users: {{ann: {hashed('pw')}}}") as (_, client):
        refused = await client.get(path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")


async def test_users_get_in_with_the_right_password_only(tmp_path: Path) -> None:
    users = f"basic_auth_users: {{ann: {hashed('pässword:with colon')}, bob: {hashed('b' * 72)}}}"
    async with served(tmp_path, users) as (source, client):
        assert (await client.get("/metrics", auth=("ann", "pässword:with colon"))).status_code == 200
        assert (await client.get("/metrics", auth=("ann", "wrong"))).status_code == 401
        assert (await client.get("/metrics", auth=("bob", "pässword:with colon"))).status_code == 401
        assert (await client.get("/metrics", auth=("nobody", "pässword:with colon"))).status_code == 401
        assert (await client.get("/metrics", auth=("ann", "x" * 500))).status_code == 401
        assert (await client.get("/metrics", auth=("bob", "b" * 90))).status_code == 200  # bcrypt looks at 72 bytes
        assert (await client.get("/metrics", auth=("ann", "nul\0"))).status_code == 401
        assert (await client.get("/metrics", headers={"Authorization": "Basic %%%"})).status_code == 401
        assert (await client.get("/metrics", headers=BEARER)).status_code == 200
        assert (await client.post("/-/reload", auth=("ann", "pässword:with colon"))).status_code == 200
        assert source.reloads == 1


async def test_a_right_password_is_hashed_once(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{ann: {hashed('pw', rounds=11)}}}")
    toolkit = Toolkit(path)
    try:
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(3):
            begun = loop.time()
            assert await toolkit.knows("Basic YW5uOnB3")
            times.append(loop.time() - begun)
        assert min(times[1:]) * 10 < times[0]
    finally:
        toolkit.close()


async def test_a_flood_of_passwords_is_turned_away_and_does_not_stop_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{ann: {hashed('pw', rounds=9)}}}")
    toolkit = Toolkit(path)
    try:
        tries = [toolkit.knows("Basic " + httpx.BasicAuth("ann", str(i))._auth_header.split()[1]) for i in range(60)]
        gathering = asyncio.gather(*tries, return_exceptions=True)
        turns = 0
        while not gathering.done():
            await asyncio.sleep(0.005)
            turns += 1
        found = await gathering
        assert sum(isinstance(one, OverloadedError) for one in found) == 60 - 16
        assert True not in found
        assert turns > 20  # on the loop it would have been one turn for each password
    finally:
        toolkit.close()


async def test_a_changed_file_counts_from_the_next_request_and_a_broken_one_not_at_all(tmp_path: Path) -> None:
    async with served(tmp_path, f"basic_auth_users: {{ann: {hashed('pw')}}}") as (_, client):
        path = tmp_path / "web.yml"
        path.write_text(f"basic_auth_users: {{bob: {hashed('pw')}}}\n")
        assert (await client.get("/metrics", auth=("bob", "pw"))).status_code == 200
        assert (await client.get("/metrics", auth=("ann", "pw"))).status_code == 401
        path.write_text("basic_auth_users: {bob: plain, and some more}\n")
        with capture_logs() as logged:
            assert (await client.get("/metrics", auth=("bob", "pw"))).status_code == 200
            assert (await client.get("/metrics")).status_code == 401
        assert [line["event"] for line in logged] == ["web_file_refused"]
        path.unlink()
        with capture_logs():
            assert (await client.get("/metrics")).status_code == 401


async def test_headers_of_the_file_are_sent(tmp_path: Path) -> None:
    text = "http_server_config: {headers: {Strict-Transport-Security: max-age=1, X-Frame-Options: SAMEORIGIN}}"
    async with served(tmp_path, text) as (_, client):
        headers = (await client.get("/")).headers
        assert headers["strict-transport-security"] == "max-age=1"
        assert headers.get_list("x-frame-options") == ["SAMEORIGIN"]


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "basic_auth_users: {ann: secret-in-plain}",
            "basic_auth_users.ann: not a bcrypt hash; make one with: htpasswd -nBC 10 USER",
        ),
        ("basic_auth_user: {}", 'basic_auth_user: the key is not known here; did you mean "basic_auth_users"?'),
        (
            "tls_server_config: {cert_file: a, key_file: b, cert_fil: c}",
            'tls_server_config.cert_fil: the key is not known here; did you mean "cert_file"?',
        ),
        ("tls_server_config: {cert_file: a}", "tls_server_config.key_file: Field required"),
        (
            "tls_server_config: {cert_file: no.pem, key_file: no.key}",
            "tls_server_config: the certificate or key cannot be used: No such file or directory",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "tls_server_config.client_ca_file: is needed for RequireAndVerifyClientCert",
        ),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}",
            "VerifyClientCertIfGiven' or 'RequireAndVerifyClientCert'",
        ),
        (
            "http_server_config: {headers: {X-Frame-Option: DENY}}",
            'http_server_config.headers.X-Frame-Option: the header cannot be set; did you mean "X-Frame-Options"?',
        ),
        ("basic_auth_users: [", "is not YAML: expected the node content, but found '<stream end>'"),
        ("- a", "the file: is no mapping"),
        ("\x00", "is not YAML: cannot be decoded"),
    ],
)
def test_a_wrong_file_is_told_in_one_line_without_what_it_says(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "web.yml"
    path.write_text(text)
    with pytest.raises(WebFileError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.endswith(said)
    assert "\n" not in message
    assert "secret-in-plain" not in message


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WebFileError, match="cannot be read: No such file or directory"):
        load(tmp_path / "no.yml")


# --- TLS -------------------------------------------------------------------------------------------------------------


def certify(folder: Path, name: str, *, serial: int = 1, passphrase: bytes | None = None) -> None:
    """A self-signed certificate for 127.0.0.1 that is its own CA, as `name.pem` and `name.key`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial, now - timedelta(1), now + timedelta(1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(LOOPBACK)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem, traditional = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, traditional, locked))


def trusting(folder: Path, name: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / f"{name}.pem"))


async def serial_of(host: str, port: int, context: ssl.SSLContext) -> int:
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    assert reader.at_eof()
    return x509.load_der_x509_certificate(der).serial_number


async def test_tls_serves_and_a_renewed_certificate_is_taken_without_a_restart(tmp_path: Path) -> None:
    certify(tmp_path, "one", serial=7)
    text = "tls_server_config: {cert_file: one.pem, key_file: one.key, min_version: TLS13}"
    async with served(tmp_path, text, verify=trusting(tmp_path, "one")) as (_, client):
        assert client.base_url.scheme == "https"
        assert (await client.get("/-/healthy")).status_code == 200
        port = client.base_url.port or 0
        old = trusting(tmp_path, "one")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await serial_of("127.0.0.1", port, old)
        assert await serial_of("127.0.0.1", port, trusting(tmp_path, "one")) == 7
        certify(tmp_path, "one", serial=8)
        assert await serial_of("127.0.0.1", port, trusting(tmp_path, "one")) == 8


async def test_client_certificates_are_required_when_the_file_says_so(tmp_path: Path) -> None:
    certify(tmp_path, "server")
    certify(tmp_path, "client")
    text = (
        "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: client.pem, "
        "client_auth_type: RequireAndVerifyClientCert}"
    )
    async with served(tmp_path, text, verify=trusting(tmp_path, "server")) as (_, client):
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await client.get("/-/healthy")
        known = trusting(tmp_path, "server")
        known.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        async with httpx.AsyncClient(base_url=client.base_url, trust_env=False, verify=known) as friend:
            assert (await friend.get("/-/healthy")).status_code == 200


def test_a_key_with_a_passphrase_is_an_error_and_asks_nobody(tmp_path: Path) -> None:
    certify(tmp_path, "one", passphrase=b"hidden")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: one.pem, key_file: one.key}")
    with pytest.raises(WebFileError, match="the key has a passphrase"):
        load(tmp_path / "web.yml")


async def test_who_never_shakes_hands_keeps_nobody_waiting(tmp_path: Path) -> None:
    certify(tmp_path, "one")
    text = "tls_server_config: {cert_file: one.pem, key_file: one.key}"
    async with served(tmp_path, text, verify=trusting(tmp_path, "one")) as (_, client):
        silent = [await asyncio.open_connection("127.0.0.1", client.base_url.port) for _ in range(30)]
        answer = await asyncio.wait_for(client.get("/metrics"), 2)
        assert answer.status_code == 200
        for _, writer in silent:
            writer.close()
