"""With any certs.d, any settings and a crash at any point, nothing of the operator's is lost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from heliograph_configurator.adapters.filesystem import open_certs_folder
from heliograph_configurator.domain.folder import Folder, Ownership
from heliograph_configurator.domain.hosts_toml import new
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, NO_TLS, MirrorHosts, MirrorTls
from tests.unit.configurator.trees import (
    EDITED,
    Choice,
    Crash,
    Entry,
    FailingDisk,
    apply,
    cleanup,
    harvest,
    plant,
    quick_folder,
    withdraw,
)

FOLDERS = ("_default", "docker.io", "quay.io", "reg.test:5000", "reg.test_5000_", "not a registry")
REGISTRIES = ("docker.io", "https://quay.io", "http://reg.test:5000", "gone.test")

VALID = (
    b'server = "https://mirror.test"\n[host."https://a.test"]\n[host."https://b.test".header]\nx = "1"\n',
    b'# nothing\n[host."http://127.0.0.1:5000"]\ncapabilities = ["push"]\nca = "ca.crt"\n',
    b'server = "https://only.test"\n',
    new(MirrorHosts(("http://127.0.0.1:5000",), resolves_tags=True), None, ()),
)
THEIRS = (b"# by a tool\n", b'# by a tool\nserver = "https://new.test"\n[host."https://new.test"]\n')
BROKEN = (b"[host\n", b"\xff", b"host = 1\n", b'[host."x"]\n[host."x"]\n')

modes = st.sampled_from([0o644, 0o600, 0o640, 0o444])
files = st.tuples(st.just("file"), st.sampled_from([b"", *VALID, *BROKEN]), modes)
others = st.tuples(st.just("file"), st.binary(max_size=8), modes)
links = st.tuples(st.just("link"), st.just(b"../elsewhere"), st.just(0))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Entry]:
    tree: dict[str, Entry] = {}
    for name in draw(st.sets(st.sampled_from(FOLDERS))):
        kind = draw(st.sampled_from(["folder"] * 8 + ["file", "link"]))
        if kind != "folder":
            tree[name] = draw(others if kind == "file" else links)
            continue
        tree[name] = ("folder", b"", draw(st.sampled_from([0o755, 0o700])))
        for file, content in (
            ("hosts.toml", st.one_of(files, files, files, links)),
            ("ca.crt", others),
            ("client.cert", others),
            ("client.key", others),
            ("README", others),
        ):
            if draw(st.booleans()):
                tree[f"{name}/{file}"] = draw(content)
    return tree


choices = st.builds(
    Choice,
    registries=st.none() | st.lists(st.sampled_from(REGISTRIES), unique=True).map(tuple),
    targets=st.sampled_from([("http://127.0.0.1:5000",), ("http://[::1]:5000", "https://second.test")]),
    resolves_tags=st.booleans(),
    prepend=st.booleans(),
    additional=st.sampled_from([(), ("https://a.test",)]),
    authorization=st.sampled_from(["", "Basic eDp5"]),
    tls=st.sampled_from(
        [NO_TLS, MirrorTls(b"ca"), MirrorTls(b"other", b"pair"), MirrorTls(client=b"renewed")]
    ),
)


@dataclass(frozen=True)
class Run:
    """`apply`, or without a choice `cleanup` if `for_good` and else `withdraw`; crashes at an operation."""

    choice: Choice | None
    crash_at: int | None = None
    for_good: bool = True


runs = st.builds(Run, choices | st.none(), st.none() | st.integers(0, 40), st.booleans())


@dataclass(frozen=True)
class Edit:
    """Somebody changes a file of ours by hand, or another program replaces it if the heading is not there."""

    folder: str
    content: bytes


edits = st.builds(
    Edit,
    st.sampled_from([*FOLDERS, "gone.test"]),
    st.from_regex(rb"[a-z]{0,6}", fullmatch=True).map(EDITED.__add__),
)
replacements = st.builds(Edit, st.sampled_from([*FOLDERS, "gone.test"]), st.sampled_from(THEIRS))

thorough = settings(
    max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def perform(root: Path, run: Run) -> None:
    disk = None if run.crash_at is None else FailingDisk(run.crash_at)
    try:
        if run.choice is None and run.for_good:
            cleanup(root, disk)
        elif run.choice is None:
            withdraw(root, disk)
        else:
            apply(root, run.choice, disk)
    except Crash:
        pass


@thorough
@given(trees(), st.lists(runs, min_size=1, max_size=5))
def test_cleanup_restores_every_byte(tree: dict[str, Entry], history: list[Run]) -> None:
    with quick_folder() as root:
        plant(root, tree)
        before = harvest(root)
        for run in history:
            perform(root, run)

        assert cleanup(root)
        assert harvest(root) == before


@thorough
@given(trees(), choices)
def test_applying_again_touches_nothing(tree: dict[str, Entry], choice: Choice) -> None:
    with quick_folder() as root:
        plant(root, tree)
        apply(root, choice)
        after = harvest(root)

        apply(root, choice, disk=FailingDisk(0))
        assert harvest(root) == after


@thorough
@given(trees(), st.lists(runs, max_size=4), choices)
def test_the_last_apply_alone_decides(tree: dict[str, Entry], history: list[Run], choice: Choice) -> None:
    with quick_folder() as root, quick_folder() as fresh:
        for place in (root, fresh):
            plant(place, tree)
        for run in history:
            perform(root, run)

        assert apply(root, choice) == apply(fresh, choice)
        assert configured(root) == configured(fresh)


def configured(root: Path) -> dict[str, Entry]:
    """Everything but the configurator's own folder."""
    return {name: entry for name, entry in harvest(root).items() if not name.startswith(".heliograph")}


