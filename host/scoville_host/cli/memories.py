"""``scoville memories``: the simulated memories."""

from .options import Config, Json

__all__ = ["run"]


def run(config: Config = "kria", json_out: Json = None):
    """List the simulated memories, and what each gives a plain stream at most, on the bus of a configuration.

    \b
    scoville memories --config ulx3s --json memories.json
    """
    from ..files import check_outputs, write_json
    from ..report.memories import measured
    from ..runtime.session import find_config

    chosen = find_config(config)
    check_outputs({"--json": json_out})
    rows = measured(chosen.bus_bytes)
    if json_out:
        write_json(json_out, {"config": chosen.name, "bus_bytes": chosen.bus_bytes, "memories": rows})
    print(f"{'name':<9}{'beats/cycle':>12}{'bytes/cycle':>12}{'of its peak':>12}{'GB/s':>7}{'latency':>8}  {'DRAM'}")
    for row in rows:
        speed = f"{row['bytes_per_second'] / 1e9:.2f}"
        print(f"{row['name']:<9}{row['limit_beats_per_cycle']:>12.4f}{row['limit_bytes_per_cycle']:>12.2f}"
              f"{row['share_of_peak']:>12.4f}{speed:>7}{row['read_latency']:>8}  {row['dram'] or '-'}")
