"""The AshChat resource as frozen models.

The defaults are the CRD schema's (crds/ashchat.dev_ashchats.yaml; a test compares), so a
resource read from a file means what it would mean after the API server filled it in.
Validation is the API server's; here are only types. Unknown fields are ignored, so that an
operator works beside a newer schema.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ashchat_operator.resource.enums import (
    AccessMode,
    DeletionPolicy,
    Engine,
    ExposureType,
    LogLevel,
    NetworkPolicyMode,
    Provider,
    ServiceType,
    SmtpSecurity,
    Users,
    Weekday,
)


class Model(BaseModel):
    """A part of the resource: immutable, camelCase outside, snake_case inside."""

    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, populate_by_name=True, extra="ignore"
    )


class Resources(Model):
    """Requests and limits; they are laid over the operator's own."""

    requests: Mapping[str, str | int] = Field(default_factory=dict)
    limits: Mapping[str, str | int] = Field(default_factory=dict)


class Workload(Model):
    """What every component has."""

    image: str | None = None
    resources: Resources = Resources()


class Replicated(Workload):
    """A component that may have several pods."""

    replicas: int = 1


class Autoscaling(Model):
    """Between how many pods Kubernetes chooses, by their use of CPU."""

    min_replicas: int = 1
    max_replicas: int
    target_cpu_utilization_percentage: int = Field(
        default=70, alias="targetCPUUtilizationPercentage"
    )


class Scaled(Replicated):
    """A component whose number of pods may follow its load."""

    autoscaling: Autoscaling | None = None


class SecretReference(Model):
    """A Secret in the resource's namespace."""

    name: str


class Window(Model):
    """When a scheduled rotation may begin, in UTC."""

    days: tuple[Weekday, ...] = ()
    start: str
    duration: str


class Rotation(Model):
    """When credentials are changed."""

    interval: str | None = None
    windows: tuple[Window, ...] = ()


class Storage(Model):
    """A volume."""

    size: str = "1Gi"
    storage_class_name: str | None = None


class ExternalTls(Model):
    """How the connection to an external backend is encrypted."""

    enabled: bool = True
    ca_secret_ref: SecretReference | None = None


class External(Model):
    """A backend that somebody else runs."""

    connection_secret_ref: SecretReference
    users: Users = Users.DECLARE
    prefix: str | None = None
    tls: ExternalTls = ExternalTls()


class Tls(Model):
    """The certificate of a server."""

    certificate_secret_ref: SecretReference
    """A Secret of type kubernetes.io/tls."""


class Edge(Replicated):
    """The edge in front of the services."""

    service_type: ServiceType = ServiceType.NODE_PORT
    node_port: int | None = None
    https_node_port: int | None = None
    tls: Tls | None = None


class Ingress(Model):
    """An Ingress that somebody else's controller serves."""

    class_name: str | None = None
    hosts: tuple[str, ...]
    tls: Tls | None = None
    annotations: Mapping[str, str] = Field(default_factory=dict)


class ParentRef(Model):
    """A Gateway, or one listener of it."""

    name: str
    namespace: str | None = None
    section_name: str | None = None
    port: int | None = None


class Gateway(Model):
    """An HTTPRoute on somebody else's Gateway."""

    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()


class Exposure(Model):
    """How people get in."""

    type: ExposureType = ExposureType.EDGE
    edge: Edge = Edge()
    ingress: Ingress | None = None
    gateway: Gateway | None = None
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class NetworkPolicy(Model):
    """Who may connect to whom."""

    mode: NetworkPolicyMode = NetworkPolicyMode.ENABLED
    metrics_from: tuple[str, ...] = ()
    requests_from: tuple[str, ...] = ()


class Auth(Scaled):
    """Accounts, sessions and tokens."""

    sign_ups_per_hour: int = 20
    access_token_minutes: int = 20


class Smtp(Model):
    """The mail server."""

    host: str
    port: int = 587
    security: SmtpSecurity = SmtpSecurity.START_TLS
    from_: str = Field(alias="from")
    credentials_secret_ref: SecretReference | None = None
    ca_secret_ref: SecretReference | None = None


class Email(Scaled):
    """Codes and confirmations by mail."""

    smtp: Smtp


class Google(Model):
    """Google Cloud Translation."""

    project: str
    location: str = "global"
    endpoint: str | None = None
    ca_secret_ref: SecretReference | None = None
    credentials_secret_ref: SecretReference


class Cache(Workload):
    """The cache of translations."""

    max_memory: str = "64Mi"
    external: External | None = None


class Translate(Scaled):
    """Translation of messages."""

    provider: Provider = Provider.APERTIUM
    apertium: Replicated = Replicated()
    google: Google | None = None
    cache: Cache = Cache()


class SharedStorage(Storage):
    """A volume that several pods may mount."""

    access_mode: AccessMode = AccessMode.READ_WRITE_ONCE


class Static(Scaled):
    """The front page and the uploads."""

    storage: SharedStorage = SharedStorage()


class ManagedRabbitMQ(Workload):
    """The broker the operator runs."""

    storage: Storage = Storage()


class ManagedRedis(Workload):
    """The Redis the operator runs."""

    max_memory: str = "256Mi"
    storage: Storage = Storage()


class ManagedMongoDB(Workload):
    """The MongoDB the operator runs."""

    engine: Engine = Engine.MONGODB
    storage: Storage = Storage(size="4Gi")


class RabbitMQ(Model):
    """The message broker."""

    managed: ManagedRabbitMQ = ManagedRabbitMQ()
    external: External | None = None


class Redis(Model):
    """The store of what expires."""

    managed: ManagedRedis = ManagedRedis()
    external: External | None = None


class MongoDB(Model):
    """The store of accounts and conversations."""

    managed: ManagedMongoDB = ManagedMongoDB()
    external: External | None = None


class Spec(Model):
    """What is wanted."""

    public_url: str | None = None
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    log_level: LogLevel = LogLevel.INFO
    exposure: Exposure = Exposure()
    network_policy: NetworkPolicy = NetworkPolicy()
    auth: Auth = Auth()
    email: Email
    chat: Scaled = Scaled()
    translate: Translate = Translate()
    static: Static = Static()
    rabbitmq: RabbitMQ = RabbitMQ()
    redis: Redis = Redis()
    mongodb: MongoDB = MongoDB()
    rotation: Rotation = Rotation()


class AshChat(Model):
    """One AshChat as the API server returned it."""

    name: str
    namespace: str
    uid: str
    generation: int
    spec: Spec
    annotations: Mapping[str, str] = Field(default_factory=dict)
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    status: Mapping[str, Any] = Field(default_factory=dict)
    """The status as the last pass wrote it."""

    @property
    def is_new(self) -> bool:
        """Whether no pass has reported a status yet."""
        return "observedGeneration" not in self.status

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Return the model of an object as the API server gives it.

        Raises:
            pydantic.ValidationError: It is not what the schema promises.
        """
        metadata = body["metadata"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            spec=Spec.model_validate(body["spec"]),
            annotations=metadata.get("annotations") or {},
            created=metadata.get("creationTimestamp") or datetime(1970, 1, 1, tzinfo=UTC),
            status=body.get("status", {}),
        )
