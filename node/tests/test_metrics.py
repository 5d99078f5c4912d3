"""metrics-server verifies the kubelets' certificates, by names that they contain."""

from ashchat_node import metrics

KUBELETS = [
    metrics.Kubelet("a", "10.0.0.1", "PEM a\n"),
    metrics.Kubelet("b", "10.0.0.2", "PEM b\n"),
]


def test_the_kubelets_certificates_are_verified() -> None:
    objects = {(x["kind"], x["metadata"]["name"]): x for x in metrics.objects("image:1", KUBELETS)}
    assert objects["ConfigMap", "metrics-server-kubelet"]["data"] == {"ca.crt": "PEM a\nPEM b\n"}
    pod = objects["Deployment", "metrics-server"]["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    assert "--kubelet-certificate-authority=/etc/kubelet/ca.crt" in arguments
    assert not any("insecure" in argument for argument in arguments)
    # The name in a certificate leads to its node.
    assert pod["hostAliases"] == [
        {"ip": "10.0.0.1", "hostnames": ["a"]},
        {"ip": "10.0.0.2", "hostnames": ["b"]},
    ]


def test_its_account_is_the_one_that_has_the_rights() -> None:
    objects = metrics.objects("image:1", KUBELETS)
    (account,) = [x["metadata"] for x in objects if x["kind"] == "ServiceAccount"]
    for binding in (x for x in objects if x["kind"].endswith("RoleBinding")):
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
