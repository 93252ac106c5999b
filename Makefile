# Works on a bare machine with Python 3.11+ and pip: uv is fetched into .boot, everything else into .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
RUN := .venv/bin/python
UV := PYTHONPATH=.boot UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy $(PYTHON) -m uv
PYTEST_ARGS ?=
# Images of Docker's set it: each process would compile its libraries anew at each start, half of the time that a start takes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test check format backup restore bench bench-learning profile chaos hosts soak attack fuzz audit manifests drill reproduce release env lock clean

help:  ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | while IFS=$$'\t' read -r name what; do \
	  printf '  make %-14s %s\n' "$$name" "$$what"; done

demo: .venv/.runtime  ## the whole stack, and its story told live: a drift arrives, the loop mends it (DEMO_EXIT=1: then end)
	@$(RUN) -m embedded demo $(if $(filter 1,$(DEMO_EXIT)),--exit)

up: .venv/.runtime  ## the whole stack on this machine, until Ctrl-C; state in data/
	@$(RUN) -m embedded up

backup: .venv/.runtime  ## all state into one archive, while the stack works (BACKUP=file; else backups/continual-<time>.tar.gz)
	@$(RUN) -m backup write $(BACKUP)

restore: .venv/.runtime  ## put an archive in place, every hash verified first (BACKUP=file; REPLACE=1 deletes what is there)
	@$(RUN) -m backup restore "$(BACKUP)" $(if $(filter 1,$(REPLACE)),--replace)

test: .venv/.dev  ## every test (PYTEST_ARGS="-k drift" for some)
	@$(RUN) -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

check: .venv/.dev  ## lint, format and types, as CI asks for them
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: .venv/.dev  ## format the code, mend what the linter can
	@$(RUN) -m ruff check --fix-only --quiet .
	@$(RUN) -m ruff format .

bench: .venv/.dev  ## our stack and its peers, and every goal: docs/performance.md (BENCH_ARGS="--quick")
	@$(RUN) -m benchmarks $(BENCH_ARGS)

bench-learning: .venv/.dev  ## the loop over streams, beside never and always retraining, river's forest and the plain rule (LEARNING_ARGS="FOLDER --quick")
	@$(RUN) -m benchmarks.learning $(LEARNING_ARGS)

chaos: .venv/.dev  ## the fault suite: what is done to the stack, and that no accepted job is lost (CHAOS_ARGS="--faults a,e --postgres")
	@$(RUN) -m benchmarks.chaos $(CHAOS_ARGS)

hosts: .venv/.dev  ## two hosts and the wire between them cut, slowed and healed while jobs run (root, ip, PostgreSQL's programs)
	@$(RUN) -m benchmarks.chaos.hosts

soak: .venv/.dev  ## 15 minutes at 80 jobs/s: memory and open files of every process (SOAK_ARGS="--minutes 5")
	@$(RUN) -m benchmarks.chaos.soak $(SOAK_ARGS)

attack: .venv/.dev  ## attacks on a running stack, each with its verdict: docs/security.md
	@$(RUN) -m pytest -v --no-header -m attack tests/security $(PYTEST_ARGS)

fuzz: .venv/.dev  ## ten minutes of requests made from openapi.json, in every role: no 5xx, no answer it does not tell of (FUZZ_ARGS="--seconds 60")
	@$(RUN) -m benchmarks.fuzz $(FUZZ_ARGS)

audit: .boot/.done  ## known holes in what uv.lock names (asks the package index), and in the workflows
	@$(UV) export --quiet --frozen --no-emit-project --format requirements.txt > .boot/requirements.txt
	@$(UV) tool run --quiet pip-audit --strict --progress-spinner off --disable-pip --require-hashes -r .boot/requirements.txt
	@$(UV) tool run --quiet zizmor --offline .github

# Not asked: limits of CPU, which only slow down (11); digests, pull policy and secrets as files (43, 15, 35), which are whose cluster
# it is to choose; a high user id, where Redis's and PostgreSQL's images have their own (40); to be ready, of who listens to nobody (9).
manifests: .boot/.done  ## the Kubernetes manifests against its schemas and a policy linter (needs kubectl)
	@for each in base overlays/stores overlays/keda; do \
	  printf '%s\n' "$$each"; kubectl kustomize "deploy/kubernetes/$$each" > .boot/manifests.yaml; \
	  $(UV) tool run --quiet kubernetes-validate==1.37.0 --strict --quiet .boot/manifests.yaml; \
	  $(UV) tool run --quiet checkov==3.3.30 --file .boot/manifests.yaml --framework kubernetes --compact --quiet --skip-download \
	    --skip-check CKV_K8S_9,CKV_K8S_11,CKV_K8S_15,CKV_K8S_35,CKV_K8S_40,CKV_K8S_43; \
	done

drill: .venv/.dev  ## load, backup, kill, wipe, restore: is everything there? (DRILL_ARGS="--ledger sqlite")
	@$(RUN) -m benchmarks.drills $(DRILL_ARGS)

reproduce: .venv/.runtime  ## run a training again from its record, and compare the models byte for byte (DECISION=id)
	@$(RUN) -m workers reproduce "$(DECISION)"

release: .venv/.dev  ## the version into every file, the gate, a commit and a tag, wheel and SBOM in dist/ (VERSION=1.2.3)
	@$(RUN) .ci/release.py "$(VERSION)"
	@rm -rf dist
	@$(UV) build --quiet --wheel --out-dir dist
	@$(UV) export --quiet --frozen --no-dev --format cyclonedx1.5 > dist/continual-ml-$(VERSION).cdx.json
	@ls dist

env:  ## write .env with fresh secrets for docker compose; never overwrites one
	@$(PYTHON) .ci/fresh_env.py

profile: .venv/.dev  ## CPU of each stage that a request goes through (PROFILE_ARGS="--model rf")
	@$(RUN) -m benchmarks.profile $(PROFILE_ARGS)

lock: .boot/.done  ## bring uv.lock up to date with pyproject.toml
	@$(UV) lock

clean:  ## remove .venv, .boot and caches; data/ stays
	@rm -rf .venv .boot .mypy_cache .pytest_cache .ruff_cache

.boot/.done:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m pip install -qq --disable-pip-version-check --target .boot --upgrade 'uv>=0.9,<1'
	@touch $@

# --inexact: what `make test` added may stay
.venv/.runtime: uv.lock pyproject.toml .boot/.done
	@began=$$(date +%s); $(UV) sync --quiet --frozen --no-dev --inexact --python $(PYTHON); touch $@; \
	printf '✓ installed   %s s      .venv from uv.lock\n' $$(($$(date +%s) - began))

.venv/.dev: uv.lock pyproject.toml .boot/.done
	@$(UV) sync --quiet --frozen --python $(PYTHON); touch .venv/.runtime $@
