"""The connection to Kubeflow Pipelines: where it is, who asks, and its errors in one line."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from assay.errors import AssayError, InputError
from pipelines.settings import Settings

HOST_VARIABLES = ("KFP_HOST", "KF_PIPELINES_ENDPOINT")
# Of a server that is being restarted, or of a proxy before it.
PASSING_ERRORS = (500, 502, 503, 504)
READ_ATTEMPTS = 5
PAGE_SIZE = 100

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
        pause_seconds: Wait before a read is tried again; it doubles.
    """

    kfp: Any
    settings: Settings
    host: str
    multi_user: bool = False
    pause_seconds: float = 1.0

    def read(self, method: Callable[..., T], **arguments: Any) -> T:
        """Call a method that changes nothing, again where the server is away for a moment.

        Raises:
            AssayError: The server refuses, or is still away; one line.
        """
        from kfp_server_api.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        pause = self.pause_seconds
        with explained(self.host):
            for attempt in range(1, READ_ATTEMPTS + 1):
                try:
                    return method(**arguments)
                except (ApiException, HTTPError) as error:
                    passing = isinstance(error, HTTPError) or error.status in PASSING_ERRORS
                    if not passing or attempt == READ_ATTEMPTS:
                        raise
                time.sleep(pause)
                pause *= 2
        raise AssertionError("unreachable")

    def change(self, method: Callable[..., T], **arguments: Any) -> T:
        """Call a method that changes something: once, for nobody knows whether a failed call took effect.

        Raises:
            AssayError: The server refuses or cannot be reached; one line.
        """
        with explained(self.host):
            return method(**arguments)

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
    def scope(self) -> dict[str, str]:
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
    health = cluster.read(client.healthzs.healthz_service_get_healthz)
    cluster.multi_user = bool(health.multi_user)
    return cluster


def _sdk_client(kfp: Any, settings: Settings, host: str | None) -> Any:
    """Make the SDK's client."""
    auth = settings.auth
    credentials = None
    if auth.token_file is not None:
        if not auth.token_file.is_file():
            raise InputError(f"auth.token_file: no such file. Received: {auth.token_file}.")
        # Read anew for each request: whoever renews the file renews the sign-in.
        credentials = kfp.client.ServiceAccountTokenVolumeCredentials(path=str(auth.token_file))

    class Client(kfp.Client):  # type: ignore[misc]
        """Stays at its address: what renews a kubeconfig's token sets it back to that of Kubernetes itself."""

        def _load_config(self, *arguments: Any) -> Any:
            configuration = super()._load_config(*arguments)
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


@contextlib.contextmanager
def explained(host: str) -> Iterator[None]:
    """Turn what the SDK raises into one line that says what to do."""
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        said = message(error)
        if error.status == 401:
            raise AssayError(
                f"{host}: not signed in, or the sign-in has expired ({said}). Renew the token: "
                "ASSAY_AUTH__TOKEN, or the file that auth.token_file names."
            ) from error
        if error.status == 403:
            raise AssayError(f"{host}: not allowed ({said}). Ask for the role in manifests/base/users.yaml.") from error
        if error.status in PASSING_ERRORS:
            raise AssayError(
                f"{host}: the server failed with {error.status} ({said}). Look at its log: "
                "kubectl logs deploy/ml-pipeline."
            ) from error
        raise AssayError(f"{host}: refused with {error.status}: {said}") from error
    except HTTPError as error:
        raise AssayError(
            f"{host}: does not answer ({cause(error)}). Is the port forwarded, and is KFP_HOST right?"
        ) from error


def message(error: Any) -> str:
    """Return what a server said, in one line."""
    try:
        said = json.loads(error.body)
        text = said.get("message") or said.get("error") or ""
    except (TypeError, ValueError, AttributeError):
        text = error.body or ""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return " ".join(str(text).split())[:300] or str(error.reason)


def cause(error: Any) -> str:
    """Return why a server was not reached, in one line."""
    return " ".join(str(getattr(error, "reason", None) or error).split())[:200]
