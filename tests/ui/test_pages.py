"""What the pages show: of a fleet, of nothing, and of what is not there."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from exq_anyio.redis.keys import Keys

from ..api.conftest import failed, job
from ..exq.scene import Scene
from .conftest import Look
from .visitor import Visitor

PAGES = [
    "/", "/queues", "/queues/mail", "/busy", "/retries", "/scheduled", "/dead", "/periodic", "/metrics",
    "/metrics/worker?worker=charge_card", "/enqueue",
]  # fmt: skip


@pytest.mark.usefixtures("fleet")
async def test_every_page_shows_the_fleet_and_every_link_on_it_leads_somewhere(visitor: Visitor) -> None:
    links = set[str]()
    for path in PAGES:
        page = await visitor.get(path)
        assert page.status == 200, page
        assert re.search("Dead ?60", page.text), page
        links |= set(page.links)
    jobs = {link for link in links if link.startswith(("/job?", "/running?", "/bulk?"))}
    assert len(jobs) > 60
    for link in sorted(links - jobs) + sorted(jobs)[::8]:
        if not link.startswith("#"):
            assert (await visitor.get(link)).status == 200, link


@pytest.mark.usefixtures("fleet")
async def test_the_dashboard_shows_figures_history_latency_and_the_server(visitor: Visitor) -> None:
    page = await visitor.get("/")
    for text in ("Throughput", "16 / 160", "on 5 nodes", "longest wait 1 h 30 min", "Valkey", "noeviction"):
        assert text in page.text
    assert page.html.count("data-points") == 2
    for days in (7, 30, 90, 180):
        before = datetime.now(UTC).date()
        page = await visitor.get(f"/?days={days}")
        assert f"The last {days} days" in page.text
        shown = re.findall(r"\d{4}-\d\d-\d\d", page.text)
        assert len(shown) == days
        assert max(shown) in (str(before), str(datetime.now(UTC).date()))


@pytest.mark.usefixtures("fleet")
async def test_queues_are_listed_by_name_size_or_latency_with_who_takes_from_them(visitor: Visitor) -> None:
    names = ["default", "empty", "images", "low", "mail", "payments", "reports", "search"]
    orders = {"": names, "?sort=size": ["low", "mail", "images"], "?sort=latency": ["low", "reports", "images"]}
    for query, expected in orders.items():
        page = await visitor.get(f"/queues{query}")
        listed = [given["data-key"] for tag, given in page.tags if tag == "tr" and "data-key" in given]
        assert listed[: len(expected)] == expected
    text = (await visitor.get("/queues")).text
    assert "low 4,310 1 h 30 min 0 paused Resume Clear" in text
    assert re.search(r"mail 1,284 \S+ s 3 working Pause Clear", text)


@pytest.mark.usefixtures("fleet")
async def test_the_busy_page_tells_the_programs_apart_and_lists_what_runs(visitor: Visitor) -> None:
    text = (await visitor.get("/busy")).text
    assert re.search(r"worker-1.eu#1 exq_anyio 0.1.0 · shop · pid 4101 mail , payments , images , default 5 / 50", text)
    assert re.search(r"rails-1:29:a1b2c3d4e5f6 Sidekiq 8.1.7 · storefront · pid 29 reports , default 3 / 10", text)
    assert re.search(r"elixir-1 Exq search 1 / ∞", text)
    assert "worker-3.eu#1 quiet" in text
    assert "Running jobs 16" in text


@pytest.mark.usefixtures("fleet")
async def test_metrics_say_how_often_and_how_long_each_worker_ran(visitor: Visitor) -> None:
    page = await visitor.get("/metrics")
    assert re.search(r"v2.41.0 2[56] min ago", page.text)  # a mark is for a whole minute
    links = [link for link in page.links if link.startswith("/metrics/worker")]
    assert len(links) == 7
    for link in links:
        page = await visitor.get(link)
        for text in ("50% within", "90% within", "99% within", "Average", "How long runs took"):
            assert text in page.text
        assert page.html.count("<title>") > 100
    for span, text in (("4h", "How long runs took"), ("24h", "No times were counted"), ("72h", "No times")):
        assert text in (await visitor.get(f"/metrics/worker?worker=charge_card&span={span}")).text
    assert (await visitor.get("/metrics?span=9h")).status == 400


async def test_percentiles_and_the_heat_map_are_those_of_the_histogram(
    visitor: Visitor, scene: Scene, keys: Keys
) -> None:
    now = time.time()
    await scene.redis.hset(keys.minute(now, "seconds"), {"W|p": 10, "W|f": 0, "W|ms": 5_000})
    counts = [0, 0, 0, 0, 0, 8, *[0] * 19, 2]  # eight of 100 to 150 ms, two longer than 335 s
    packed = b"".join(count.to_bytes(2, "big") for count in counts)
    await scene.redis.set(keys.histogram("W", now, "seconds"), packed)
    page = await visitor.get("/metrics/worker?worker=W")
    assert "Average 500 ms 50% within 131 ms 90% within > 5 min 35 s" in page.text
    assert "up to 150 ms: 8 runs" in page.text
    assert "up to longer: 2 runs" in page.text


@pytest.mark.usefixtures("fleet")
async def test_periodic_jobs_are_listed_run_paused_resumed_and_removed(visitor: Visitor, scene: Scene) -> None:
    text = (await visitor.get("/periodic")).text
    assert re.search(r'inventory sync_inventory\("w-3"\) every 900 s default in [\dmin s]+ . added Run now', text)
    assert re.search(r"reindex .* 30 4 \* \* 1 \(Europe/Berlin\) search . . paused Run now Resume Remove", text)
    before = await scene.redis.llen(scene.key("queue:reports"))
    page = await visitor.press("/periodic", "Run now", "nightly report")
    assert re.search("nightly report enqueued: [0-9a-f]{24}", page.text)
    assert await scene.redis.llen(scene.key("queue:reports")) == before + 1
    assert "reindex resumed." in (await visitor.press("/periodic", "Resume", "reindex")).text
    assert "reindex paused." in (await visitor.press("/periodic", "Pause", "reindex")).text
    assert "inventory removed." in (await visitor.press("/periodic", "Remove", "inventory")).text
    assert "inventory sync" not in (await visitor.get("/periodic")).text


async def test_a_job_is_shown_with_everything_about_it(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    now = time.time()
    payload = failed(
        "abc", 2, args=[7, {"a": "b"}], tags=["vip"], unique_token="lock-1", unique_until="start", timeout=30,
        meta={"trace": 1}, retried_at=now - 9, error_backtrace=["one", "two"],
    )  # fmt: skip
    await scene.redis.zadd(keys.retry, {payload: now + 60})
    (link,) = {link for link in (await visitor.get("/retries")).links if link.startswith("/job?")}
    text = (await visitor.get(link)).text
    for part in (
        "Retries / Worker", "waits for a retry", "Oops", "oh no", "Backtrace, 2 lines", "one two", "Arguments 2", "abc",
        '{"a": "b"}', "Tries so far 3 of the default number", "vip", "lock-1 until start", "timeout 30", "Created",
        'meta {"trace": 1}', "Failed for the first time", "Failed again", "Next try", "Retry", "Run now", "Kill",
    ):  # fmt: skip
        assert part in text, part


async def test_a_job_of_rails_is_shown_as_what_it_is(visitor: Visitor, scene: Scene) -> None:
    inner = {"job_class": "WelcomeJob", "arguments": [1, {"_aj_ruby2_keywords": ["by"], "by": "mail"}]}
    await scene.push("q", job("a", "Sidekiq::ActiveJob::Wrapper", wrapped="WelcomeJob", args=[inner]))
    page = await visitor.get("/queues/q")
    assert 'WelcomeJob ActiveJob 1, {"by": "mail"}' in page.text
    (link,) = {link for link in page.links if link.startswith("/job?")}
    assert "Wrapped in Sidekiq::ActiveJob::Wrapper" in (await visitor.get(link)).text


async def test_where_nothing_is_it_says_what_would_be_there(visitor: Visitor) -> None:
    texts = {
        "/": "Nothing waits",
        "/queues": "There are no queues yet",
        "/queues/unknown": "This queue is empty",
        "/busy": "No node is alive",
        "/retries": "Nothing waits for a retry",
        "/scheduled": "Nothing is scheduled",
        "/dead": "Nothing is dead",
        "/dead?worker=x": "Nothing matches",
        "/dead?from=25": "Nothing is dead",
        "/periodic": "There are no periodic jobs",
        "/metrics": "No runs were counted",
        "/metrics/worker?worker=W": "No times were counted",
    }
    for path, text in texts.items():
        page = await visitor.get(path)
        assert page.status == 200
        assert text in page.text, path


async def test_what_is_not_there_is_told(visitor: Visitor) -> None:
    statuses = {
        "/nowhere": (404, "Not found"),
        "/job?ref=x": (404, "names no job"),
        "/job?ref=dead~nan~x~": (404, "names no job"),
        "/job?ref=dead~1.5~0123456789abcdef~j1": (404, "It is not dead any more"),
        "/job?ref=queue~3~0123456789abcdef~j1~mail": (404, "not in the queue mail any more"),
        "/running?node=a&thread=b": (404, "does not run there any more"),
        "/find?jid=gone": (404, "No job has the id gone"),
        "/find": (400, "Give its id"),
        "/payload?ref=dead~1.5~0123456789abcdef~j1": (404, "not there any more"),
        "/queues/backup::x": (404, "There is no such queue"),
        "/dead?from=-1": (400, "from must be a whole number"),
        "/dead?size=999": (400, "size must be"),
        "/dead?since=yesterday": (400, "since must be an ISO 8601 time"),
        "/?days=0": (400, "days must be"),
        "/bulk?place=dead&action=kill": (400, "no such action for dead"),
        "/bulk?place=nowhere&action=kill": (400, "names no place"),
        "/static/x/none.css": (404, "no such file"),
    }
    for path, (status, text) in statuses.items():
        page = await visitor.get(path)
        assert (page.status, text in page.text) == (status, True), page


async def test_a_job_is_found_by_its_id_wherever_it_is(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    now = time.time()
    await scene.push("q", *(job(f"queued-{at}") for at in range(30)))
    for key in (keys.retry, keys.schedule, keys.dead):
        await scene.redis.zadd(key, {failed(f"in {key}"): now + 5})
    for jid in ("queued-7", *(f"in {key}" for key in (keys.retry, keys.schedule, keys.dead))):
        page = await visitor.get(f"/find?jid={jid}")
        assert (page.status, page.path.startswith("/job?")) == (200, True)
        assert jid in page.text


@pytest.mark.usefixtures("fleet")
async def test_a_running_job_is_found_too_and_shown(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    (work,) = await scene.redis.hvals(keys.work("elixir-1"))
    jid = re.search(rb'jid\\?":\\?"([0-9a-f]+)', work)
    assert jid
    page = await visitor.get(f"/find?jid={jid[1].decode()}")
    assert "running" in page.text
    assert "elixir-1" in page.text


async def test_pages_go_forth_and_back(visitor: Visitor, scene: Scene, keys: Keys) -> None:
    await scene.redis.zadd(keys.dead, {failed(f"j{at}", args=[f"n{at}"]): 1e9 - at for at in range(120)})

    async def shown(path: str) -> tuple[list[str], list[str]]:
        page = await visitor.get(path)
        found = re.findall(r'"n(\d+)"', page.text)
        return found, [link for link in page.links if link.startswith("/dead")]

    numbers, links = await shown("/dead")
    assert numbers == [str(at) for at in range(25)]
    assert "/dead?from=25" in links
    numbers, links = await shown("/dead?from=100&size=50")
    assert numbers == [str(at) for at in range(100, 120)]
    assert {"/dead?from=50&size=50", "/dead?size=50", "/dead?from=145&size=50"} & set(links) == {
        "/dead?from=50&size=50",
        "/dead?size=50",
    }
    assert "There are 120 jobs before it" in (await visitor.get("/dead?from=200")).text


async def test_a_large_page_of_large_jobs_is_cut_and_goes_on(visitor: Visitor, scene: Scene) -> None:
    await scene.push("q", *(job(f"j{at}", args=["x" * 1_500_000]) for at in range(8)))
    page = await visitor.get("/queues/q")
    assert "1\u20133 of 8" in page.text
    assert "/queues/q?from=3" in page.links
    assert len(page.html) < 60_000


async def test_the_theme_is_that_of_the_cookie(visitor: Visitor) -> None:
    for theme, shown in (("dark", True), ("light", True), ('"><b>', False)):
        page = await visitor.get("/", cookie=f"exq_theme={theme}")
        html = next(given for tag, given in page.tags if tag == "html")
        assert html.get("data-theme") == (theme if shown else None)


async def test_files_are_kept_for_ever_under_their_digest_alone(visitor: Visitor) -> None:
    page = await visitor.get("/")
    sheets = [str(given["href"]) for tag, given in page.tags if tag == "link" and given.get("rel") == "stylesheet"]
    scripts = [str(given["src"]) for tag, given in page.tags if tag == "script"]
    assert len(sheets) == len(scripts) == 2
    for path in (*sheets, *scripts):
        response = await visitor.client.get(path)
        assert (response.status_code, response.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert response.headers["content-type"].startswith("text/")
    digest = sheets[0].split("/")[2]
    response = await visitor.client.get(sheets[0].replace(digest, "old"))
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")
    assert (await visitor.get(f"/static/{digest}/vendor/uplot/LICENSE")).status == 200


async def test_the_title_is_ours_to_choose(look: Look) -> None:
    page = await (await look(title="Shop <jobs>")).get("/")
    assert "Shop <jobs>" in page.text
