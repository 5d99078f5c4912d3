"""The enumerations in the spec of an AshChat."""

from enum import StrEnum


class ExposureType(StrEnum):
    """What routes requests to the services."""

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
    """Whether one node or several may mount a volume at a time."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class Provider(StrEnum):
    """What translates messages."""

    APERTIUM = "Apertium"
    GOOGLE = "Google"


class Engine(StrEnum):
    """The server that implements MongoDB's protocol."""

    MONGODB = "MongoDB"
    FERRETDB = "FerretDB"


class LogLevel(StrEnum):
    """The least severe level that the services log."""

    DEBUG = "Debug"
    INFO = "Info"
    WARNING = "Warning"
    ERROR = "Error"


class DeletionPolicy(StrEnum):
    """Whether data and credentials are deleted with the resource."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Users(StrEnum):
    """Whether the operator declares the users of an external backend, or they are provided."""

    DECLARE = "Declare"
    PROVIDED = "Provided"


class NetworkPolicyMode(StrEnum):
    """Whether the operator creates NetworkPolicies."""

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
