"""The indexer as its users run it: the console script, set up by its environment."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.process import Process

SCRIPT = Path(sys.executable).with_name("heliograph-indexer")
NODE = "worker-1"


class Program:
    """`environment` names settings without their prefix, and others in full."""

    def __init__(self, directory: Path, nats_url: str, **environment: str) -> None:
        self.state_path = directory / "state" / "node.json"
        self.admin = f"127.0.0.1:{free_port()}"
        settings = {
            "NODE_NAME": NODE,
            "NATS_URL": nats_url,
            "STATE_PATH": str(self.state_path),
            "ADVERTISE": "127.0.0.1:5000",
            "HEARTBEAT_S": "1",
            "LOG_LEVEL": "debug",
            "ADMIN_LISTEN": self.admin,
            **environment,
        }
        self.process = Process(
            "heliograph-indexer",
            [SCRIPT],
            directory / "indexer.log",
            environment={
                name if name.startswith("OTEL_") else f"HELIOGRAPH_{name}": value
                for name, value in settings.items()
            },
        )

    @property
    def log(self) -> str:
        return self.process.log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """The log as records."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of the admin port; 0 while it does not answer."""
        self.process.check()
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metric(self, name: str) -> float:
        """The sample whose name and labels are `name`."""
        found = self.metrics(name)
        assert "" in found, f"no metric {name}"
        return found[""]

    def metrics(self, prefix: str) -> dict[str, float]:
        """Samples whose name begins so by the rest of it, with their labels as they are written."""
        lines = (line.rpartition(" ") for line in self.get("/metrics")[1].splitlines())
        return {
            name.removeprefix(prefix): float(value) for name, _, value in lines if name.startswith(prefix)
        }
