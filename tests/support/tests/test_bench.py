"""The benchmarks' figures and pages: what can be tested without a cluster."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice

import pytest
from rich.console import Console

from ashchat_auth import passwords
from ashchat_core.api.names import Label
from ashchat_dev.kube.metrics import Metrics
from ashchat_e2e.bench import auth, floor, health, peer, report
from ashchat_e2e.bench.figures import Lag, Probe, lag_between, percentile, spread, within
from ashchat_e2e.bench.report import Round, Run, SignIn

LAG = "ashchat_event_loop_lag_seconds"
QUICK = Lag("demo-auth-x", 5.0, ((0.01, 190), (0.025, 10), (0.05, 0), (0.1, 0), (float("inf"), 0)))


def scraped(**below: int) -> Metrics:
    """Return a scrape with a histogram of these cumulative counts: le_0_05=7 → le="0.05"."""
    lines = [f"# TYPE {LAG} histogram"]
    lines += [
        f'{LAG}_bucket{{le="{name.removeprefix("le_").replace("_", ".").replace("inf", "+Inf")}"}}'
        f" {count}"
        for name, count in below.items()
    ]
    return Metrics("\n".join(lines) + "\n")


def run(*, lags: tuple[Lag, ...] = (QUICK,), slow: float = 0.03, status: int = 200) -> Run:
    """Return a run of two rounds and three health probes: one idle, two under load."""
    sign_ins = tuple(SignIn(200, 0.01 * n) for n in range(1, 101))
    return Run(
        begun_at="2026-01-01T00:00:00+00:00",
        at_once=100,
        people=50,
        idle=(100.0, 103.0),
        rounds=(Round(104.0, 105.0, sign_ins), Round(105.0, 107.0, sign_ins)),
        probes=(
            Probe(101.0, "/livez", "demo-auth-x", 0.004, 200),
            Probe(103.5, "/livez", "demo-auth-x", 9.0, 200),
            Probe(104.5, "/livez", "demo-auth-x", 0.02, 200),
            Probe(106.0, "/readyz", "demo-auth-x", slow, status),
        ),
        lags=lags,
        pods=("demo-auth-x",),
        asked=("10.0.0.7:9000",),
        alone=(88.0, 90.0),
        hashing="argon2id, 19 MiB, t = 2, p = 1, 2 threads",
        cores=2,
        processor="a processor",
        load_before=0.4,
        versions={"auth": "0.1.0", "sources": ""},
        images=("localhost/ashchat-auth:1",),
        cpu_requests=("20m",),
        cpu_used=1.234,
    )


def figure_of(found: Run, what: str) -> tuple[str, str]:
    (figure,) = [(figure, aim) for name, figure, aim in report.rows(found) if name.startswith(what)]
    return figure


# Figures


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (95, 10), (100, 10), (1, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile(list(range(10, 0, -1)), percent) == value


def test_nothing_measured_has_no_spread_and_no_percentile() -> None:
    assert spread([]) is None
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_only_what_the_pod_saw_between_the_scrapes_counts() -> None:
    before = scraped(le_0_025=90, le_0_05=95, le_inf=96)
    after = scraped(le_0_025=280, le_0_05=294, le_inf=295)
    lag = lag_between("pod", before, after, 5.0)
    assert lag is not None
    assert lag.buckets == ((0.025, 190), (0.05, 9), (float("inf"), 0))
    assert lag.beats == 199
    assert lag.longest == (0.025, 0.05)
    assert lag.later_than(0.025) == 9
    assert not lag.coarse


def test_a_missing_lag_metric_is_not_zero_lag() -> None:
    empty = Metrics("# TYPE other counter\nother_total 1\n")
    assert lag_between("pod", empty, empty, 5.0) is None


def test_a_loop_with_few_or_no_measurements_is_coarse() -> None:
    assert Lag("pod", 5.0, ((0.05, 10),)).coarse
    assert Lag("pod", 5.0, ((0.05, 0),)).coarse


def test_probes_count_in_the_period_of_their_request() -> None:
    probes = [Probe(at, "/livez", "pod", 1.0, 200) for at in (0.5, 1.5, 2.5, 3.5)]
    assert [one.at for one in within(probes, [(1.0, 2.0), (3.0, 4.0)])] == [1.5, 3.5]


# The report


def test_the_longest_block_is_the_lag_plus_up_to_one_interval() -> None:
    assert figure_of(run(), "longest loop block") == ("10 to 50", "≤ 50: met")


def test_a_block_over_the_target_is_reported_with_its_count() -> None:
    late = Lag("pod", 5.0, ((0.05, 190), (0.1, 9), (float("inf"), 1)))
    assert figure_of(run(lags=(late,)), "longest loop block") == (
        "100 to inf",
        "≤ 50: missed, 10 times",
    )


def test_a_block_between_the_bounds_is_not_reported_as_met() -> None:
    unclear = Lag("pod", 5.0, ((0.025, 190), (0.05, 10), (float("inf"), 0)))
    assert figure_of(run(lags=(unclear,)), "longest loop block") == (
        "25 to 75",
        "≤ 50: not surely met",
    )


@pytest.mark.parametrize(
    ("lags", "says"),
    [
        ((), "no metric"),
        ((Lag("pod", 5.0, ((0.05, 10),)),), "looks every 500 ms"),
    ],
)
def test_images_without_the_metric_are_reported_and_the_target_is_not_met(
    lags: tuple[Lag, ...], says: str
) -> None:
    assert figure_of(run(lags=lags), "longest loop block") == (
        says,
        "≤ 50: not measured, old images",
    )


def test_health_under_load_is_reported_separately_from_idle_health() -> None:
    assert figure_of(run(), "health ms") == ("20 / 30 / 30", "≤ 100: met")
    assert figure_of(run(), "health while idle") == ("4 / 4 / 4", "the way there alone")


def test_a_late_or_missing_health_response_misses_the_target() -> None:
    assert figure_of(run(slow=0.2), "health ms")[1] == "≤ 100: missed, 1 of 2 later"
    assert figure_of(run(status=0), "health ms")[1].endswith("1 not answered with 200")


def test_sign_ins_that_failed_are_counted_and_not_timed() -> None:
    failed = Round(104.0, 105.0, (SignIn(200, 0.5), SignIn(503, 0.001), SignIn(0, 20.0)))
    made = run()
    found = Run(
        **{name: getattr(made, name) for name in Run.__slots__ if name != "rounds"},
        rounds=(failed,),
    )
    assert figure_of(found, "signed in")[0] == "1 of 3"
    assert figure_of(found, "sign-in ms")[0] == "500 / 500 / 500"
    assert found.raw()["rounds"][0]["failed"] == [503, 0]


def test_the_page_has_the_command_the_figures_and_the_environment() -> None:
    page = report.markdown(run())
    for part in (
        "$ make bench-auth",
        "| 75 |",
        "| 90 |",
        "2 cores, a processor",
        "argon2id, 19 MiB",
        "requesting CPU 20m",
        "1.23 cores",
    ):
        assert part in page
    assert max(len(line) for line in page.splitlines()) <= 100
    assert "sources" not in page, "an unknown value must be omitted"


def test_the_raw_data_is_json_with_every_sign_in_and_answer() -> None:
    raw = json.loads(json.dumps(run().raw()))
    assert [len(each["sign_ins_ms"]) for each in raw["rounds"]] == [100, 100]
    assert raw["health"][0] == [1000.0, 0, "/livez", 200, 4.0]
    assert raw["idle_ms"] == [0.0, 3000.0]


def test_terminal_output_fits_in_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, highlight=False)
    console.print(report.table(run(lags=(), slow=0.2)))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 80
    assert len(lines) == len(report.rows(run())), "no row may be wrapped"


# The benchmark's helpers


def test_used_cores_are_computed_between_the_scrapes() -> None:
    before, after = (
        Metrics(f"# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total {seconds}\n")
        for seconds in (10, 16)
    )
    assert auth.cores_used(100.0, before, 104.0, after) == 1.5


@pytest.mark.parametrize("url", ["http://127.0.0.1:30080", "http://localhost", "http://[::1]:1"])
def test_this_machine_may_be_loaded(url: str) -> None:
    auth.loopback_only(url)


@pytest.mark.parametrize("url", ["https://chat.example.org", "http://10.0.0.1", "http://127.evil"])
def test_a_remote_machine_may_not_be_loaded(url: str) -> None:
    with pytest.raises(auth.CannotMeasureError, match="not on this machine"):
        auth.loopback_only(url)


def test_the_peer_hashes_with_auths_own_parameters() -> None:
    assert peer.verifications_per_second(0.01) > 0
    assert f"{passwords.MEMORY_KIB // 1024} MiB, t = {passwords.TIME_COST}" in peer.parameters()


class Private(BaseHTTPRequestHandler):
    """Responds to /livez with 200, and to everything else with 503."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's)
        pass


