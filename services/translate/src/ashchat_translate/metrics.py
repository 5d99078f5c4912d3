"""The metrics of translate."""

from prometheus_client import Counter, Gauge, Histogram

JOBS = Counter("ashchat_translate_jobs_total", "Jobs answered for all their languages")
RESULTS = Counter(
    "ashchat_translate_results_total",
    "Results, by outcome",
    ["outcome", "reason", "provider"],
)
CALLS = Counter(
    "ashchat_translate_provider_calls_total", "Calls to a provider", ["provider", "outcome"]
)
CALL_SECONDS = Histogram(
    "ashchat_translate_provider_call_duration_seconds",
    "Time a provider took to answer",
    ["provider"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
CACHE = Counter("ashchat_translate_cache_lookups_total", "Cache lookups", ["result"])
SHARED = Counter(
    "ashchat_translate_shared_calls_total", "Texts that joined a call already in progress"
)
HELD = Gauge("ashchat_translate_held_texts", "Texts that wait for an unavailable provider")
BREAKER = Gauge("ashchat_translate_breaker_state", "0 closed, 1 half-open, 2 open", ["provider"])
PAIRS = Gauge("ashchat_translate_apertium_pairs", "Apertium's language pairs", ["state"])
KEPT = Counter(
    "ashchat_translate_kept_sentences_total", "Sentences that stayed as written", ["reason"]
)
PARKED = Counter(
    "ashchat_translate_parked_jobs_total", "Jobs of accounts that have too many in progress"
)
