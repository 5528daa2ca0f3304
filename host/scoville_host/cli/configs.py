"""``scoville configs``: the named configurations."""

__all__ = ["run"]


def run():
    """List the named configurations."""
    from scoville.config import CONFIGS

    print(f"{'name':<10}{'bus':>6}{'rows':>6}{'lanes':>7}{'width':>7}{'bits':>6}{'multipliers':>13}{'max hidden':>12}")
    for config in CONFIGS.values():
        print(f"{config.name:<10}{config.bus_bytes:>5}B{config.rows:>6}{config.lanes:>7}{config.dot_width:>7}"
              f"{config.act_bits:>6}{config.multipliers:>13}{config.max_hidden:>12}")
