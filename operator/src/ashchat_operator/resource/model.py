"""The AshChat resource as frozen models.

The defaults are the CRD schema's (crds/ashchat.dev_ashchats.yaml; a test compares), so a
resource read from a file means what it would mean after the API server filled them in.
The API server validates; the models only check types. Unknown fields are ignored, so that an
operator works with a newer schema.
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
    """A part of the resource: immutable, camelCase in the API, snake_case in Python."""

    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, populate_by_name=True, extra="ignore"
    )


class Resources(Model):
    """Requests and limits; they override the operator's defaults."""

    requests: Mapping[str, str | int] = Field(default_factory=dict)
    limits: Mapping[str, str | int] = Field(default_factory=dict)


class Workload(Model):
    """The fields that every component has."""

    image: str | None = None
    resources: Resources = Resources()


class Replicated(Workload):
    """A component that may have several pods."""

    replicas: int = 1


class Autoscaling(Model):
    """The range of pods that a HorizontalPodAutoscaler scales within, by CPU utilization."""

    min_replicas: int = 1
    max_replicas: int
    target_cpu_utilization_percentage: int = Field(
        default=70, alias="targetCPUUtilizationPercentage"
    )


class Scaled(Replicated):
    """A component that an autoscaler may scale."""

    autoscaling: Autoscaling | None = None


class SecretReference(Model):
    """A Secret in the resource's namespace."""

    name: str


class Window(Model):
    """A weekly time window, in UTC, in which a scheduled rotation may start."""

    days: tuple[Weekday, ...] = ()
    start: str
    duration: str


class Rotation(Model):
    """When credentials are rotated."""

    interval: str | None = None
    windows: tuple[Window, ...] = ()


class Storage(Model):
    """A persistent volume claim."""

    size: str = "1Gi"
    storage_class_name: str | None = None


class ExternalTls(Model):
    """TLS of the connection to an external backend."""

    enabled: bool = True
    ca_secret_ref: SecretReference | None = None


class External(Model):
    """A backend that the operator does not run."""

    connection_secret_ref: SecretReference
    users: Users = Users.DECLARE
    prefix: str | None = None
    tls: ExternalTls = ExternalTls()


class Tls(Model):
    """A server's certificate."""

    certificate_secret_ref: SecretReference
    """A Secret of type kubernetes.io/tls."""


class Edge(Replicated):
    """The edge: the reverse proxy in front of the services."""

    service_type: ServiceType = ServiceType.NODE_PORT
    node_port: int | None = None
    https_node_port: int | None = None
    tls: Tls | None = None


class Ingress(Model):
    """An Ingress, served by a controller that the operator does not run."""

    class_name: str | None = None
    hosts: tuple[str, ...]
    tls: Tls | None = None
    annotations: Mapping[str, str] = Field(default_factory=dict)


class ParentRef(Model):
    """A Gateway, or one of its listeners."""

    name: str
    namespace: str | None = None
    section_name: str | None = None
    port: int | None = None


class Gateway(Model):
    """An HTTPRoute, attached to Gateways that the operator does not run."""

    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[str, ...] = ()


class Exposure(Model):
    """How the services are reachable from outside the cluster."""

    type: ExposureType = ExposureType.EDGE
    edge: Edge = Edge()
    ingress: Ingress | None = None
    gateway: Gateway | None = None
    trusted_proxies: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class NetworkPolicy(Model):
    """Which connections NetworkPolicies allow."""

    mode: NetworkPolicyMode = NetworkPolicyMode.ENABLED
    metrics_from: tuple[str, ...] = ()
    requests_from: tuple[str, ...] = ()


class Limits(Model):
    """Limits of a service; each is the setting of the same name."""

    def environment(self) -> dict[str, str]:
        """Return the settings."""
        return {f"ASHCHAT_{name.upper()}": str(value) for name, value in self}


