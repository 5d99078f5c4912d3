"""The edge: its configuration with and without TLS, and how certificates are replaced."""

import re
from datetime import UTC, datetime
from typing import Any

from ashchat_core import request_bodies
from ashchat_dev.certificates import certificate
from ashchat_operator.credentials.certificate import load
from ashchat_operator.render import edge
from ashchat_operator.render.pods import allowed_origins, trusted_proxies
from ashchat_operator.resource.model import AshChat
from operator_rendering import CONTEXT, changed

HTTPS: dict[str, Any] = {
    "publicUrl": "https://chat.example.org",
    "exposure": {"edge": {"httpsNodePort": 30443, "tls": {"certificateSecretRef": {"name": "x"}}}},
}
CERTIFICATE = load(certificate("chat.example.org", begin=datetime(2030, 1, 1, tzinfo=UTC)))


def with_tls(**more: Any) -> AshChat:
    return changed("minimal", {**HTTPS, **more})


def by_kind(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["kind"]: item for item in objects}


def test_certificate_and_configuration_change_in_one_volume() -> None:
    objects = by_kind(edge.render(with_tls(), CONTEXT, CERTIFICATE))
    assert set(objects) == {"Secret", "Deployment", "Service"}
    name = CERTIFICATE.fingerprint
    assert set(objects["Secret"]["data"]) == {"Caddyfile", f"{name}.crt", f"{name}.key"}
    volume = objects["Deployment"]["spec"]["template"]["spec"]["volumes"][0]
    assert volume["secret"]["secretName"] == objects["Secret"]["metadata"]["name"]


def test_a_renewed_certificate_changes_the_configuration_without_a_restart() -> None:
    renewed = load(certificate("chat.example.org"))
    before = by_kind(edge.render(with_tls(), CONTEXT, CERTIFICATE))
    after = by_kind(edge.render(with_tls(), CONTEXT, renewed))
    assert before["Deployment"] == after["Deployment"]
    texts = [edge.caddyfile(with_tls(), CONTEXT, each) for each in (CERTIFICATE, renewed)]
    assert texts[0] != texts[1]


def test_the_served_certificate_is_read_back_from_the_secret() -> None:
    secret = by_kind(edge.render(with_tls(), CONTEXT, CERTIFICATE))["Secret"]
    from ashchat_operator.kube.secret_data import decoded

    assert load(edge.served_certificate(decoded(secret))) == CERTIFICATE


def test_without_a_certificate_new_pods_wait_and_running_ones_retain_their_configuration() -> None:
    plain = by_kind(edge.render(changed("minimal", {}), CONTEXT))
    waiting = by_kind(edge.render(with_tls(), CONTEXT, None))
    assert waiting["ConfigMap"]["metadata"] == plain["ConfigMap"]["metadata"]
    assert "Secret" not in waiting
    volume = waiting["Deployment"]["spec"]["template"]["spec"]["volumes"][0]
    assert volume["secret"]["secretName"] == "small-edge-tls"


def test_http_redirects_to_https() -> None:
    text = edge.caddyfile(with_tls(), CONTEXT, CERTIFICATE)
    plain = text[text.index("\n:8080 {") :]
    assert plain.split() == [":8080", "{", "redir", "https://chat.example.org{uri}", "308", "}"]
    assert "Strict-Transport-Security max-age=31536000" in text
    unnamed = edge.caddyfile(with_tls(publicUrl=None), CONTEXT, CERTIFICATE)
    assert "redir https://{host}:30443{uri} 308" in unnamed


def test_the_service_has_both_ports_with_tls_and_one_without() -> None:
    service = by_kind(edge.render(with_tls(), CONTEXT, CERTIFICATE))["Service"]
    assert [(x["port"], x["targetPort"], x.get("nodePort")) for x in service["spec"]["ports"]] == [
        (80, 8080, None),
        (443, 8443, 30443),
    ]
    plain = by_kind(edge.render(changed("minimal", {}), CONTEXT))["Service"]
    assert [x["port"] for x in plain["spec"]["ports"]] == [80]


