"""The connection to Kubeflow Pipelines: where it is, who asks, and its errors in one line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from assay.errors import AssayError, InputError
from pipelines.cluster.errors import PASSING_ERRORS, explained, message
from pipelines.cluster.ids import pick
from pipelines.settings import Settings

HOST_VARIABLES = ("KFP_HOST", "KF_PIPELINES_ENDPOINT")
# How long a read is tried again where the server is away: a restart of it takes about as long.
PATIENCE_SECONDS = 15.0
# At the first look a wrong address is likelier than a restart.
CONNECT_PATIENCE_SECONDS = 3.0
LONGEST_PAUSE_SECONDS = 8.0
# A server that takes a connection and never answers is away as well.
ANSWER_SECONDS = 60.0
PAGE_SIZE = 100
API = "/apis/v2beta1"
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

T = TypeVar("T")


class NoKubernetes(InputError):
    """No Kubernetes API can be reached from here."""


@dataclass
class Cluster:
    """A Kubeflow Pipelines server that has answered.

    Attributes:
        kfp: The SDK's client; its generated services are used as they are.
        settings: What it was connected with.
        host: Address of the server.
        multi_user: Whether experiments belong to namespaces.
        pause_seconds: What a second of waiting is; less in tests.
    """

    kfp: Any
    settings: Settings
    host: str
    multi_user: bool = False
    pause_seconds: float = 1.0

    def read(
        self,
        method: Callable[..., T],
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        when_away: Callable[[Exception], None] | None = None,
        **arguments: Any,
    ) -> T:
        """Call a method that changes nothing, again where the server is away for a moment.

        Args:
            method: Of the SDK's generated services.
            patience_seconds: How long the pauses between attempts are, all together.
            when_away: Told of each attempt that failed and is made again.
            **arguments: The method's.

        Raises:
            AssayError: The server refuses, or is still away (then `Unanswered`); one line.
        """
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        with explained(self.host):
            for pause in pauses(patience_seconds):
                try:
                    return method(_request_timeout=ANSWER_SECONDS, **arguments)
                except (ApiException, HTTPError) as error:
                    if not isinstance(error, HTTPError) and error.status not in PASSING_ERRORS:
                        raise
                    if when_away is not None:
                        when_away(error)
                time.sleep(pause * self.pause_seconds)
            return method(_request_timeout=ANSWER_SECONDS, **arguments)

    def get(self, path: str, **arguments: Any) -> Any:
        """Return what the server says at a path that the SDK has no method for: parsed JSON, or text.

        Args:
            path: Below the server's address.
            **arguments: Of `read`.

        Raises:
            AssayError: As `read`.
        """

        def ask(**options: Any) -> Any:
            return self.kfp.runs.api_client.call_api(
                path,
                "GET",
                header_params={"Accept": "application/json"},
                auth_settings=["Bearer"],
                response_type="object",
                _return_http_data_only=True,
                **options,
            )

        return self.read(ask, **arguments)

    def change(self, method: Callable[..., T], **arguments: Any) -> T:
        """Call a method that changes something: once, for nobody knows whether a failed call took effect.

        Raises:
            AssayError: The server refuses or cannot be reached; one line.
        """
        with explained(self.host):
            return method(_request_timeout=ANSWER_SECONDS, **arguments)

    def every(self, method: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
        """Yield the items of all pages of a list."""
        token = ""
        while True:
            page = self.read(method, page_token=token, page_size=PAGE_SIZE, **arguments)
            yield from getattr(page, field) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def named(self, method: Callable[..., Any], field: str, name: str, **arguments: Any) -> Any | None:
        """Return the item of a list that is shown under a name, or None."""
        wanted = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
        found = self.every(method, field, filter=json.dumps(wanted), **arguments)
        return next((item for item in found if item.display_name == name), None)

    @property
    def scope(self) -> dict[str, Any]:
        """The namespace for lists: only a server of many users takes one."""
        return {"namespace": self.settings.namespace} if self.multi_user else {}

    def find_experiment(self, name: str | None = None) -> str | None:
        """Return the id of an experiment, or None.

        Args:
            name: Its name; None: that of the settings.
        """
        services = self.kfp.experiments
        found = self.named(
            services.experiment_service_list_experiments, "experiments", name or self.settings.experiment, **self.scope
        )
        return None if found is None else str(found.experiment_id)

    def experiment(self) -> str:
        """Return the id of the settings' experiment, which is created where it does not exist."""
        found = self.find_experiment()
        if found is not None:
            return found
        import kfp_server_api

        wanted = kfp_server_api.V2beta1Experiment(display_name=self.settings.experiment, **self.scope)
        services = self.kfp.experiments
        created = self.change(services.experiment_service_create_experiment, experiment=wanted)
        return str(created.experiment_id)

    def find_run(self, wanted: str) -> str:
        """Return the id of the run whose id is, or begins with, what is wanted.

        Raises:
            InputError: There is none, or more than one begins so.
        """
        if RUN_ID.fullmatch(wanted):
            return wanted
        services = self.kfp.runs
        listed = self.every(services.run_service_list_runs, "runs", sort_by="created_at desc", **self.scope)
        ids = [str(run.run_id) for run in listed]
        return pick(wanted, ids, f"the runs at {self.host}", str, way_out="`assay runs list` shows the latest.")

    def run(self, run_id: str, **arguments: Any) -> Any:
        """Return a run.

        Args:
            run_id: The whole id.
            **arguments: Of `read`.

        Raises:
            InputError: There is none of this id.
            AssayError: As `read`.
        """
        from kfp_server_api.exceptions import ApiException

        try:
            return self.read(self.kfp.runs.run_service_get_run, run_id=run_id, **arguments)
        except AssayError as error:
            if isinstance(error.__cause__, ApiException) and error.__cause__.status == 404:
                raise InputError(
                    f"run {run_id}: there is none of this id at {self.host}. `assay runs list` shows the latest."
                ) from error
            raise

    def upload(self, graph: Path, name: str, description: str = "") -> PipelineVersion:
        """Make sure that the server has a graph, and return its version.

        The hash of the graph is the version's name, so the same graph is never uploaded twice.

        Args:
            graph: A compiled pipeline.
            name: The pipeline's name.
            description: Of a new version.
        """
        # Of the bytes: images, placement and limits are in them, and all of it makes another graph.
        version_name = f"{name}-{hashlib.sha256(graph.read_bytes()).hexdigest()[:12]}"
        pipelines, uploads = self.kfp.pipelines, self.kfp.pipeline_uploads
        found = self.named(pipelines.pipeline_service_list_pipelines, "pipelines", name, **self.scope)
        if found is None:
            # The upload makes a first version under the pipeline's own name; the named one comes below.
            found = self.change(uploads.upload_pipeline, uploadfile=str(graph), name=name, **self.scope)
        pipeline_id = str(found.pipeline_id)
        version = self.named(
            pipelines.pipeline_service_list_pipeline_versions,
            "pipeline_versions",
            version_name,
            pipeline_id=pipeline_id,
        )
        if version is not None:
            return PipelineVersion(pipeline_id, str(version.pipeline_version_id), version_name, uploaded=False)
        version = self.change(
            uploads.upload_pipeline_version,
            uploadfile=str(graph),
            name=version_name,
            pipelineid=pipeline_id,
            description=description,
        )
        return PipelineVersion(pipeline_id, str(version.pipeline_version_id), version_name, uploaded=True)

    def run_link(self, run_id: str) -> str:
        """Return the address of a run in the interface."""
        return f"{(self.settings.public_url or self.host).rstrip('/')}/#/runs/details/{run_id}"


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline on the server."""

    pipeline_id: str
    version_id: str
    name: str
    uploaded: bool


def connect(settings: Settings) -> Cluster:
    """Connect to Kubeflow Pipelines and see that it answers.

    The address is that of the settings, of ``KFP_HOST``, of the cluster that this process runs in, or of the
    present kubeconfig's, in that order. Who asks is said by `Settings.auth`; without it the SDK's own ways
    (its environment variables, Google's proxies, the pod's identity) stand.

    Raises:
        InputError: There is no address, or what is given for signing in cannot be read.
        AssayError: The server does not answer or refuses.
    """
    host = settings.host or next(filter(None, map(os.environ.get, HOST_VARIABLES)), None)
    if host is None:
        try:
            kubernetes_api(settings)
        except NoKubernetes as error:
            raise InputError(
                f"there is no address of Kubeflow Pipelines: KFP_HOST is not set, and {error} Or forward a port, "
                f"`kubectl -n {settings.namespace} port-forward svc/ml-pipeline 8888:8888`, and set "
                "KFP_HOST=http://localhost:8888."
            ) from error
    elif not host.startswith(("http://", "https://")):
        raise InputError(f"Kubeflow's address: needs http:// or https://. Received: {host}. Set KFP_HOST.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        client = _sdk_client(kfp, settings, host)
    cluster = Cluster(client, settings, (host or client._existing_config.host).rstrip("/"))
    cluster.multi_user = bool(health(cluster)["multi_user"])
    return cluster


def health(cluster: Cluster) -> dict[str, Any]:
    """Return what the server says of itself: ``multi_user``, ``tag_name``...

    Raises:
        AssayError: It does not answer, refuses, or is something else.
    """
    from kfp_server_api.exceptions import ApiException

    try:
        said = cluster.get(f"{API}/healthz", patience_seconds=CONNECT_PATIENCE_SECONDS)
    except AssayError as error:
        refused = error.__cause__
        if not isinstance(refused, ApiException) or refused.status not in (400, 404, 405, 501):
            raise
        said = f"{refused.status} {message(refused)}"
    if isinstance(said, dict) and "multi_user" in said:
        return said
    shown = " ".join(re.sub(r"<[^>]*>", " ", str(said)).split())[:80]
    raise AssayError(
        f"{cluster.host}: something answers here, but it is not Kubeflow Pipelines (it says: {shown or 'nothing'}). "
        "Set KFP_HOST to the address of ml-pipeline or of its interface; where that asks for a sign-in, see auth in "
        "docs/cluster.md."
    )


def pauses(patience_seconds: float) -> Iterator[float]:
    """Yield pauses that double up to a longest one, until their sum is as long as wanted."""
    pause, waited = 1.0, 0.0
    while waited < patience_seconds:
        yield pause
        waited += pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _sdk_client(kfp: Any, settings: Settings, host: str | None) -> Any:
    """Make the SDK's client."""
    import kfp_server_api
    from urllib3 import Retry

    auth = settings.auth
    credentials = None
    if auth.token_file is not None:
        if not auth.token_file.is_file():
            raise InputError(f"auth.token_file: no such file. Received: {auth.token_file}.")
        # Read anew for each request: whoever renews the file renews the sign-in.
        credentials = kfp.client.ServiceAccountTokenVolumeCredentials(path=str(auth.token_file))

    class Client(kfp.Client):  # type: ignore[misc]
        """Stays at its address: what renews a kubeconfig's token sets it back to that of Kubernetes itself."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            # Asked once here, in `health`: the SDK's own asks five times and logs a traceback each time.
            return kfp_server_api.V2beta1GetHealthzResponse()

        def _load_config(self, *arguments: Any) -> Any:
            configuration = super()._load_config(*arguments)
            # `Cluster.read` says what is asked again; urllib3 would, too, and writes about it.
            configuration.retries = Retry(connect=0, read=0, other=0, redirect=3)
            renew, address = configuration.refresh_api_key_hook, configuration.host

            def renew_token(configuration: Any) -> None:
                renew(configuration)
                configuration.host, configuration.refresh_api_key_hook = address, renew_token

            if renew is not None:
                configuration.refresh_api_key_hook = renew_token
            return configuration

    with explained(host or "the cluster of the kubeconfig"):
        return Client(
            host=host,
            namespace=settings.namespace,
            existing_token=auth.token.get_secret_value() if auth.token else None,
            cookies=auth.cookies.get_secret_value() if auth.cookies else None,
            credentials=credentials,
            kube_context=auth.kube_context,
            ssl_ca_cert=None if auth.ca_file is None else str(auth.ca_file),
        )


def kubernetes_api(settings: Settings) -> Any:
    """Return a client of the cluster that this process runs in, or else of the kubeconfig's; nothing is asked yet.

    Raises:
        NoKubernetes: There is neither.
    """
    from kubernetes import client, config

    found = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=found)
    except config.ConfigException:
        try:
            config.load_kube_config(context=settings.auth.kube_context, client_configuration=found)
        except Exception as error:  # whatever a kubeconfig or its plug-in raises
            why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise NoKubernetes(
                f"no kubeconfig can be read ({why}). Set KUBECONFIG, or get one: "
                "gcloud container clusters get-credentials CLUSTER --location LOCATION."
            ) from error
    found.retries = False
    return client.ApiClient(found)
