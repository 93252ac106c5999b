"""Peers that are model servers: no queue, nothing is kept, the answer is the response."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.load import Failed, http
from benchmarks.peers.peer import CORES, MODELS, Foreign


def _answer(status: int, body: bytes) -> dict[str, object]:
    if status != 200:
        raise Failed(f"{status}: {body[:100]!r}")
    answer: dict[str, object] = json.loads(body)
    return answer


class FastApi(Foreign):
    """FastAPI with the model in its process."""

    name, key = "FastAPI, model in process", "fastapi"
    about = f"uvicorn, {CORES} workers, uvloop and httptools; predicts in the event loop"

    def commands(self) -> list[list[str]]:
        """uvicorn."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", str(CORES), "--backlog", "2048"]
        return [["uvicorn", *options, "--no-access-log", "--log-level", "error", "server:app"]]

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """POST the row."""
        return http("POST", f"/predict/{model}", json.dumps({"instances": [list(row)]}).encode())

    def read(self, status: int, body: bytes) -> float:
        """The second column."""
        return float(_answer(status, body)["probabilities"][0][1])  # type: ignore[index]


class MlServer(Foreign):
    """MLServer with adaptive batching, V2 inference protocol."""

    name, key = "MLServer", "mlserver"
    about = "one inference process in the server's own, batches of 64 at most, 2 ms at most"

    def commands(self) -> list[list[str]]:
        """Its settings, a file each for the server and the models, and `mlserver start`."""
        settings = {"host": "127.0.0.1", "http_port": self.port, "parallel_workers": 0, "metrics_endpoint": None, "debug": False}
        settings |= {"grpc_port": self.port + 1, "metrics_port": self.port + 2, "access_log_level": "ERROR"}
        (self.folder / "settings.json").write_text(json.dumps(settings))
        for name in MODELS:
            (self.folder / name).mkdir()
            made = {
                "name": name,
                "implementation": "mlserver_sklearn.SKLearnModel",
                "max_batch_size": 64,
                "max_batch_time": 0.002,
            }
            made["parameters"] = {"uri": str(self.models / f"{name}.joblib")}
            (self.folder / name / "model-settings.json").write_text(json.dumps(made))
        return [["mlserver", "start", str(self.folder)]]

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """One tensor of one row; probabilities are asked for by name."""
        tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": list(row)}
        body = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
        return http("POST", f"/v2/models/{model}/infer", json.dumps(body).encode())

    def read(self, status: int, body: bytes) -> float:
        """The second number of the tensor."""
        return float(_answer(status, body)["outputs"][0]["data"][1])  # type: ignore[index]


class Bento(Foreign):
    """BentoML with adaptive batching."""

    name, key = "BentoML", "bentoml"
    about = "one worker, adaptive batches of 512 at most"

    def environment(self) -> dict[str, str]:
        """Its own files, and nothing told to anybody."""
        return {"BENTOML_HOME": str(self.folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}

    def commands(self) -> list[list[str]]:
        """`bentoml serve`."""
        return [["bentoml", "serve", "server:Service", "--host", "127.0.0.1", "--port", str(self.port)]]

    def ask(self, model: str, row: Sequence[float]) -> bytes:
        """POST the row."""
        return http("POST", f"/{model}", json.dumps({"instances": [list(row)]}).encode())

    def read(self, status: int, body: bytes) -> float:
        """The second column."""
        return float(_answer(status, body)[0][1])  # type: ignore[index]
