"""Requests a mirror as containerd would, to see if it answers and if it is a Heliograph registry."""

import http.client
import ssl
from urllib.parse import urlsplit

from heliograph_configurator.domain.diagnosis import MirrorAnswer

_TIMEOUT_S = 2.0
_HELIOGRAPH_HEADER = "Heliograph-Source"


def ask_mirror(url: str) -> MirrorAnswer:
    """GET `url`/v2/ without credentials; connecting and each read may take 2 s."""
    parts = urlsplit(_bracketed(url))
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=_unverified())
    try:
        connection.connect()
    except ssl.SSLError:
        return MirrorAnswer()
    except UnicodeError as error:  # an invalid host name, such as `a..b`
        return MirrorAnswer(str(error))
    except OSError as error:
        return MirrorAnswer(error.strerror or str(error))
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/v2/")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        if parts.scheme == "https":  # it may require a client certificate
            return MirrorAnswer()
        return MirrorAnswer(is_heliograph=False, seen=f"no HTTP answer ({type(error).__name__})")
    finally:
        connection.close()
    seen = f"status {answer.status}, server {answer.getheader('Server', 'unnamed')}"
    return MirrorAnswer(is_heliograph=answer.getheader(_HELIOGRAPH_HEADER) is not None, seen=seen)


def _bracketed(url: str) -> str:
    """The URL with brackets around an IPv6 address, which has none in a hosts.toml but always a port."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.rpartition(":")
    return f"{scheme}://[{host}]:{port}{slash}{path}" if ":" in host and "[" not in host else url


def _unverified() -> ssl.SSLContext:
    """The other side is sent no secrets, so its certificate is not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
