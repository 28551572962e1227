# Everything on a fresh clone: `make demo` and `make test`. Each target sets up .venv itself when needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers
# the tested versions, some of which are not made for Python 3.10: there, the newest that are
CONSTRAINED := $(shell $(PYTHON) -c 'import sys; print("--constraint constraints.txt" * (sys.version_info >= (3, 11)))')
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest
DATA ?=
MODEL ?= demo/run

WASM := src/betabloom/reports/share_page/decoder.wasm

.PHONY: setup browser wasm demo docs-reference figures site book slides notebooks gallery bench-peers test test-slow test-install check format dist clean
.DEFAULT_GOAL := setup

setup: $(READY)  ## make the virtual environment with the tested versions

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(CONSTRAINED) --editable '.[dev]'
	touch $@

demo: $(READY)  ## train the default for two minutes (on DATA=folder, else on drawn flowers); pictures in demo/
	rm -rf demo
	$(BIN)/betabloom train $(if $(DATA),'$(DATA)',drawn) --budget 2m -o demo/run
	$(BIN)/betabloom generate demo/run -n 64 --seed 7 -o demo/generated.png
	$(BIN)/betabloom generate -n 64 --seed 7 -o demo/bundled.png
	cp demo/run/reconstructions.png demo/run/curves.png demo/
	@echo "Look at demo/generated.png, demo/reconstructions.png and demo/curves.png,"
	@echo "and at demo/bundled.png: flowers of the bundled model, which was trained for longer"

docs-reference: $(READY)  ## write docs/cli.md and docs/settings.md from the code
	$(BIN)/python tools/reference.py

DOCS := $(VENV)/.docs

$(DOCS): $(READY)
	$(BIN)/pip install --quiet $(CONSTRAINED) --editable '.[dev,docs]'
	touch $@

figures: $(READY)  ## make the figures of the book anew (trains two small models at first)
	$(BIN)/python tools/figures.py

site: $(DOCS)  ## the documentation as a site that works offline: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

book: $(DOCS)  ## the book as one PDF: build/book.pdf
	$(BIN)/python tools/book/pdf.py

slides: $(DOCS)  ## the slides of one lesson as one HTML file: build/slides.html
	$(BIN)/python tools/book/slides.py

notebooks: $(DOCS)  ## the notebooks as .ipynb, in build/notebooks
	$(BIN)/python tools/book/notebooks.py
	$(BIN)/python tools/book/notebooks.py --colab

gallery: $(READY)  ## make docs/gallery with MODEL=run or model directory
	$(BIN)/python docs/gallery/make.py '$(MODEL)'

bench-peers: $(PEERS)/.ready  ## a virtual environment with pythae and disent, which benchmarks compare with

$(PEERS)/.ready: benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --requirement benchmarks/requirements-peers.txt
	$(PEERS)/bin/pip install --quiet --no-deps pythae==0.1.2 disent==0.8.0
	echo '$(CURDIR)/benchmarks/stubs' > "$$($(PEERS)/bin/python -c 'import site; print(site.getsitepackages()[0])')/stubs.pth"
	$(PEERS)/bin/python -c 'import disent.frameworks.vae, lightning, pythae.trainers'
	touch $@

browser:  ## Debian's chromium, which the tests of pages need; where it cannot be installed they are skipped
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		{ apt-get update -q && apt-get install -q -y chromium; } >/dev/null 2>&1 || \
		echo "There is no chromium, and it cannot be installed: the tests of pages are skipped."

wasm:  ## compile the decoder for browsers (needs clang and wasm-ld)
	clang --target=wasm32 -O3 -msimd128 -nostdlib -fno-builtin -Wall -Wl,--no-entry -Wl,--strip-all \
		-Wl,-z,stack-size=65536 -o $(WASM) tools/wasm/decoder.c
	chmod 644 $(WASM)

# By files: what a module prepares is prepared once. A worker that crashes, or hangs where no signal reaches it, ends all
# and its test is named; with another worker in its place, pytest-xdist 3.8 would wait for ever.
PARALLEL := -n auto --dist loadfile --max-worker-restart 0 -o faulthandler_exit_on_timeout=true

test: $(READY) browser  ## the tests (minutes)
	$(PYTEST) $(PARALLEL) -m "not slow"

test-slow: $(READY) browser  ## the tests that take long, and all others with every extra, which are large
	$(BIN)/pip install --quiet $(CONSTRAINED) --editable '.[dev,docs,heic,hf,metrics,onnx,tensorboard,mlflow,ray,umap,video,wandb]' \
		pillow-heif webdataset schemathesis uv
	$(PYTEST) -m slow
	$(PYTEST) $(PARALLEL) -m "not slow"

test-install: $(READY)  ## wheel and sdist in empty environments, with the newest and the lowest dependencies
	$(BIN)/pip install --quiet $(CONSTRAINED) uv
	$(BIN)/python tools/install_check.py

check: $(READY)  ## format, lint, types, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(READY)  ## put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dist: $(READY)  ## the wheel that people install and the sdist, in dist/
	$(BIN)/hatchling build -d dist

clean:  ## remove what these targets made
	rm -rf $(VENV) $(PEERS) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
