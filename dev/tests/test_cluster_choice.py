import pytest

from ashchat_dev.cluster import Machine, NoClusterError, choose

NOTHING = Machine(docker=False, linux=False, root=False)
ROOT_ON_LINUX = Machine(docker=False, linux=True, root=True)
USER_ON_LINUX = Machine(docker=False, linux=True, root=False)
DOCKER = Machine(docker=True, linux=False, root=False)
BOTH = Machine(docker=True, linux=True, root=True)
RUNNING = Machine(docker=True, linux=True, root=True, node=True)


@pytest.mark.parametrize(
    ("wanted", "machine", "chosen"),
    [
        (None, DOCKER, "kind"),
        ("", BOTH, "kind"),
        (None, RUNNING, "node"),
        ("kind", RUNNING, "kind"),
        (None, ROOT_ON_LINUX, "node"),
        ("node", BOTH, "node"),
        ("kind", DOCKER, "kind"),
        ("current", NOTHING, "current"),
        ("current", BOTH, "current"),
    ],
)
def test_the_cluster_is_the_one_wanted_or_the_nearest(
    wanted: str | None, machine: Machine, chosen: str
) -> None:
    assert choose(wanted, machine) == chosen


@pytest.mark.parametrize(
    ("wanted", "machine", "why"),
    [
        (None, NOTHING, r"Docker.*root on Linux"),
        (None, USER_ON_LINUX, r"Docker.*root on Linux"),
        ("kind", ROOT_ON_LINUX, "no Docker engine answers"),
        ("node", DOCKER, "Linux and root"),
        ("minikube", BOTH, "not minikube"),
    ],
)
def test_what_cannot_be_had_is_said(wanted: str | None, machine: Machine, why: str) -> None:
    with pytest.raises(NoClusterError, match=why):
        choose(wanted, machine)


def test_a_users_own_cluster_is_never_chosen_by_itself() -> None:
    for machine in (NOTHING, DOCKER, ROOT_ON_LINUX, BOTH):
        for wanted in (None, "", "kind", "node"):
            try:
                assert choose(wanted, machine) != "current"
            except NoClusterError:
                continue