OPEN, CLOSED = Choice(registries=None), Choice(registries=None, authorization="Basic eDp5")
MINE = Edit("_default", EDITED)


@thorough
@given(trees(), st.lists(runs | edits, min_size=2, max_size=6))
@example({}, [Run(OPEN), MINE, Run(None), Run(CLOSED), MINE])
def test_edited_files_are_left(tree: dict[str, Entry], history: Sequence[Run | Edit]) -> None:
    with quick_folder() as root:
        plant(root, tree)
        expected = harvest(root)
        for event in history:
            if isinstance(event, Run):
                perform(root, event)
            elif is_ours(root, event.folder):
                hosts = root / event.folder / "hosts.toml"
                hosts.write_bytes(event.content)
                mode = hosts.stat().st_mode & 0o7777
                original = folder_in(root, event.folder).original
                if original is not None and original.content == event.content:
                    mode = original.mode
                expected[f"{event.folder}/hosts.toml"] = ("file", event.content, mode)
                folder = expected.get(event.folder) or ("folder", b"", 0o755)
                expected[event.folder] = folder

        assert cleanup(root)
        assert configured(root) == expected
        assert_nothing_is_lost(tree, root)


@settings(thorough, max_examples=60)
@given(trees(), st.lists(runs | replacements, min_size=2, max_size=6), choices)
def test_a_file_that_replaces_ours_is_the_original(
    tree: dict[str, Entry], history: Sequence[Run | Edit], choice: Choice
) -> None:
    with quick_folder() as root, quick_folder() as fresh:
        plant(root, tree)
        expected = harvest(root)
        for event in history:
            if isinstance(event, Run):
                perform(root, event)
            elif is_ours(root, event.folder):
                hosts = root / event.folder / "hosts.toml"
                hosts.write_bytes(event.content)
                expected[f"{event.folder}/hosts.toml"] = (
                    "file",
                    event.content,
                    hosts.stat().st_mode & 0o7777,
                )
                expected[event.folder] = expected.get(event.folder) or ("folder", b"", 0o755)

        plant(fresh, expected)
        apply(root, choice)
        apply(fresh, choice)
        assert configured(root) == configured(fresh)
        assert cleanup(root)
        assert harvest(root) == expected


@dataclass(frozen=True)
class Damage:
    """Another program damages a file of ours, or removes it if `content` is None."""

    file: str
    content: bytes | None


damages = st.builds(
    Damage,
    st.sampled_from(["hosts.toml", "hosts.toml", CA_FILE, CLIENT_FILE]),
    st.sampled_from([None, b"", b"\n", *BROKEN]),
)


