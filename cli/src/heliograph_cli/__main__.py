"""`heliograph`: the command line for people; one function per command."""

import socket
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from heliograph_cli import doctor as doctors
from heliograph_cli import events as bus_events
from heliograph_cli import nodes as router_nodes
from heliograph_cli import pull as images
from heliograph_cli import resolve as router_keys
from heliograph_cli import up as cluster
from heliograph_cli.command import run
from heliograph_cli.credentials import ClientTls, authorization_of
from heliograph_cli.errors import NotUnderstood
from heliograph_cli.layout import Layout
from heliograph_cli.local_cluster import ExternalContainerd, service_names
from heliograph_cli.render import bars, pulled_table
from heliograph_shared.reference import InvalidReference, Reference, parse_reference
from heliograph_shared.tls import TlsFiles

CONTAINERD_CONTENT = Path("/var/lib/containerd/io.containerd.content.v1.content")

app = typer.Typer(
    name="heliograph",
    help="Nodes of a cluster pull images from each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RouterTarget = Annotated[
    str,
    typer.Option("--router", envvar="HELIOGRAPH_ROUTER_TARGET", help="a router: host:port or gRPC target"),
]

BasicAuthFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HELIOGRAPH_BASIC_AUTH_FILE",
        dir_okay=False,
        help="file of user:password lines; the first is sent to the mirror",
    ),
]

NatsUserFile = Annotated[
    Path | None,
    typer.Option(envvar="HELIOGRAPH_NATS_USER_FILE", dir_okay=False, help="file with one line user:password"),
]
TlsCaFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HELIOGRAPH_TLS_CA_FILE",
        dir_okay=False,
        help="CA bundle used to verify servers, PEM; for a router: use TLS",
    ),
]
TlsCertFile = Annotated[
    Path | None,
    typer.Option(
        envvar="HELIOGRAPH_TLS_CERT_FILE", dir_okay=False, help="client certificate, PEM, for mutual TLS"
    ),
]
TlsKeyFile = Annotated[
    Path | None, typer.Option(envvar="HELIOGRAPH_TLS_KEY_FILE", dir_okay=False, help="its private key, PEM")
]
TlsServerName = Annotated[
    str,
    typer.Option(
        envvar="HELIOGRAPH_TLS_SERVER_NAME", help="name in the server's certificate, if not its address"
    ),
]


@app.callback(invoke_without_command=True)
def heliograph(
    *, show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if show_version:
        typer.echo(f"heliograph {version('heliograph')}")
        raise typer.Exit


@app.command()
def up(
    *,
    nodes: Annotated[
        int, typer.Option(min=2, max=32, help="number of nodes that store images in OCI layouts")
    ] = 3,
    image: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="OCI layout of the images to pull, instead of a sample"
        ),
    ] = None,
    containerd: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="socket of a containerd to add as a node; can be repeated"),
    ] = None,
    containerd_content: Annotated[
        list[Path] | None,
        typer.Option(help=f"its content store, one per socket; default: {CONTAINERD_CONTENT}"),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", file_okay=False, help="directory that keeps stores and logs, instead of a temporary one"
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="exit after the image has been pulled")] = False,
    basic_auth_file: BasicAuthFile = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            help="do not start router, registry@node-2 or the like, but print how to start it by hand, "
            "and wait until it is ready; can be repeated"
        ),
    ] = None,
) -> None:
    """Bring up the whole system on this machine and pull an image through it."""
    sockets = containerd or []
    contents = containerd_content or [CONTAINERD_CONTENT] * len(sockets)
    if len(contents) != len(sockets):
        raise typer.BadParameter("give one --containerd-content for each --containerd, or none")
    for name in without or []:
        if name not in (known := service_names(nodes + len(sockets))):
            raise typer.BadParameter(
                f"no service {name!r}; there are {', '.join(known)}", param_hint="--without"
            )
    pairs = zip(sockets, contents, strict=True)
    options = cluster.UpOptions(
        nodes=nodes,
        containerds=[ExternalContainerd(socket.absolute(), content.absolute()) for socket, content in pairs],
        image=image,
        directory=directory,
        once=once,
        basic_auth_file=basic_auth_file.absolute() if basic_auth_file else None,
        without=tuple(dict.fromkeys(without or [])),
    )
    run(cluster.up(options, Console(highlight=False)), endless=not once)


@app.command()
def pull(
    reference: Annotated[str, typer.Argument(help="an image, such as nginx:1.27")],
    *,
    mirror: Annotated[str, typer.Option(help="the mirror, such as http://127.0.0.1:5000")],
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="OCI layout to store the image in; default: only verify it"),
    ] = None,
    basic_auth_file: BasicAuthFile = None,
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
    tls_server_name: TlsServerName = "",
) -> None:
    """Pull an image through a mirror, verify every byte, and show where it came from."""
    tls = ClientTls(TlsFiles(tls_cert_file, tls_key_file, tls_ca_file), tls_server_name)
    run(_pull(_reference(reference), mirror, output, basic_auth_file, tls, Console(highlight=False)))


