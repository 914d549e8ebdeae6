"""The table: one object for each fault. Read it from top to bottom, and you know what is promised."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from stores.region import SITES
from workload import READS

from scoreboard import acts, beside, expect
from scoreboard.acts import nothing
from scoreboard.expect import WRITES, Expectation, failed, no_failed_reads, no_failed_writes
from scoreboard.stage import ASIDE, POINT, Setup, Stage

Act = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True)
class Red:
    """How a row is made to turn red: by default without failover, else what is said here."""

    text: str = "no failover"
    inject: Act | None = None
    undo: Act | None = None
    beside: Act | None = None
    change: Callable[[Setup], Setup] = Setup.without_failover
    fault_seconds: float | None = None  # at least; None: as long as the row's


@dataclass(frozen=True)
class Row:
    """One fault and what is promised of it."""

    number: int
    fault: str
    promise: str
    inject: Act
    undo: Act
    expect: list[Expectation] = field(default_factory=list)
    setup: Setup = Setup()
    prepare: Act | None = None
    beside: Act | None = None
    after: Act | None = None  # once the traffic is over and the regions agree
    red: Red = Red()
    part: str = ""  # "b" of a row that is played in two
    fault_seconds: float = 0.0  # at least
    full_fault_seconds: float = 0.0  # at least, in the full form
    recovery_seconds: float = 0.0  # at least, in the full form
    long: list[Expectation] = field(default_factory=list)  # what only the full form lasts long enough to see
    long_only: bool = False
    remark: str = ""

    @property
    def name(self) -> str:
        """As it is asked for and shown."""
        return f"{self.number}{self.part}"


ALLOW = Setup(writes="allow")
PATH = Setup(path=True)
KEYS = {"prefix": "mixed/"}
HEAD_REFUSED = acts.answers(403, "AccessDenied", ("HEAD",))  # for good: what cannot answer now is asked again


def fixed_order(setup: Setup) -> Setup:
    """Reads go to the regions in one order, whatever they take."""
    return replace(setup.without_failover(), order=Setup().order)


def without_resumption(setup: Setup) -> Setup:
    """A reply that broke off is not gone on with."""
    return replace(setup, overlay={**setup.overlay, "limits": {"resumes": 0}})


def with_much_to_keep(setup: Setup) -> Setup:
    """Limits on what is kept of bodies that the memory there is does not allow."""
    return replace(setup, overlay={"limits": {"replay_total": "1GiB"}})


def as_it_is(setup: Setup) -> Setup:
    """The same: the control lies in the injection."""
    return setup


ROWS = [
    Row(
        1,
        "process killed",
        "0 failed reads and writes; uploads: those in flight; moved <= 100 ms",
        acts.kill,
        acts.revive,
        [no_failed_reads, failed("PUT", "DELETE"), expect.uploads_in_flight, expect.moved(0.1)],
        ALLOW,
    ),
    Row(
        2,
        "process hung",
        "0 failed reads; ejected <= 3 s; slowest GET <= 1.5 s",
        acts.freeze,
        acts.thaw,
        [no_failed_reads, expect.writes_end_well, expect.ejected(3.0), expect.slowest("GET", 1.5)],
    ),
    Row(
        3,
        "partition, packets dropped",
        "0 failed reads; ejected <= 3 s; no socket older than 6 s",
        acts.rules("in drop", "out drop"),
        acts.heal_network,
        [
            no_failed_reads,
            expect.writes_end_well,
            expect.ejected(3.0),
            expect.is_zero("connections older than 6 s"),
        ],
        beside=acts.old_sockets,
    ),
    Row(
        4,
        "reset storm",
        "0 failed reads; ejected <= 100 ms",
        acts.rules("in meta l4proto tcp reject with tcp reset"),
        acts.heal_network,
        [no_failed_reads, expect.writes_end_well, expect.ejected(0.1)],
    ),
    Row(
        5,
        "asymmetric: replies dropped",
        "as 3; 0 lost, 0 false success",
        acts.rules("out drop"),
        acts.heal_network,
        [
            no_failed_reads,
            expect.writes_end_well,
            expect.ejected(3.0),
            expect.is_zero("connections older than 6 s"),
        ],
        beside=acts.old_sockets,
    ),
    Row(
        6,
        "20 % packet loss",
        "0 failed; p99 GET <= 2x far region; derouted <= 15 s",
        acts.rules("in numgen random mod 100 < 20 drop", "out numgen random mod 100 < 20 drop"),
        acts.heal_network,
        [
            expect.served_before,
            no_failed_reads,
            expect.writes_end_well,
            expect.p99("GET", expect.twice_the_far),
            expect.derouted(15),
        ],
        Setup(order="nearest"),
        red=Red("fixed order", change=fixed_order),
        remark="that a key is absent only home may say, and home is behind that path: one read in six is of such a key",
    ),
    Row(
        7,
        "+300 ms latency step",
        "re-ranked <= 10 s; no error; returns <= 60 s after, one switch each way",
        acts.further,
        acts.heal_network,
        [
            expect.served_before,
            no_failed_reads,
            no_failed_writes,
            expect.derouted(10),
            expect.one_switch_each_way,
        ],
        Setup(order="nearest"),
        fault_seconds=15,
        recovery_seconds=75,
        long=[expect.returned(60)],
        red=Red("fixed order", change=fixed_order),
    ),
    Row(
        8,
        "slow drip, 100 B/s bodies",
        "stalled GETs resumed <= 21 s, byte-exact",
        acts.wrong({"fault": "rate", "bytes_per_second": 100}, prefix=beside.UNTOUCHED, share=0.5),
        acts.right,
        [
            no_failed_reads,
            expect.is_zero("not read whole"),
            expect.happened("read whole", 100),
            expect.noted("slowest of them in s", lambda spent: spent <= 21, 21.0),
            expect.happened("requests hit", 20),
        ],
        PATH,
        prepare=beside.store_untouched,
        beside=beside.read_untouched,
        fault_seconds=25,
    ),
    Row(
        9,
        "GET cut mid-body",
        "100 % byte-exact by resume",
        acts.wrong({"fault": "cut", "at": 1, "spread": 65000}, operation="GetObject", share=0.2, **KEYS),
        acts.right,
        [no_failed_reads, expect.happened("requests hit", 10)],
        PATH,
        red=Red("no resumption", change=without_resumption),
    ),
    Row(
        10,
        "PUT: reply dropped after commit",
        "100 % resolved to 200; 0 duplicates; <= 2 s added",
        acts.wrong({"fault": "drop_reply"}, operation="PutObject", share=0.3, **KEYS),
        acts.right,
        [
            failed("PUT"),
            expect.is_zero("stored twice"),
            expect.added("PUT", 2.0),
            expect.happened("requests hit", 10),
        ],
        PATH,
        red=Red(
            "and HEAD refused, no failover",
            acts.all_of(
                acts.wrong({"fault": "drop_reply"}, operation="PutObject", share=0.3, **KEYS), HEAD_REFUSED
            ),
            acts.all_of(acts.right, acts.heals),
        ),
    ),
    Row(
        11,
        "PUT: died before commit",
        "replayed, 200; 0 lost",
        acts.wrong({"fault": "die_before_commit"}, operation="PutObject", share=0.03, **KEYS),
        acts.right,
        [failed("PUT"), expect.happened("requests hit", 4)],
        PATH,
        red=Red(
            "one in three, no failover",
            acts.wrong({"fault": "die_before_commit"}, operation="PutObject", share=0.3, **KEYS),
        ),
    ),
    Row(
        12,
        "If-None-Match PUT, response lost",
        "200, never a false 412",
        acts.wrong({"fault": "drop_reply"}, operation="PutObject", prefix=ASIDE, share=0.5),
        acts.right,
        [
            expect.is_zero("false 412"),
            expect.is_zero("conditional not done"),
            expect.happened("conditional done", 20),
            expect.happened("requests hit", 5),
        ],
        PATH,
        beside=beside.conditional_writes,
        red=Red(
            "and HEAD refused, no failover",
            acts.all_of(
                acts.wrong({"fault": "drop_reply"}, operation="PutObject", prefix=ASIDE, share=0.5),
                HEAD_REFUSED,
            ),
            acts.all_of(acts.right, acts.heals),
        ),
    ),
    Row(
        13,
        "Complete: 200 + white space + Error",
        "retried to success or a true error, never reported as success",
        acts.acts(
            {"error_inside_ok": {"code": "InternalError"}}, operation="CompleteMultipartUpload", share=0.3
        ),
        acts.heals,
        [failed("MPU")],
        red=Red(
            "and HEAD refused, no failover",
            acts.all_of(
                acts.acts(
                    {"error_inside_ok": {"code": "InternalError"}},
                    operation="CompleteMultipartUpload",
                    share=0.3,
                ),
                HEAD_REFUSED,
            ),
        ),
    ),
    Row(
        14,
        "Complete: response lost, repeat says NoSuchUpload",
        "200 with the right ETag",
        acts.acts("drop_after_commit", operation="CompleteMultipartUpload", share=0.3),
        acts.heals,
        [failed("MPU")],
        red=Red(
            "and HEAD refused, no failover",
            acts.all_of(
                acts.acts("drop_after_commit", operation="CompleteMultipartUpload", share=0.3), HEAD_REFUSED
            ),
        ),
    ),
    Row(
        15,
        "500 on 30 % of requests",
        "client errors <= 0.1 %; ejected <= 10 s; retries <= 20 %",
        acts.answers(500, "InternalError", share=0.3),
        acts.heals,
        [expect.failed_share(0.001), expect.ejected(10.0)],
        ALLOW,
    ),
    Row(
        16,
        "500 on one poison key, 50/s",
        "region not ejected; other keys 0 errors",
        acts.answers(500, "InternalError", ("GET",), key=f"{ASIDE}poison"),
        acts.heals,
        [
            no_failed_reads,
            no_failed_writes,
            expect.stays,
            expect.served_here(0.9),
            expect.happened("poison asked", 100),
        ],
        prepare=beside.store_poison,
        beside=beside.poison,
        red=Red("every key poisoned, no failover", acts.answers(500, "InternalError")),
    ),
    Row(
        17,
        "503 SlowDown above 100/s",
        "no ejection; offered <= 110/s in 10 s; no cascade",
        acts.throttles(100),
        acts.heals,
        [expect.stays, expect.no_cascade, expect.offered(110)],
        beside=acts.offered_rate,
        fault_seconds=15,
        red=Red("500 instead of 503", acts.answers(500, "InternalError", share=0.5)),
    ),
    Row(
        18,
        "writes fail (500), reads fine",
        "reads stay 100 %; writes follow policy <= 1 s",
        acts.answers(500, "InternalError", ("PUT", "POST", "DELETE")),
        acts.heals,
        [no_failed_reads, expect.served_here(0.999), failed(*WRITES, after=1.0)],
        ALLOW,
    ),
    Row(
        19,
        "probe passes, GETs fail",
        "0 failed; ejected <= 5 s; <= 1 transition a minute",
        acts.answers(500, "InternalError", operation="GetObject"),
        acts.heals,
        [no_failed_reads, expect.ejected(5.0), expect.transitions(2)],
    ),
    Row(
        20,
        "probe fails, traffic fine",
        "stays in service; alarm names the probe; no drain",
        nothing,
        acts.heals,
        [
            no_failed_reads,
            no_failed_writes,
            expect.stays,
            expect.served_here(0.99),
            expect.alarm("nearpoint_region_probe_contradicted"),
            expect.grew("probes failed", "nearpoint_probes_total", 3, region=SITES[0][0], result="failed"),
        ],
        prepare=acts.store_canary,
        beside=acts.probe_goes_bad,
        red=Red(
            "all traffic fails too, no failover",
            acts.answers(500, "InternalError", probes=True),
            beside=nothing,
        ),
        remark="the probe's key is gone (404), then asking for it is an error (500); a region that answers requests is "
        "not probed, so a reload makes the gateway ask",
    ),
    Row(
        21,
        "credentials expired in one region",
        "0 client 403; drained <= 1 s; alarm names credentials",
        acts.answers(403, "ExpiredToken", probes=True),
        acts.heals,
        [
            no_failed_reads,
            failed("PUT", "DELETE"),
            expect.uploads_in_flight,
            expect.writes_end_well,
            expect.ejected(1.0),
            expect.alarm("nearpoint_region_credential_out"),
        ],
        ALLOW,
    ),
    Row(
        22,
        "clock skew of 20 min at a region",
        "offset learnt; 0 failed after the first second",
        acts.clock_off_by(1200),
        acts.clock_right,
        [failed(*READS, *WRITES, after=1.0)],
        red=Red(
            "and its answers are dated as if it were right, no failover",
            acts.all_of(acts.dated_as_if_right, acts.clock_off_by(1200)),
            acts.all_of(acts.clock_right, acts.heals),
        ),
        remark="the region's clock",
    ),
    Row(
        22,
        "clock skew of 20 min at the proxy",
        "0 failed after the first second",
        acts.own_clock("+1200"),
        acts.own_clock("+0"),
        [failed(*READS, *WRITES, after=1.0)],
        Setup(own_clock=True),
        part="b",
        red=Red(
            "and the regions disagree, no failover",
            acts.all_of(acts.own_clock("+1200"), acts.clock_off_by(4000)),
            acts.all_of(acts.own_clock("+0"), acts.clock_right),
        ),
        remark="libfaketime under the gateway; its clients' clocks are right, as the regions' are",
    ),
    Row(
        23,
        "upstream certificate for another name",
        "0 failed reads; drained <= 3 s; never sent unverified",
        acts.certificate("wrong"),
        acts.certificate_again,
        [no_failed_reads, expect.writes_end_well, expect.ejected(3.0), expect.is_zero("sent unverified")],
        Setup(path=True, tls=True),
    ),
    Row(
        23,
        "upstream certificate that has expired",
        "0 failed reads; drained <= 3 s; never sent unverified",
        acts.certificate("expired"),
        acts.certificate_again,
        [no_failed_reads, expect.writes_end_well, expect.ejected(3.0), expect.is_zero("sent unverified")],
        Setup(path=True, tls=True),
        part="b",
        remark="it is there from the strike on, and open connections end: a handshake is what sees a certificate",
    ),
    Row(
        24,
        "DNS silent, NXDOMAIN, empty, wrong",
        "0 failed; the wrong address drained",
        nothing,
        acts.dns_is_right,
        [
            no_failed_reads,
            expect.writes_end_well,
            expect.address_drained,
        ],
        Setup(names=True),
        beside=acts.dns_goes_bad,
        fault_seconds=55,  # 15 until the answer is wrong, 10 until it is asked for, 15 that connections are kept
        red=Red(
            "wrong and dead, no failover",
            acts.dns_is_wrong,
            acts.all_of(acts.dns_is_right, acts.revive),
            nothing,
            fault_seconds=20,
        ),
        remark="the 24 hours are a paused-time test: a_day_without_dns_costs_nothing_and_grows_nothing (src/dns/resolver.rs)",
    ),
    Row(
        25,
        "all regions down 10 s",
        "503 <= 50 ms meanwhile; success <= 2 s after; no stampede",
        acts.kill_all,
        acts.revive_all,
        [expect.all_refused, expect.refused_fast, expect.recovered(2.0), expect.no_stampede],
        red=Red("hung instead of dead, no failover", acts.freeze_all, acts.thaw_all),
    ),
    Row(
        26,
        "flapping, 5 s down and 5 s up",
        "<= 4 transitions; 0 failed GET",
        nothing,
        nothing,
        [no_failed_reads, expect.writes_end_well, expect.transitions(4), expect.slowest("GET", math.inf)],
        beside=acts.flap,
        fault_seconds=40,
        full_fault_seconds=300,
        red=Red(fault_seconds=20),
        remark="5 minutes in the full form, 40 s in the short; a transition is out of service for reads, or back into it",
    ),
    Row(
        27,
        "failback of a cold region",
        "ramp 10 to 100 % over 30 s; p99 <= 1.5x",
        acts.kill,
        acts.revive,
        [no_failed_reads, expect.ramp, expect.calm_ramp],
        recovery_seconds=110,
        long_only=True,
    ),
    Row(
        28,
        "2x overload, then normal",
        "goodput >= 95 % within 5 s of its end",
        nothing,
        nothing,
        [expect.goodput_back, expect.grew("shed", "nearpoint_requests_shed_total", 100)],
        Setup(overlay={"limits": {"in_flight": 4}}),
        beside=beside.crowd(800),
        fault_seconds=20,
        red=Red("the overload goes on", beside=beside.crowd(800, through=True), change=as_it_is),
    ),
    Row(
        29,
        "one dead address of three",
        "0 failed; region not ejected; address out <= 1 s",
        acts.one_address_dead,
        acts.heal_network,
        [no_failed_reads, no_failed_writes, expect.stays, expect.slow_only_at_first(1.0, 0.3)],
        Setup(names=True),
        prepare=acts.three_addresses,
        red=Red("all three dead, no failover", acts.rules("in drop")),
    ),
    Row(
        30,
        "SIGTERM under load",
        "0 failed, 0 cut; drained inside 30 s",
        acts.terminate,
        acts.terminated,
        [
            no_failed_reads,
            no_failed_writes,
            expect.noted("exit code", lambda code: code == 0),
            expect.noted("drained in s", lambda spent: spent <= 30),
        ],
        Setup(gateways=2),
        red=Red("SIGKILL instead", acts.kill_proxy, nothing, change=as_it_is),
        remark="two gateways behind a balancer; the swap of binaries is a row of its own",
    ),
    Row(
        31,
        "proxy killed, started again",
        "ready <= 300 ms; all well from then on",
        acts.restart_proxy,
        nothing,
        [expect.noted("ready in ms", lambda spent: spent <= 300, 0.3), expect.first_second_good],
        red=Red("nearest region dead, no failover", acts.restart_without_home, acts.revive),
    ),
    Row(
        32,
        "out of file descriptors",
        "503 at most; no crash; recovers <= 1 s",
        acts.few_descriptors,
        acts.many_descriptors,
        [expect.only_503, expect.recovered(1.0), expect.noted("alive", bool)],
        red=Red("never lifted", undo=nothing, change=as_it_is),
    ),
    Row(
        32,
        "little memory left, bodies held",
        "503 at most; no crash; recovers <= 1 s",
        acts.little_memory,
        acts.enough_memory,
        [
            expect.only_503,
            expect.recovered(1.0),
            expect.noted("alive", bool),
            expect.is_zero("killed for want of memory"),
            expect.noted("most of its memory in use", lambda share: share <= 1),
            expect.grew("shed", "nearpoint_requests_shed_total"),
            expect.happened("bodies held", 2 * beside.HELD),
        ],
        Setup(memory_group=True, overlay={"limits": {"replay_total": "16MiB"}}),
        beside=beside.hold_bodies,
        part="b",
        fault_seconds=16,
        red=Red("limits that allow more than there is", change=with_much_to_keep),
        remark=f"a control group of {acts.ROOM >> 20} MiB more than is in use, `replay_total: 16MiB`, and {2 * beside.HELD} MiB that clients hold back",
    ),
    Row(
        33,
        "bad and good reloads under load",
        "bad refused, old kept; good taken; 0 failed",
        nothing,
        nothing,
        [
            no_failed_reads,
            no_failed_writes,
            lambda e: expect.Finding(
                f"refused {e.counted('nearpoint_config_reloads_total', result='refused'):.0f}, taken {e.counted('nearpoint_config_reloads_total', result='taken'):.0f}",
                e.counted("nearpoint_config_reloads_total", result="refused") >= 1
                and e.counted("nearpoint_config_reloads_total", result="taken") >= 1,
            ),
        ],
        beside=acts.reloads,
        red=Red("restarts instead", beside=acts.restarts, change=as_it_is),
    ),
    Row(
        34,
        "home down in the middle of an upload",
        "503, never NoSuchUpload; goes on after",
        nothing,
        acts.revive,
        [
            expect.is_zero("NoSuchUpload"),
            expect.happened("refused with 503"),
            expect.noted("upload", lambda end: end == "done"),
        ],
        beside=beside.upload_across,
        red=Red("home comes back empty", undo=acts.forget_and_revive),
    ),
    Row(
        35,
        "LIST of 10,000 keys, region dies at page 4",
        "whole, ordered, no gap",
        nothing,
        acts.revive,
        [no_failed_reads, expect.noted("listing", lambda end: end == "whole and in order")],
        prepare=beside.seed_listing,
        beside=beside.list_across,
    ),
    Row(
        36,
        "two regions apart, writes on both sides",
        "last writer wins; every acknowledged write is a version",
        acts.split,
        acts.join,
        [
            expect.is_zero("acknowledged without a version"),
            expect.is_zero("keys on which regions differ"),
            expect.happened("written on both sides", 20),
        ],
        Setup(gateways=2, second_home=True, versioned=True),
        beside=beside.write_both_sides,
        after=beside.read_versions,
        red=Red("stores without versions", change=lambda setup: replace(setup, versioned=False)),
    ),
]

SHORT = ["1", "2", "3", "9", "10", "15", "21", "25", "30", "35"]
SWAP = (
    "30b",
    "swap of binaries by handing the sockets over",
    "0 failed, 0 cut",
    "the proxy cannot hand its sockets over yet",
)
