"""The enumerations in the spec of an AshChat."""

from enum import StrEnum


class ExposureType(StrEnum):
    """Who routes requests to the services."""

    EDGE = "Edge"
    INGRESS = "Ingress"
    GATEWAY = "Gateway"
    NONE = "None"


class ServiceType(StrEnum):
    """The type of the edge's Service."""

    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    CLUSTER_IP = "ClusterIP"


class SmtpSecurity(StrEnum):
    """How the connection to the mail server is encrypted."""

    NONE = "None"
    START_TLS = "StartTLS"
    TLS = "TLS"


class AccessMode(StrEnum):
    """How many nodes may mount a volume at a time."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Provider(StrEnum):
    """Who translates."""

    APERTIUM = "Apertium"
    GOOGLE = "Google"


class Engine(StrEnum):
    """What speaks MongoDB's protocol."""

    MONGODB = "MongoDB"
    FERRETDB = "FerretDB"


class LogLevel(StrEnum):
    """How much the services log."""

    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"


class DeletionPolicy(StrEnum):
    """What a deletion does with data and credentials."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Users(StrEnum):
    """Whose logins the services use at an external backend."""

    DECLARE = "Declare"
    PROVIDED = "Provided"


class NetworkPolicyMode(StrEnum):
    """Whether the operator makes NetworkPolicies."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "Monday"
    TUESDAY = "Tuesday"
    WEDNESDAY = "Wednesday"
    THURSDAY = "Thursday"
    FRIDAY = "Friday"
    SATURDAY = "Saturday"
    SUNDAY = "Sunday"
