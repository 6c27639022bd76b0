"""The round: a pure state machine and the shell that executes its actions."""