class AuthLimits(Limits):
    """What clients, addresses and accounts may do."""

    code_mails_per_network_per_day: int = 2_000
    code_mails_per_address_per_day: int = 50
    code_mails_per_day: int = 20_000
    wrong_passwords_per_network_per_hour: int = 1_000
    wrong_codes_per_network_per_day: int = 300
    sign_ins_per_device_per_hour: int = 100
    devices_per_account: int = 50
    device_codes_per_hour: int = 20
    wrong_passwords_per_quarter: int = 10
    stranger_passwords_per_hour: int = 100
    code_tries_per_quarter: int = 60
    wrong_second_factors_per_day: int = 20
    requests_per_network_per_minute: int = 6_000


class Auth(Scaled):
    """The auth service: accounts, sessions and tokens."""

    limits: AuthLimits = AuthLimits()
    access_token_minutes: int = 20


class Smtp(Model):
    """The SMTP server that delivers mail."""

    host: str
    port: int = 587
    security: SmtpSecurity = SmtpSecurity.START_TLS
    from_: str = Field(alias="from")
    credentials_secret_ref: SecretReference | None = None
    ca_secret_ref: SecretReference | None = None


class EmailLimits(Limits):
    """How many mails are sent."""

    mails_per_address_per_day: int = 500
    mails_per_day: int = 100_000


class Email(Scaled):
    """The email service: codes and confirmations by mail."""

    limits: EmailLimits = EmailLimits()
    smtp: Smtp


class ChatLimits(Limits):
    """What clients and accounts may do."""

    requests_per_network_per_minute: int = 30_000
    stored_characters_per_account_per_day: int = 10_000_000


class Chat(Scaled):
    """The chat service: rooms, messages and sockets."""

    limits: ChatLimits = ChatLimits()
    max_group_members: int = 1_000


class Google(Model):
    """The project and the credentials for Google Cloud Translation."""

    project: str
    location: str = "global"
    characters_per_day: int = 10_000_000
    endpoint: str | None = None
    ca_secret_ref: SecretReference | None = None
    credentials_secret_ref: SecretReference


class Cache(Workload):
    """The cache of translations and the counters of limits."""

    max_memory: str = "64Mi"
    external: External | None = None


class TranslateLimits(Limits):
    """What an account may have translated."""

    characters_per_account_per_day: int = 2_000_000


class Translate(Scaled):
    """The translate service: translation of messages."""

    limits: TranslateLimits = TranslateLimits()
    provider: Provider = Provider.APERTIUM
    apertium: Replicated = Replicated()
    google: Google | None = None
    cache: Cache = Cache()


class SharedStorage(Storage):
    """A volume that several pods may mount."""

    access_mode: AccessMode = AccessMode.READ_WRITE_ONCE


class Static(Scaled):
    """The static service: the front page and uploaded files."""

    storage: SharedStorage = SharedStorage()
    storage_per_account: str | None = None
    uploads_per_day: int = 500
    requests_per_network_per_minute: int = 60_000


class ManagedRabbitMQ(Workload):
    """The RabbitMQ that the operator runs."""

    storage: Storage = Storage()


class ManagedRedis(Workload):
    """The Redis that the operator runs."""

    max_memory: str = "256Mi"
    storage: Storage = Storage()


class ManagedMongoDB(Workload):
    """The MongoDB, or FerretDB, that the operator runs."""

    engine: Engine = Engine.MONGODB
    storage: Storage = Storage(size="4Gi")


class RabbitMQ(Model):
    """The message broker."""

    managed: ManagedRabbitMQ = ManagedRabbitMQ()
    external: External | None = None


class Redis(Model):
    """The store of data that expires."""

    managed: ManagedRedis = ManagedRedis()
    external: External | None = None


class MongoDB(Model):
    """The store of accounts and conversations."""

    managed: ManagedMongoDB = ManagedMongoDB()
    external: External | None = None


class Spec(Model):
    """The desired state."""

    public_url: str | None = None
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    log_level: LogLevel = LogLevel.INFO
    exposure: Exposure = Exposure()
    network_policy: NetworkPolicy = NetworkPolicy()
    auth: Auth = Auth()
    email: Email
    chat: Chat = Chat()
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
    """The status that the last reconcile pass wrote."""

    @property
    def is_new(self) -> bool:
        """Whether no reconcile pass has written a status yet."""
        return "observedGeneration" not in self.status

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Return the model of an object that the API server returned.

        Raises:
            pydantic.ValidationError: The object does not match the operator's schema.
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
