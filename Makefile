# A front for bootstrap.py, which does all set-up itself. Extra arguments: make demo ARGS="--sites 3"
PYTHON ?= python3
ARGS ?=
VERBS = demo test test-lowest lint type docs bench lock wheelhouse clean

.PHONY: $(VERBS)
$(VERBS):
	@$(PYTHON) bootstrap.py $@ $(ARGS)