@app.command()
def resolve(
    reference: Annotated[str, typer.Argument(help="a tag, a digest, or a name with a digest")],
    *,
    router: RouterTarget = "127.0.0.1:5001",
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
    tls_server_name: TlsServerName = "",
) -> None:
    """Show which nodes hold an image or a blob."""
    tls = ClientTls(TlsFiles(tls_cert_file, tls_key_file, tls_ca_file), tls_server_name)
    try:
        key = router_keys.key_of(reference)
    except InvalidReference as error:
        raise typer.BadParameter(str(error)) from error
    run(router_keys.resolve(key, router, tls, Console(highlight=False)))


@app.command()
def nodes(
    *,
    router: RouterTarget = "127.0.0.1:5001",
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
    tls_server_name: TlsServerName = "",
) -> None:
    """List the nodes that a router knows."""
    tls = ClientTls(TlsFiles(tls_cert_file, tls_key_file, tls_ca_file), tls_server_name)
    run(router_nodes.nodes(router, tls, Console(highlight=False)))


@app.command()
def events(
    *,
    nats: Annotated[
        str, typer.Option(envvar="HELIOGRAPH_NATS_URL", help="URLs of the bus, separated by commas")
    ] = "nats://127.0.0.1:4222",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object per message")] = False,
    nats_user_file: NatsUserFile = None,
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
) -> None:
    """Show messages on the bus as they arrive."""
    urls = [url for part in nats.split(",") if (url := part.strip())]
    tls = ClientTls(TlsFiles(tls_cert_file, tls_key_file, tls_ca_file))
    run(bus_events.events(urls, nats_user_file, tls, as_json=as_json), endless=True)


@app.command()
def doctor(
    *,
    router: Annotated[
        str | None,
        typer.Option(envvar="HELIOGRAPH_ROUTER_TARGET", help="a router; without it no router is checked"),
    ] = None,
    nats: Annotated[
        str | None,
        typer.Option(envvar="HELIOGRAPH_NATS_URL", help="the bus; without it the bus is not checked"),
    ] = None,
    containerd: Annotated[
        Path | None, typer.Option(envvar="HELIOGRAPH_CONTAINERD_SOCKET", help="containerd's socket")
    ] = None,
    certs: Annotated[
        Path | None, typer.Option(envvar="HELIOGRAPH_REGISTRY_CONFIG_PATH", help="containerd's config_path")
    ] = None,
    node: Annotated[
        str,
        typer.Option(
            envvar="HELIOGRAPH_NODE_NAME",
            help="this node's name",
            default_factory=socket.gethostname,
            show_default="the host's name",
        ),
    ],
    nats_user_file: NatsUserFile = None,
    probe: Annotated[str, typer.Option(help="image that containerd pulls as a test, and removes")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    tls_ca_file: TlsCaFile = None,
    tls_cert_file: TlsCertFile = None,
    tls_key_file: TlsKeyFile = None,
    tls_server_name: TlsServerName = "",
) -> None:
    """Check this machine: print each problem, how it was seen, and how to fix it.

    Exits with 0 if there is no error, else with 1. Other settings of the services are read from HELIOGRAPH_
    variables, as usual.
    """
    environment = {
        "HELIOGRAPH_NATS_URL": nats,
        "HELIOGRAPH_NATS_USER_FILE": nats_user_file,
        "HELIOGRAPH_CONTAINERD_SOCKET": containerd,
        "HELIOGRAPH_REGISTRY_CONFIG_PATH": certs,
        "HELIOGRAPH_TLS_CA_FILE": tls_ca_file,
        "HELIOGRAPH_TLS_CERT_FILE": tls_cert_file,
        "HELIOGRAPH_TLS_KEY_FILE": tls_key_file,
    }
    options = doctors.DoctorOptions(
        node=node,
        router=router,
        ask_bus=nats is not None,
        probe=probe,
        environment={name: str(value) for name, value in environment.items() if value is not None},
        tls=ClientTls(TlsFiles(tls_cert_file, tls_key_file, tls_ca_file), tls_server_name),
    )
    run(_doctor(options, as_json=as_json))


async def _doctor(options: doctors.DoctorOptions, *, as_json: bool) -> None:
    try:
        healthy = await doctors.doctor(options, as_json=as_json)
    except NotUnderstood as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    if not healthy:
        raise typer.Exit(1)


async def _pull(
    reference: Reference,
    mirror: str,
    output: Path | None,
    basic_auth_file: Path | None,
    tls: ClientTls,
    console: Console,
) -> None:
    authorization = authorization_of(basic_auth_file)
    store: images.Store = images.Nowhere()
    if output is not None:
        store = layout = Layout(output)
        layout.create()
    with bars(console) as watcher:
        pulled = await images.pull(reference, mirror, store, watcher, authorization=authorization, tls=tls)
    console.print(pulled_table(pulled))


def _reference(text: str) -> Reference:
    try:
        return parse_reference(text)
    except InvalidReference as error:
        raise typer.BadParameter(str(error)) from error


if __name__ == "__main__":
    app()
