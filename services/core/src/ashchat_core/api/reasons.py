"""The reasons of conditions and components, each with its meaning and what to do.

A reason of `status.components` may also be one that Kubernetes itself reports about a pod.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Why a condition has its status, or a component its state. Matched by machines."""

    where: str
    """The conditions that it occurs in; "component" for entries of status.components."""
    meaning: str
    action: str
    """What to do; empty: nothing."""

    def __new__(cls, value: str, where: str, meaning: str, action: str = "") -> Self:
        """Return a member with its explanation."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.where = where
        member.meaning = meaning
        member.action = action
        return member

    # The resource as a whole
    READY = ("Ready", "Ready", "Everything is ready.")
    COMPONENTS_NOT_READY = (
        "ComponentsNotReady",
        "Ready",
        "At least one component is not ready; the message names each.",
        "Wait while Progressing is True; otherwise look up the reason of the component.",
    )
    UP_TO_DATE = (
        "UpToDate",
        "Degraded, Progressing, SchemaCurrent, SecretsRotated",
        "Nothing is left to do.",
    )
    WAITING = ("Waiting", "Progressing", "The message names the components that are not ready.")
    REFUSED = (
        "Refused",
        "Ready, Degraded, TopologyReady, component",
        "The API server or a backend refused a request; the message quotes its answer.",
        "Correct what the answer names: a quota, an admission policy, a permission.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "Ready",
        "The spec does not match the operator's schema, although the API server accepted it.",
        "Apply the CustomResourceDefinition of the operator's version, then correct the spec.",
    )
    NAME_TAKEN = (
        "NameTaken",
        "Ready, Degraded",
        "An object that belongs to something else has the name of one of ours.",
        "Rename or delete that object, or label it as the message says if it is ours.",
    )
    NAMESPACE_TERMINATING = (
        "NamespaceTerminating",
        "Ready, Degraded",
        "The namespace is being deleted, so nothing can be created in it.",
    )
    SWITCH_NOT_CONFIRMED = (
        "SwitchNotConfirmed",
        "Ready, Degraded",
        "A backend would change between managed and external, which moves no data.",
        (
            "Move the data or accept its loss, then set the annotation ashchat.dev/allow-switch as "
            "the message says."
        ),
    )
    DELETING = (
        "Deleting",
        "Ready",
        "The resource is being deleted; the message lists what is still there.",
        "Wait; after ten minutes the operator releases the resource in any case.",
    )

    # Backends, as the operator's administration clients find them
    DECLARED = (
        "Declared",
        "TopologyReady",
        "Queues, users and permissions are as declared.",
    )
    LEAST_PRIVILEGE_NOT_ENFORCED = (
        "LeastPrivilegeNotEnforced",
        "TopologyReady",
        (
            "In order, but the server does not separate the services' permissions: FerretDB, or an "
            "external backend with a provided login."
        ),
        "Use MongoDB, or let the operator declare users, where that matters.",
    )
    NOT_CHECKED = (
        "NotChecked",
        "TopologyReady, component",
        "The backend has not answered for this generation of the spec yet.",
        "Wait until the backend is ready.",
    )
    DRIFTED = (
        "Drifted",
        "ashchat-operator topology check",
        "The backend differs from what is declared, and the command does not write.",
        "Run `ashchat-operator topology apply`.",
    )
    UNREACHABLE = (
        "Unreachable",
        "TopologyReady, CredentialsAccepted, component",
        "No server answers at the address.",
        "Check the address, DNS, firewalls and NetworkPolicies; the message says which failed.",
    )
    TIMED_OUT = (
        "TimedOut",
        "TopologyReady, component",
        "The backend answered too slowly to be brought into order.",
        "The next pass continues. If it persists, give the backend more CPU or faster storage.",
    )
    TLS_FAILED = (
        "TlsFailed",
        "TopologyReady, component",
        "The server's certificate is not trusted, or the port does not speak TLS.",
        "Correct the port, tls.enabled or tls.caSecretRef.",
    )
    LOGIN_REFUSED = (
        "LoginRefused",
        "TopologyReady, CredentialsAccepted, component",
        "The server does not accept the user name and password (or the key).",
        (
            "Correct the Secret. For a managed backend, delete its pod: it adopts the Secret at "
            "its start."
        ),
    )
    PERMISSION_MISSING = (
        "PermissionMissing",
        "TopologyReady, CredentialsAccepted, component",
        "The login works but lacks a permission.",
        "Grant it with the command in the message.",
    )
    BACKEND_STARTING = (
        "BackendStarting",
        "TopologyReady, component",
        "The server answers but is still starting, loading its data or electing a leader.",
        "Wait; if it persists, read the log of the backend's pod.",
    )
    VERSION_TOO_OLD = (
        "VersionTooOld",
        "TopologyReady, component",
        "The server lacks what AshChat needs.",
        "Upgrade it to the version in the message.",
    )
    FEATURE_MISSING = (
        "FeatureMissing",
        "TopologyReady, component",
        "The server has switched off, or never had, a feature that AshChat needs.",
        "Enable it with the command in the message.",
    )
    QUEUE_INEQUIVALENT = (
        "QueueInequivalent",
        "TopologyReady, component",
        (
            "A queue exists with other properties, which cannot be changed. The operator never "
            "deletes a queue."
        ),
        "Empty the queue and delete it with the command in the message.",
    )
    EXCHANGE_INEQUIVALENT = (
        "ExchangeInequivalent",
        "TopologyReady, component",
        "An exchange exists with other properties. The operator never deletes an exchange.",
        "Delete it with the command in the message.",
    )

    # Annotation commands
    NOT_PAUSED = ("NotPaused", "Paused", "The operator reconciles this resource.")
    PAUSED_BY_ANNOTATION = (
        "PausedByAnnotation",
        "Paused",
        "The operator changes nothing but the status.",
        "Remove the annotation ashchat.dev/pause, or run `kubectl ashchat resume`.",
    )
    NOTHING_REQUESTED = ("NothingRequested", "CommandsHandled", "No annotation requests a restart.")
    HANDLED = ("Handled", "CommandsHandled", "Every requested restart was carried out.")
    PAUSED = (
        "Paused",
        "CommandsHandled",
        "A restart is requested while the resource is paused.",
        "Resume the resource.",
    )
    UNKNOWN_COMPONENT = (
        "UnknownComponent",
        "CommandsHandled",
        "An annotation requests the restart of a component that does not exist.",
        "Remove the annotation; the message lists the components.",
    )

    # The schema and the credentials
    SCHEMA_OUTDATED = (
        "SchemaOutdated",
        "SchemaCurrent",
        (
            "The CustomResourceDefinition is older than the operator, or missing. Nothing is "
            "reconciled."
        ),
        "Apply the CustomResourceDefinition of the operator's version.",
    )
    ROTATING = (
        "Rotating",
        "SecretsRotated",
        "A rotation is under way; the message names its phase and what it waits for.",
        "Wait. The alert AshChatRotationStuck fires if a phase lasts for two hours.",
    )
    TRYING = ("Trying", "CredentialsAccepted", "The credentials are being tried at their server.")
    ACCEPTED = (
        "Accepted",
        "CredentialsAccepted, component",
        (
            "The server accepted the credentials; as a component's reason, the Gateway accepted "
            "the route."
        ),
    )
    DISTRIBUTING = (
        "Distributing",
        "CredentialsAccepted",
        "The credentials were accepted; not every pod uses them yet.",
        "Wait: pods read their files within a minute.",
    )
    IN_USE = ("InUse", "CredentialsAccepted", "Every pod uses the accepted credentials.")
    CERTIFICATE_REFUSED = (
        "CertificateRefused",
        "CredentialsAccepted, component",
        "The certificate of the mail server or of Google's endpoint is not trusted.",
        "Correct caSecretRef, security or port.",
    )
    NOT_OFFERED = (
        "NotOffered",
        "CredentialsAccepted, component",
        "The mail server offers no STARTTLS or no login.",
        "Correct spec.email.smtp.security and port.",
    )
    MALFORMED = (
        "Malformed",
        "CredentialsAccepted, component",
        "The content of the Secret cannot be used.",
        "Correct the Secret as the message says.",
    )
    SECRET_MISSING = (
        "SecretMissing",
        "CredentialsAccepted, component",
        "A Secret that the spec names, or a key in it, does not exist.",
        "Create it.",
    )
    SECRET_INVALID = (
        "SecretInvalid",
        "component",
        "The Secret of an external backend does not describe a server.",
        "Correct the Secret as the message says.",
    )
    KEY_RING_LOST = (
        "KeyRingLost",
        "component",
        "A key that data was sealed with is in no Secret. No other key is created in its place.",
        "Restore the Secret of the key ring or its copy from a backup.",
    )

    # The edge's certificate
    SERVED = ("Served", "CertificateReady", "The certificate is served.")
    EXPIRES_SOON = (
        "ExpiresSoon",
        "CertificateReady",
        "The certificate is served and expires within 14 days.",
        "Renew it.",
    )
    CERTIFICATE_MISSING = (
        "CertificateMissing",
        "CertificateReady, component",
        "The Secret does not exist or lacks tls.crt or tls.key.",
        "Create it as a Secret of type kubernetes.io/tls.",
    )
    CERTIFICATE_UNREADABLE = (
        "CertificateUnreadable",
        "CertificateReady, component",
        "The certificate or its key cannot be parsed.",
        "Store both as PEM, the key without a passphrase.",
    )
    CERTIFICATE_KEY_MISMATCH = (
        "CertificateKeyMismatch",
        "CertificateReady, component",
        "The key does not belong to the first certificate of the chain.",
        "Store the key and the chain of the same certificate, the leaf first.",
    )
    CERTIFICATE_EXPIRED = (
        "CertificateExpired",
        "CertificateReady, component",
        "The certificate has expired.",
        "Renew it.",
    )
    CERTIFICATE_NOT_YET_VALID = (
        "CertificateNotYetValid",
        "CertificateReady, component",
        "The certificate is not valid yet.",
        "Compare the clocks, or wait.",
    )
    CERTIFICATE_HOST_MISMATCH = (
        "CertificateHostMismatch",
        "CertificateReady, component",
        "The certificate does not cover the host of publicUrl.",
        "Request a certificate for that host, or correct publicUrl.",
    )

    # Components
    AVAILABLE = ("Available", "BackendsReady, component", "The pods are ready.")
    SCALED_TO_ZERO = (
        "ScaledToZero",
        "component",
        "The spec requests no pods.",
    )
    STARTING = ("Starting", "component", "Pods are starting.", "Wait.")
    ROLLING_OUT = ("RollingOut", "component", "New pods replace old ones.", "Wait.")
    STOPPING = ("Stopping", "component", "Pods that are no longer needed are ending.", "Wait.")
    MISSING = ("Missing", "component", "The object does not exist yet.", "Wait.")
    EXTERNAL = ("External", "component", "The backend is external and in order.")
    IMAGE_PULL_BACK_OFF = (
        "ImagePullBackOff",
        "component",
        "The image cannot be pulled.",
        "Correct the image, or give the nodes access to the registry.",
    )
    CRASH_LOOP_BACK_OFF = (
        "CrashLoopBackOff",
        "component",
        "A container ends soon after each start.",
        "Read its log: kubectl logs --previous.",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        "component",
        "No node can run the pod; the message is the scheduler's.",
        "Free or add resources, or correct the storage class.",
    )
    NODE_LOST = (
        "NodeLost",
        "component",
        "The node of a pod does not respond; the message names the node, and the volume on it.",
        (
            "Bring the node back. A pod without a volume is started elsewhere after five minutes; "
            "a volume of a lost machine must be restored from a backup."
        ),
    )
    ADMITTED = ("Admitted", "component", "A controller serves the Ingress.")
    NOT_REPORTED = (
        "NotReported",
        "component",
        "The Ingress exists; no controller has reported an address. Not every controller does.",
        "If requests fail, check the controller and the IngressClass.",
    )
    GATEWAY_API_MISSING = (
        "GatewayApiMissing",
        "component",
        "The cluster does not serve HTTPRoute.",
        "Install the Gateway API 1.2 or newer, or choose another exposure.type.",
    )
    NOT_ACCEPTED = (
        "NotAccepted",
        "component",
        "No controller has accepted the route yet.",
        "Check the Gateway, its listeners and allowedRoutes.",
    )

    # As the CLI shows it, where the status is silent
    NOT_OBSERVED = (
        "NotObserved",
        "kubectl ashchat status",
        "No operator has reconciled this resource, or not its newest spec.",
        "Check that the operator runs and watches this namespace.",
    )


class EventReason(StrEnum):
    """Reasons of events that are not simply a condition type, or "Not" and a type."""

    RESUMED = "Resumed"
    SECRETS_ROTATING = "SecretsRotating"
    RESTARTED = "Restarted"
    CLEANUP_ABANDONED = "CleanupAbandoned"