@pytest.fixture
def private_port() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Private) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_both_paths_of_every_pod_are_probed_in_turn(private_port: str) -> None:
    one, other = health.Asking("one", private_port), health.Asking("other", private_port)
    turns = [(who is one, path) for who, path in islice(health.rounds([one, other]), 5)]
    assert turns == [
        (True, "/livez"),
        (False, "/livez"),
        (True, "/readyz"),
        (False, "/readyz"),
        (True, "/livez"),
    ]
    assert [one.ask(path).status for path in health.PATHS] == [200, 503]
    one.close()


def test_an_unresponsive_pod_has_status_0_and_is_probed_again(private_port: str) -> None:
    asking = health.Asking("pod", private_port)
    right = asking._connection.port
    asking._connection.port = 1
    assert asking.ask("/livez").status == 0
    asking._connection.port = right
    assert asking.ask("/livez").status == 200
    asking.close()


# The baseline of 100 AshChats


def test_a_copied_object_has_no_server_set_fields() -> None:
    live = {
        "metadata": {
            "name": "n-chat",
            "uid": "1",
            "resourceVersion": "7",
            "ownerReferences": [{"uid": "2"}],
            "labels": {Label.INSTANCE: "n", Label.MANAGED_BY: "ashchat-operator"},
        },
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 1}]},
        "status": {"loadBalancer": {}},
    }
    assert floor.bare(live) == {
        "metadata": {"name": "n-chat", "labels": {Label.INSTANCE: "n"}},
        "spec": {"ports": [{"port": 1}]},
    }


def test_a_copied_object_gains_no_cluster_ip() -> None:
    live = {"metadata": {"name": "n", "labels": {}}, "spec": {"clusterIP": "None"}}
    assert floor.bare(live)["spec"] == {"clusterIP": "None"}
