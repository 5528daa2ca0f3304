"""What the testbenches have reached: `make coverage`.

`observe` samples functional points inside a simulation, a file a block defines them, `toggle` reads what Verilator
counted, `report` judges; `excluded.toml` has what cannot or need not be reached, each with its reason.
"""
