"""Rules about the network: policies, the mail server, the public address."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from ashchat_cli.rules.facts import Facts, Finding, Severity
from ashchat_core.api.names import OPERATOR, Label
from ashchat_core.wording import counted

EXPIRES_SOON: Final = timedelta(days=14)

DNS_PORT: Final = 53


def mail(facts: Facts) -> Iterator[Finding]:
    """Report mail that waits because the mail server does not accept it."""
    held = sum(facts.held.get("email", {}).values())
    smtp = facts.spec.get("email", {}).get("smtp", {})
    where = f"{smtp.get('host')}:{smtp.get('port', '')}".rstrip(":")
    if held:
        refused = facts.mail.get("login_refused", 0) > 0
        why = "it refused the login" if refused else "it does not answer, or not as expected"
        secret = smtp.get("credentialsSecretRef", {}).get("name", "")
        check = f"check Secret {secret}; " if refused and secret else ""
        yield Finding(
            "mail",
            Severity.ERROR,
            f"{counted(held, 'mail')} waiting for the mail server {where}",
            f"{why}; nothing is lost: they are sent when it accepts them",
            f"{check}kubectl -n {facts.namespace} logs deploy/{facts.name}-email --tail=50",
        )


def network(facts: Facts) -> Iterator[Finding]:
    """Report network policies that keep our pods from resolving names.

    Policies only add to what is let through. So where the operator's own select a pod, no
    other takes anything from it, and one that needs no names has no way to DNS.
    """
    for pod in facts.pods:
        own = pod["metadata"].get("labels", {})
        selecting = [
            policy
            for policy in facts.policies
            if "Egress" in policy["spec"].get("policyTypes", ())
            and selects(policy["spec"].get("podSelector", {}), own)
        ]
        if any(_of_operator(policy) for policy in selecting):
            continue
        rules = [rule for policy in selecting for rule in policy["spec"].get("egress") or ()]
        if selecting and not any(_allows_dns(rule) for rule in rules):
            names = ", ".join(policy["metadata"]["name"] for policy in selecting)
            yield Finding(
                "network",
                Severity.ERROR,
                f"{pod['metadata']['name']} may not query DNS (NetworkPolicy {names})",
                "no policy that selects it has an egress rule with UDP port 53",
                f"kubectl -n {facts.namespace} describe networkpolicy {names.replace(',', '')}",
            )


def _of_operator(body: Mapping[str, Any]) -> bool:
    labels = body["metadata"].get("labels", {})
    return bool(labels.get(Label.MANAGED_BY) == OPERATOR)


def selects(selector: Mapping[str, Any], own: Mapping[str, str]) -> bool:
    """Return whether a label selector selects these labels."""
    if any(own.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for each in selector.get("matchExpressions", ()):
        key, values = each["key"], each.get("values", ())
        match each["operator"]:
            case "In":
                fits = own.get(key) in values
            case "NotIn":
                fits = own.get(key) not in values
            case "Exists":
                fits = key in own
            case _:
                fits = key not in own
        if not fits:
            return False
    return True


def _allows_dns(rule: Mapping[str, Any]) -> bool:
    """Return whether an egress rule allows UDP 53, to any peer."""
    ports = rule.get("ports")
    if not ports:
        return True
    for each in ports:
        first = each.get("port")
        if each.get("protocol", "TCP") != "UDP":
            continue
        if first is None or first == "dns":
            return True
        if isinstance(first, int) and first <= DNS_PORT <= each.get("endPort", first):
            return True
    return False


def web(facts: Facts) -> Iterator[Finding]:
    """Report a public address that does not respond, or whose certificate expires."""
    found = facts.web
    if found is None:
        return
    if found.problem:
        yield Finding(
            "web",
            Severity.ERROR,
            f"{found.url} does not respond from here",
            found.problem,
            f"kubectl -n {facts.namespace} get pods,services"
            f" -l app.kubernetes.io/instance={facts.name},app.kubernetes.io/component=edge",
        )
    if found.expires is not None and found.expires - facts.now < EXPIRES_SOON:
        days = (found.expires - facts.now).days
        over = f"expires in {days} days" if days >= 0 else "has expired"
        yield Finding(
            "certificate",
            Severity.WARNING if days >= 0 else Severity.ERROR,
            f"the certificate of {found.url} {over} ({found.expires:%Y-%m-%d})",
            "it has not been renewed, by cert-manager or by hand",
            f"kubectl -n {facts.namespace} get secrets --field-selector type=kubernetes.io/tls",
        )
