"""The scoreboard: every fault of the list, what is promised, what was measured."""
