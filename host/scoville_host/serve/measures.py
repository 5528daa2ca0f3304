"""Metrics for Prometheus: vLLM's names where they mean the same, and the chip's own."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

__all__ = ["Measures"]

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)
TOTALS = {  # of `Engine.counts`
    "vllm:prompt_tokens": ("prompt_tokens", "Tokens of prompts."),
    "vllm:generation_tokens": ("generated_tokens", "Tokens that were generated."),
    "vllm:num_preemptions": ("preempted", "How often a sequence gave its pages to others."),
    "vllm:prefix_cache_queries": ("prompt_tokens", "Tokens of prompts that were looked for."),
    "vllm:prefix_cache_hits": ("cached_tokens", "Tokens of prompts that another sequence had computed."),
    "scoville:passes": ("passes", "Passes of the chip."),
    "scoville:restarts": ("restarts", "How often the chip was started anew after a fault."),
}
COUNTERS = {  # of the chip, where it has some
    "scoville:cycles": ("cycles", "Cycles of the chip."),
    "scoville:bus_beats": ("beats", "Cycles in which the bus gave a beat to the stream reader."),
    "scoville:array_work_cycles": ("work", "Cycles in which the multipliers did useful work."),
}


class Measures:
    """Counted by whoever serves clients; what the engine knows is read when it is asked for.

    Parameters
    ----------
    engine : Engine
    model : name, a label of every metric
    """

    def __init__(self, engine, model):
        self._engine, self._model, self._registry = engine, model, CollectorRegistry()
        labels = {"labelnames": ["model_name"], "registry": self._registry}
        self._first = Histogram("vllm:time_to_first_token_seconds", "From a request to its first token.",
                                buckets=SECONDS, **labels).labels(model)
        self._between = Histogram("vllm:inter_token_latency_seconds", "Between two tokens of a choice.",
                                  buckets=SECONDS, **labels).labels(model)
        self._ended = Counter("vllm:request_success", "Choices that ended, by reason.",
                              labelnames=["model_name", "finished_reason"], registry=self._registry)
        self._whole = Histogram("vllm:e2e_request_latency_seconds", "From a request to the end of a choice.",
                                buckets=SECONDS, **labels).labels(model)
        self._registry.register(self)

    def token(self, since_last, since_request):
        """A token came; `since_last` is None for the first."""
        if since_last is None:
            self._first.observe(since_request)
        else:
            self._between.observe(since_last)

    def ended(self, reason, since_request):
        self._ended.labels(self._model, reason).inc()
        self._whole.observe(since_request)

    def collect(self):
        """What the engine knows, for the registry."""
        seen = self._engine.seen
        gauges = {"vllm:num_requests_running": ("Sequences that have a slot.", seen.running),
                  "vllm:num_requests_waiting": ("Sequences that have none yet.", seen.waiting)}
        if seen.pool:
            pages = {name: count for name, count in seen.pool.items() if name != "passes"}
            used = pages["running"] + pages["shared"]
            gauges["vllm:kv_cache_usage_perc"] = ("Pages of the pool that could not be had at once, 1 for all; parked "
                                                  "ones could.", used / sum(pages.values()))
            yield self._by("owner", GaugeMetricFamily, "scoville:pages", "Pages of the pool, by owner.", pages)
        for name, (text, value) in gauges.items():
            yield self._labelled(GaugeMetricFamily(name, text, labels=["model_name"]), value)
        for name, (key, text) in TOTALS.items():
            yield self._labelled(CounterMetricFamily(name, text, labels=["model_name"]), seen.counts.get(key, 0))
        if seen.cycles:
            for name, (key, text) in COUNTERS.items():
                yield self._labelled(CounterMetricFamily(name, text, labels=["model_name"]), seen.cycles[key])
            yield self._by("reason", CounterMetricFamily, "scoville:stall_cycles",
                           "Cycles without useful work of the multipliers, by reason.", seen.cycles["stalls"])
            if tokens := seen.counts["generated_tokens"]:
                yield self._labelled(GaugeMetricFamily("scoville:cycles_per_token", "Cycles a generated token, since "
                                                       "the start.", labels=["model_name"]),
                                     seen.cycles["cycles"] / tokens)

    def _by(self, label, kind, name, text, values):
        family = kind(name, text, labels=["model_name", label])
        for value, count in values.items():
            family.add_metric([self._model, value], count)
        return family

    def _labelled(self, family, value):
        family.add_metric([self._model], value)
        return family

    def text(self):
        """In Prometheus's exposition format."""
        return generate_latest(self._registry)
