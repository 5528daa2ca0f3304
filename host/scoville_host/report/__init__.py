"""What a run gave: its numbers, traces, benchmarks, the page of `make report`, and the chip's artefacts."""
