"""metrics-server verifies the kubelet's certificate, by a name that it contains."""

from ashchat_node import kubelet, metrics, network


def test_the_kubelets_certificate_is_verified() -> None:
    objects = {(x["kind"], x["metadata"]["name"]): x for x in metrics.objects("image:1", "PEM")}
    assert objects["ConfigMap", "metrics-server-kubelet"]["data"] == {"ca.crt": "PEM"}
    pod = objects["Deployment", "metrics-server"]["spec"]["template"]["spec"]
    arguments = pod["containers"][0]["args"]
    assert "--kubelet-certificate-authority=/etc/kubelet/ca.crt" in arguments
    assert not any("insecure" in argument for argument in arguments)
    # The name in the certificate leads to the node.
    assert pod["hostAliases"] == [{"ip": network.NODE_ADDRESS, "hostnames": [kubelet.NODE_NAME]}]


def test_its_account_is_the_one_that_has_the_rights() -> None:
    objects = metrics.objects("image:1", "PEM")
    (account,) = [x["metadata"] for x in objects if x["kind"] == "ServiceAccount"]
    for binding in (x for x in objects if x["kind"].endswith("RoleBinding")):
        (subject,) = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