def test_no_websocket_is_closed_before_its_token_expires() -> None:
    # auth issues tokens for an hour at most.
    assert "stream_close_delay 61m" in edge.caddyfile(changed("minimal", {}), CONTEXT)


def test_which_proxies_are_trusted_for_the_clients_address() -> None:
    no_trust = changed("minimal", {})
    assert "trusted_proxies" not in edge.caddyfile(no_trust, CONTEXT)
    named = changed("minimal", {"exposure": {"trustedProxies": ["192.0.2.0/24", "2001:db8::/32"]}})
    text = edge.caddyfile(named, CONTEXT)
    assert "trusted_proxies static 192.0.2.0/24 2001:db8::/32" in text
    assert "trusted_proxies_strict" in text
    # Services trust the edge, which is a pod; without it, the proxies in the resource.
    assert trusted_proxies(named, CONTEXT) == CONTEXT.pod_cidrs
    without = changed("minimal", {"exposure": {"type": "None", "trustedProxies": ["192.0.2.0/24"]}})
    assert trusted_proxies(without, CONTEXT) == "192.0.2.0/24"
    silent = changed("minimal", {"exposure": {"type": "None"}})
    assert trusted_proxies(silent, CONTEXT) == CONTEXT.pod_cidrs


def test_the_edges_own_errors_are_readable_by_pages_of_allowed_origins() -> None:
    exposure = {"allowedOrigins": ["https://Bücher.example:443", "capacitor://localhost", "null"]}
    ash = changed("minimal", {"publicUrl": "https://chat.example.org", "exposure": exposure})
    listed = [
        "https://chat.example.org", "https://xn--bcher-kva.example", "capacitor://localhost", "null"
    ]  # fmt: skip
    assert allowed_origins(ash)["ASHCHAT_ALLOWED_ORIGINS"].split(",") == listed
    text = edge.caddyfile(ash, CONTEXT)
    handlers = re.findall(r"handle_errors [0-9 ]+\{.*?\n\t\}", text, re.DOTALL)
    assert len(handlers) == 3
    for handler in handlers:
        assert set(re.findall(r"header Origin (\S+)", handler)) == set(listed)
        assert "header @allowed Access-Control-Allow-Origin {header.Origin}" in handler
    assert "Access-Control" not in edge.caddyfile(changed("minimal", {}), CONTEXT)


def test_slow_bodies_are_cut_slightly_later_than_in_the_services() -> None:
    text = edge.caddyfile(changed("minimal", {}), CONTEXT)
    for matcher, seconds in (
        ("upload", request_bodies.UPLOAD_GRACE_SECONDS),
        ("other", request_bodies.BODY_SECONDS),
    ):
        found = re.search(rf"timeouts @{matcher} {{\s+read_timeout (\d+)s (\d+)", text)
        assert found is not None
        assert seconds < int(found[1]) < seconds + 15
        assert int(found[2]) < request_bodies.UPLOAD_BYTES_PER_SECOND


def test_an_early_answer_does_not_wait_for_the_rest_of_the_body() -> None:
    text = edge.caddyfile(changed("minimal", {}), CONTEXT)
    upstream = text[text.index("(upstream)") : text.index("(site)")]
    assert "@cut status 408 413" in upstream
    assert re.search(r"handle_response @cut {\s+header Connection close\s+copy_response", upstream)


def test_the_edge_reports_the_limit_to_a_body_that_is_too_large() -> None:
    text = edge.caddyfile(changed("minimal", {}), CONTEXT)
    assert (
        f'respond @upload `{{"status": 413, "message": "A file may have at most {10 << 20}' in text
    )
    assert (
        f'respond `{{"status": 413, "message": "A request body may have at most {1 << 20}' in text
    )
