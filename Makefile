# A front for bootstrap.py, which does all set-up itself. Extra arguments: make demo ARGS="--sites 3"
PYTHON ?= python3
ARGS ?=

.PHONY: demo test lint type docs bench lock wheelhouse clean
demo test lint type docs bench lock wheelhouse clean:
	@$(PYTHON) bootstrap.py $@ $(ARGS)
