"""The connection: where it is found, who asks, versions uploaded once, and errors in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.errors import AssayError, InputError
from pipelines.cluster.client import Cluster, connect, pauses
from pipelines.settings import Settings, load_settings
from tests.loopback import LoopbackServer, Refused

GRAPH = "pipelineInfo: {name: assay-training}\nschemaVersion: 2.1.0\nroot: {dag: {tasks: {}}}\n"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.yaml"
    path.write_text(GRAPH, encoding="utf-8")
    return path


def test_the_settings_stand_above_the_environment(
    kubeflow: Any, cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_HOST", "http://127.0.0.1:1")
    assert connect(cluster_settings.model_copy(update={"host": kubeflow.url})).host == kubeflow.url


def test_the_kubeconfigs_cluster_is_found(
    kubeflow: Any, cluster_settings: Settings, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KFP_HOST")
    cluster = connect(cluster_settings)
    assert cluster.host.startswith(f"{kubeflow.url}/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy")
    # The kubeconfig has a token, whose renewal before each request would lead it past the proxy.
    cluster.experiment()
    assert cluster.kfp._existing_config.host.startswith(cluster.host)


def test_without_any_address_the_way_out_is_named(cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_HOST")
    with pytest.raises(InputError, match=r"KFP_HOST=http://localhost:8888"):
        connect(cluster_settings)


def test_an_address_needs_a_protocol(cluster_settings: Settings) -> None:
    with pytest.raises(InputError, match=r"needs http:// or https://. Received: ml-pipeline:8888"):
        connect(cluster_settings.model_copy(update={"host": "ml-pipeline:8888"}))


def test_a_server_that_is_not_there(cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cluster.client.CONNECT_PATIENCE_SECONDS", 0)
    with pytest.raises(AssayError, match=r"does not answer.*Is the port forwarded"):
        connect(cluster_settings.model_copy(update={"host": "http://127.0.0.1:1"}))


class Elsewhere(LoopbackServer):
    """Something that is not Kubeflow Pipelines."""

    def __init__(self, status: int, said: Any) -> None:
        self.status, self.said = status, said
        super().__init__()

    def respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        if self.status == 200:
            return self.said
        raise Refused(self.status, self.said)

    def explain(self, refused: Refused) -> dict[str, Any]:
        return {"message": refused.message}


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "<html><title>Sign in</title><body>Please</body></html>"), (200, {"status": "ok"}), (404, "no such page")],
)
def test_an_address_of_something_else_is_one_line(
    cluster_settings: Settings, capfd: pytest.CaptureFixture[str], status: int, said: Any
) -> None:
    with Elsewhere(status, said) as server, pytest.raises(AssayError, match=r"not Kubeflow Pipelines.*KFP_HOST") as got:
        connect(cluster_settings.model_copy(update={"host": server.url}))
    assert "\n" not in str(got.value)
    assert "<" not in str(got.value)
    assert capfd.readouterr().err == ""


def test_a_server_that_fails_is_asked_once_at_a_time_and_no_trace_is_written(
    kubeflow: Any, cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipelines.cluster.client.CONNECT_PATIENCE_SECONDS", 0)
    kubeflow.state.fail("GET .*/healthz", 503)
    with pytest.raises(AssayError, match="failed with 503"):
        connect(cluster_settings)
    assert len(kubeflow.state.requests) == 1
    assert capfd.readouterr().err == ""


def test_the_beginning_of_an_id_is_enough(kubeflow: Any, cluster: Cluster) -> None:
    first, second = (
        kubeflow.add_run(display_name="tiny", run_id=f"{one}{'0' * 7}-0000-0000-0000-000000000000")["run_id"]
        for one in "ab"
    )
    kubeflow.add_run(display_name="tiny", run_id="a1234567-0000-0000-0000-000000000000")
    assert cluster.find_run("b") == second
    assert cluster.find_run("a0") == first
    with pytest.raises(InputError, match=r"run a: 2 of the runs at .* begin so"):
        cluster.find_run("a")


def test_an_unknown_run_is_wrong_input(cluster: Cluster) -> None:
    with pytest.raises(InputError, match=r"run feed: not among the runs"):
        cluster.find_run("feed")
    with pytest.raises(InputError, match=r"there is none of this id .*assay runs list") as got:
        cluster.run("feedfeed-0000-0000-0000-000000000000")
    assert "\n" not in str(got.value)


def test_an_expired_token_is_said_and_a_renewed_one_works(
    kubeflow: Any, cluster_settings: Settings, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first", encoding="utf-8")
    kubeflow.state.token = "first"
    settings = load_settings(**{**cluster_settings.model_dump(), "auth": {"token_file": token}})
    cluster = connect(settings)
    kubeflow.state.token = "second"
    with pytest.raises(AssayError, match=r"sign-in has expired.*Renew the token") as caught:
        cluster.experiment()
    assert "\n" not in str(caught.value)
    token.write_text("second", encoding="utf-8")
    assert cluster.experiment()


def test_a_token_of_the_environment_is_sent_and_not_shown(
    kubeflow: Any, cluster_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.state.token = "of-the-environment"
    monkeypatch.setenv("ASSAY_AUTH__TOKEN", "of-the-environment")
    settings = load_settings()
    assert connect(settings).experiment()
    assert "of-the-environment" not in repr(settings)


def test_an_experiment_is_created_once(kubeflow: Any, cluster: Cluster) -> None:
    assert cluster.experiment() == cluster.experiment()
    assert [one["display_name"] for one in kubeflow.state.experiments.values()] == ["assay"]


def test_an_experiment_of_many_users_has_its_namespace(kubeflow: Any, cluster_settings: Settings) -> None:
    kubeflow.state.multi_user = True
    cluster = connect(cluster_settings)
    cluster.experiment()
    assert [one["namespace"] for one in kubeflow.state.experiments.values()] == ["kubeflow"]


def test_a_version_is_uploaded_when_the_graph_has_changed(kubeflow: Any, cluster: Cluster, graph: Path) -> None:
    first = cluster.upload(graph, "assay-training")
    again = cluster.upload(graph, "assay-training")
    graph.write_text(GRAPH + "# another\n", encoding="utf-8")
    changed = cluster.upload(graph, "assay-training")
    assert (first.uploaded, again.uploaded, changed.uploaded) == (True, False, True)
    assert again.version_id == first.version_id != changed.version_id
    assert changed.pipeline_id == first.pipeline_id
    assert len(kubeflow.state.pipelines) == 1


def test_a_version_is_found_on_a_later_page(kubeflow: Any, cluster: Cluster, graph: Path) -> None:
    kubeflow.state.page_limit = 1
    first = cluster.upload(graph, "assay-training")
    assert cluster.upload(graph, "assay-training").version_id == first.version_id


def test_a_read_survives_a_server_that_is_away_for_a_moment(kubeflow: Any, cluster: Cluster) -> None:
    kubeflow.state.fail("GET .*/experiments$", 503, times=3)
    assert cluster.find_experiment() is None


def test_a_server_that_stays_broken_is_said(kubeflow: Any, cluster: Cluster) -> None:
    kubeflow.state.fail("GET .*/experiments$", 500, times=9)
    with pytest.raises(AssayError, match=r"the server failed with 500"):
        cluster.find_experiment()


def test_a_change_is_not_tried_twice(kubeflow: Any, cluster: Cluster) -> None:
    kubeflow.state.fail("POST .*/experiments$", 500)
    with pytest.raises(AssayError, match=r"failed with 500"):
        cluster.experiment()
    assert sum(asked.startswith("POST") for asked in kubeflow.state.requests) == 1


def test_what_is_not_allowed_names_the_role(kubeflow: Any, cluster: Cluster) -> None:
    kubeflow.state.fail("GET .*/experiments$", 403)
    with pytest.raises(AssayError, match=r"not allowed.*role"):
        cluster.find_experiment()


def test_a_link_leads_to_the_public_address(cluster: Cluster) -> None:
    assert cluster.run_link("abc") == "https://kubeflow.example/pipeline/#/runs/details/abc"


@pytest.mark.parametrize("patience", [0.0, 3.0, 15.0, 130.0])
def test_pauses_are_as_long_together_as_the_patience(patience: float) -> None:
    found = list(pauses(patience))
    assert patience <= sum(found) < patience + 9
    assert found == sorted(found)
