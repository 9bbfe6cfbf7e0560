"""Strategies for `hosts.toml` files of the kinds that people write, with one mistake or several."""

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

HOSTS = ("http://{}/a", "http://{}/b", "http://{}/c/v2")
"""Paths tell the hosts apart; the braces stand for an address."""

GOOD = (
    'capabilities = ["pull", "resolve"]',
    'capabilities = ["pull"]',
    'capabilities = ["Resolve", "PULL"]',
    "capabilities = []",
    "override_path = true",
    "override_path = false",
    'dial_timeout = "1m0.5s"',
    'dial_timeout = ""',
    'header = { X-Sign = "a" }',
    'header = { X-Sign = ["a", "b"] }',
    "client = []",
    "unheard_of = [1, 'a']",
    'unheard_of = """\n[host."http://nobody"]\n"""',
    "a.b.c = { d = [ { e = 1 } ] }",
)
PARTLY = (
    'capabilities = ["pull", "resolve", "referrers"]',
    'dial_timeout = "3"',
    "dial_timeout = 3",
    'dial_timeout = "1d"',
    "unheard_of = 99999999999999999999",
    'CAPABILITIES = ["pull"]',
    'Capabilities = ["pull"]',
)
BAD = (
    'capabilities = ["pull", "reslove"]',
    'capabilities = "pull"',
    "capabilities = [1]",
    'skip_verify = "true"',
    "skip_verify = 1",
    'override_path = "true"',
    "ca = true",
    'ca = [["a.pem"]]',
    "ca = { a = 'b' }",
    "client = 1",
    'client = [["a.pem"]]',
    'client = [["a.pem", "b.pem", "c.pem"]]',
    'client = [["a.pem", 1]]',
    "header = { X-Sign = 1 }",
    "header = { X-Sign = true }",
    'header = { X-Sign = ["a", 1] }',
    "header = 'x'",
)
SERVERS = (
    'server = "http://{}/server"',
    'server = "http://{}/server/v2/"',
    'server = ""',
)
BAD_SERVERS = (
    'server = ["http://{}"]',
    "server = 1",
    'server = "http://{}:port"',
    'server = " "',
    'server = "http://a b"',
    'server = "http://{}/%zz"',
)
BAD_HOSTS = ("http://{} ", "http://{}:port", "http://a b", "http://%41", "https://{}/%z")

_lines = st.lists(
    st.one_of(st.sampled_from(GOOD), st.sampled_from(GOOD), st.sampled_from(GOOD), st.sampled_from(PARTLY)),
    max_size=3,
    unique_by=lambda line: line.partition("=")[0].strip().lower(),
)


@st.composite
def host_blocks(draw: st.DrawFn, url: str) -> list[str]:
    """One block, or two if the host's headers have a heading of their own."""
    lines = draw(_lines)
    spelling = draw(st.sampled_from(["heading"] * 6 + ["single quotes", "dotted", "spaced"]))
    if spelling == "dotted":
        return [f'[host]\n"{url}".capabilities = ["pull", "resolve"]']
    heading = {
        "heading": f'[host."{url}"]',
        "single quotes": f"[host.'{url}']",
        "spaced": f'[ host . "{url}" ]',
    }
    blocks = ["\n".join([heading[spelling], *lines])]
    if draw(st.booleans()) and not any(line.startswith("header") for line in lines):
        value = draw(st.sampled_from(['"a"'] * 4 + ["1"]))
        blocks.append(f'[host."{url}".header]\nX-More = {value}')
    return blocks


@st.composite
def hosts_files(draw: st.DrawFn) -> str:
    """The text, in which `{}` stands for the address of all hosts; always TOML 1.0."""
    urls = draw(st.lists(st.sampled_from(HOSTS), max_size=3, unique=True))
    blocks = [draw(host_blocks(url)) for url in urls]
    dotted = [block for block in blocks if block[0].startswith("[host]\n")]
    blocks = [block for block in blocks if block not in dotted[1:]]
    root = draw(_lines) if draw(st.integers(0, 3)) == 0 else []
    root += [draw(st.sampled_from(SERVERS))] if draw(st.booleans()) else []
    match draw(st.sampled_from(["none"] * 4 + ["root", "host", "server", "url"])):
        case "root":
            root = [draw(st.sampled_from(BAD))]
        case "host":
            blocks.append([f'[host."http://{{}}/bad"]\n{draw(st.sampled_from(BAD))}'])
        case "server":
            root = [draw(st.sampled_from(BAD_SERVERS))]
        case "url":
            blocks.append([f'[host."{draw(st.sampled_from(BAD_HOSTS))}"]'])
    flat = [part for block in blocks for part in block]
    if draw(st.integers(0, 4)) == 0:
        flat = [block[0] for block in blocks] + [part for block in blocks for part in block[1:]]
    return "\n".join([*root, *flat, ""])


def single_mistakes() -> list[str]:
    """Every value above, alone in the table of a host, at the root, as `server`, or as a host."""
    lines = [*PARTLY, *BAD]
    files = [f'[host."{HOSTS[0]}"]\n{line}\n' for line in [*GOOD, *lines]]
    files += [f'{line}\n[host."{HOSTS[0]}"]\n' for line in [*lines, *SERVERS, *BAD_SERVERS]]
    files += [f'[host."{HOSTS[0]}"]\n[host."{url}"]\n' for url in BAD_HOSTS]
    return [
        *files,
        "",
        " \n",
        "# nothing\n",
        "host = 1\n",
        "[host]\n",
        "[[host]]\n",
        f'[[host."{HOSTS[0]}"]]\n',
    ]


def generated(count: int) -> list[str]:
    """Always the same ones."""
    files: list[str] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hosts_files())
    def collect(text: str) -> None:
        files.append(text)

    collect()
    return list(dict.fromkeys(files))