@thorough
@given(trees(), choices, st.lists(runs | damages, max_size=8))
def test_damaged_files_are_repaired_and_cleanup_still_restores_every_byte(
    tree: dict[str, Entry], choice: Choice, history: list[Run | Damage]
) -> None:
    """As under a watch, whose settings do not change."""
    choice = replace(choice, repair=True)
    with quick_folder() as root, quick_folder() as fresh:
        for place in (root, fresh):
            plant(place, tree)
        before = harvest(root)
        apply(fresh, choice)
        for event in history:
            if isinstance(event, Run):
                chosen = choice if event.choice else None
                perform(root, replace(event, choice=chosen, for_good=False))
            else:
                damage(root, event)

        apply(root, choice)
        assert configured(root) == configured(fresh)
        assert cleanup(root)
        assert harvest(root) == before


def damage(root: Path, event: Damage) -> None:
    for folder in (*FOLDERS, "gone.test"):
        path = root / folder / event.file
        if not (path.is_file() and is_ours(root, folder)):
            continue
        if event.content is None:
            path.unlink()
        else:
            path.write_bytes(event.content)


def is_ours(root: Path, folder: str) -> bool:
    return folder_in(root, folder).ownership is Ownership.OURS


def folder_in(root: Path, name: str) -> Folder:
    with open_certs_folder(root, create=False) as config:
        return config.read()[name]


def assert_nothing_is_lost(tree: dict[str, Entry], root: Path) -> None:
    """Every original is in its place, or saved if our file was edited."""
    left = harvest(root)
    for name, entry in tree.items():
        if name.endswith("/hosts.toml") and left[name][:2] != entry[:2]:
            assert left[f".heliograph/originals/{name.removesuffix('/hosts.toml')}.toml"] == entry


@thorough
@given(trees(), st.none() | choices, choices | st.none(), st.integers(0, 40))
def test_at_every_moment_a_hosts_file_is_complete(
    tree: dict[str, Entry], first: Choice | None, choice: Choice | None, crash_at: int
) -> None:
    with quick_folder() as root, quick_folder() as finished:
        for place in (root, finished):
            plant(place, tree)
            if first is not None:
                apply(place, first)
        before = harvest(root)
        perform(finished, Run(choice))
        perform(root, Run(choice, crash_at))

        after, now = harvest(finished), harvest(root)
        for name in now:
            if name.endswith("hosts.toml") and not name.startswith(".heliograph"):
                assert now[name] in (before.get(name), after.get(name))
        assert_named_files_exist(now)
        folders = {name for name, entry in now.items() if entry[0] == "folder" and "/" not in name}
        assert all(
            (root / name / "hosts.toml").exists() for name in folders - before.keys() - {".heliograph"}
        )


def assert_named_files_exist(tree: dict[str, Entry]) -> None:
    """Containerd fails every pull if a named certificate is missing."""
    for name, (_, content, _) in tree.items():
        folder, _, file = name.rpartition("/")
        if folder.startswith(".heliograph"):  # containerd does not look there
            continue
        for pem in (CA_FILE, CLIENT_FILE) if file == "hosts.toml" else ():
            assert pem.encode() not in content or f"{folder}/{pem}" in tree


def test_a_crash_at_each_single_step_is_survived() -> None:
    tree: dict[str, Entry] = {
        "_default": ("folder", b"", 0o755),
        "_default/hosts.toml": ("file", VALID[0], 0o600),
        "quay.io": ("folder", b"", 0o755),
    }
    choice = Choice(prepend=True, targets=("https://m.test",), tls=MirrorTls(b"ca", b"pair"))
    for first, second in ((choice, None), (None, choice)):
        for crash_at in range(60):
            with quick_folder() as root:
                plant(root, tree)
                before = harvest(root)
                if first is None:
                    apply(root, replace(choice, registries=("docker.io", "quay.io")))
                perform(root, Run(first, crash_at))
                assert_named_files_exist(harvest(root))
                if second is not None:
                    apply(root, second)
                    assert_named_files_exist(harvest(root))
                cleanup(root)
                assert harvest(root) == before, crash_at
