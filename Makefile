# From nothing but Python >= 3.11, pip, venv and make:
#
#   make run     set-up, then configs/quickstart.toml to a report in runs/
#   make test    set-up, then the test command of README.md
#   make lint    set-up, then style, types and words
#   make results set-up, then the full studies, with all that makes them again to docs/results/
#   make rerun   set-up, then the results of docs/results/ once more, compared: 1 where a value is beyond its tolerance
#   make bench   set-up, then the measurements of speed to benchmarks/results/
#   make fast    set-up, then the tests that take less than two seconds: minutes
#   make slow    set-up, then the long tests
#   make durations  set-up, then all tests once more, to measure which are long
#   make fuzz, faults, mutation, versions, audit    what docs/reliability.md reports
#   make release set-up, then sdist and wheel built twice, and the wheel used in new environments: docs/policy.md
#   make docs    set-up, then the documentation to site/; a warning is an error
#   make examples  set-up, then the scripts of docs/examples/: what they print and draw, beside them
#   make notebooks set-up, then docs/notebooks/ from the tutorials
#
# PYTHON=python3.12 chooses the interpreter; by default the first of the list below that is new enough.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV_PYTHON = .venv/bin/python
INSTALLED = .venv/installed

STUDIES = specialist fig3 fig3_1000 fig4 detector detector_prior interactions table1 heldout real leaderboard leaderboard_parts intervals verdicts verdicts_classes checks classes stress binary
STUDIES += unseen groups adversaries classifier
STUDIES += theodon_sim theodon_sim_nuts theodon_public theodon_public_both theodon_public_default rare rare_large headline headline_shapes headline_labels headline_curves headline_svi shares machines assisted sbc sbc_classes sparse  # of the contextual model: hours

.PHONY: run test fast durations slow lint results rerun bench docs examples fuzz faults mutation notebooks versions release audit

run: $(INSTALLED)
	$(VENV_PYTHON) -m experiments run configs/quickstart.toml

test: $(INSTALLED)
	set -e; command=$$(sed -n '/^<!-- test command -->/,/^<!-- end -->/{/^<!--/d;/^```/d;p;}' README.md); \
	test -n "$$command"; echo "$$command"; eval "$$command"

fast: $(INSTALLED)
	$(VENV_PYTHON) -m pytest -n 2 --dist loadfile -m "not slow and not long"

durations: $(INSTALLED)
	$(VENV_PYTHON) -m pytest -n 2 --dist loadfile --durations=0 | $(VENV_PYTHON) tests/measured.py

slow: $(INSTALLED)
	XLA_FLAGS= $(VENV_PYTHON) -m pytest -n 2 --dist loadfile -m slow

fuzz: $(INSTALLED)
	$(VENV_PYTHON) tests/fuzz.py --out docs/results/reliability/fuzz.json

faults: $(INSTALLED)
	$(VENV_PYTHON) tests/faults.py --out docs/results/reliability/faults.json

mutation: $(INSTALLED)
	$(VENV_PYTHON) -m pip install --quiet --constraint constraints.txt mutmut
	$(VENV_PYTHON) tests/mutants.py --out docs/results/reliability/mutants.json

versions: $(INSTALLED)
	$(VENV_PYTHON) -m pip install --quiet --constraint constraints.txt uv
	$(VENV_PYTHON) tests/versions.py --out docs/results/reliability/versions.json

release: $(INSTALLED)
	$(VENV_PYTHON) -m pip install --quiet --constraint constraints.txt build uv
	$(VENV_PYTHON) tests/release.py --out docs/results/reliability/wheel.json

audit: $(INSTALLED)
	$(VENV_PYTHON) -m pip install --quiet pip-audit
	$(VENV_PYTHON) -m pip_audit

lint: $(INSTALLED)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check --exclude '*.md' .
	$(VENV_PYTHON) -m pyright --pythonpath $(VENV_PYTHON)
	$(VENV_PYTHON) -m tools.words crowdjax README.md docs CONTRIBUTING.md CHANGELOG.md mkdocs.yml

results: $(INSTALLED)
	set -e; for study in $(STUDIES); do \
		$(VENV_PYTHON) -m experiments run "configs/$$study.toml"; \
		$(VENV_PYTHON) -m experiments publish "configs/$$study.toml"; \
	done

rerun: $(INSTALLED)
	status=0; for place in docs/results/*/config.toml; do \
		echo "$$place"; $(VENV_PYTHON) -m experiments rerun "$$(dirname "$$place")" -q || status=1; \
	done; exit $$status

bench: $(INSTALLED)
	$(VENV_PYTHON) -m benchmarks

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --strict

examples: $(INSTALLED)
	set -e; cd docs/examples; for script in *.py; do \
		"$(CURDIR)/$(VENV_PYTHON)" "$$script" > "$${script%.py}.txt"; \
	done

notebooks: $(INSTALLED)
	$(VENV_PYTHON) -m tools.notebooks

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; name one: make PYTHON=/path/to/python"; exit 1; }
	$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(VENV_PYTHON) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)
